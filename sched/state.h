/* What all Ps and Ms share. Of the core only: proc.c, find.c, worker.c, world.c, block.c, sysmon.c. */
#ifndef GS_STATE_H
#define GS_STATE_H

#include "sched/proc.h"

struct gs_sched {
    struct gs_lock lock;       /* guards all that says nothing else; counts are read without it as hints */
    uint32_t started;
    uint32_t procs;            /* changed while the world is stopped */
    uint32_t p_made;           /* p[0 .. p_made-1] exist; those from procs on are dead, but for their timers */
    uint32_t wanted;           /* go_maxprocs before the start; 0: not called */
    struct gs_g *queue_head, *queue_tail;   /* the global queue: its line (queue.c) */
    struct gs_g *pile_top, *pile_bottom;    /* and its piles */
    int64_t pile_taken;        /* coarse time at which one of the lowest was taken */
    uint32_t queue_count;      /* of both */
    struct gs_p *idle_p;
    uint32_t idle_p_count;
    struct gs_m *idle_m;
    uint32_t idle_m_count, m_count;
    struct gs_m *keeper;       /* the idle M that sleeps until a timer or a descriptor is due */
    struct gs_m *claimed;      /* the one that was, until it has left the poller or is written off */
    uint32_t claims;           /* how many there were */
    bool in_poller;            /* there is a keeper, or a claimed one has not left the poller yet */
    int64_t keeper_until;      /* nanotime; INT64_MAX: no timer */
    bool keeper_polls;         /* it sleeps in the poller, which there was not before somebody waited for a descriptor */
    struct gs_g *free;         /* dead goroutines, with stacks of the default size or with none: single ones */
    struct gs_g *magazines;    /* and those with stacks in magazines */
    uint64_t id_next;
    uint32_t stopping;         /* the world is to stand still */
    uint32_t stop_wait;        /* Ps that still run */
    struct gs_g *exiter;       /* who called exit(), which has stopped the world */
    uint32_t sysmon_asleep;    /* futex: 1 = until a P runs again, 2 = the same, but it is to look for a deadlock */
    int sysmon_tid;
    GM_ALIGNED(GM_CACHE_LINE) uint32_t spinning;  /* atomic: Ms that look for work */
    uint32_t lull, worth;      /* atomic, ns: how long an M is without work, what a woken one finds (find.c) */
    uint64_t made, ended;      /* atomic: goroutines made by, ended on, no P */
    int64_t last_poll;         /* atomic: nanotime */
    int64_t clock;             /* atomic: nanotime, a millisecond late at most while goroutines run */
    struct gs_m *all_m;        /* under the lock; dumps and traces look without */
    struct gs_m *spare_m;      /* records of threads that could not be made */
    uint32_t m_made;           /* atomic: records, and the number of the next */
    struct gs_g *all_g;        /* atomic push; never shortened */
    int64_t start_time;
    uint32_t standins, blocked_standins;     /* atomic */
    struct gs_p *p[GS_MAX_PROCS];
};
extern GM_HIDDEN struct gs_sched gs_sched;

#define gs_sched_lock() gs_lock_acquire(&gs_sched.lock, GS_RANK_SCHED)
#define gs_sched_unlock() gs_lock_release(&gs_sched.lock)

/* ---- queue.c: the global queue; the lock is held */
void gs_global_put(struct gs_g *first, struct gs_g *last, unsigned n);  /* linked; at the end of the line */
void gs_global_pile(struct gs_g *first, unsigned n);                    /* linked, what overflowed */
/* One, and some more into p's ring; max: at most so many, 0: p's share. 1 is for fairness: one of
 * those that wait longest, NULL if all that is there are piles whose time has not come. */
struct gs_g *gs_global_get(struct gs_p *p, unsigned max);

/* ---- proc.c */
void gs_leave_without_p(struct gs_g *g);             /* from a syscall whose P is gone: waits in the global queue */
void gs_put_local(struct gs_p *p, struct gs_g *g);   /* p's owner: behind the others; overflow goes to the global queue */
void gs_put_next(struct gs_p *p, struct gs_g *g);    /* p's owner: before the others */
GM_NORETURN void gs_schedule(struct gs_m *m);

/* ---- locked.c */
void gs_wait_for_locked(struct gs_m *m);                     /* m has a locked goroutine, which has left it; returns with m->picked */
void gs_pass_to_locked(struct gs_m *m, struct gs_g *g);      /* g is locked to another M */

/* ---- record.c */
struct gs_g *gs_new_record(void);                    /* zeroed, in the list of all; NULL: no memory */
/* A goroutine ready to be queued, or NULL: no memory. p: the caller's, or NULL. */
struct gs_g *gs_make_g(struct gs_p *p, size_t stack_bytes, void (*fn)(void *), void *arg);
void gs_keep_dead(struct gs_p *p, struct gs_g *g);   /* p's owner, no longer on g's stack */
void gs_give_up_dead(struct gs_p *p);                /* all that p keeps, to the common lists; the lock is held */

void gs_wake_p(void);          /* worker.c: an idle P, if nobody spins, gets an M that looks for work */

/* ---- find.c: a goroutine to run; sleeps until there is one. m->p may change. */
struct gs_g *gs_find(struct gs_m *m);
enum {
    GS_LULL_PAYS = 30000,      /* ns: a longer lull than that is better slept through */
    GS_WORK_PAYS = 50000       /* ns of work that a woken M is to find: it costs the waker, itself, and what it takes is not in its cache */
};
/* p's owner has work for two: wakes an M if those that were woken lately found enough to do. */
GM_INLINE void gs_wake_for_surplus(struct gs_p *p) {
    if (GM_LIKELY(gm_load_relaxed(&gs_sched.idle_p_count) == 0)) return;
    if (gm_load_relaxed(&p->head) != gm_load_relaxed(&p->tail) && gm_load_relaxed(&gs_sched.worth) >= GS_WORK_PAYS) gs_wake_p();
}
void gs_run_timers(int64_t late);   /* of every P, an idle one's are nobody else's business: those due for so long */

/* ---- worker.c */
void gs_keeper_look(int64_t now);  /* sysmon's: a P that was given to a keeper which does not come is given to another M */
void gs_start_m(struct gs_p *p, bool spinning);      /* an M for a P that nobody holds */
void gs_sleep_m(struct gs_m *m);                     /* until somebody hands over a P; the lock is not held */
void gs_hand_off(struct gs_p *p);                    /* the holder lets go of p: to another M, or idle */
struct gs_p *gs_idle_get(void);                      /* the lock is held */
void gs_idle_put(struct gs_p *p);                    /* the lock is held */
bool gs_worker_new(struct gs_p *p, bool spinning);   /* false: no thread */
int64_t gs_earliest_timer(void);                     /* nanotime; INT64_MAX: none. A hint */
bool gs_keep_time(struct gs_m *m);                   /* be the keeper; false: there is nothing to wait for, or another one is */

/* ---- world.c */
void gs_stopped_here(struct gs_m *m);                /* m's P stands still until the world starts */
void gs_world_again(struct gs_m *m);                 /* the one who stopped it to exit is to wait for others; m: its M or NULL */
bool gs_sysmon_start(void);

/* ---- trace.c: schedtrace, called by sysmon at least as often as a line is due */
void gs_trace(int64_t now);
bool gs_fork_handlers(void);

#endif
