/* See published.h, and world.c for how the world is held.
 *
 * A thread has a record, whose state says whether it may be scanned where it is:
 *
 *   RUNNING -- enter --> BLOCKED -- take, by the holder --> HELD -- let_go --> BLOCKED
 *      ^------- leave -------'                                |
 *                            leave, step_out: AWAITED, sleeps until let_go
 *
 * Entering and leaving are one exchange each, and no system call. What is published stays true: the thread is in a
 * function of the C library that calls nobody back and keeps nothing of the program's below `sp`, and whatever
 * makes it run code of the program's again comes by here first:
 *
 *   it returns                              leave
 *   a signal handler                        step_out before it, step_in when it returns; a handler that leaves
 *                                           by a jump leaves RUNNING behind, which is what it is then
 *   a handler the library does not know     nobody is taken while there is one (handlers_known)
 *   cancellation                            unwinds without passing us: whoever cancels a thread marks it `doomed` first.
 *                                           A doomed thread is never taken, and gets the signal
 *   vfork's child                           uses our thread's record while that waits; it does not publish
 *
 * Doom and take are the two halves of Dekker's protocol: the canceller stores `doomed` and then looks whether the
 * thread is held (and waits); the holder takes it and then looks whether it is doomed (and puts it back).
 *
 * Records are never given back to the kernel. A thread takes a new one, or that of a thread that has gone, at its
 * first such call; what is left of the dead is recognised by its tid, which is in no list of threads any more. */
#include "gc/published.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "gc/roots.h"
#include "libgomalloc/base/atomic.h"
#include "libgomalloc/base/bits.h"
#include "libgomalloc/hooks.h"
#include "libgomalloc/os/os.h"
#include "libgomalloc/os/rawcall.h"

enum { RUNNING, BLOCKED, HELD, AWAITED /* HELD, and the thread sleeps on it */ };
enum { RECORDS = 1 << 15, LOOKS = 4 };

struct record {
    uint32_t state;            /* atomic, futex */
    int tid;                   /* atomic; 0: never used, -1: changing hands */
    struct gm_blocked *frame;  /* valid unless RUNNING; written by the thread */
    uintptr_t fs_base, thread; /* thread: its pthread_t */
    uint32_t doomed;           /* atomic; never reset but for the record's next thread */
    uint32_t stopped, handled; /* since enter: by the stop signal; by a handler of the program's */
} GM_ALIGNED(64);

static struct record *records;
static uint32_t used;      /* atomic: records that have been given away, up to RECORDS */
static uint32_t looked;    /* atomic: where to look for records of the dead */
static uint32_t foretold;  /* atomic: a thread without a record has been cancelled once */
static int process;        /* whose records these are; atomic */
static GM_TLS struct record *mine;
static GM_TLS bool after_vfork; /* this thread has called vfork, and not blocked since */

/* ---- records */

/* Makes a record that is nobody's, or that of a thread which has gone, the thread's. While it changes hands its tid is
 * -1, and nobody finds it. False: it is somebody else's by now, or a holder just looks at it, who would see it become
 * another's between its two looks. */
static bool claim(struct record *r, int there, int tid, uintptr_t thread, uint32_t doomed) {
    uint32_t left = BLOCKED; /* by a cancelled thread; RUNNING by all others */
    if (!gm_cas_acq_rel(&r->tid, &there, -1)) return false;
    if (!gm_cas_acquire(&r->state, &left, RUNNING) && left != RUNNING) {
        gm_store_release(&r->tid, there);
        return false;
    }
    gm_store_relaxed(&r->thread, thread);
    gm_store_relaxed(&r->doomed, doomed);
    gm_store_relaxed(&r->stopped, 0);
    r->frame = NULL;
    gm_store_seq_cst(&r->tid, tid); /* now it is found, whole */
    return true;
}

static struct record *new_record(int tid, uintptr_t thread, uint32_t doomed) {
    uint32_t n = gm_min(gm_load_relaxed(&used), RECORDS);
    for (uint32_t i = 0; n && i < LOOKS; i++) {
        struct record *r = &records[gm_add_relaxed(&looked, 1) % n];
        int there = gm_load_relaxed(&r->tid);
        if (there > 0 && !gm_os_thread_exists(there) && claim(r, there, tid, thread, doomed)) return r;
    }
    n = gm_load_relaxed(&used) < RECORDS ? gm_add_acq_rel(&used, 1) : RECORDS;
    return n < RECORDS && claim(&records[n], 0, tid, thread, doomed) ? &records[n] : NULL;
}

