/* G, M and P: the three records of the scheduler. See proc.c for the overview.
 *
 *   G  a goroutine, or the stand-in of a plain thread that calls the library
 *   M  a thread of the scheduler's own, with the stack the system gave it, on which it looks for work
 *   P  the right to run goroutines; there are go_maxprocs of them, each with its own queue
 *
 * Fields are grouped by who may write them. "owner" of a P is the M that holds it, of a G the M that
 * runs it or, while it waits, whoever makes it runnable. */
#ifndef GS_GMP_H
#define GS_GMP_H

#include "libgomalloc/base/atomic.h"
#include "libgomalloc/base/compiler.h"
#include "sched/lock.h"

/* States of a G; the numbers are Go's (scheddetail prints them). Who moves them is drawn in proc.c. */
enum gs_state { GS_G_IDLE = 0, GS_G_RUNNABLE = 1, GS_G_RUNNING = 2, GS_G_SYSCALL = 3, GS_G_WAITING = 4, GS_G_DEAD = 6 };
/* States of a P, Go's numbers. */
enum gs_pstate { GS_P_IDLE = 0, GS_P_RUNNING = 1, GS_P_SYSCALL = 2, GS_P_STOPPED = 3, GS_P_DEAD = 4 };

/* Why a G waits; gs_wait_text gives Go's words. */
#define GS_WAIT_REASONS(X) \
    X(NONE, "") X(CHAN_RECV, "chan receive") X(CHAN_SEND, "chan send") \
    X(CHAN_RECV_NIL, "chan receive (nil chan)") X(CHAN_SEND_NIL, "chan send (nil chan)") \
    X(SELECT, "select") X(SELECT_NO_CASES, "select (no cases)") X(SLEEP, "sleep") X(IO, "IO wait") \
    X(SEM, "semacquire") X(MUTEX, "sync.Mutex.Lock") X(RWMUTEX_R, "sync.RWMutex.RLock") \
    X(RWMUTEX_W, "sync.RWMutex.Lock") X(WAITGROUP, "sync.WaitGroup.Wait") X(COND, "sync.Cond.Wait") \
    X(ONCE, "sync.Once.Do") X(PREEMPTED, "preempted") X(FOREVER, "wait for ever") X(STOP, "stopping the world")
enum gs_wait {
#define X(name, text) GS_WAIT_##name,
    GS_WAIT_REASONS(X)
#undef X
    GS_WAIT_COUNT
};
const char *gs_wait_text(enum gs_wait reason);

/* What tells that a stack overflowed (stack.c). */
enum gs_guard { GS_GUARD_INSTALL, GS_GUARD_PROTECT, GS_GUARD_CANARY };

struct gs_g;
struct gs_m;
struct gs_p;

/* Where a function was called from: enough to walk the stack from its caller on (frames.c) for as long as the
 * caller has not returned. */
struct gs_caller {
    uintptr_t pc, sp, fp;
};
/* Of the function it stands in, which must not be inlined (gs_caller_here makes it keep a frame pointer). */
#define gs_caller_here(c)                                                     \
    do {                                                                      \
        uintptr_t *gs_frame_ = __builtin_frame_address(0);                    \
        (c)->fp = gs_frame_[0];                                               \
        (c)->pc = (uintptr_t)__builtin_return_address(0);                     \
        (c)->sp = (uintptr_t)__builtin_dwarf_cfa();                           \
    } while (0)

struct gs_g {
    /* What a switch, a park and a wake-up touch: one cache line. The M that runs it writes, others read for traces; while it waits
     * param is its waker's (waitq.h). */
    void *sp;                  /* saved stack pointer while it does not run */
    struct gs_m *m;            /* NULL while it does not run, and always in a stand-in */
    uint32_t state;            /* enum gs_state; relaxed but where proc.c says otherwise */
    uint32_t flags;            /* GS_G_* below; its own */
    uint32_t hold;             /* trim.c: 0, or a look is needed before it runs; atomic */
    struct gs_g *link;         /* next in the global queue, a list of ready ones, or a free list */
    struct gs_m *locked_m;     /* go_lock_thread */
    enum gs_guard guard;
    enum gs_wait wait_reason;
    int64_t wait_since;        /* gs_sched.clock when it parked; 0: not known */
    void *param;               /* what the waker passes */

    struct gs_g *above, *below;    /* of the first of a pile in the global queue (queue.c), of a magazine (record.c) */
    char *stack_low, *stack_high;  /* the usable stack, above the guard; of stand-ins NULL */
    char *stack_top;           /* where its first frame begins: coloured by its place (stack.c) */
    uint64_t id;               /* 1, 2, ...; 0: a stand-in */
    void (*fn)(void *);
    void *arg;
    uint32_t lock_depth;       /* of go_lock_thread */
    uint32_t wake;             /* stand-in: the futex it sleeps on, 1 = made ready */
    void *fiber;               /* ThreadSanitizer's name of the stack */
    void *fake_stack;          /* AddressSanitizer's */
    uint64_t created_by;       /* id of the goroutine that called go(); 0: a plain thread */
    void *created_at;          /* where it called it: a return address */

