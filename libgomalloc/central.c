/* See central.h.
 *
 * A span with slots at home stands in one of four lists by how many; refills take from the fullest
 * spans first, so that the emptier ones drain and go back to the heap as wholes. */
#include "libgomalloc/central.h"

#include "libgomalloc/base/chain.h"
#include "libgomalloc/base/check.h"
#include "libgomalloc/base/lock.h"
#include "libgomalloc/heap.h"
#include "libgomalloc/hooks.h"

enum { BUCKETS = 4 };

/* One line each, and zero is its first state: a process touches the lines of the classes it uses. */
struct central {
    struct gm_lock lock;
    uint32_t spans;                   /* atomic: spans of the class */
    uint32_t pad;
    uint64_t out;                     /* atomic: slots not at home */
    struct gm_chain partial[BUCKETS]; /* by share of slots at home: [0] fewest */
    struct gm_chain sparse;           /* spans with room outside the primary arena */
} GM_ALIGNED(64);
GM_STATIC_ASSERT(sizeof(struct central) == 64, "one line");

static struct central central[GM_CLASSES];
const struct gm_central_roots gm_central_roots = { central, sizeof(struct central), offsetof(struct central, out),
                                                   offsetof(struct central, spans) };

void gm_central_init(void) {
#ifdef GM_DEBUG /* ranks are looked at in debug builds only */
    for (unsigned cls = 0; cls < GM_CLASSES; cls++) gm_lock_init(&central[cls].lock, GM_RANK_CENTRAL, cls);
#endif
}

void gm_central_lock_all(void) {
    for (unsigned cls = 0; cls < GM_CLASSES; cls++) gm_lock(&central[cls].lock);
}
void gm_central_unlock_all(void) {
    for (unsigned cls = GM_CLASSES; cls-- > 0;) gm_unlock(&central[cls].lock);
}

/* Slots left the spans (positive) or came home. */
static void count_out(struct central *c, unsigned cls, int slots) {
    gm_add_relaxed(&c->out, (uint64_t)(int64_t)slots);
    gm_hooks_moved((int64_t)slots * gm_class_size[cls]);
}

uint64_t gm_central_out(unsigned cls) { return gm_load_relaxed(&central[cls].out); }
uint64_t gm_central_span_bytes(unsigned cls) {
    return (uint64_t)gm_load_relaxed(&central[cls].spans) * gm_class_pages[cls] * GM_PAGE_SIZE;
}

/* Puts a span that is in no list, with n slots at home, where it belongs; true if it is empty and the
 * caller has to give it to the heap once the lock is free. Central lock. */
static bool settle(struct central *c, struct gm_span *s, unsigned n) {
    if (n == s->nslots) {
        s->place = GM_PLACE_HEAP;
        return true;
    }
    s->bucket = (uint8_t)(n * BUCKETS / s->nslots);
    s->place = n ? GM_PLACE_PARTIAL : GM_PLACE_FULL;
    if (n) gm_chain_push(s->flags & GM_SPAN_SPARSE ? &c->sparse : &c->partial[s->bucket], &s->link);
    return false;
}

static void to_heap(struct central *c, struct gm_span *s) {
    gm_sub_relaxed(&c->spans, 1);
    gm_heap_free(s);
}

/* The next span to refill from, taken out of its list. Central lock. */
static struct gm_span *pick(struct central *c) {
    for (unsigned b = 0; b < BUCKETS; b++) {
        if (!c->partial[b].first) continue;
        struct gm_span *s = gm_chain_entry(c->partial[b].first, struct gm_span, link);
        gm_chain_remove(&s->link);
        return s;
    }
    return NULL;
}

/* The same from outside the lock. The span is the caller's as a current one is. */
static struct gm_span *pick_unlocked(struct central *c) {
    gm_lock(&c->lock);
    struct gm_span *s = pick(c);
    if (s) s->place = GM_PLACE_CURRENT;
    gm_unlock(&c->lock);
    return s;
}

static struct gm_span *new_span(unsigned cls, bool anywhere, unsigned flags) {
    struct gm_span *s = gm_heap_alloc_small(cls, anywhere, flags);
    if (s) gm_add_relaxed(&central[cls].spans, 1);
    return s;
}

static void release_locked(struct central *c, struct gm_span *s, struct gm_span **empty) {
    GM_ASSERT(s->place == GM_PLACE_CURRENT);
    *empty = settle(c, s, gm_load_relaxed(&s->nfree)) ? s : NULL;
}

void gm_central_release(struct gm_span *current) {
    struct central *c = &central[current->cls];
    struct gm_span *empty;
    gm_lock(&c->lock);
    release_locked(c, current, &empty);
    gm_unlock(&c->lock);
    if (empty) to_heap(c, empty);
}

unsigned gm_central_refill(unsigned cls, struct gm_span **current, void **out, unsigned want) {
    struct central *c = &central[cls];
    struct gm_span *s = *current, *empty = NULL;
    unsigned n = s ? gm_span_take(s, out, want) : 0;
    if (n == 0) {
        gm_lock(&c->lock);
        if (s) release_locked(c, s, &empty);
        s = empty ? empty : pick(c); /* it filled up again while we looked elsewhere: go on with it */
        if (s) s->place = GM_PLACE_CURRENT;
        gm_unlock(&c->lock);
        if (!s && gm_hooks_before_growth()) s = pick_unlocked(c);
        if (!s && (s = new_span(cls, false, 0)) != NULL) gm_store_relaxed(&s->place, GM_PLACE_CURRENT); /* a sweep may look */
        *current = s;
        n = s ? gm_span_take(s, out, want) : 0;
    }
    if (n) count_out(c, cls, (int)n);
    return n;
}

