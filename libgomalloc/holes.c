/* See holes.h; central.c for when and why. */
#include "libgomalloc/holes.h"

#include "libgomalloc/base/bits.h"
#include "libgomalloc/conf.h"
#include "libgomalloc/heap.h"
#include "libgomalloc/huge.h"
#include "libgomalloc/os/os.h"

uint64_t gm_holes_of(const struct gm_span *s) {
    size_t unit = gm_os_page_size(), bytes = gm_span_bytes(s), size = gm_class_size[s->cls];
    uint64_t mask = 0;
    if (!gm_is_aligned(s->start | bytes, unit) || bytes / unit > 64) return 0;
    for (size_t k = 0; k < bytes / unit; k++) {
        size_t i = k * unit / size, last = gm_min(((k + 1) * unit - 1) / size, s->nslots - 1u);
        while (i <= last && (gm_load_relaxed(&s->home[i / 64]) >> (i & 63) & 1)) i++;
        if (i > last) mask |= UINT64_C(1) << k;
    }
    return mask & ~s->gone;
}

static bool release(void *p, size_t size) {
    return gm_conf.madvise == GM_MADVISE_FREE ? gm_os_release_lazily(p, size) : gm_os_release(p, size);
}

size_t gm_holes_release(struct gm_span *s, uint64_t pages) {
    size_t unit = gm_os_page_size(), done = 0;
    gm_heap_lock();
    size_t first = gm_arena_page_of(s->arena, s->start);
    bool split = gm_huge_leave(s->arena, first, s->npages);
    gm_heap_unlock();
    if (split) gm_huge_split(s->arena, first, s->npages);
    for (uint64_t left = pages; left;) {
        unsigned from = gm_low_bit(left), n = ~(left >> from) ? gm_low_bit(~(left >> from)) : 64;
        uint64_t run = gm_mask(from, n);
        left &= ~run;
        if (!release((void *)(s->start + from * unit), n * unit)) continue;
        s->gone |= run;
        done += n * unit;
    }
    if (done) gm_heap_count_holes((ptrdiff_t)done);
    return done;
}

void gm_holes_forget(struct gm_span *s) {
    if (s->cls == GM_CLASS_8 || s->gone == 0) return;
    gm_heap_count_holes(-(ptrdiff_t)((unsigned)__builtin_popcountll(s->gone) * gm_os_page_size()));
    s->gone = 0;
}
