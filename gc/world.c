/* Holding the threads of this process. See cycle.c for the overview, world.h for the contract.
 *
 * Threads are found in /proc/self/task, so those that pthread_create has not made stand still too. Each gets one
 * real-time signal, the highest that the C library gives away (it lowers SIGRTMAX then, so no program is handed
 * it). The signal's value names the thread's slot here; the handler writes down where the thread stands and sleeps
 * on a futex until the release. The kernel has put all registers, vector state included, in the signal frame.
 *
 * A thread that blocks in a wrapped call has said where it stands (published.c) and is taken as it is: no signal, no
 * interrupted call.
 *
 *   take those who have said where they stand, signal everybody else who was there at the last hold
 *     -> wait until each has answered or is gone
 *     -> as many threads as there are slots? held.   else list /proc/self/task, signal everybody new, and wait again
 *
 * Only running threads make threads, so once all known ones stand and the kernel's count (the link count of
 * /proc/self/task, one system call) is theirs, there are no others. Those that are not held, the library's, may end at any
 * time: who is there after the count was there when it was taken. While threads run, files are read apart (gm_os_apart). Threads are born and die with all signals
 * blocked; both pass in microseconds: such a thread answers late or is gone from the list.
 *
 * The handler runs on threads of any kind, also those whose thread register is not the C library's. So
 * it touches no thread-local storage: no errno, no stack protector, system calls by hand. It stays on a
 * stack that has room for a signal frame, an alternative one where the thread has that.
 *
 * A slot's state is a word of generation and phase, changed by compare-and-swap: a signal that comes late, after
 * its hold was given up, finds another word and returns. A handler that is still on its way out of the last
 * hold does no harm either: it reads `released` only, and the next signal waits, being blocked, until it returns.
 *
 * Who does not answer ends the hold, by name: a thread that sleeps in the kernel without hearing signals (a dead
 * file system, a mask of its own) or is stopped by a debugger after NOT_RUNNING_NS, one that runs with the signal
 * blocked, or is not scheduled, after RUNNING_NS.
 * The parent of a vfork (posix_spawn, system, popen) hears no signals until its child has executed; as the kernel
 * shows its stack pointer, but not its registers, it is waited for like the rest. A process that shares this
 * memory without being a thread (clone(CLONE_VM)) cannot be stopped at all: while it lives every hold is refused. */
#define _GNU_SOURCE 1
#include "gc/world.h"

#include "gc/culprit.h"
#include "gc/published.h"
#include "gc/roots.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <asm/prctl.h>
#endif

#include "libgomalloc/base/atomic.h"
#include "libgomalloc/base/bits.h"
#include "libgomalloc/base/check.h"
#include "libgomalloc/base/print.h"
#include "libgomalloc/os/os.h"
#include "libgomalloc/os/rawcall.h"
#include "libgomalloc/os/stop_signal.h"

enum { SLOTS = 1 << 15, INDEX = 2 * SLOTS };
static struct slot_index { uint32_t gen, slot; } *slot_index; /* INDEX of them */
#define RUNNING_NS     UINT64_C(5000000000)
#define NOT_RUNNING_NS UINT64_C(300000000)
#define FIRST_LOOK_NS  INT64_C(20000000) /* after which the waiting looks who has gone */

/* A slot's state: the generation of the hold, and one of these in the low bits. */
enum { ASKED = 1, ANSWERING, STANDS, GONE, NOT_ASKED /* there, but not to be held: the library's, or a zombie */,
       SAID /* published, and not yet seen in the list of threads */, PHASES = 8 };

struct slot {
    struct gc_thread thread;
    uint32_t state;
};

int gm_stop_signal;

static struct slot *slots;           /* SLOTS of them, only the first few ever touched */
static unsigned used;                /* slots of this hold */
static unsigned present;             /* of those, threads that exist */
static int process;                  /* whose threads they are */
static uint32_t generation;          /* of this hold, or the last one */
static uint32_t pending;             /* asked and not answered; holder and handlers sleep and wake on it */
static uint32_t released;            /* generation of the last hold that is over */
static struct gc_thread **held;      /* SLOTS, mapped behind them; the slots by tid behind these, and then `known` */
static unsigned held_count;
static int *known;                   /* threads of the last hold, SLOTS */
static unsigned known_count;
static uint64_t last_hold_ns;

static uint32_t state_of(uint32_t gen, unsigned phase) { return gen * PHASES + phase; }

