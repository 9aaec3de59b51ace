/* select: one of several sends and receives, whichever can go first; Go's runtime/select.go.
 *
 *   look     at each channel without its lock: of those that seem able to go a random one is tried, until one goes. Most
 *            selects end here, with one lock taken.
 *   yield    if nothing can go and a few others are queued here, they run first, and then a second look: four senders that are
 *            each about to send come at the price of one yield in place of four parkings.
 *   decide   all channels locked, in the order of their addresses (so two selects cannot wait for each other):
 *            once more, as something may have come meanwhile; else, if there is one, the default.
 *   wait     a waiter in each channel's queue, all sharing one claim word (waitq.h), then park. Parking gives the
 *            locks back. Whoever comes first on the other side wins the claim and serves us.
 *   leave    take the other waiters out of their queues, channel by channel.
 *
 * Of several that can go each is as likely: the k-th that is met takes the place of the one chosen before with a probability
 * of 1/k. (Go draws an order of all cases and takes the first that can go, which comes to the same; but here nothing is
 * drawn while only one can go, and the processor can predict what it looks at next.) A channel seems able to go although it is
 * not while waiters stand there whose select was won elsewhere. The attempt throws them out, so it does not seem so again.
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
enum { ON_STACK = 16, CASES_MAX = 1 << 16 /* Go's */ };

struct select {
    gocase *cases;
    struct gs_waiter *waiters; /* of case i the i-th */
    struct gochan **locks;     /* the channels; from order_locks on each once, in the order of their addresses */
    uint32_t n;                /* cases */
    uint32_t chans;            /* locks */
    int last, fallback;        /* the last case with a channel, and the default; -1: none */
    bool ordered;              /* locks came in order, each once, as they do where cases stand in an array of channels made in turn */
};

/* xorshift; owned by the thread. Not used in a function that has parked or yielded. */
static GM_TLS uint32_t random_state;

static uint32_t random_below(uint32_t n) {
    uint32_t x = random_state;
    if (GM_UNLIKELY(x == 0)) x = (uint32_t)(gm_os_nanotime() ^ (uintptr_t)&random_state) | 1;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    random_state = x;
    return (uint32_t)(((uint64_t)x * n) >> 32);
}

static enum gs_chan_step try_case(gocase *k, struct gs_g **wake) {
    return k->kind == RECV ? gs_chan_recv_step(k->chan, k->elem, wake) : gs_chan_send_step(k->chan, k->elem, wake);
}

/* Case k, of index i, went; no lock is held. */
GM_INLINE int finish(gocase *k, int i, enum gs_chan_step step, struct gs_g *wake) {
    if (wake) gs_ready(wake);
    k->ok = step == GS_CHAN_DONE;
    return i;
}

/* The last thing a select does, when it holds no memory any more: a send that went without success met a closed channel. */
static int checked(const gocase *cases, int i) {
    if (GM_UNLIKELY(cases[i].kind == SEND && !cases[i].ok)) gs_panic_text(gs_send_on_closed);
    return i;
}

/* What a buffer holds or a sender brings; room, or somebody who takes it; the end. Reads without order: it is a guess, or
 * the channel is locked. */
GM_INLINE bool looks_ready(const gocase *k) {
    const struct gochan *c = k->chan;
    uintptr_t some = gm_load_relaxed(&c->closed);
    if (GM_LIKELY(k->kind == RECV)) some |= gm_load_relaxed(&c->count) | (uintptr_t)gm_load_relaxed(&c->sendq.first);
    else some |= (uintptr_t)gm_load_relaxed(&c->recvq.first) | (gm_load_relaxed(&c->count) < c->capacity);
    return some != 0;
}

/* Case i is one of those that seem able to go: the chosen one from now on, with the probability of the head of the file. */
GM_INLINE void draw(int i, uint32_t *ready, int *chosen) {
    if ((*ready)++ == 0 || random_below(*ready) == 0) *chosen = i;
}

/* A random one of those that seem able to go, or -1. */
static int choose(const struct select *s) {
    const gocase *k = s->cases;
    int chosen = -1, n = (int)s->n;
    uint32_t ready = 0;
    for (int i = 0; i < n; i++, k++)
        if (k->chan && GM_UNLIKELY(looks_ready(k))) draw(i, &ready, &chosen);
    return chosen;
}

/* The first way through the cases: as choose, and fills in all of s that is not given. */
GM_INLINE int survey(struct select *s) {
    const gocase *k = s->cases;
    struct gochan *before = NULL, **l = s->locks;
    int chosen = -1, last = -1, fallback = -1, n = (int)s->n;
    uint32_t ready = 0;
    bool disorder = false;
    for (int i = 0; i < n; i++, k++) {
        struct gochan *c = k->chan;
        if (GM_UNLIKELY(c == NULL)) {
            if (k->kind == DEFAULT) fallback = i;
            continue;
        }
        disorder |= before >= c;
        *l++ = before = c;
        last = i;
        if (looks_ready(k)) draw(i, &ready, &chosen);
    }
    s->last = last;
    s->fallback = fallback;
    s->chans = (uint32_t)(l - s->locks);
    s->ordered = !disorder;
    return chosen;
}

/* From case i on, what seems able to go; -1: nothing. */
GM_INLINE int look(struct select *s, int i) {
    for (; i >= 0; i = choose(s)) {
        struct gs_g *wake = NULL;
        gocase *k = &s->cases[i];
        gs_lock_acquire(&k->chan->lock, GS_RANK_CHAN);
        enum gs_chan_step step = try_case(k, &wake);
        gs_lock_release(&k->chan->lock);
        if (GM_LIKELY(step != GS_CHAN_WAIT)) return finish(k, i, step, wake);
    }
    return -1;
}

