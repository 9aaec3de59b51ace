/* Pools: Go's sync.Pool. Things that are expensive to make, kept for who wants one next, until the collector drops them.
 *
 * A pool has a shelf for each P: one place that is taken and filled by a single atomic operation, and a bag under a lock for what does
 * not fit. Who finds its own shelf empty looks at the others. Go's place belongs to the P's owner alone and costs no atomic
 * operation; here plain threads and the collector come to it as well, at any time, so it is exchanged. Nothing depends on who
 * holds which P: a wrong shelf is only a slower one.
 *
 * Each cycle of the collector makes the bag (with what lay in the one place) the old bag and drops what was in the old bag before.
 * What is taken in between, from the new or the old, stays alive: so a pool in steady use is not emptied all at once.
 *
 * Pools that have something are in the list `all`, which is the collector's. One that is found empty leaves it, so that an
 * unused pool can be collected; put brings it back. */
#include "sched/pool.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "libgomalloc/alloc.h"
#include "sched/gosched.h"
#include "sched/proc.h"
#include "sched/sema.h"

enum { FIRST = 15 };

struct bag {
    struct bag *next;          /* of those that are to be dropped */
    void (*drop)(void *, void *);
    void *arg;
    uint32_t count, capacity;  /* one more than capacity fits: what lay in the one place */
    void *items[];
};

struct shelf {
    GM_ALIGNED(GM_CACHE_LINE) void *one;
    struct gs_lock lock;       /* rank GS_RANK_SYNC; guards the bags */
    struct bag *bag, *old;     /* NULL: none */
};

struct gs_pool {
    struct gs_pool *next, *prev; /* of `all`: its lock */
    void (*drop)(void *, void *);
    void *arg;
    uint32_t listed;           /* in `all`: written under its lock, read without */
    uint32_t n;                /* shelves; constant */
    struct shelf shelves[];
};

static gomutex all_lock;       /* one that may be held while memory is allocated */
static struct gs_pool *all;

/* ---- shelves */

static struct bag *new_bag(const struct gs_pool *p, uint32_t capacity) {
    struct bag *b = gm_alloc(sizeof *b + (capacity + 1) * sizeof b->items[0]);
    if (!b) return NULL;
    *b = (struct bag){.drop = p->drop, .arg = p->arg, .capacity = capacity};
    return b;
}

static void *take_one(struct shelf *s) {
    if (!gm_load_relaxed(&s->one)) return NULL;
    return gm_exchange_acquire(&s->one, NULL); /* pairs with the release in put_one */
}