/* ---- in the stopped thread. No thread-local storage: see above */

#define ON_ANY_THREAD __attribute__((no_stack_protector, no_sanitize("address", "thread", "undefined")))

GM_INLINE uintptr_t thread_register(void) {
#if defined(__x86_64__)
    uintptr_t base = 0;
    gm_rawcall(SYS_arch_prctl, ARCH_GET_FS, (long)&base, 0, 0);
    return base;
#else
    return (uintptr_t)__builtin_thread_pointer();
#endif
}

#if defined(__x86_64__)
GM_INLINE uintptr_t stack_pointer(const ucontext_t *c) { return (uintptr_t)c->uc_mcontext.gregs[REG_RSP]; }
/* The state that xsave wrote follows the rest of the frame; its own header says how long it is. */
GM_INLINE uintptr_t registers_end(const ucontext_t *c) {
    enum { HEADER = 464, MAGIC = 0x46505853, LEGACY = 512 };
    const char *state = (const char *)c->uc_mcontext.fpregs;
    if (state == NULL) return (uintptr_t)(c + 1);
    const uint32_t *header = (const uint32_t *)(state + HEADER);
    return (uintptr_t)state + (header[0] == MAGIC ? header[1] : LEGACY);
}
#else
GM_INLINE uintptr_t stack_pointer(const ucontext_t *c) { return c->uc_mcontext.sp; }
GM_INLINE uintptr_t registers_end(const ucontext_t *c) { return (uintptr_t)(c + 1); }
#endif

GM_INLINE void describe(struct gc_thread *t, const ucontext_t *c) {
    uintptr_t low = (uintptr_t)c->uc_stack.ss_sp, high = low + c->uc_stack.ss_size;
    t->sp = stack_pointer(c);
    bool elsewhere = !(c->uc_stack.ss_flags & SS_DISABLE) && t->sp - low >= high - low;
    t->alt_low = elsewhere ? low : 0;
    t->alt_sp = t->alt_high = elsewhere ? high : 0;
    t->regs = c;
    t->regs_bytes = registers_end(c) - (uintptr_t)c;
    t->fs_base = thread_register();
}

static ON_ANY_THREAD void stop_here(int signal, siginfo_t *info, void *context) {
    struct slot *s = info->si_value.sival_ptr;
    uint32_t gen = (uint32_t)info->si_errno, asked = state_of(gen, ASKED);
    if (info->si_code != SI_QUEUE || s < slots || s >= slots + SLOTS) return; /* somebody else's kill */
    /* acquire: the slot is ours alone from here to the store below. It fails if the hold was given up. */
    if (!gm_cas_acquire(&s->state, &asked, state_of(gen, ANSWERING))) return;
    describe(&s->thread, context);
    /* release: pairs with the holder's acquire of `pending`, with all that this thread has written before. */
    gm_store_release(&s->state, state_of(gen, STANDS));
    if (__atomic_sub_fetch(&pending, 1, __ATOMIC_RELEASE) == 0)
        gm_rawcall(SYS_futex, (long)&pending, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, 0);
    for (;;) { /* acquire: pairs with the release in let_go; what the holder changed is seen */
        uint32_t over = gm_load_acquire(&released);
        if ((int32_t)(over - gen) >= 0) return;
        gm_rawcall(SYS_futex, (long)&released, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, over, 0);
    }
}

/* ---- start */

#if defined(__x86_64__)
/* The instructions by which debuggers and unwinders recognise a signal frame. */
void gc_world_restorer(void) GM_HIDDEN;
__asm__(".pushsection .text\n.globl gc_world_restorer\n.hidden gc_world_restorer\n.type gc_world_restorer, @function\n"
        "nop\ngc_world_restorer: movq $15, %rax\nsyscall\n.size gc_world_restorer, . - gc_world_restorer\n.popsection");
#define RESTORER_FLAG 0x04000000ul /* SA_RESTORER */
#define RESTORER      gc_world_restorer
#else
#define RESTORER_FLAG 0ul
#define RESTORER      NULL
#endif

/* Past every sigaction that thinks the handler is the program's: a thunk (preload/signal.c), a sanitizer's. */
static bool install(int signal) {
    struct { /* as the kernel has it */
        void (*handler)(int, siginfo_t *, void *);
        unsigned long flags;
        void (*restorer)(void);
        uint64_t mask;
    } action = { stop_here, SA_SIGINFO | SA_RESTART | SA_ONSTACK | RESTORER_FLAG, RESTORER, ~UINT64_C(0) };
    uint64_t bit = UINT64_C(1) << (signal - 1);
    return syscall(SYS_rt_sigaction, signal, &action, NULL, sizeof action.mask) == 0 &&
           syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, &bit, NULL, sizeof bit) == 0;
}