unsigned gm_central_take(unsigned cls, void **out, unsigned want) {
    struct central *c = &central[cls];
    gm_lock(&c->lock);
    struct gm_span *s = pick(c);
    if (!s) {
        gm_unlock(&c->lock);
        if (gm_hooks_before_growth()) s = pick_unlocked(c);
        if (!s) s = new_span(cls, false, 0); /* two threads may do so at once: then there are two */
        if (!s) return 0;
        gm_lock(&c->lock);
    }
    unsigned n = gm_span_take(s, out, want);
    settle(c, s, gm_load_relaxed(&s->nfree));
    gm_unlock(&c->lock);
    count_out(c, cls, (int)n);
    return n;
}

/* Central lock. */
static void *take_one_locked(struct central *c) {
    struct gm_span *s = NULL;
    if (c->sparse.first) s = gm_chain_entry(c->sparse.first, struct gm_span, link);
    if (s) gm_chain_remove(&s->link);
    else s = pick(c);
    void *slot;
    if (!s || gm_span_take(s, &slot, 1) == 0) return NULL;
    settle(c, s, gm_load_relaxed(&s->nfree));
    count_out(c, s->cls, 1);
    return slot;
}

void *gm_central_take_one(unsigned cls) {
    struct central *c = &central[cls];
    gm_lock(&c->lock);
    void *slot = take_one_locked(c);
    gm_unlock(&c->lock);
    if (slot) return slot;
    struct gm_span *s = new_span(cls, true, 0);
    if (!s) return NULL;
    gm_span_take(s, &slot, 1);
    gm_lock(&c->lock);
    settle(c, s, gm_load_relaxed(&s->nfree));
    gm_unlock(&c->lock);
    count_out(c, cls, 1);
    return slot;
}

/* The leading slots that share a span come home. True: it is now empty, in no list, and the caller's.
 * Central lock. */
static bool give_run(struct central *c, struct gm_span *s, void **slots, unsigned n, unsigned *given) {
    unsigned home = gm_span_give(s, slots, n, given);
    if (s->place == GM_PLACE_CURRENT) return false;
    if (s->place == GM_PLACE_PARTIAL && home != s->nslots && home * BUCKETS / s->nslots == s->bucket) return false;
    gm_chain_remove(&s->link);
    return settle(c, s, home);
}

void gm_central_give(unsigned cls, void **slots, unsigned n) {
    struct central *c = &central[cls];
    struct gm_chain empty = { NULL };
    gm_lock(&c->lock);
    for (unsigned i = 0, given; i < n; i += given) {
        struct gm_span *s = gm_span_of(gm_arena_of(slots[i]), (uintptr_t)slots[i]);
        GM_CHECK(s && s->cls == cls);
        if (give_run(c, s, slots + i, n - i, &given)) gm_chain_push(&empty, &s->link);
    }
    gm_unlock(&c->lock);
    count_out(c, cls, -(int)n);
    while (empty.first) {
        struct gm_span *s = gm_chain_entry(empty.first, struct gm_span, link);
        gm_chain_remove(&s->link);
        to_heap(c, s);
    }
}

struct gm_span *gm_central_odd_span(unsigned cls, unsigned flags) {
    struct gm_span *s = new_span(cls, !(flags & GM_SPAN_TINY), flags);
    if (!s) return NULL;
    if (flags & GM_SPAN_TINY && !gm_span_add_side(s, GM_SIDE_TINY)) {
        to_heap(&central[cls], s);
        return NULL;
    }
    s->place = GM_PLACE_CURRENT; /* its owner's for good */
    return s;
}

void gm_central_odd_gone(struct gm_span *s) { to_heap(&central[s->cls], s); }

void gm_central_odd_out(unsigned cls, int slots) { count_out(&central[cls], cls, slots); }

void gm_central_lock_class(unsigned cls) { gm_lock(&central[cls].lock); }
void gm_central_unlock_class(unsigned cls) { gm_unlock(&central[cls].lock); }

static void verify_list(struct gm_chain *head, unsigned cls, bool sparse) {
    for (struct gm_chain_node *n = head->first; n; n = n->next) {
        struct gm_span *s = gm_chain_entry(n, struct gm_span, link);
        GM_CHECK(*n->at == n && s->cls == cls && s->place == GM_PLACE_PARTIAL);
        GM_CHECK(!!(s->flags & GM_SPAN_SPARSE) == sparse);
        gm_span_verify(s);
    }
}

void gm_central_verify(void) {
    for (unsigned cls = 1; cls < GM_CLASSES; cls++) {
        struct central *c = &central[cls];
        gm_lock(&c->lock);
        for (unsigned b = 0; b < BUCKETS; b++) verify_list(&c->partial[b], cls, false);
        verify_list(&c->sparse, cls, true);
        gm_unlock(&c->lock);
    }
}
