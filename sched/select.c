/* select: one of several sends and receives, whichever can go first; Go's runtime/select.go.
 *
 *   look     in random order, at each channel by itself: the first that can go is it. Most selects end here, with
 *            one lock taken.
 *   yield    if nothing can go and a few others are queued here, they run first, and then a second look: four senders that are
 *            each about to send come at the price of one yield in place of four parkings (83 and 58 ns a select).
 *   decide   all channels locked, in the order of their addresses (so two selects cannot wait for each other):
 *            once more, as something may have come meanwhile; else, if there is one, the default.
 *   wait     a waiter in each channel's queue, all sharing one claim word (waitq.h), then park. Parking gives the
 *            locks back. Whoever comes first on the other side wins the claim and serves us.
 *   leave    take the other waiters out of their queues, channel by channel.
 *
 * "random order" is a permutation drawn anew each time, so of several that can go each is as likely.
 *
 * The list of locked channels lies on the stack of the select. While parking gives the locks back one by one, the
 * select may be readied and go on, on another thread. It takes the lock of every channel but the one it was served
 * through (whose lock its waker had) before it returns: so it cannot leave the list's stack frame before the last lock was
 * given back, and the list is not read after that. */
#include "libgomalloc/alloc.h"
#include "libgomalloc/os/os.h"
#include "sched/chan.h"
#include "sched/defer.h"

enum { DEFAULT = 0, RECV = 1, SEND = 2 }; /* gocase.kind, as gosched.h makes them */
enum { ON_STACK = 16, DRAWS = 8 /* from one random word */, CASES_MAX = 1 << 16 /* Go's */ };

/* The place of one case: its waiter, and an entry of each of the two orders. */
struct place {
    struct gs_waiter waiter;
    uint32_t poll;             /* the i-th to look at */
    struct gochan *chan;       /* the i-th to lock */
};

struct select {
    gocase *cases;
    struct place *places;
    uint32_t n;                /* cases with a channel: places that are used */
    uint32_t chans;            /* distinct channels among them */
};

/* xorshift; owned by the thread. Only used before the select parks. */
static GM_TLS uint32_t random_state;

static uint32_t random_word(void) {
    uint32_t x = random_state;
    if (GM_UNLIKELY(x == 0)) x = (uint32_t)(gm_os_nanotime() ^ (uintptr_t)&random_state) | 1;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return random_state = x;
}

static enum gs_chan_step try_case(gocase *k, struct gs_g **wake) {
    return k->kind == RECV ? gs_chan_recv_step(k->chan, k->elem, wake) : gs_chan_send_step(k->chan, k->elem, wake);
}

/* Case i went; no lock is held. */
static int finish(gocase *cases, uint32_t i, enum gs_chan_step step, struct gs_g *wake) {
    if (wake) gs_ready(wake);
    cases[i].ok = step == GS_CHAN_DONE;
    return (int)i;
}

/* The last thing a select does, when it holds no memory any more: a send that went without success met a closed channel. */
static int checked(const gocase *cases, int i) {
    if (GM_UNLIKELY(cases[i].kind == SEND && !cases[i].ok)) gs_panic_text(gs_send_on_closed);
    return i;
}

static bool looks_ready(const gocase *k) {
    if (gm_load_relaxed(&k->chan->closed)) return true;
    return k->kind == RECV ? !gs_chan_drained(k->chan) : !gs_chan_full(k->chan);
}

/* Draws the order while it looks: what is not looked at need not be drawn. The index, or -1 and the whole order. */
static int look(struct select *s) {
    uint32_t word = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        if (i % DRAWS == 0) word = random_word();
        uint64_t draw = (uint64_t)word * (s->n - i); /* above: one of the rest; below: what is left of the word's randomness */
        word = (uint32_t)draw;
        uint32_t j = i + (uint32_t)(draw >> 32), index = s->places[j].poll;
        s->places[j].poll = s->places[i].poll;
        s->places[i].poll = index;
        gocase *k = &s->cases[index];
        if (!looks_ready(k)) continue;
        struct gs_g *wake = NULL;
        gs_lock_acquire(&k->chan->lock, GS_RANK_CHAN);
        enum gs_chan_step step = try_case(k, &wake);
        gs_lock_release(&k->chan->lock);
        if (step != GS_CHAN_WAIT) return finish(s->cases, index, step, wake);
    }
    return -1;
}

/* The distinct channels in the order of their addresses (Shell's sort: no recursion, no memory). */
static void order_locks(struct select *s) {
    struct place *p = s->places;
    uint32_t n = s->n, gap = 1;
    /* In the program's order, which is the same each time: what follows is predicted well. */
    for (uint32_t i = 0, k = 0; k < n; i++)
        if (s->cases[i].kind != DEFAULT && s->cases[i].chan) p[k++].chan = s->cases[i].chan;
    while (gap < n / 3) gap = 3 * gap + 1;
    for (; gap > 0; gap /= 3) {
        for (uint32_t i = gap; i < n; i++) {
            struct gochan *c = p[i].chan;
            uint32_t j = i;
            for (; j >= gap && p[j - gap].chan > c; j -= gap) p[j].chan = p[j - gap].chan;
            p[j].chan = c;
        }
    }
    s->chans = 1;
    for (uint32_t i = 1; i < n; i++) {
        if (p[i].chan != p[s->chans - 1].chan) p[s->chans++].chan = p[i].chan;
    }
}

