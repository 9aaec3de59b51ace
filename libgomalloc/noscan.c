/* See noscan.h.
 *
 * The slots' state byte is GM_CLASS_8 and the colour: in the tables that means "odd, see the page
 * entry" (gcview.h). So the fast path of free, whose bin 1 is always full, sends them here by way of
 * gm_free_odd, and the marker, which meets them among ordinary slots, knows at once that it has to look.
 *
 * Per kind and class: a list of the spans with room at home, the first one is taken from. Full ones are in no
 * list (place FULL) until a slot comes home. */
#include "libgomalloc/noscan.h"

#include <errno.h>
#include <string.h>

#include "libgomalloc/base/bits.h"
#include "libgomalloc/base/check.h"
#include "libgomalloc/base/lock.h"
#include "libgomalloc/central.h"
#include "libgomalloc/front.h"
#include "libgomalloc/nested.h"
#include "libgomalloc/profile.h"

enum { KINDS = 3, TINY_MAX = 16 };
static const uint8_t flags_of[KINDS] = { GM_SPAN_NOSCAN, GM_SPAN_UNCOLLECTABLE, GM_SPAN_NOSCAN | GM_SPAN_UNCOLLECTABLE };

static struct gm_lock odd_lock = GM_LOCK_INIT(GM_RANK_ODD);
static struct gm_list with_room[KINDS][GM_CLASSES]; /* odd lock; zero until first used */

void gm_odd_fork_lock(void) { gm_lock(&odd_lock); }
void gm_odd_fork_unlock(void) { gm_unlock(&odd_lock); }

static unsigned kind_of(const struct gm_span *s) {
    unsigned k = 0;
    while (flags_of[k] != (s->flags & (GM_SPAN_NOSCAN | GM_SPAN_UNCOLLECTABLE))) k++;
    return k;
}

/* Odd lock. */
static struct gm_list *list_of(unsigned kind, unsigned cls) {
    struct gm_list *l = &with_room[kind][cls];
    if (!l->next) gm_list_init(l);
    return l;
}

/* Odd lock, which is given up while a span is made. */
static struct gm_span *span_with_room(unsigned kind, unsigned cls) {
    struct gm_list *l = list_of(kind, cls);
    if (gm_list_empty(l)) {
        gm_unlock(&odd_lock);
        struct gm_span *s = gm_central_odd_span(cls, flags_of[kind]);
        gm_lock(&odd_lock);
        if (!s) return NULL;
        s->place = GM_PLACE_PARTIAL;
        gm_list_push(l, &s->link);
    }
    return gm_list_entry(l->next, struct gm_span, link);
}

static void *take(unsigned kind, unsigned cls) {
    void *slot = NULL;
    gm_lock(&odd_lock);
    struct gm_span *s = span_with_room(kind, cls);
    if (s && gm_span_take(s, &slot, 1) == 1 && gm_load_relaxed(&s->nfree) == 0) {
        gm_list_remove(&s->link);
        s->place = GM_PLACE_FULL;
    }
    gm_unlock(&odd_lock);
    if (!slot) return NULL;
    gm_central_odd_out(cls, 1);
    gm_state_set(s->arena, (uintptr_t)slot, cls, (uint8_t)(GM_CLASS_8 | gm_load_relaxed(&gm_colour)));
    return slot;
}

void gm_odd_give(struct gm_span *s, void *slot) {
    gm_central_odd_out(s->cls, -1);
    gm_lock(&odd_lock);
    bool empty = gm_span_give_one(s, (uintptr_t)slot) == s->nslots;
    if (s->place == GM_PLACE_FULL) {
        s->place = GM_PLACE_PARTIAL;
        gm_list_push(list_of(kind_of(s), s->cls), &s->link);
    }
    if (empty) {
        gm_list_remove(&s->link);
        s->place = GM_PLACE_HEAP;
    }
    gm_unlock(&odd_lock);
    if (empty) gm_central_odd_gone(s);
}

static void *alloc(size_t n, unsigned flags, bool zeroed) {
    bool zero = false;
    unsigned kind = 0, cls;
    void *p;
    if (gm_nested()) return gm_nested_alloc(n);
    gm_init_once();
    while (flags_of[kind] != flags) kind++;
    if (n > GM_MEDIUM_MAX) {
        p = gm_large_alloc(n, 1, flags, &zero);
    } else {
        cls = gm_class_of(gm_max(n, 16)); /* no class 8: its slots share their mark bits */
        p = take(kind, cls);
        if (!p && gm_reclaim(n)) p = take(kind, cls);
        if (!p) return gm_out_of_memory();
        gm_cache_count_direct(cls, n);
        if (gm_load_relaxed(&gm_always_slow)) gm_exact_alloc(p, gm_class_size[cls], n);
        if (GM_UNLIKELY(gm_load_relaxed(&gm_sampling))) gm_profile_note(p, n);
    }
    if (p && zeroed && !zero) memset(p, 0, n);
    return p;
}

void *gm_alloc_noscan(size_t n, bool zeroed) {
    if (n >= TINY_MAX) return alloc(n, GM_SPAN_NOSCAN, zeroed);
    void *p = gm_alloc_tiny(n);
    if (p && zeroed) memset(p, 0, n);
    return p;
}

void *gm_alloc_uncollectable(size_t n, bool noscan) {
    return alloc(n, GM_SPAN_UNCOLLECTABLE | (noscan ? GM_SPAN_NOSCAN : 0), true);
}

void *gm_odd_realloc(struct gm_span *s, void *p, size_t usable, size_t n) {
    int saved = errno;
    void *q = alloc(n, s->flags & (GM_SPAN_NOSCAN | GM_SPAN_UNCOLLECTABLE), false);
    if (!q) {
        if (n > usable) return NULL;
        errno = saved; /* a shrink that cannot move stays where it is */
        return p;
    }
    memcpy(q, p, gm_min(usable, n));
    if (s->flags & GM_SPAN_UNCOLLECTABLE && n > usable) memset((char *)q + usable, 0, n - usable);
    gm_free(p);
    return q;
}
