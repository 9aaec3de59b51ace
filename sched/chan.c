/* Channels: Go's, to the letter (runtime/chan.go), in C.
 *
 * A channel is one block: a lock, a ring of elements, and two queues of those who wait. Elements are bytes that
 * are copied; the channel knows nothing of their meaning. In each moment
 *
 *   - receivers wait only if the buffer is empty, senders only if it is full (an unbuffered one is both);
 *   - who finds somebody waiting on the other side hands over directly, from place to place, on the waiter's own
 *     stack, without the buffer, in the order of their coming. The woken one never looks at the channel again.
 *   - close wakes everybody: receivers with zeros, senders into their panic.
 *
 * A waiter of a select may stand in a queue although its select has been won elsewhere: popping passes over it
 * (waitq.h), so "the queue is not empty" is only ever a guess.
 *
 * Whoever is woken is readied after the lock has been given back, so it does not run into the lock.
 *
 * Refusals without the lock (try_send, try_recv; Go's argument). A channel once closed stays closed, so
 *   try_send  reads `closed` (0), then "full". If it was full at the later read it was also open at the earlier, and
 *             "open and full" is what a locked look between the two could have met, were the second read earlier;
 *             should the channel be closed in between, then the refusal stands for the moment before the close.
 *   try_recv  reads "drained", then `closed`. Not closed at the later read means not closed at the earlier: it was open
 *             and empty. Closed: elements sent in between may be there, so the lock decides. */
#include "sched/chan.h"

#include "libgomalloc/alloc.h"
#include "sched/defer.h"

/* As Go's: an element is smaller than 64 KiB. */
enum { ELEM_LIMIT = 1 << 16 };

const char gs_send_on_closed[] = "send on closed channel";

gochan *gochan_make(size_t elem_size, size_t capacity) {
    size_t bytes;
    if (elem_size >= ELEM_LIMIT || __builtin_mul_overflow(elem_size, capacity, &bytes) || bytes > PTRDIFF_MAX - sizeof(gochan)) {
        errno = EINVAL;
        return NULL;
    }
    gochan *c = gm_alloc_zeroed(sizeof(gochan) + bytes);
    if (!c) return NULL;
    c->capacity = capacity;
    c->elem_size = elem_size;
    c->bytes = bytes;
    return c;
}

void gochan_free(gochan *c) {
    if (!c) return;
    if (c->timer) gs_tick_free(c->timer);
    if (!gs_waitq_empty(&c->recvq) || !gs_waitq_empty(&c->sendq)) gs_fatal_text("free of a channel that somebody waits for");
    gm_free(c);
}

static bool stay(struct gs_g *g, void *arg) { return true; }

void gs_park_for_ever(enum gs_wait reason) {
    for (;;) gs_park(stay, NULL, reason);
}

/* With the channel's lock held, which it gives back. True: somebody served us; false: the channel was closed. */
static bool wait_in(gochan *c, struct gs_waitq *q, void *elem, enum gs_wait reason) {
    struct gs_waiter w = {.g = gs_self(), .elem = elem};
    gs_waitq_push(q, &w);
    gs_park_unlock(&c->lock, reason);
    return w.success;
}

void gochan_send(gochan *c, const void *elem) {
    struct gs_g *wake = NULL;
    if (GM_UNLIKELY(!c)) gs_park_for_ever(GS_WAIT_CHAN_SEND_NIL);
    gs_lock_acquire(&c->lock, GS_RANK_CHAN);
    enum gs_chan_step step = gs_chan_send_step(c, elem, &wake);
    if (step == GS_CHAN_WAIT) {
        if (!wait_in(c, &c->sendq, (void *)elem, GS_WAIT_CHAN_SEND)) gs_panic_text(gs_send_on_closed);
        return;
    }
    gs_lock_release(&c->lock);
    if (GM_UNLIKELY(step == GS_CHAN_CLOSED)) gs_panic_text(gs_send_on_closed);
    if (wake) gs_ready(wake);
}

bool gochan_recv(gochan *c, void *elem) {
    struct gs_g *wake = NULL;
    if (GM_UNLIKELY(!c)) gs_park_for_ever(GS_WAIT_CHAN_RECV_NIL);
    gs_lock_acquire(&c->lock, GS_RANK_CHAN);
    enum gs_chan_step step = gs_chan_recv_step(c, elem, &wake);
    if (step == GS_CHAN_WAIT) return wait_in(c, &c->recvq, elem, GS_WAIT_CHAN_RECV);
    gs_lock_release(&c->lock);
    if (wake) gs_ready(wake);
    return step == GS_CHAN_DONE;
}

/* Who asks in a loop must let those run that it waits for. */
static GM_NOINLINE bool refused(void) {
    gs_yield_if_asked();
    return false;
}

bool gochan_try_send(gochan *c, const void *elem) {
    struct gs_g *wake = NULL;
    if (GM_UNLIKELY(!c)) return refused();
    /* acquire: the two reads stay in this order. */
    if (!gm_load_acquire(&c->closed) && gs_chan_full(c)) return refused();
    gs_lock_acquire(&c->lock, GS_RANK_CHAN);
    enum gs_chan_step step = gs_chan_send_step(c, elem, &wake);
    gs_lock_release(&c->lock);
    if (GM_UNLIKELY(step == GS_CHAN_CLOSED)) gs_panic_text(gs_send_on_closed);
    if (wake) gs_ready(wake);
    return step == GS_CHAN_DONE;
}

int gochan_try_recv(gochan *c, void *elem) {
    struct gs_g *wake = NULL;
    if (GM_UNLIKELY(!c)) return refused();
    if (gs_chan_drained(c) && !gm_load_acquire(&c->closed)) return refused();
    gs_lock_acquire(&c->lock, GS_RANK_CHAN);
    enum gs_chan_step step = gs_chan_recv_step(c, elem, &wake);
    gs_lock_release(&c->lock);
    if (wake) gs_ready(wake);
    return step == GS_CHAN_DONE ? 1 : step == GS_CHAN_CLOSED ? -1 : 0;
}

/* Takes everybody out of q, in front of whom it leaves `list` as it is: returns the new end of the list. */
static struct gs_g **dismiss(struct gs_waitq *q, size_t elem_size, bool clear, struct gs_g **end) {
    for (struct gs_waiter *w = gs_waitq_pop(q); w; w = gs_waitq_pop(q)) {
        if (clear && w->elem) memset(w->elem, 0, elem_size);
        w->success = false;
        w->g->param = w;
        w->g->link = NULL;
        *end = w->g;
        end = &w->g->link;
    }
    return end;
}

void gochan_close(gochan *c) {
    struct gs_g *woken = NULL, **end = &woken;
    if (!c) gs_panic_text("close of nil channel");
    gs_lock_acquire(&c->lock, GS_RANK_CHAN);
    bool was = c->closed;
    if (!was) {
        gm_store_relaxed(&c->closed, 1);
        end = dismiss(&c->recvq, c->elem_size, true, end);
        dismiss(&c->sendq, c->elem_size, false, end);
    }
    gs_lock_release(&c->lock);
    if (was) gs_panic_text("close of closed channel");
    if (woken) gs_ready_list(woken);
}

size_t gochan_len(gochan *c) { return c ? gm_load_relaxed(&c->count) : 0; }
size_t gochan_cap(gochan *c) { return c ? c->capacity : 0; }
