/* See central.h.
 *
 * A span with slots at home stands in one of four lists by how many; refills take from the fullest
 * spans first, so that the emptier ones drain and go back to the heap as wholes.
 *
 * HOLES. One object in twenty that stays, at random, pins most spans of a class. What can still go back are the kernel's
 * pages of a span all of whose slots are at home: their contents mean nothing to anybody, states and bits lie
 * elsewhere, and the next to touch such a slot gets a fresh page. That is done under the class's lock, to spans in its
 * lists: nobody takes slots from them meanwhile. A span that was looked at and has not changed for a second or more
 * is worth it. Measured: 8 threads, 400 MiB live, sizes that change from round to round while a random
 * twentieth stays (the worst for allocators with size classes): see tests/programs/scavenge.c. */
#include "libgomalloc/central.h"

#include "libgomalloc/base/check.h"
#include "libgomalloc/base/lock.h"
#include "libgomalloc/heap.h"
#include "libgomalloc/holes.h"
#include "libgomalloc/hooks.h"
#include "libgomalloc/os/os.h"

enum { BUCKETS = 4 };
enum { LOOKED_NOT, LOOKED_ONCE, LOOKED_DONE };

/* Zero is its first state: a process touches the lines of the classes it uses. */
struct central {
    struct gm_lock lock;
    uint64_t out;                    /* atomic: slots not at home */
    uint64_t spans;                  /* atomic: spans of the class */
    struct gm_list partial[BUCKETS]; /* by share of slots at home: [0] fewest; made at first use (is_empty, add) */
    struct gm_list sparse;           /* spans with room outside the primary arena */
} GM_ALIGNED(64);

static bool is_empty(const struct gm_list *l) { return !l->next || gm_list_empty(l); }
static void add(struct gm_list *l, struct gm_span *s) {
    if (!l->next) gm_list_init(l);
    gm_list_push(l, &s->link);
}

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
    return gm_load_relaxed(&central[cls].spans) * gm_class_pages[cls] * GM_PAGE_SIZE;
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
    if (n) add(s->flags & GM_SPAN_SPARSE ? &c->sparse : &c->partial[s->bucket], s);
    return false;
}

static void to_heap(struct central *c, struct gm_span *s) {
    gm_sub_relaxed(&c->spans, 1);
    gm_heap_free(s);
}

/* Slots of it leave, or it does. What went back of it counts as backed again, touched or not. Central lock. */
static void in_use_again(struct gm_span *s) {
    s->looked = LOOKED_NOT;
    gm_holes_forget(s);
}

static struct gm_span *pick(struct central *c) {
    for (unsigned b = 0; b < BUCKETS; b++) {
        if (is_empty(&c->partial[b])) continue;
        struct gm_span *s = gm_list_entry(c->partial[b].next, struct gm_span, link);
        gm_list_remove(&s->link);
        in_use_again(s);
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
        gm_store_relaxed(current, s); /* read by idle.c */
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
    unsigned n = gm_span_take_line(s, out, want);
    settle(c, s, gm_load_relaxed(&s->nfree));
    gm_unlock(&c->lock);
    count_out(c, cls, (int)n);
    return n;
}

/* Central lock. */
static void *take_one_locked(struct central *c) {
    struct gm_span *s = NULL;
    if (!is_empty(&c->sparse)) s = gm_list_entry(c->sparse.next, struct gm_span, link);
    if (s) gm_list_remove(&s->link), in_use_again(s);
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
    s->looked = LOOKED_NOT;
    if (home == s->nslots) in_use_again(s);
    if (s->place == GM_PLACE_PARTIAL && home != s->nslots && home * BUCKETS / s->nslots == s->bucket) return false;
    gm_list_remove(&s->link);
    return settle(c, s, home);
}

void gm_central_give(unsigned cls, void **slots, unsigned n) {
    struct central *c = &central[cls];
    struct gm_list empty;
    gm_list_init(&empty);
    gm_lock(&c->lock);
    for (unsigned i = 0, given; i < n; i += given) {
        struct gm_span *s = gm_span_of(gm_arena_of(slots[i]), (uintptr_t)slots[i]);
        GM_CHECK(s && s->cls == cls);
        if (give_run(c, s, slots + i, n - i, &given)) gm_list_push(&empty, &s->link);
    }
    gm_unlock(&c->lock);
    count_out(c, cls, -(int)n);
    while (!gm_list_empty(&empty)) {
        struct gm_span *s = gm_list_entry(empty.next, struct gm_span, link);
        gm_list_remove(&s->link);
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

/* ---- holes */

static size_t release_holes(struct gm_span *s, bool at_once) {
    if (s->looked == LOOKED_DONE || s->cls == GM_CLASS_8) return 0;
    if (!at_once && s->looked == LOOKED_NOT) {
        s->looked = LOOKED_ONCE;
        return 0;
    }
    uint64_t holes = gm_holes_of(s);
    s->looked = LOOKED_DONE;
    return holes ? gm_holes_release(s, holes) : 0;
}

/* All spans of a list once, the lock being let go now and then; those that were looked at stand at the end. */
static size_t walk_list(struct central *c, struct gm_list *list, uint64_t until, bool at_once) {
    enum { BATCH = 32 };
    const struct gm_list *first = NULL;
    size_t done = 0;
    uint64_t most = gm_load_relaxed(&c->spans);
    for (bool more = true; more && most > 0 && gm_os_nanotime() < until;) {
        gm_lock(&c->lock);
        for (unsigned k = 0; k < BATCH && more && most > 0; k++, most--) {
            more = !is_empty(list) && list->next != first;
            if (!more) break;
            struct gm_list *l = list->next;
            if (!first) first = l;
            gm_list_remove(l);
            gm_list_push(list->prev, l);
            done += release_holes(gm_list_entry(l, struct gm_span, link), at_once);
        }
        gm_unlock(&c->lock);
    }
    return done;
}

size_t gm_central_release_holes(uint64_t until, bool at_once) {
    static unsigned next; /* atomic: the class where the last call ran out of time */
    size_t done = 0;
    unsigned start = gm_load_relaxed(&next);
    for (unsigned k = 0; k < GM_CLASSES; k++) {
        unsigned cls = (start + k) % GM_CLASSES;
        gm_store_relaxed(&next, cls);
        if (gm_os_nanotime() >= until) return done;
        for (unsigned b = 0; b < BUCKETS; b++) done += walk_list(&central[cls], &central[cls].partial[b], until, at_once);
    }
    return done;
}

static void verify_list(struct gm_list *head, unsigned cls, bool sparse) {
    for (struct gm_list *l = head->next; l && l != head; l = l->next) {
        struct gm_span *s = gm_list_entry(l, struct gm_span, link);
        GM_CHECK(l->next->prev == l && s->cls == cls && s->place == GM_PLACE_PARTIAL);
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
