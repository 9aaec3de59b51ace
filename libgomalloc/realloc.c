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

void *gm_realloc(void *p, size_t n) {
    struct gm_span *s;
    size_t usable = 0;
    if (p == NULL) return gm_alloc(n);
    switch (gm_what_is(p, &s, &usable)) {
    case GM_FOREIGN: return gm_realloc_foreign(p, n);
    case GM_LARGE:
        if (n <= GM_MEDIUM_MAX && gm_span_is_odd(s)) return gm_odd_realloc(s, p, usable, n);
        if (n > GM_MEDIUM_MAX) return gm_large_realloc(s, n);
        return gm_realloc_move(p, usable, n);
    case GM_SLOT: case GM_SMALL8: case GM_TINY: case GM_NESTED:
        if (worth_keeping(n, usable)) {
            if (gm_load_relaxed(&gm_always_slow)) {
                gm_exact_free(p, usable);
                gm_exact_alloc(p, usable, n);
            }
            return p;
        }
        if (s && gm_span_is_odd(s)) return gm_odd_realloc(s, p, usable, n);
        return gm_realloc_move(p, usable, n);
    case GM_FREED: gm_misuse(GM_CRIME_REALLOC_FREED, p);
    case GM_INTERIOR: gm_misuse(GM_CRIME_REALLOC_INTERIOR, p);
    case GM_MISALIGNED: gm_misuse(GM_CRIME_REALLOC_MISALIGNED, p);
    case GM_UNKNOWN: break;
    }
    gm_misuse(GM_CRIME_REALLOC_UNKNOWN, p);
}
