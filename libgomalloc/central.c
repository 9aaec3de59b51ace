/* See central.h; lists.h for which spans there are to take from, room.c for what is done before the heap grows. */
#include "libgomalloc/central.h"

#include "libgomalloc/base/check.h"
#include "libgomalloc/base/lock.h"
#include "libgomalloc/guests.h"
#include "libgomalloc/heap.h"
#include "libgomalloc/holes.h"
#include "libgomalloc/hooks.h"
#include "libgomalloc/os/os.h"

void (*gm_central_batches_home)(void);

static struct gm_span *pick(struct gm_lists *c) {
    for (unsigned b = 0; b < gm_lists_of(c); b++) {
        struct gm_list *l = gm_lists_at(c, b);
        if (gm_lists_is_empty(l)) continue;
        struct gm_span *s = gm_list_entry(l->next, struct gm_span, link);
        gm_list_remove(&s->link);
        gm_lists_in_use_again(s);
        return s;
    }
    return NULL;
}

/* The same from outside the lock. The span is the caller's as a current one is. */
static struct gm_span *pick_unlocked(struct gm_lists *c) {
    gm_lock(&c->lock);
    struct gm_span *s = pick(c);
    if (s) s->place = GM_PLACE_CURRENT;
    gm_unlock(&c->lock);
    return s;
}

/* A class has short spans until it has the pages of a long one. */
static struct gm_span *new_span(unsigned cls, bool anywhere, unsigned flags) {
    if (gm_load_relaxed(&gm_lists[cls].pages) < gm_class_pages[cls]) flags |= GM_HEAP_SHORT;
    struct gm_span *s = gm_heap_alloc_small(cls, anywhere, flags);
    if (s) gm_add_relaxed(&gm_lists[cls].pages, s->npages);
    if (GM_UNLIKELY(gm_load_relaxed(&gm_heap_fresh) >= GM_FRESH_STEP)) gm_room_look();
    return s;
}

static void release_locked(struct gm_lists *c, struct gm_span *s, struct gm_span **empty) {
    GM_ASSERT(s->place == GM_PLACE_CURRENT);
    *empty = gm_lists_settle(c, s, gm_load_relaxed(&s->nfree)) ? s : NULL;
}

void gm_central_release(struct gm_span *current) {
    struct gm_lists *c = &gm_lists[current->cls];
    struct gm_span *empty;
    gm_lock(&c->lock);
    release_locked(c, current, &empty);
    gm_unlock(&c->lock);
    if (empty) gm_lists_gone(c, empty);
}

unsigned gm_central_refill(unsigned cls, struct gm_span **current, void **out, unsigned want) {
    struct gm_lists *c = &gm_lists[cls];
    struct gm_span *s = *current, *empty = NULL;
    unsigned n = s ? gm_span_take(s, out, want) : 0;
    if (n == 0) {
        gm_lock(&c->lock);
        if (s) release_locked(c, s, &empty);
        s = empty ? empty : pick(c); /* it filled up again while we looked elsewhere: go on with it */
        if (s) s->place = GM_PLACE_CURRENT;
        gm_unlock(&c->lock);
        if (!s && gm_hooks_before_growth()) s = pick_unlocked(c);
        if (!s && GM_UNLIKELY(gm_load_relaxed(&gm_heap_crowded)) && (n = gm_room_lodge(cls, out, want)) != 0) {
            gm_store_relaxed(current, NULL);
            return n;
        }
        if (!s && (s = new_span(cls, false, 0)) != NULL) gm_store_relaxed(&s->place, GM_PLACE_CURRENT); /* a sweep may look */
        gm_store_relaxed(current, s); /* read by idle.c */
        n = s ? gm_span_take(s, out, want) : 0;
    }
    gm_heap_pay();
    if (n) gm_lists_count_out(c, cls, (int)n);
    return n;
}