/* Gives away the highest signal that is left, and lowers SIGRTMAX. Of glibc's first release. */
extern int gc_allocate_signal(int high) __asm__("__libc_allocate_rtsig");

bool gc_world_start(void) {
    if (gm_stop_signal != 0) return true;
    const size_t size = SLOTS * (sizeof *slots + sizeof *held + sizeof *known) + INDEX * sizeof *slot_index;
    int saved = errno, signal = slots == NULL ? gc_allocate_signal(0) : -1;
    if (signal > 0 && (slots = gm_os_map(size)) != NULL) {
        gc_roots_exclude((uintptr_t)slots, (uintptr_t)slots + size); /* where threads stood is no root */
        held = (struct gc_thread **)(void *)(slots + SLOTS);
        slot_index = (struct slot_index *)(void *)(held + SLOTS);
        known = (int *)(slot_index + INDEX);
    }
    bool ok = slots != NULL && signal > 0 && install(signal);
    if (ok) gm_store_relaxed(&gm_stop_signal, signal);
    if (ok) gc_published_start(); /* without it everybody gets the signal */
    errno = saved;
    return ok;
}

/* ---- asking */

static void set_phase(struct slot *s, unsigned phase) { gm_store_release(&s->state, state_of(generation, phase)); }

/* Which slot is a thread's: open addressing. An entry is of this hold if it bears its generation. */

/* The slot of a thread that has one, or the new one it now has; `made` says which. used < SLOTS. */
static struct slot *slot_of(int tid, bool *made) {
    unsigned i = (unsigned)tid % INDEX;
    for (; slot_index[i].gen == generation; i = (i + 1) % INDEX)
        if (slots[slot_index[i].slot].thread.tid == tid) return *made = false, &slots[slot_index[i].slot];
    slot_index[i].gen = generation;
    slot_index[i].slot = used;
    slots[used].thread = (struct gc_thread){ .tid = tid };
    return *made = true, &slots[used++];
}

/* A thread that blocks is taken. Whether it exists, the list of threads will show. */
static bool take_published(int tid, uintptr_t sp, uintptr_t fs_base) {
    bool made;
    if (used == SLOTS) return false;
    struct slot *s = slot_of(tid, &made);
    if (!made) return false;
    s->thread.sp = sp;
    s->thread.fs_base = fs_base;
    set_phase(s, SAID);
    return true;
}

/* False: the kernel has no room for one more queued signal, or the like. */
static bool ask(struct slot *s, int tid) {
    siginfo_t info;
    memset(&info, 0, sizeof info);
    info.si_signo = gm_stop_signal;
    info.si_code = SI_QUEUE;
    info.si_errno = (int)generation;
    info.si_pid = process;
    info.si_value.sival_ptr = s;
    if (gm_os_is_library_thread(tid)) {
        set_phase(s, NOT_ASKED);
        present++;
        return true;
    }
    gm_add_relaxed(&pending, 1);
    present++;
    set_phase(s, ASKED);
    if (syscall(SYS_rt_tgsigqueueinfo, process, tid, gm_stop_signal, &info) == 0) return true;
    bool gone = errno == ESRCH;
    set_phase(s, GONE);
    gm_sub_relaxed(&pending, 1);
    present--;
    return gone;
}

/* A thread that is in the list: signals it if it is new. NULL, or what stood against it. */
static const char *meet(int tid) {
    bool made;
    if (used == SLOTS) return "too many threads";
    struct slot *s = slot_of(tid, &made);
    /* Or it is another's: the first has gone, and the kernel has given its number away again. */
    if (made || s->state == state_of(generation, GONE)) return ask(s, tid) ? NULL : "the kernel refuses to queue the stop signal";
    if (s->state == state_of(generation, SAID)) {
        set_phase(s, STANDS);
        present++;
    }
    return NULL;
}

/* Signals whoever is in the list and has no slot. */
struct asking {
    int self, reader; /* not to be asked */
    const char *why;  /* NULL, or what stood against it */
};
static bool ask_one(int tid, void *arg) {
    struct asking *a = arg;
    if (tid != a->self && tid != a->reader) a->why = meet(tid);
    return a->why == NULL;
}

