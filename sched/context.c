/* Contexts: Go's context package. A tree along which cancellation runs down, and in which values are looked up upwards.
 *
 * A context is either the background, a node that carries a value, or one that can be cancelled. Each holds a reference to its
 * parent, which therefore outlives it; a parent knows its children (those that can be cancelled) without holding them, and
 * forgets each when it is cancelled or its last reference goes.
 *
 * LOCKING. One lock a tree, in its topmost node that can be cancelled, so that cancelling walks down under a single lock: nobody
 * sees a node cancelled whose children are not, and no order among nodes' locks is needed. It guards children, watches, and the
 * step from alive to cancelled. Sections are short; a cancellation holds it as long as its subtree is large.
 *
 * A node's done channel is part of the node, so asking for it cannot fail. It is closed before `err` is set: who sees `err` sees the
 * channel closed, and goctx_err, where it finds the channel closed and `err` not set yet, waits for the lock. So both change
 * at the same time for whoever looks. */
#include "sched/context.h"

#include <errno.h>

#include "libgomalloc/alloc.h"
#include "libgomalloc/os/os.h"
#include "sched/chan.h"
#include "sched/defer.h"
#include "sched/timer.h"

struct canceler;

struct gocontext {
    uint32_t refs;             /* atomic; of the background unused */
    gocontext *parent;         /* a reference; constant; of the background NULL */
    struct canceler *canceler; /* itself or the nearest above that can be cancelled; NULL: none. Constant */
    const void *key;           /* NULL: no value. Constant */
    void *value;
};

struct canceler {
    gocontext base;
    struct canceler *root;     /* whose lock counts; constant */
    struct gs_lock lock;       /* rank GS_RANK_CONTEXT; used in roots only */
    int32_t err;               /* 0, -ECANCELED or -ETIMEDOUT: set once, after `done` was closed */
    int32_t cause;             /* set with err */
    bool timed;                /* has a timer; constant */
    bool has_deadline;         /* its own or one from above; constant, like the next */
    int64_t deadline;          /* nanotime */
    struct gs_timer timer;
    /* under the root's lock */
    struct canceler *above;    /* in whose list of children it is; NULL: in none */
    struct canceler *children, *next, *prev;
    struct gs_watch *watches;
    struct gochan done;        /* ends with a buffer of no bytes */
};

static gocontext background;
gocontext *goctx_background(void) { return &background; }

static void tree_lock(struct canceler *c) { gs_lock_acquire(&c->root->lock, GS_RANK_CONTEXT); }
static void tree_unlock(struct canceler *c) { gs_lock_release(&c->root->lock); }

/* ---- cancelling; under the tree's lock */

static void attach(struct canceler *to, struct canceler *c) {
    c->above = to;
    c->prev = NULL;
    c->next = to->children;
    if (to->children) to->children->prev = c;
    to->children = c;
}

static void detach(struct canceler *c) {
    if (!c->above) return;
    if (c->prev) c->prev->next = c->next;
    else c->above->children = c->next;
    if (c->next) c->next->prev = c->prev;
    c->above = c->next = c->prev = NULL;
}

static void mark(struct canceler *c, int err, int cause) {
    c->cause = cause;
    gochan_close(&c->done);
    gm_store_release(&c->err, err); /* pairs with the acquire in goctx_err: cause and the closed channel are seen */
    for (struct gs_watch *w; (w = c->watches);) {
        c->watches = w->next;
        if (w->next) w->next->prev = NULL;
        w->next = NULL;
        w->cancelled(w); /* the last touch: its owner may run now */
    }
    if (c->timed) gs_timer_stop(&c->timer);
}

/* c and all below it, parents first. Those that are still to be marked form a list by `next`. */
static void cancel_tree(struct canceler *c, int err, int cause) {
    if (c->err) return;
    detach(c);
    while (c) {
        struct canceler *rest = c->next, *child;
        c->next = NULL;
        while ((child = c->children)) {
            detach(child);
            child->next = rest;
            rest = child;
        }
        mark(c, err, cause);
        c = rest;
    }
}

static void cancel(struct canceler *c, int err, int cause) {
    tree_lock(c);
    cancel_tree(c, err, cause ? cause : err);
    tree_unlock(c);
}

static void time_is_up(struct gs_timer *t, int64_t now) {
    cancel((struct canceler *)((char *)t - offsetof(struct canceler, timer)), -ETIMEDOUT, 0);
}

/* ---- making */

static gocontext *checked(gocontext *parent) {
    if (!parent) gs_panic_text("cannot create context from nil parent");
    return parent;
}

/* Into the tree; what is cancelled above is cancelled below. */
static void join(struct canceler *c, struct canceler *above) {
    c->root = above ? above->root : c;
    if (!above) return;
    tree_lock(c);
    if (above->err) cancel_tree(c, above->err, above->cause);
    else attach(above, c);
    tree_unlock(c);
}