static bool is_of(struct record *r, int tid, uintptr_t thread) {
    return gm_load_seq_cst(&r->tid) == tid && gm_load_relaxed(&r->thread) == thread;
}

/* The calling thread's; NULL: there are no more. */
static GM_COLD struct record *make_record(void) {
    int tid = gm_os_gettid();
    uintptr_t thread = (uintptr_t)pthread_self();
    struct record *r = new_record(tid, thread, 0);
    if (r == NULL) return NULL;
    r->fs_base = (uintptr_t)__builtin_thread_pointer();
    /* Cancelled already? Our record could be found before this look: partner in before_cancel. */
    uint32_t n = gm_load_seq_cst(&foretold) ? gm_min(gm_load_seq_cst(&used), RECORDS) : 0;
    for (uint32_t i = 0; i < n; i++)
        if (is_of(&records[i], tid, thread) && gm_load_seq_cst(&records[i].doomed)) gm_store_seq_cst(&r->doomed, 1);
    return mine = r;
}

static bool own_process(void) { return gm_load_relaxed(&process) == gm_os_getpid(); }

/* ---- on the thread. errno is kept. */

/* Out of BLOCKED. acquire: pairs with the release in let_go; what the holder changed is seen. */
static void become_running(struct record *r) {
    uint32_t state = BLOCKED;
    while (!gm_cas_acquire(&r->state, &state, RUNNING) && state != RUNNING) {
        if (state == BLOCKED) continue;
        if (state == AWAITED || gm_cas_acquire(&r->state, &state, AWAITED))
            gm_rawcall(SYS_futex, (long)&r->state, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, AWAITED, 0);
        state = BLOCKED;
    }
}

/* release: pairs with the holder's acquire in take; the frame and all that this thread has written are seen. */
static void become_blocked(struct record *r) { (void)__atomic_exchange_n(&r->state, BLOCKED, __ATOMIC_ACQ_REL); }

static GM_COLD bool in_child_of_vfork(void) {
    after_vfork = !own_process(); /* in the parent again, vfork is over */
    return after_vfork;
}

static void enter(struct gm_blocked *b) {
    struct record *r = mine;
    b->published = false;
    if (GM_UNLIKELY(after_vfork) && in_child_of_vfork()) return;
    if (GM_UNLIKELY(r == NULL) && (r = make_record()) == NULL) return;
    if (GM_UNLIKELY(gm_load_relaxed(&r->doomed))) return;
    b->outer = r->frame;
    b->published = true;
    r->frame = b;
    gm_store_relaxed(&r->stopped, 0);
    r->handled = 0;
    become_blocked(r);
}

/* `mine` is read anew: a handler may have gone on as a coroutine on another thread. */
static bool leave(struct gm_blocked *b) {
    struct record *r = mine;
    if (!b->published || r == NULL) return false;
    become_running(r);
    r->frame = b->outer;
    return gm_load_relaxed(&r->stopped) && !r->handled;
}

static struct gm_blocked *step_out(void) {
    struct record *r = mine;
    if (r == NULL || gm_load_relaxed(&r->state) == RUNNING) return NULL;
    become_running(r);
    return r->frame;
}

static void step_in(struct gm_blocked *b) {
    struct record *r = mine;
    if (r == NULL) return;
    r->handled = 1;
    r->frame = b;
    if (!gm_load_relaxed(&r->doomed)) become_blocked(r);
}

/* ---- those who are about to disturb it */

static void await_release(struct record *r) {
    for (uint32_t s; (s = gm_load_seq_cst(&r->state)) == HELD || s == AWAITED;) {
        if (s == HELD && !gm_cas_acquire(&r->state, &s, AWAITED)) continue;
        gm_os_futex_wait(&r->state, AWAITED, -1);
    }
}