/* Those who have said where they stand, if they are still there, and those of the last hold, where asking finds that out. */
static const char *ask_the_known(int self) {
    const char *why = NULL;
    for (unsigned i = 0, said = used; i < said && !why; i++)
        if (syscall(SYS_tgkill, process, slots[i].thread.tid, 0) == 0) why = meet(slots[i].thread.tid);
    for (unsigned i = 0; i < known_count && !why; i++)
        if (known[i] != self) why = meet(known[i]);
    return why;
}

static void ask_everybody(void *asking) {
    struct asking *a = asking;
    a->reader = gm_os_gettid();
    if (!gm_os_each_number("/proc/self/task", ask_one, a)) a->why = "cannot open /proc/self/task";
}

/* Whoever has not answered: has it gone? A leader that has exited stays listed, as a zombie. */
struct late {
    int tid;     /* one that still has to answer; 0: there is none */
    bool asleep; /* it is known not to be runnable */
};
static void look_for_the_gone(void *late) {
    struct late *l = late;
    for (unsigned i = 0; i < used; i++) {
        struct slot *s = &slots[i];
        uint32_t asked = state_of(generation, ASKED);
        if (gm_load_relaxed(&s->state) != asked) continue;
        char state = gm_os_thread_state(s->thread.tid);
        bool gone = state == 0 && !gm_os_thread_exists(s->thread.tid), zombie = state == 'Z' || state == 'X';
        if (!gone && !zombie) {
            *l = (struct late){ s->thread.tid, state != 'R' };
            continue;
        }
        if (!gm_cas_acquire(&s->state, &asked, state_of(generation, zombie ? NOT_ASKED : GONE))) continue;
        gm_sub_relaxed(&pending, 1);
        present -= gone;
    }
}

/* True when all have answered or are gone. Nobody is given up for one look: on a busy machine the time may have passed before it. */
static bool wait_for_answers(uint64_t start, struct gm_out *why) {
    int64_t patience = FIRST_LOOK_NS / 20;
    uint64_t asleep_from = 0;
    int before = 0; /* who was late then */
    /* acquire: pairs with the release of each answer; the slots are as the handlers left them. */
    for (uint32_t left; (left = gm_load_acquire(&pending)) != 0;) {
        gm_os_futex_wait(&pending, left, patience);
        if (gm_load_acquire(&pending) == 0) break;
        struct late late = { 0 };
        gm_os_apart(look_for_the_gone, &late);
        uint64_t now = gm_os_nanotime();
        if (!late.asleep || late.tid != before) asleep_from = now;
        before = late.tid;
        if (late.tid != 0 && (now - start > RUNNING_NS || now - asleep_from > NOT_RUNNING_NS)) {
            gc_culprit_late(why, late.tid);
            return false;
        }
        patience = gm_min(2 * patience, FIRST_LOOK_NS);
    }
    return true;
}

/* Threads there are, by the link count of their directory; 0: unknown. */
static unsigned count_threads(void) {
    struct stat s;
    return fstatat(AT_FDCWD, "/proc/self/task", &s, 0) == 0 && s.st_nlink > 2 ? (unsigned)s.st_nlink - 2 : 0;
}

/* Whether the kernel counts as many threads as were found and stand, or need not. */
static bool is_complete(unsigned count) {
    bool complete = count == present + 1;
    for (unsigned i = 0; i < used; i++) {
        if (slots[i].state != state_of(generation, NOT_ASKED) || gm_os_thread_exists(slots[i].thread.tid)) continue;
        set_phase(&slots[i], GONE);
        present--;
        complete = false;
    }
    return complete;
}

static bool gather(uint64_t start, struct gm_out *why) {
    struct asking a = { .self = gm_os_gettid() };
    unsigned before = 0;
    a.why = ask_the_known(a.self);
    for (bool listed = false;; listed = true) {
        if (a.why) {
            gm_out_str(why, a.why);
            return false;
        }
        if (!wait_for_answers(start, why)) return false;
        unsigned count = count_threads();
        if (is_complete(count) || (count == 0 && listed && used == before)) return true;
        if (listed && used == before) sched_yield(); /* somebody is dying: counted, and not listed any more or about to go */
        if (gm_os_nanotime() - start > RUNNING_NS) {
            gm_out_printf(why, "%u threads are counted and %u found", count, present + 1);
            return false;
        }
        before = used;
        gm_os_apart(ask_everybody, &a);
    }
}

