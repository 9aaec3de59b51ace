/* The core of the scheduler as the rest of sched/ uses it: who runs, parking, making ready.
 * See proc.c for the overview. */
#ifndef GS_PROC_H
#define GS_PROC_H

#include "sched/gmp.h"

/* The running goroutine or plain thread. NULL in a thread that never called the library. Read it
 * once at the start of a function and keep the result: it is the same G after a park, on whatever thread. */
extern GM_HIDDEN GM_TLS struct gs_g *volatile gs_current;

struct gs_g *gs_standin(void);         /* makes the stand-in of a plain thread */
/* Never NULL. */
GM_INLINE struct gs_g *gs_self(void) {
    struct gs_g *g = gs_current;
    return GM_LIKELY(g != NULL) ? g : gs_standin();
}
GM_INLINE bool gs_is_goroutine(const struct gs_g *g) { return !(g->flags & GS_G_STANDIN); }

/* Go's gopark: the caller's state becomes waiting, it leaves its stack, and only then commit(g, arg) is
 * called, on the stack of whatever runs next on this thread (of a plain thread: its own), typically to
 * release a lock. After commit has returned true anybody may call gs_ready(g), once. False: the caller runs on
 * at once. commit must not park, nor call gs_self. errno is kept. */
void gs_park(bool (*commit)(struct gs_g *g, void *arg), void *arg, enum gs_wait reason);
void gs_park_unlock(struct gs_lock *l, enum gs_wait reason);
/* Go's goready: exactly once per park. A goroutine goes into the caller's P's `next` (from a plain thread: the global
 * queue), and an idle P is woken if that promises to help. May be called under any gs_lock but the scheduler's. */
void gs_ready(struct gs_g *g);
/* Many at once, linked by g->link, with one decision to wake; all go behind what is queued. */
void gs_ready_list(struct gs_g *list);
void gs_yield(void);
/* At the end of calls that do not park, as all of them may be all that a goroutine ever calls: lets others run if its time is
 * over. No lock is held. */
GM_INLINE void gs_yield_if_asked(void) {
    struct gs_g *g = gs_current;
    if (g && g->m && GM_UNLIKELY(gm_load_relaxed(&g->m->p->preempt))) gs_yield();
}
GM_NORETURN void gs_exit(void);        /* ends the calling goroutine; deferred calls are defer.c's business */

/* Of the P that the caller runs on: 0 .. maxprocs-1, valid until the next call that may park. A plain
 * thread gets 0 without holding it. */
unsigned gs_procs_id(void);
unsigned gs_procs(void);               /* go_maxprocs; 0 before the first goroutine */
unsigned gs_procs_made(void);          /* records of Ps that exist, those beyond gs_procs() dead but for their timers */
struct gs_p *gs_proc(unsigned id);     /* id < gs_procs_made() */
/* Whether g, which runs, does well to wait a moment without parking: others run beside it, and none on its own P wait for it. */
bool gs_worth_spinning(const struct gs_g *g);
/* Lets those run that are queued on the caller's P, if they are few: one of them may be who the caller is about to wait for, and
 * then neither has to park. False: nobody is, or many are. */
bool gs_yield_to_few(void);
/* Starts the scheduler if it is not yet there. 0 or -errno. go() and timers do. */
int gs_start(void);

/* All goroutines that are alive, in no order, new ones perhaps not. fn returns false to stop. The state may change while it
 * looks unless the world is stopped. */
void gs_walk(bool (*fn)(struct gs_g *g, void *arg), void *arg);
/* The goroutine with the lowest number above `id`, dead ones included; NULL: none. It looks through all. */
struct gs_g *gs_next_by_id(uint64_t id);

/* How much later than the earliest of many timers an M that sleeps is woken, so that it runs several at a time. ns */
static const int64_t GS_GATHER = 100000;

/* ---- what timers and the poller give the scheduler; each is set when first needed, and NULL before */
struct gs_hooks {
    /* Runs the timers of p that are due, on an M's own stack, by any M that holds some P. Returns p->timer_next. */
    int64_t (*run_timers)(struct gs_p *p, int64_t now);
    /* Goroutines whose descriptors became ready, linked by g->link. Waits at most so long (0: not, <0: for ever);
     * one caller at a time waits. */
    struct gs_g *(*poll)(int64_t wait_ns);
    bool (*interrupt)(void);           /* makes a waiting poll return; false: it cannot be reached */
    bool (*poll_wanted)(void);         /* somebody waits for a descriptor */
    bool (*poll_late)(void);           /* who waits in poll is to come back sooner than it will */
    void (*fork_child)(void);
};
extern GM_HIDDEN struct gs_hooks gs_hooks;
/* What polls from now on is not what the keeper sleeps in: there may be another one beside it. */
void gs_keeper_lost(void);
/* A timer was added that is due at `when`: whoever sleeps longer than that is woken. */
void gs_timer_added(int64_t when);

/* errno of the calling thread, not cached across a park. */
int gs_errno(void);
void gs_set_errno(int e);

#endif