static bool put_one(struct shelf *s, void *item) {
    void *empty = NULL;
    if (gm_load_relaxed(&s->one)) return false;
    /* release: the item's content; seq_cst: before the look at `listed` in gopool_put. */
    return __atomic_compare_exchange_n(&s->one, &empty, item, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

static void *take_from_bags(struct shelf *s) {
    void *item = NULL;
    if (!gm_load_relaxed(&s->bag) && !gm_load_relaxed(&s->old)) return NULL; /* a guess will do */
    gs_lock_acquire(&s->lock, GS_RANK_SYNC);
    if (s->bag && s->bag->count) item = s->bag->items[--s->bag->count];
    else if (s->old && s->old->count) item = s->old->items[--s->old->count];
    gs_lock_release(&s->lock);
    return item;
}

/* False: there is no room, and the bag has the capacity *was. */
static bool put_in_bag(struct shelf *s, void *item, uint32_t *was) {
    gs_lock_acquire(&s->lock, GS_RANK_SYNC);
    struct bag *b = s->bag;
    *was = b ? b->capacity : 0;
    bool room = b && b->count < b->capacity;
    if (room) b->items[b->count++] = item;
    gs_lock_release(&s->lock);
    return room;
}

/* A bag of twice the room with the same contents, unless somebody else was faster. False: no memory. */
static bool grow(struct gs_pool *p, struct shelf *s, uint32_t was) {
    struct bag *fresh = new_bag(p, was ? 2 * was + 1 : FIRST), *gone = fresh;
    if (!fresh) return false;
    gs_lock_acquire(&s->lock, GS_RANK_SYNC);
    if ((s->bag ? s->bag->capacity : 0) == was) {
        gone = s->bag;
        if (gone) {
            memcpy(fresh->items, gone->items, gone->count * sizeof gone->items[0]);
            fresh->count = gone->count;
        }
        gm_store_relaxed(&s->bag, fresh);
    }
    gs_lock_release(&s->lock);
    gm_free(gone);
    return true;
}

/* ---- pools */

/* Around a fork the list is whole. Who holds the mutex does not park meanwhile, and the one that forks must not. */
static void fork_prepare(void) {
    while (!gomutex_trylock(&all_lock)) sched_yield();
}
static void fork_parent(void) { gomutex_unlock(&all_lock); }
static void fork_child(void) { all_lock = (gomutex){0}; }
/* Not by goonce: a fork in the middle would leave the child waiting for it. */
static void mind_forks(void) {
    static uint32_t minded;
    if (gm_load_relaxed(&minded) == 0 && gm_exchange_acquire(&minded, 1) == 0) pthread_atfork(fork_prepare, fork_parent, fork_child);
}

static GM_NOINLINE struct gs_pool *make_shelves(gopool *pool) {
    mind_forks();
    uint32_t n = gs_procs() ? gs_procs() : (uint32_t)go_maxprocs(0);
    size_t bytes = sizeof(struct gs_pool) + n * sizeof(struct shelf);
    struct gs_pool *p = gm_alloc_aligned(GM_CACHE_LINE, bytes), *other = NULL;
    if (!p) return NULL;
    memset(p, 0, bytes);
    p->drop = pool->drop;
    p->arg = pool->arg;
    p->n = n;
    /* release and acquire: the records are complete for who finds them. */
    if (__atomic_compare_exchange_n(&pool->shelves, &other, p, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) return p;
    gm_free(p);
    return other;
}

static struct gs_pool *shelves_of(gopool *pool) {
    struct gs_pool *p = gm_load_acquire(&pool->shelves);
    return GM_LIKELY(p != NULL) ? p : make_shelves(pool);
}

static uint32_t here(const struct gs_pool *p) {
    uint32_t id = gs_procs_id();
    return GM_LIKELY(id < p->n) ? id : id % p->n;
}

static GM_NOINLINE void *take_elsewhere(struct gs_pool *p, uint32_t mine) {
    void *item = NULL;
    for (uint32_t i = 1; i < p->n && !item; i++) {
        struct shelf *s = &p->shelves[(mine + i) % p->n];
        item = take_from_bags(s);
        if (!item) item = take_one(s);
    }
    return item;
}

void *gopool_get(gopool *pool) {
    struct gs_pool *p = gm_load_acquire(&pool->shelves); /* pairs with make_shelves */
    void *item = NULL;
    if (p) {
        uint32_t mine = here(p);
        item = take_one(&p->shelves[mine]);
        if (GM_UNLIKELY(!item)) item = take_from_bags(&p->shelves[mine]);
        if (GM_UNLIKELY(!item)) item = take_elsewhere(p, mine);
    }
    return item || !pool->make ? item : pool->make(pool->arg);
}

static void unlist(struct gs_pool *p) {
    if (p->prev) p->prev->next = p->next;
    else all = p->next;
    if (p->next) p->next->prev = p->prev;
    p->next = p->prev = NULL;
    __atomic_store_n(&p->listed, 0, __ATOMIC_SEQ_CST);
}

static void list(struct gs_pool *p) {
    if (p->listed) return;
    p->next = all;
    p->prev = NULL;
    if (all) all->prev = p;
    all = p;
    gm_store_relaxed(&p->listed, 1);
}

void gopool_put(gopool *pool, void *item) {
    if (!item) return;
    struct gs_pool *p = shelves_of(pool);
    struct shelf *s = p ? &p->shelves[here(p)] : NULL;
    uint32_t was;
    bool kept = s && put_one(s, item);
    while (s && !kept) {
        kept = put_in_bag(s, item, &was);
        if (!kept && !grow(p, s, was)) break;
    }
    if (GM_UNLIKELY(!kept)) {
        if (pool->drop) pool->drop(item, pool->arg);
        return;
    }
    /* seq_cst: after the item was put; partner: gs_pools_gc, which looks for items after it has taken the pool off the list. */
    if (GM_LIKELY(__atomic_load_n(&p->listed, __ATOMIC_SEQ_CST))) return;
    gomutex_lock(&all_lock);
    list(p);
    gomutex_unlock(&all_lock);
}

/* ---- dropping */

static void drop_all(struct bag *b) {
    for (struct bag *next; b; b = next) {
        next = b->next;
        for (uint32_t i = 0; i < b->count && b->drop; i++) b->drop(b->items[i], b->arg);
        gm_free(b);
    }
}

/* What was old goes in front of the list, what was new is old. What lies in the one place goes along; without memory for a bag it stays. */
static struct bag *age(struct gs_pool *p, struct shelf *s, struct bag *list) {
    struct bag *spare = gm_load_relaxed(&s->one) ? new_bag(p, 0) : NULL;
    gs_lock_acquire(&s->lock, GS_RANK_SYNC);
    struct bag *b = s->bag, *old = s->old;
    if (!b && spare) {
        b = spare;
        spare = NULL;
    }
    void *one = b ? take_one(s) : NULL;
    if (one) b->items[b->count++] = one;
    gm_store_relaxed(&s->old, b);
    gm_store_relaxed(&s->bag, NULL);
    gs_lock_release(&s->lock);
    gm_free(spare);
    if (old) {
        old->next = list;
        list = old;
    }
    return list;
}

static bool is_empty(struct gs_pool *p) {
    for (uint32_t i = 0; i < p->n; i++) {
        struct shelf *s = &p->shelves[i];
        gs_lock_acquire(&s->lock, GS_RANK_SYNC);
        bool has = __atomic_load_n(&s->one, __ATOMIC_SEQ_CST) || (s->bag && s->bag->count) || (s->old && s->old->count);
        gs_lock_release(&s->lock);
        if (has) return false;
    }
    return true;
}

void gs_pools_gc(void) {
    struct bag *dropped = NULL;
    gomutex_lock(&all_lock);
    for (struct gs_pool *p = all, *next; p; p = next) {
        next = p->next;
        for (uint32_t i = 0; i < p->n; i++) dropped = age(p, &p->shelves[i], dropped);
        if (!is_empty(p)) continue;
        unlist(p);
        if (!is_empty(p)) list(p); /* put has not seen that it is off the list */
    }
    gomutex_unlock(&all_lock);
    drop_all(dropped);
}

void gopool_clear(gopool *pool) {
    struct gs_pool *p = pool->shelves;
    struct bag *dropped = NULL;
    if (!p) return;
    gomutex_lock(&all_lock);
    if (p->listed) unlist(p);
    gomutex_unlock(&all_lock);
    for (uint32_t i = 0; i < p->n; i++) {
        void *one = take_one(&p->shelves[i]);
        if (one && p->drop) p->drop(one, p->arg);
        for (int twice = 0; twice < 2; twice++) dropped = age(p, &p->shelves[i], dropped);
    }
    pool->shelves = NULL;
    gm_free(p);
    drop_all(dropped);
}