unsigned gm_central_take(unsigned cls, void **out, unsigned want) {
    struct gm_lists *c = &gm_lists[cls];
    gm_lock(&c->lock);
    struct gm_span *s = pick(c);
    if (!s) {
        gm_unlock(&c->lock);
        if (gm_hooks_before_growth()) s = pick_unlocked(c);
        unsigned lodged = !s && GM_UNLIKELY(gm_load_relaxed(&gm_heap_crowded)) ? gm_room_lodge(cls, out, want) : 0;
        if (lodged) return lodged;
        if (!s) s = new_span(cls, false, 0); /* two threads may do so at once: then there are two */
        if (!s) return 0;
        gm_lock(&c->lock);
    }
    unsigned n = gm_span_take_line(s, out, want);
    gm_lists_settle(c, s, gm_load_relaxed(&s->nfree));
    gm_unlock(&c->lock);
    gm_heap_pay();
    gm_lists_count_out(c, cls, (int)n);
    return n;
}

/* Central lock. */
static void *take_one_locked(struct gm_lists *c) {
    struct gm_span *s = NULL;
    if (!gm_lists_is_empty(&c->sparse)) s = gm_list_entry(c->sparse.next, struct gm_span, link);
    if (s) gm_list_remove(&s->link), gm_lists_in_use_again(s);
    else s = pick(c);
    void *slot;
    if (!s || gm_span_take(s, &slot, 1) == 0) return NULL;
    gm_lists_settle(c, s, gm_load_relaxed(&s->nfree));
    gm_lists_count_out(c, s->cls, 1);
    return slot;
}

void *gm_central_take_one(unsigned cls) {
    struct gm_lists *c = &gm_lists[cls];
    gm_lock(&c->lock);
    void *slot = take_one_locked(c);
    gm_unlock(&c->lock);
    if (slot) return slot;
    struct gm_span *s = new_span(cls, true, 0);
    if (!s) return NULL;
    gm_span_take(s, &slot, 1);
    gm_lock(&c->lock);
    gm_lists_settle(c, s, gm_load_relaxed(&s->nfree));
    gm_unlock(&c->lock);
    gm_lists_count_out(c, cls, 1);
    return slot;
}

/* The leading slots that share a span come home. True: it is now empty, in no list, and the caller's.
 * Central lock. */
static bool give_run(struct gm_lists *c, struct gm_span *s, void **slots, unsigned n, unsigned *given) {
    unsigned home = gm_span_give(s, slots, n, given);
    return s->place != GM_PLACE_CURRENT && gm_lists_resettle(c, s, home, gm_lists_bucket(s, home));
}

void gm_central_give(unsigned cls, void **slots, unsigned n) {
    struct gm_lists *c = &gm_lists[cls];
    struct gm_list empty;
    gm_list_init(&empty);
    unsigned guests = 0;
    gm_lock(&c->lock);
    for (unsigned i = 0, given; i < n; i += given) {
        struct gm_span *s = gm_span_of(gm_arena_of(slots[i]), (uintptr_t)slots[i]);
        GM_CHECK(s && (s->cls == cls || gm_load_relaxed(&gm_guests_ever)));
        if (s->cls != cls) slots[guests++] = slots[i], given = 1;
        else if (give_run(c, s, slots + i, n - i, &given)) gm_list_push(&empty, &s->link);
    }
    gm_unlock(&c->lock);
    gm_lists_count_out(c, cls, -(int)n);
    if (GM_UNLIKELY(guests)) gm_room_give_guests(cls, slots, guests);
    gm_lists_all_gone(c, &empty);
}

struct gm_span *gm_central_odd_span(unsigned cls, unsigned flags) {
    struct gm_span *s = new_span(cls, !(flags & GM_SPAN_TINY), flags);
    if (!s) return NULL;
    if (flags & GM_SPAN_TINY && !gm_span_add_side(s, GM_SIDE_TINY)) {
        gm_lists_gone(&gm_lists[cls], s);
        return NULL;
    }
    s->place = GM_PLACE_CURRENT; /* its owner's for good */
    return s;
}

void gm_central_odd_gone(struct gm_span *s) { gm_lists_gone(&gm_lists[s->cls], s); }

void gm_central_odd_out(unsigned cls, int slots) { gm_lists_count_out(&gm_lists[cls], cls, slots); }