static bool doom(int tid, uintptr_t thread) {
    bool found = false;
    uint32_t n = gm_min(gm_load_seq_cst(&used), RECORDS);
    for (uint32_t i = 0; i < n; i++) {
        if (!is_of(&records[i], tid, thread)) continue;
        gm_store_seq_cst(&records[i].doomed, 1); /* partner: the load in take_one */
        await_release(&records[i]);
        found = true;
    }
    return found;
}

/* The number the kernel knows it by stands in the name of its clock; 0: it has ended. */
static int tid_of(uintptr_t thread) {
    clockid_t clock;
    return pthread_getcpuclockid((pthread_t)thread, &clock) == 0 ? (int)~(clock >> 3) : 0;
}

/* A thread without a record gets a doomed one to find, and if it is just making its own, that is doomed too. */
static void before_cancel(uintptr_t thread) {
    int tid = tid_of(thread);
    if (tid <= 0 || doom(tid, thread)) return;
    new_record(tid, thread, 1);
    gm_store_seq_cst(&foretold, 1); /* partner: the load in make_record */
    doom(tid, thread);
}

static void before_vfork(void) { after_vfork = true; }

static const struct gm_blocking callbacks = { enter, leave, step_out, step_in, before_cancel, before_vfork };

bool gc_published_start(void) {
    if (records == NULL) {
        records = gm_os_map_sparse(RECORDS * sizeof *records, false);
        if (records == NULL) return false;
        gc_roots_exclude((uintptr_t)records, (uintptr_t)(records + RECORDS)); /* where threads stood is no root */
    }
    gm_store_relaxed(&process, gm_os_getpid());
    gm_store_release(&gm_hooks.blocking, &callbacks);
    return true;
}

/* ---- the holder */

static void put_back(struct record *r) {
    /* release: pairs with the acquire in become_running. */
    if (__atomic_exchange_n(&r->state, BLOCKED, __ATOMIC_RELEASE) == AWAITED) gm_os_futex_wake(&r->state, INT_MAX);
}

static bool take_one(struct record *r, bool (*found)(int tid, uintptr_t sp, uintptr_t fs_base)) {
    uint32_t blocked = BLOCKED;
    if (gm_load_relaxed(&r->state) != BLOCKED) return false;
    if (!__atomic_compare_exchange_n(&r->state, &blocked, HELD, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) return false;
    /* partner: the store in doom */
    if (!gm_load_seq_cst(&r->doomed) && found(gm_load_relaxed(&r->tid), r->frame->sp, r->fs_base)) return true;
    put_back(r);
    return false;
}

void gc_published_take(bool (*found)(int tid, uintptr_t sp, uintptr_t fs_base)) {
    uint32_t n = gm_min(gm_load_acquire(&used), RECORDS);
    bool known = false;
    if (records == NULL || !own_process()) return;
    for (uint32_t i = 0; i < n; i++) {
        if (gm_load_relaxed(&records[i].state) != BLOCKED) continue;
        if (!known && gm_hooks.handlers_known && !gm_hooks.handlers_known()) return;
        known = true;
        take_one(&records[i], found);
    }
}

void gc_published_others_stopped(void) {
    uint32_t n = gm_min(gm_load_acquire(&used), RECORDS);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t state = gm_load_relaxed(&records[i].state);
        if (state != HELD && state != AWAITED) gm_store_relaxed(&records[i].stopped, 1);
    }
}

void gc_published_let_go(void) {
    uint32_t n = gm_min(gm_load_acquire(&used), RECORDS);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t state = gm_load_relaxed(&records[i].state);
        if (state == HELD || state == AWAITED) put_back(&records[i]);
    }
}

/* The caller runs, perhaps in a handler that interrupted a call: its record stays its own. The others become those of
 * a thread that has gone, whatever number the kernel gives to the next. */
void gc_published_fork_child(void) {
    uint32_t n = gm_min(gm_load_relaxed(&used), RECORDS);
    for (uint32_t i = 0; i < n; i++) {
        struct record *r = &records[i];
        gm_store_relaxed(&r->state, RUNNING);
        gm_store_relaxed(&r->tid, r == mine ? gm_os_gettid() : INT_MAX);
    }
    gm_store_relaxed(&process, gm_os_getpid());
}