static struct canceler *make(gocontext *parent, const int64_t *deadline) {
    struct canceler *above = parent->canceler, *c = gm_alloc_zeroed(sizeof *c);
    int error = 0;
    if (!c) return NULL;
    c->base = (gocontext){.refs = 1, .parent = goctx_retain(parent), .canceler = c};
    c->has_deadline = above && above->has_deadline;
    c->deadline = above ? above->deadline : 0;
    if (deadline && !(c->has_deadline && c->deadline <= *deadline)) {
        c->has_deadline = c->timed = true;
        c->deadline = *deadline;
        error = gs_timer_init(&c->timer, time_is_up);
    }
    if (error) {
        goctx_release(parent);
        gm_free(c);
        gs_set_errno(-error);
        return NULL;
    }
    join(c, above);
    return c;
}

static gocontext *made(struct canceler *c, void (**cancel_it)(gocontext *)) {
    if (cancel_it) *cancel_it = goctx_cancel;
    return c ? &c->base : NULL;
}

gocontext *goctx_with_cancel(gocontext *parent, void (**cancel_it)(gocontext *)) {
    return made(make(checked(parent), NULL), cancel_it);
}

/* Not under the lock, as it may start a thread. Who cancels c from above meanwhile stops the timer, or we see it cancelled. */
static void set_timer(struct canceler *c) {
    gs_timer_set(&c->timer, c->deadline, 0);
    tree_lock(c);
    bool cancelled = c->err;
    tree_unlock(c);
    if (cancelled) gs_timer_stop(&c->timer);
}

gocontext *goctx_with_deadline(gocontext *parent, int64_t when, void (**cancel_it)(gocontext *)) {
    struct canceler *c = make(checked(parent), &when);
    if (c && c->timed) {
        if (when <= (int64_t)gm_os_nanotime()) cancel(c, -ETIMEDOUT, 0);
        else set_timer(c);
    }
    return made(c, cancel_it);
}

gocontext *goctx_with_timeout(gocontext *parent, int64_t ns, void (**cancel_it)(gocontext *)) {
    return goctx_with_deadline(parent, gs_deadline_in(ns), cancel_it);
}

gocontext *goctx_with_value(gocontext *parent, const void *key, void *value) {
    checked(parent);
    if (!key) gs_panic_text("nil key");
    gocontext *ctx = gm_alloc(sizeof *ctx);
    if (!ctx) return NULL;
    *ctx = (gocontext){.refs = 1, .parent = goctx_retain(parent), .canceler = parent->canceler, .key = key, .value = value};
    return ctx;
}

/* ---- references */

gocontext *goctx_retain(gocontext *ctx) {
    if (ctx != &background) gm_add_relaxed(&ctx->refs, 1); /* the caller has one, or holds who has */
    return ctx;
}

static void destroy(gocontext *ctx) {
    struct canceler *c = ctx->canceler;
    if (c && ctx == &c->base) {
        tree_lock(c);
        detach(c);
        tree_unlock(c);
        if (c->timed) gs_timer_done(&c->timer);
    }
    gm_free(ctx);
}

void goctx_release(gocontext *ctx) {
    while (ctx && ctx != &background) {
        /* release and acquire: what others did with it comes before its end. */
        if (__atomic_fetch_sub(&ctx->refs, 1, __ATOMIC_ACQ_REL) != 1) return;
        gocontext *parent = ctx->parent;
        destroy(ctx);
        ctx = parent;
    }
}

/* ---- using */

void goctx_cancel_cause(gocontext *ctx, int cause) {
    if (ctx && ctx->canceler && ctx == &ctx->canceler->base) cancel(ctx->canceler, -ECANCELED, cause);
}
void goctx_cancel(gocontext *ctx) { goctx_cancel_cause(ctx, 0); }

gochan *goctx_done(gocontext *ctx) { return ctx->canceler ? &ctx->canceler->done : NULL; }

int goctx_err(gocontext *ctx) {
    struct canceler *c = ctx->canceler;
    int err = c ? gm_load_acquire(&c->err) : 0;
    if (err || !c || !gm_load_acquire(&c->done.closed)) {
        gs_yield_if_asked();
        return err;
    }
    tree_lock(c);
    err = c->err;
    tree_unlock(c);
    return err;
}

int goctx_cause(gocontext *ctx) { return goctx_err(ctx) ? ctx->canceler->cause : 0; }

bool goctx_deadline(gocontext *ctx, int64_t *when) {
    if (!ctx->canceler || !ctx->canceler->has_deadline) return false;
    *when = ctx->canceler->deadline;
    return true;
}

void *goctx_value(gocontext *ctx, const void *key) {
    for (; ctx; ctx = ctx->parent)
        if (ctx->key == key && key) return ctx->value;
    return NULL;
}

bool gs_context_watch(gocontext *ctx, struct gs_watch *w) {
    struct canceler *c = ctx->canceler;
    w->next = w->prev = NULL;
    if (!c) return true;
    tree_lock(c);
    bool alive = !c->err;
    if (alive) {
        w->next = c->watches;
        if (w->next) w->next->prev = w;
        c->watches = w;
    }
    tree_unlock(c);
    return alive;
}

void gs_context_unwatch(gocontext *ctx, struct gs_watch *w) {
    struct canceler *c = ctx->canceler;
    if (!c) return;
    tree_lock(c);
    if (c->watches == w || w->prev) {
        if (w->prev) w->prev->next = w->next;
        else c->watches = w->next;
        if (w->next) w->next->prev = w->prev;
    }
    tree_unlock(c);
}
