/* A channel's insides, for select (select.c) and whatever sends from a timer or a context. See chan.c. */
#ifndef GS_CHAN_H
#define GS_CHAN_H

#include <string.h>

#include "sched/attach_gc.h"
#include "sched/gosched.h"
#include "sched/proc.h"
#include "sched/waitq.h"

struct gochan {
    struct gs_lock lock;       /* rank GS_RANK_CHAN; guards all below */
    uint32_t closed;           /* 0 -> 1; also read without the lock */
    size_t count;              /* elements in the buffer; also read without the lock */
    size_t capacity;           /* constant; 0: unbuffered */
    size_t elem_size;          /* constant */
    size_t bytes;              /* constant: capacity * elem_size */
    size_t send_at, recv_at;   /* offsets of the next free and of the oldest element */
    struct gs_waitq recvq, sendq; /* at most one has waiters that nobody has claimed, but for a select on both sides */
    void *timer;               /* of go_after and go_tick, else NULL: freed with the channel (tick.c); constant */
    GM_ALIGNED(16) char buffer[];
};

GM_INLINE void gs_chan_copy(void *to, const void *from, size_t n) {
    if (GM_LIKELY(n == 8)) memcpy(to, from, 8);
    else if (n) memcpy(to, from, n);
}

/* What one attempt under the lock came to. CLOSED of a send: it must panic, once the lock is back. */
enum gs_chan_step { GS_CHAN_WAIT, GS_CHAN_DONE, GS_CHAN_CLOSED };

/* The waiter has what it wanted; the caller readies the result after giving the lock back. */
GM_INLINE struct gs_g *gs_chan_served(struct gs_waiter *w) {
    w->success = true;
    w->g->param = w;
    return w->g;
}

/* Sends if that needs no waiting. Sets *wake, if somebody has to be readied for it. */
GM_INLINE enum gs_chan_step gs_chan_send_step(struct gochan *c, const void *elem, struct gs_g **wake) {
    if (GM_UNLIKELY(c->closed)) return GS_CHAN_CLOSED;
    struct gs_waiter *w = gs_waitq_pop(&c->recvq);
    if (w) {
        if (w->elem) gs_chan_copy(w->elem, elem, c->elem_size);
        *wake = gs_chan_served(w);
        return GS_CHAN_DONE;
    }
    if (c->count == c->capacity) return GS_CHAN_WAIT;
    gs_chan_copy(c->buffer + c->send_at, elem, c->elem_size);
    c->send_at += c->elem_size;
    if (c->send_at == c->bytes) c->send_at = 0;
    gm_store_relaxed(&c->count, c->count + 1);
    return GS_CHAN_DONE;
}

/* A sender waits only while the buffer is full (or there is none): so the oldest element is the buffer's,
 * and the sender's takes the place that becomes free, which is the next to be written as well. */
GM_INLINE enum gs_chan_step gs_chan_recv_step(struct gochan *c, void *elem, struct gs_g **wake) {
    struct gs_waiter *w = gs_waitq_pop(&c->sendq);
    if (c->count > 0) {
        char *oldest = c->buffer + c->recv_at;
        if (elem) gs_chan_copy(elem, oldest, c->elem_size);
        c->recv_at += c->elem_size;
        if (c->recv_at == c->bytes) c->recv_at = 0;
        if (!w) {
            if (GM_UNLIKELY(gs_collected)) memset(oldest, 0, c->elem_size); /* it holds nothing alive any more */
            gm_store_relaxed(&c->count, c->count - 1);
            return GS_CHAN_DONE;
        }
        gs_chan_copy(oldest, w->elem, c->elem_size);
        c->send_at = c->recv_at;
    } else if (w) {
        if (elem) gs_chan_copy(elem, w->elem, c->elem_size);
    } else if (c->closed) {
        if (elem) memset(elem, 0, c->elem_size);
        return GS_CHAN_CLOSED;
    } else {
        return GS_CHAN_WAIT;
    }
    *wake = gs_chan_served(w);
    return GS_CHAN_DONE;
}

/* Guesses without the lock: true at the moment of the read. What they may be used for is argued in chan.c. acquire:
 * what the caller reads next is read later; no partner, the order of the reads alone counts. */
GM_INLINE bool gs_chan_full(const struct gochan *c) {
    return c->capacity ? gm_load_relaxed(&c->count) == c->capacity : gs_waitq_empty(&c->recvq);
}
GM_INLINE bool gs_chan_drained(const struct gochan *c) {
    return c->capacity ? gm_load_acquire(&c->count) == 0 : gs_waitq_empty(&c->sendq);
}

/* Stops and frees a channel's timer; a send that is under way has ended when it returns. */
void gs_tick_free(void *timer);

extern const char gs_send_on_closed[];
/* Waits for what will never come: a nil channel, a select of nothing. */
GM_NORETURN void gs_park_for_ever(enum gs_wait reason);

#endif
