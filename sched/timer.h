/* Timers: a 4-ary heap per P. See timer.c. */
#ifndef GS_TIMER_H
#define GS_TIMER_H

#include "sched/gmp.h"

struct gs_timers;

/* A timer that can be stopped and set again. Fields under the lock of `home` but where said otherwise. */
struct gs_timer {
    int64_t when;              /* nanotime */
    int64_t period;            /* ns; 0: once */
    uint32_t place;            /* where in the heap, counted from 1; 0: not in it */
    uint32_t running;          /* calls of run that are under way; atomic */
    struct gs_timers *home;    /* the heap it belongs to for life; constant */
    /* What is due: called without a lock on a scheduler's stack, must not park. It may set the timer again. */
    void (*run)(struct gs_timer *t, int64_t now);
};

/* Reserves the timer's place, so that setting it cannot fail. 0 or -errno. Starts the scheduler. */
int gs_timer_init(struct gs_timer *t, void (*run)(struct gs_timer *t, int64_t now));
/* Both return whether the timer was waiting: then the call of run that was due will not happen. */
bool gs_timer_set(struct gs_timer *t, int64_t when, int64_t period);
bool gs_timer_stop(struct gs_timer *t);
/* Stops it, waits until no call of run is under way, gives its place back. Not from within run. */
void gs_timer_done(struct gs_timer *t);

/* now + ns, for ever where that is past all time; ns < 0 counts as 0. */
int64_t gs_deadline_in(int64_t ns);

/* Timers and sleepers in p's heap, for traces. */
unsigned gs_timers_waiting(const struct gs_p *p);
/* Timers that are set are off in the child. */
void gs_timers_fork_prepare(void);
void gs_timers_fork_parent(void);
void gs_timers_fork_child(void);

#endif
