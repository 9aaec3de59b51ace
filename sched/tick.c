/* Channels that get the time: go_after, go_tick. The timer's record belongs to the channel and goes with it. */
#include <errno.h>

#include "libgomalloc/alloc.h"
#include "sched/chan.h"
#include "sched/timer.h"

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
