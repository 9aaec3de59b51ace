/* See lists.h. */
#include "libgomalloc/lists.h"

#include "libgomalloc/base/check.h"
#include "libgomalloc/guests.h"
#include "libgomalloc/heap.h"
#include "libgomalloc/holes.h"
#include "libgomalloc/hooks.h"

struct gm_lists gm_lists[GM_CLASSES];
struct gm_list gm_lists_by_run[GM_RUNS];
const struct gm_central_roots gm_central_roots = { gm_lists, sizeof(struct gm_lists), offsetof(struct gm_lists, out),
                                                   offsetof(struct gm_lists, pages) };

void gm_central_init(void) {
#ifdef GM_DEBUG /* ranks are looked at in debug builds only */
    for (unsigned cls = 0; cls < GM_CLASSES; cls++) gm_lock_init(&gm_lists[cls].lock, GM_RANK_CENTRAL, cls);
#endif
}

void gm_central_lock_all(void) {
    for (unsigned cls = 0; cls < GM_CLASSES; cls++) gm_lock(&gm_lists[cls].lock);
}
void gm_central_unlock_all(void) {
    for (unsigned cls = GM_CLASSES; cls-- > 0;) gm_unlock(&gm_lists[cls].lock);
}

void gm_lists_count_out(struct gm_lists *c, unsigned cls, int slots) {
    gm_add_relaxed(&c->out, (uint64_t)(int64_t)slots);
    gm_hooks_moved((int64_t)slots * gm_class_size[cls]);
}

uint64_t gm_central_out(unsigned cls) { return gm_load_relaxed(&gm_lists[cls].out); }
uint64_t gm_central_span_bytes(unsigned cls) {
    return gm_load_relaxed(&gm_lists[cls].pages) * GM_PAGE_SIZE;
}

void gm_central_lock_class(unsigned cls) { gm_lock(&gm_lists[cls].lock); }
void gm_central_unlock_class(unsigned cls) { gm_unlock(&gm_lists[cls].lock); }

unsigned gm_lists_bucket(const struct gm_span *s, unsigned home) {
    if (s->cls == GM_CLASS_HOST && GM_UNLIKELY(gm_load_relaxed(&gm_guests_ever)) && !(s->flags & GM_SPAN_SPARSE)) {
        unsigned longest = gm_guests_longest(s);
        if (longest) return GM_BUCKETS + gm_lists_run(longest);
    }
    return home * GM_BUCKETS / s->nslots;
}

bool gm_lists_settle_in(struct gm_lists *c, struct gm_span *s, unsigned n, unsigned bucket) {
    if (n == s->nslots) {
        s->place = GM_PLACE_HEAP;
        return true;
    }
    s->place = n ? GM_PLACE_PARTIAL : GM_PLACE_FULL;
    if (n == 0) return false;
    s->bucket = (uint8_t)bucket;
    gm_lists_add(s->flags & GM_SPAN_SPARSE ? &c->sparse : gm_lists_at(c, s->bucket), s);
    return false;
}
bool gm_lists_settle(struct gm_lists *c, struct gm_span *s, unsigned n) { return gm_lists_settle_in(c, s, n, n ? gm_lists_bucket(s, n) : 0); }

void gm_lists_gone(struct gm_lists *c, struct gm_span *s) {
    gm_sub_relaxed(&c->pages, s->npages - gm_popcount(gm_span_ceded(s)));
    gm_heap_free(s);
}

void gm_lists_all_gone(struct gm_lists *c, struct gm_list *empty) {
    while (!gm_list_empty(empty)) {
        struct gm_span *s = gm_list_entry(empty->next, struct gm_span, link);
        gm_list_remove(&s->link);
        gm_lists_gone(c, s);
    }
}

void gm_lists_in_use_again(struct gm_span *s) {
    s->looked = GM_LOOKED_NOT;
    gm_holes_forget(s);
}

bool gm_lists_resettle(struct gm_lists *c, struct gm_span *s, unsigned home, unsigned bucket) {
    s->looked = GM_LOOKED_NOT;
    if (home == s->nslots) gm_lists_in_use_again(s);
    if (s->place == GM_PLACE_PARTIAL && home != s->nslots && bucket == s->bucket) return false;
    gm_list_remove(&s->link);
    return gm_lists_settle_in(c, s, home, bucket);
}

/* ---- checks */

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
        struct gm_lists *c = &gm_lists[cls];
        gm_lock(&c->lock);
        for (unsigned b = 0; b < gm_lists_of(c); b++) verify_list(gm_lists_at(c, b), cls, false);
        verify_list(&c->sparse, cls, true);
        gm_unlock(&c->lock);
    }
}
