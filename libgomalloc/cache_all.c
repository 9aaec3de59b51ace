/* What is done with all caches together: the collector's turning of colours, batches sent home, the numbers and checks. See cache.h. */
#include "libgomalloc/cache.h"

#include "libgomalloc/arena.h"
#include "libgomalloc/base/check.h"
#include "libgomalloc/base/lock.h"
#include "libgomalloc/central.h"
#include "libgomalloc/guests.h"
#include "libgomalloc/lists.h"
#include "libgomalloc/meta.h"
#include "libgomalloc/transfer.h"

/* ---- for the collector: the world is held, locks are in anybody's hands */

static void flip_list(const struct gm_list *list) {
    for (struct gm_list *l = gm_load_acquire(&list->next); l != list; l = gm_load_acquire(&l->next))
        gm_store_relaxed(&gm_list_entry(l, struct gm_cache, link)->colour, gm_load_relaxed(&gm_colour));
}

void gm_cache_flip(void) {
    gm_store_relaxed(&gm_colour, gm_load_relaxed(&gm_colour) ^ GM_STATE_COLOUR);
    gm_store_relaxed(&gm_no_cache.colour, gm_load_relaxed(&gm_colour));
    flip_list(gm_cache_roots.all);
    flip_list(gm_cache_roots.orphans);
}

void gm_cache_each_tiny(void (*fn)(void *arg, uintptr_t p), void *arg) {
    const struct gm_list *lists[2] = { gm_cache_roots.all, gm_cache_roots.orphans };
    for (unsigned i = 0; i < 2; i++) {
        for (struct gm_list *l = gm_load_acquire(&lists[i]->next); l != lists[i]; l = gm_load_acquire(&l->next)) {
            const struct gm_cache *c = gm_list_entry(l, struct gm_cache, link);
            /* The open block ends where tiny_end says; while it is being closed one of the two may be 0. */
            uintptr_t end = gm_load_relaxed(&c->tiny_end), next = gm_load_relaxed(&c->tiny_next);
            if (end) fn(arg, end - 1);
            if (next) fn(arg, next);
        }
    }
}

/* ---- sampling */

/* The owners read it only while allocations are sampled; one that has not seen yet that they are not any more may go on from
 * what it had. */
void gm_cache_unset_samples(void) {
    gm_cache_threads_lock();
    for (struct gm_list *l = gm_cache_roots.all->next; l != gm_cache_roots.all; l = l->next)
        gm_store_relaxed(&gm_list_entry(l, struct gm_cache, link)->until_sample, GM_SAMPLE_UNSET);
    gm_cache_threads_unlock();
}

/* ---- batches */

void gm_cache_flush_transfers(void) {
    void *slots[GM_BATCH_MAX];
    for (unsigned cls = 1; cls < GM_CLASSES; cls++)
        for (unsigned n; (n = gm_transfer_get(cls, slots, true)) != 0;) gm_central_give(cls, slots, n);
}

/* ---- numbers */

static void add_totals(const struct gm_list *list, struct gm_cache_totals totals[GM_CLASSES]) {
    for (struct gm_list *l = list->next; l != list; l = l->next) {
        struct gm_cache *c = gm_list_entry(l, struct gm_cache, link);
        for (unsigned cls = 1; cls < GM_CLASSES; cls++) {
            struct gm_cache_totals *t = &totals[cls];
            struct gm_cache_counts n = gm_cache_counts(c, cls);
            t->mallocs += n.mallocs;
            t->requested += n.requested;
            t->cached += gm_bin_count(c, gm_bin_of(cls));
        }
    }
}

void gm_cache_totals(struct gm_cache_totals totals[GM_CLASSES], unsigned *threads) {
    const struct gm_cache_roots *r = &gm_cache_roots;
    gm_cache_threads_lock();
    *threads = gm_cache_living();
    for (unsigned cls = 0; cls < GM_CLASSES; cls++) {
        struct gm_cache_totals *t = &totals[cls];
        t->mallocs = r->dead[cls].mallocs + gm_load_relaxed(&r->direct[cls].mallocs);
        t->requested = r->dead[cls].requested + gm_load_relaxed(&r->direct[cls].requested);
        t->cached = 0;
    }
    add_totals(r->all, totals);
    add_totals(r->orphans, totals);
    gm_cache_threads_unlock();
}

size_t gm_cache_record_bytes(void) {
    const struct gm_cache_roots *r = &gm_cache_roots;
    size_t sum = gm_load_relaxed(&r->caches->total) * r->caches->size + gm_load_relaxed(&r->mores->total) * r->mores->size + gm_transfer_bytes();
    for (unsigned k = 0; k < r->n_arrays; k++) sum += gm_load_relaxed(&r->arrays[k].total) * r->arrays[k].size;
    return sum;
}

/* ---- checks */

/* Under the class's lock: spans change (room.c) under it, and never before gm_guests_ever is set. */
void gm_cache_verify(struct gm_cache *c) {
    for (unsigned cls = 2; cls < GM_CLASSES; cls++) {
        unsigned n = gm_bin_count(c, cls);
        if (n == 0) continue;
        gm_lock(&gm_lists[cls].lock);
        for (unsigned i = 0; i < n && !gm_load_relaxed(&gm_guests_ever); i++) {
            uintptr_t slot = (uintptr_t)gm_bin_first(c, cls)[i];
            const struct gm_span *s = gm_span_of(&gm_space.primary, slot);
            GM_CHECK(s && s->cls == cls && gm_span_slot(s, gm_span_index(s, slot)) == slot);
            GM_CHECK(gm_state_get(&gm_space.primary, slot, cls) == 0);
            GM_CHECK(!(gm_load_relaxed(&s->home[gm_span_index(s, slot) / 64]) >> (gm_span_index(s, slot) & 63) & 1));
        }
        gm_unlock(&gm_lists[cls].lock);
    }
}
