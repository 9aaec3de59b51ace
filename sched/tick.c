/* What a program has of timers: functions that run later, on goroutines of their own (gotimer_after), and channels that get the
 * time (go_after, go_tick), whose timer's record belongs to the channel and goes with it. */
#include <errno.h>

#include "libgomalloc/alloc.h"
#include "sched/chan.h"
#include "sched/gosched.h"
#include "sched/timer.h"

/* ---- gotimer */

struct gotimer {
    struct gs_timer timer;
    void (*fn)(void *);
    void *arg;
};

/* Without the memory for a goroutine it tries again a little later. */
static void start(struct gs_timer *t, int64_t now) {
    struct gotimer *user = (struct gotimer *)t;
    if (go(user->fn, user->arg) != 0) gs_timer_set(t, now + 1000000, 0);
}

gotimer *gotimer_after(int64_t ns, void (*fn)(void *), void *arg) {
    struct gotimer *t = gm_alloc(sizeof *t);
    if (!t) return NULL;
    t->fn = fn;
    t->arg = arg;
    int error = gs_timer_init(&t->timer, start);
    if (error) {
        gm_free(t);
        gs_set_errno(-error);
        return NULL;
    }
    gs_timer_set(&t->timer, gs_deadline_in(ns), 0);
    return t;
}

bool gotimer_stop(gotimer *t) { return gs_timer_stop(&t->timer); }

bool gotimer_reset(gotimer *t, int64_t ns) { return gs_timer_set(&t->timer, gs_deadline_in(ns), 0); }

void gotimer_free(gotimer *t) {
    if (!t) return;
    gs_timer_done(&t->timer);
    gm_free(t);
}

/* ---- channels that get the time */

struct tick {
    struct gs_timer timer;
    gochan *c;
};

static void send_time(struct gs_timer *t, int64_t now) { gochan_try_send(((struct tick *)t)->c, &now); }

static gochan *make(int64_t ns, int64_t period) {
    gochan *c = gochan_make(sizeof(int64_t), 1);
    struct tick *t = c ? gm_alloc(sizeof *t) : NULL;
    int error = t ? gs_timer_init(&t->timer, send_time) : -ENOMEM;
    if (error) {
        gm_free(t);
        gochan_free(c);
        gs_set_errno(-error);
        return NULL;
    }
    t->c = c;
    c->timer = t;
    gs_timer_set(&t->timer, gs_deadline_in(ns), period);
    return c;
}

gochan *go_after(int64_t ns) { return make(ns, 0); }
gochan *go_tick(int64_t ns) { return ns > 0 ? make(ns, ns) : NULL; }

void gs_tick_free(void *timer) {
    struct tick *t = timer;
    gs_timer_done(&t->timer);
    gm_free(t);
}