    /* sync, chan, select: see waitq.h */
    struct gs_waiter *waiting; /* of a select: its waiters */
    uint32_t select_done;      /* 0 -> 1 by the waker that wins */

    /* the goroutine itself */
    struct gs_defer *defers;
    struct gs_panic *panics;
    void **locals;

    struct gs_g *all_next;     /* list of all records, never shortened */

    /* stand-in: its thread writes, dumps and the deadlock rule read */
    int tid;                   /* 0: nobody's */
    uint32_t parks;            /* odd: parked and off to sleep (sp is a struct gs_caller); even: not */
};
enum {
    GS_G_STANDIN = 1,
    GS_G_OWN_STACK = 2, /* not of the default size: back to its pool at the end */
    GS_G_LOCALS = 4     /* there are some: what its end asks stands in the line that a switch touches */
};

enum { GS_RUNQ = 256, GS_MAGAZINE = 32 };

struct gs_p {
    /* the owner writes, thieves read and take (runq.c) */
    GM_ALIGNED(GM_CACHE_LINE) uint32_t head; /* next to take; compare-and-swap */
    uint32_t tail;             /* next free place; the owner's */
    struct gs_g *next;         /* runs before the queue; compare-and-swap */
    struct gs_g *ring[GS_RUNQ];

    /* the owner only */
    GM_ALIGNED(GM_CACHE_LINE) uint32_t tick; /* switches so far; sysmon and thieves read */
    uint32_t syscall_tick;     /* syscalls so far; sysmon reads */
    struct gs_g *free;         /* dead goroutines with a stack of the default size, free_count of them (record.c) */
    struct gs_g *full;         /* GS_MAGAZINE more, or NULL */
    uint32_t free_count;
    uint32_t random;
    uint64_t id_next, id_end;  /* ids taken from the scheduler, not given yet */
    uint64_t made, ended;      /* goroutines; others read */
    void *timers;              /* timer.c's own */

    /* anybody */
    GM_ALIGNED(GM_CACHE_LINE) uint32_t preempt; /* 1: come through the scheduler at the next call */
    uint32_t state;            /* enum gs_pstate */
    uint32_t id;               /* 0 .. GS_MAX_PROCS-1, constant */
    int64_t timer_next;        /* nanotime of the earliest timer, 0: none; written by timer.c */
    bool timers_dense;         /* more of them are due within GS_GATHER of it; written by timer.c */
    struct gs_p *link;         /* list of idle ones, under the scheduler's lock */

    /* sysmon only */
    uint32_t seen_tick, seen_syscall_tick;
    int64_t seen_since, seen_syscall_since;
};

struct gs_m {
    /* the thread itself */
    struct gs_g g0;            /* its own stack, on which it looks for work: a stand-in with an M */
    struct gs_g *picked;       /* locked: the goroutine that was handed over with the wake-up */
    struct gs_g *g;            /* the goroutine that runs; NULL: looking for one */
    struct gs_p *p;            /* held; NULL while in a syscall or asleep */
    struct gs_p *old_p;        /* in a syscall: the one to try first */
    bool spinning;             /* counted in gs_sched.spinning */
    int64_t out_of_work;       /* nanotime since when; 0: it has work, or there is one P only (find.c) */
    int64_t woken_for_work;    /* nanotime; 0: not, or it was out of work since */
    bool blocked;              /* asleep; for traces */
    bool polling;              /* between becoming the keeper and its end; under the scheduler's lock */
    bool unheard;              /* was claimed then, but its bell is broken: nobody gives it anything; under the same lock */
    struct gs_g *locked_g;
    int tid;
    uint32_t id;
    struct gs_caller syscall;  /* where the goroutine that is in a syscall entered it */
    int *error;                /* its errno */
    struct gs_g *volatile *current; /* its gs_current */
    /* what to do once the goroutine that left is off its stack */
    struct gs_g *left;
    bool (*commit)(struct gs_g *g, void *arg);
    void *commit_arg;
    /* the waker */
    struct gs_p *next_p;       /* handed over together with the wake-up */
    uint32_t wake;             /* futex: 1 = woken */
    struct gs_m *link;         /* list of idle ones */
    struct gs_m *all_next;     /* list of all */
    char *signal_stack;
};

enum { GS_MAX_PROCS = 1024, GS_MAX_THREADS = 10000 };

#endif