/* ---- processes that share this memory */

/* The pid of a child that shares our memory; 0: none. All threads stand, so none can be made meanwhile. */
static int find_sharer(void) {
    siginfo_t info;
    if (syscall(SYS_waitid, P_ALL, 0, &info, WNOHANG | WNOWAIT | WEXITED | __WALL, NULL) != 0) return 0; /* no children at all */
    int pid = gc_culprit_sharer(gm_os_gettid());
    for (unsigned i = 0; pid == 0 && i < used; i++)
        if (slots[i].state != state_of(generation, GONE)) pid = gc_culprit_sharer(slots[i].thread.tid);
    return pid;
}

/* ---- hold and release */

static void let_go(void) {
    for (unsigned i = 0; i < used; i++) { /* who is late shall not stop any more */
        uint32_t asked = state_of(generation, ASKED);
        if (gm_cas_acquire(&slots[i].state, &asked, state_of(generation, GONE))) gm_sub_relaxed(&pending, 1);
    }
    gc_published_let_go();
    /* release: pairs with the acquire in stop_here. */
    gm_store_release(&released, generation);
    gm_os_futex_wake(&released, INT_MAX);
}

/* Slots are used anew. False: somebody is still in the middle of answering a hold that was given up, would write into its slot
 * and be counted as one that has answered this one. */
static bool begin(uint64_t start) {
    for (uint32_t left; (left = gm_load_acquire(&pending)) != 0;) { /* acquire: as in wait_for_answers */
        if (gm_os_nanotime() - start > NOT_RUNNING_NS) return false;
        gm_os_futex_wait(&pending, left, FIRST_LOOK_NS);
    }
    generation++;
    process = gm_os_getpid();
    used = present = held_count = 0;
    return true;
}

/* Of vfork's child the parent is let go a moment before exec has left the memory. */
static int find_lasting_sharer(void) {
    enum { LOOKS = 100, BETWEEN_NS = 20000 };
    int pid;
    for (int i = 0; (pid = find_sharer()) != 0 && i < LOOKS; i++) gm_os_futex_wait(&pending, 0, BETWEEN_NS);
    return pid;
}

static bool hold(struct gm_out *why) {
    uint64_t start = gm_os_nanotime();
    if (!begin(start)) {
        gm_out_str(why, "a thread has not answered the last hold to the end");
        return false;
    }
    gc_published_take(take_published);
    if (!gather(start, why)) return false;
    gc_published_others_stopped();
    int sharer = find_lasting_sharer();
    if (sharer != 0) {
        gm_out_printf(why, "process %d shares this memory and is no thread", sharer);
        return false;
    }
    known_count = 0;
    for (unsigned i = 0; i < used; i++) {
        uint32_t state = slots[i].state;
        if (state == state_of(generation, STANDS)) held[held_count++] = &slots[i].thread;
        if (state == state_of(generation, STANDS) || state == state_of(generation, NOT_ASKED)) known[known_count++] = slots[i].thread.tid;
    }
    last_hold_ns = gm_os_nanotime() - start;
    return true;
}

enum gc_hold gc_world_hold(char *why, size_t n) {
    struct gm_out text;
    int saved = errno;
    gm_out_init(&text, -1);
    bool started = gc_world_start(), ok = started && hold(&text);
    if (!started) gm_out_str(&text, "no signal is left to stop threads with");
    else if (!ok) let_go();
    gm_out_flush(&text);
    if (n > 0) {
        size_t length = gm_min(strlen(text.text), n - 1);
        memcpy(why, text.text, length);
        why[length] = 0;
    }
    errno = saved;
    return ok ? GC_HELD : GC_HOLD_FAILED;
}

void gc_world_release(void) { let_go(); }

unsigned gc_world_count(void) { return held_count; }
const struct gc_thread *gc_world_thread(unsigned i) { return held[i]; }
uint64_t gc_world_last_hold_ns(void) { return last_hold_ns; }

void gc_world_fork_child(void) {
    gc_published_fork_child();
    used = present = held_count = known_count = 0;
    gm_store_relaxed(&pending, 0);
    gm_store_relaxed(&released, generation);
    gm_os_forget_library_threads();
}

static const struct gc_stacks *other_stacks;

void gc_world_set_stacks(const struct gc_stacks *s) { gm_store_release(&other_stacks, s); } /* pairs with the acquire below */
const struct gc_stacks *gc_world_stacks(void) { return gm_load_acquire(&other_stacks); }