/* After others have run, perhaps on another thread: not inlined, so that no address of a thread-local is kept from before. */
static GM_NOINLINE int look_again(struct select *s) { return look(s, choose(s)); }

/* Shell's sort (no recursion, no memory); of few, insertion alone. */
static void order_locks(struct select *s) {
    struct gochan **l = s->locks;
    uint32_t n = s->chans, gap = 1;
    if (n > ON_STACK)
        while (gap < n / 3) gap = 3 * gap + 1;
    for (;; gap /= 3) {
        for (uint32_t i = gap; i < n; i++) {
            struct gochan *c = l[i];
            uint32_t j = i;
            for (; j >= gap && l[j - gap] > c; j -= gap) l[j] = l[j - gap];
            l[j] = c;
        }
        if (gap == 1) break;
    }
    s->chans = 0;
    for (uint32_t i = 0; i < n; i++)
        if (i == 0 || l[i] != l[i - 1]) l[s->chans++] = l[i];
}

GM_INLINE void lock_all(const struct select *s) {
    for (struct gochan **l = s->locks, **end = l + s->chans; l < end; l++) gs_lock_acquire(&(*l)->lock, GS_RANK_CHAN);
}

GM_INLINE void unlock_all(const struct select *s) {
    /* The last statement that reads *s or *l runs before the last release; see the head of the file. */
    for (struct gochan **first = s->locks, **l = first + s->chans; l > first;) gs_lock_release(&(*--l)->lock);
}

static bool parked(struct gs_g *g, void *arg) {
    unlock_all(arg);
    return true;
}

GM_INLINE struct gs_waitq *queue_of(const gocase *k) { return k->kind == RECV ? &k->chan->recvq : &k->chan->sendq; }

/* With all locks held, which it gives back. */
static int wait_for_one(struct select *s) {
    struct gs_g *g = gs_self();
    gocase *k = s->cases, *end = k + s->n;
    struct gs_waiter *w = s->waiters;
    gm_store_relaxed(&g->select_done, 0); /* published by the channels' locks */
    for (; k < end; k++, w++) {
        if (GM_UNLIKELY(!k->chan)) continue;
        w->g = g; /* the rest is written by the push, and by who serves us */
        w->elem = k->elem;
        w->claim = &g->select_done;
        w->queued = false;
        gs_waitq_push(queue_of(k), w);
    }
    gs_park(parked, s, GS_WAIT_SELECT);
    struct gs_waiter *winner = g->param;
    g->param = NULL;
    for (k = s->cases, w = s->waiters; k < end; k++, w++) {
        if (w == winner || GM_UNLIKELY(!k->chan)) continue;
        gs_lock_acquire(&k->chan->lock, GS_RANK_CHAN);
        gs_waitq_remove(queue_of(k), w);
        gs_lock_release(&k->chan->lock);
    }
    int index = (int)(winner - s->waiters);
    s->cases[index].ok = winner->success;
    return index;
}

static int decide(struct select *s) {
    if (GM_UNLIKELY(!s->ordered)) order_locks(s);
    lock_all(s);
    for (int i; (i = choose(s)) >= 0;) {
        struct gs_g *wake = NULL;
        enum gs_chan_step step = try_case(&s->cases[i], &wake);
        if (step == GS_CHAN_WAIT) continue;
        unlock_all(s);
        return finish(&s->cases[i], i, step, wake);
    }
    if (s->fallback < 0) return wait_for_one(s);
    unlock_all(s);
    gs_yield_if_asked(); /* it may be asked in a loop for what others are to do */
    return s->fallback;
}

/* At most one channel: an ordinary send or receive. */
static GM_NOINLINE int select_one(const struct select *s) {
    if (s->chans == 0) {
        if (s->fallback < 0) gs_park_for_ever(GS_WAIT_SELECT_NO_CASES);
        gs_yield_if_asked();
        return s->fallback;
    }
    gocase *k = &s->cases[s->last];
    if (s->fallback < 0) {
        k->ok = true;
        if (k->kind == RECV) k->ok = gochan_recv(k->chan, k->elem);
        else gochan_send(k->chan, k->elem);
        return s->last;
    }
    int got = k->kind == RECV ? gochan_try_recv(k->chan, k->elem) : gochan_try_send(k->chan, k->elem);
    if (!got) return s->fallback;
    k->ok = got > 0;
    return s->last;
}

static GM_NOINLINE int select_many(gocase *cases, size_t n) {
    struct gs_waiter *waiters = gm_alloc(n * (sizeof *waiters + sizeof(struct gochan *)));
    if (!waiters) return -ENOMEM;
    struct select s = {.cases = cases, .waiters = waiters, .locks = (struct gochan **)(waiters + n), .n = (uint32_t)n};
    int index = survey(&s);
    bool several = s.chans > 1;
    if (several) {
        index = look(&s, index);
        if (index < 0) index = decide(&s);
    }
    gm_free(waiters);
    return several ? checked(cases, index) : select_one(&s);
}

int goselect(gocase *cases, size_t n) {
    if (GM_UNLIKELY(n > CASES_MAX)) return -EINVAL;
    if (GM_UNLIKELY(n > ON_STACK)) return select_many(cases, n);
    struct gs_waiter waiters[ON_STACK];
    struct gochan *locks[ON_STACK];
    struct select s;
    s.cases = cases;
    s.waiters = waiters;
    s.locks = locks;
    s.n = (uint32_t)n;
    int index = survey(&s);
    if (GM_UNLIKELY(s.chans <= 1)) return select_one(&s);
    index = look(&s, index);
    if (index < 0 && s.fallback < 0 && gs_yield_to_few()) index = look_again(&s);
    return checked(cases, index >= 0 ? index : decide(&s));
}