static void lock_all(struct select *s) {
    for (uint32_t i = 0; i < s->chans; i++) gs_lock_acquire(&s->places[i].chan->lock, GS_RANK_CHAN);
}

static void unlock_all(struct select *s) {
    struct place *p = s->places;
    /* The last statement that reads *p runs before the last release; see the head of the file. */
    for (uint32_t i = s->chans; i-- > 0;) gs_lock_release(&p[i].chan->lock);
}

static bool parked(struct gs_g *g, void *arg) {
    unlock_all(arg);
    return true;
}

/* With all locks held, which it gives back. */
static int wait_for_one(struct select *s) {
    struct gs_g *g = gs_self();
    gm_store_relaxed(&g->select_done, 0); /* published by the channels' locks */
    for (uint32_t i = 0; i < s->n; i++) {
        uint32_t index = s->places[i].poll;
        gocase *k = &s->cases[index];
        struct gs_waiter *w = &s->places[i].waiter;
        *w = (struct gs_waiter){.g = g, .elem = k->elem, .claim = &g->select_done, .index = index};
        gs_waitq_push(k->kind == RECV ? &k->chan->recvq : &k->chan->sendq, w);
    }
    gs_park(parked, s, GS_WAIT_SELECT);
    struct gs_waiter *winner = g->param;
    g->param = NULL;
    for (uint32_t i = 0; i < s->n; i++) {
        struct gs_waiter *w = &s->places[i].waiter;
        if (w == winner) continue;
        gocase *k = &s->cases[w->index];
        gs_lock_acquire(&k->chan->lock, GS_RANK_CHAN);
        gs_waitq_remove(k->kind == RECV ? &k->chan->recvq : &k->chan->sendq, w);
        gs_lock_release(&k->chan->lock);
    }
    return finish(s->cases, winner->index, winner->success ? GS_CHAN_DONE : GS_CHAN_CLOSED, NULL);
}

static int decide(struct select *s, int fallback) {
    order_locks(s);
    lock_all(s);
    for (uint32_t i = 0; i < s->n; i++) {
        uint32_t index = s->places[i].poll;
        struct gs_g *wake = NULL;
        if (!looks_ready(&s->cases[index])) continue; /* certain, with the lock */
        enum gs_chan_step step = try_case(&s->cases[index], &wake);
        if (step == GS_CHAN_WAIT) continue;
        unlock_all(s);
        return finish(s->cases, index, step, wake);
    }
    if (fallback < 0) return wait_for_one(s);
    unlock_all(s);
    gs_yield_if_asked(); /* it may be asked in a loop for what others are to do */
    return fallback;
}

/* One channel is an ordinary send or receive. */
static int select_one(gocase *k, int index, int fallback) {
    if (fallback < 0) {
        k->ok = true;
        if (k->kind == RECV) k->ok = gochan_recv(k->chan, k->elem);
        else gochan_send(k->chan, k->elem);
        return index;
    }
    int got = k->kind == RECV ? gochan_try_recv(k->chan, k->elem) : gochan_try_send(k->chan, k->elem);
    if (!got) return fallback;
    k->ok = got > 0;
    return index;
}

static GM_NOINLINE int select_many(gocase *cases, size_t n) {
    struct place *places = gm_alloc(n * sizeof *places);
    if (!places) return -ENOMEM;
    struct select s = {.cases = cases, .places = places};
    int fallback = -1, index;
    for (size_t i = 0; i < n; i++) {
        if (cases[i].kind == DEFAULT) fallback = (int)i;
        else if (cases[i].chan) places[s.n++].poll = (uint32_t)i;
    }
    if (s.n == 0 && fallback < 0) {
        gm_free(places);
        gs_park_for_ever(GS_WAIT_SELECT_NO_CASES);
    }
    index = s.n == 0 ? fallback : look(&s);
    if (index < 0) index = decide(&s, fallback);
    gm_free(places);
    return checked(cases, index);
}

int goselect(gocase *cases, size_t n) {
    if (GM_UNLIKELY(n > CASES_MAX)) return -EINVAL;
    if (GM_UNLIKELY(n > ON_STACK)) return select_many(cases, n);
    struct place places[ON_STACK];
    struct select s = {.cases = cases, .places = places};
    int fallback = -1;
    uint32_t last = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (cases[i].kind == DEFAULT) fallback = (int)i;
        else if (cases[i].chan) places[s.n++].poll = last = i;
    }
    if (s.n == 0) {
        if (fallback < 0) gs_park_for_ever(GS_WAIT_SELECT_NO_CASES);
        gs_yield_if_asked();
        return fallback;
    }
    if (s.n == 1) return select_one(&cases[last], (int)last, fallback);
    int index = look(&s);
    if (index < 0 && fallback < 0 && gs_yield_to_few()) index = look(&s);
    return checked(cases, index >= 0 ? index : decide(&s, fallback));
}
