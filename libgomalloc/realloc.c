/* realloc: in place where the slot or the pages behind allow it, else elsewhere. See malloc.c. */
#include <errno.h>
#include <string.h>

#include "libgomalloc/base/check.h"
#include "libgomalloc/base/bits.h"
#include "libgomalloc/front.h"
#include "libgomalloc/noscan.h"

/* A slot is kept when shrinking leaves it at least half full: moving costs more than it saves. */
static bool worth_keeping(size_t n, size_t usable) {
    size_t need = n > 16 && n <= GM_MEDIUM_MAX ? n + gm_class_end_room : n;
    return need <= usable && (need >= usable / 2 || usable <= 64);
}

void *gm_realloc_move(void *p, size_t usable, size_t n) {
    int saved = errno;
    void *q = gm_alloc(n);
    if (!q) {
        if (n > usable) return NULL;
        errno = saved; /* a shrink that cannot move stays where it is: that is success */
        return p;
    }
    memcpy(q, p, gm_min(usable, n));
    gm_free(p);
    return q;
}

/* A live object that is not large. */
static void *realloc_small(struct gm_span *s, void *p, size_t usable, size_t n) {
    if (worth_keeping(n, usable)) {
        if (GM_UNLIKELY(gm_load_relaxed(&gm_always_slow))) {
            gm_exact_free(p, usable);
            gm_exact_alloc(p, usable, n);
        }
        return p;
    }
    if (s && gm_span_is_odd(s)) return gm_odd_realloc(s, p, usable, n);
    return gm_realloc_move(p, usable, n);
}

/* The record of the live large object of the primary arena that starts at p, if the page table says so at once; else NULL. */
static inline struct gm_span *plain_large(const void *p) {
    uintptr_t at = (uintptr_t)p;
    if (at & (GM_PAGE_SIZE - 1) || gm_index16(p) >= gm_load_relaxed(&gm_space.limit16)) return NULL;
    uint64_t e = gm_load_acquire(&gm_space.primary.pages[gm_arena_page_of(&gm_space.primary, at)]); /* acquire: as gm_span_of */
    struct gm_span *s = e > GM_ENTRY_FREED && gm_entry_class(e) == 0 ? gm_entry_span(e) : NULL;
    return s && s->start == at && gm_load_relaxed(&s->state) ? s : NULL;
}

/* `usable`: of a plain slot, else 0. */
static GM_NOINLINE void *realloc_else(void *p, size_t usable, size_t n) {
    struct gm_span *s;
    if (usable) return realloc_small(NULL, p, usable, n);
    if (p == NULL) return gm_alloc(n);
    switch (gm_what_is(p, &s, &usable)) {
    case GM_FOREIGN: return gm_realloc_foreign(p, n);
    case GM_LARGE:
        if (n <= GM_MEDIUM_MAX && gm_span_is_odd(s)) return gm_odd_realloc(s, p, usable, n);
        if (n > GM_MEDIUM_MAX) return gm_large_realloc(s, n);
        return gm_realloc_move(p, usable, n);
    case GM_SLOT: case GM_SMALL8: case GM_TINY: case GM_NESTED:
        return realloc_small(s, p, usable, n);
    case GM_FREED: gm_misuse(GM_CRIME_REALLOC_FREED, p);
    case GM_INTERIOR: gm_misuse(GM_CRIME_REALLOC_INTERIOR, p);
    case GM_MISALIGNED: gm_misuse(GM_CRIME_REALLOC_MISALIGNED, p);
    case GM_UNKNOWN: break;
    }
    gm_misuse(GM_CRIME_REALLOC_UNKNOWN, p);
}

void *gm_realloc(void *p, size_t n) {
    size_t usable = gm_plain_size(p);
    struct gm_span *s;
    if (GM_LIKELY(usable != 0 && worth_keeping(n, usable) && !gm_load_relaxed(&gm_always_slow))) return p;
    if (n > GM_MEDIUM_MAX && (s = plain_large(p)) != NULL) return gm_large_has_room(s, n) ? p : gm_large_realloc(s, n);
    return realloc_else(p, usable, n);
}
