/* See holes.h; central.c for when and why. */
#include "libgomalloc/holes.h"

#include "libgomalloc/base/bits.h"
#include "libgomalloc/conf.h"
#include "libgomalloc/heap.h"
#include "libgomalloc/huge.h"
#include "libgomalloc/os/os.h"

/* Pieces of `unit` bytes that only slots at home lie on, a bit each. */
static uint32_t free_pieces(const struct gm_span *s, size_t unit) {
    size_t bytes = gm_span_bytes(s), size = gm_class_size[s->cls], slots = gm_class_slots[s->cls];
    uint32_t mask = 0;
    if (!gm_is_aligned(s->start | bytes, unit) || bytes / unit > 32) return 0;
    for (size_t k = 0; k < bytes / unit; k++) {
        size_t i = k * unit / size, last = gm_min(((k + 1) * unit - 1) / size, slots - 1u);
        while (i <= last && (gm_load_relaxed(&s->home[i / 64]) >> (i & 63) & 1)) i++;
        if (i > last) mask |= UINT32_C(1) << k;
    }
    return mask;
}

uint32_t gm_holes_of(const struct gm_span *s) { return free_pieces(s, gm_os_page_size()) & ~s->gone; }

static bool release(void *p, size_t size) {
    return gm_conf.madvise == GM_MADVISE_FREE ? gm_os_release_lazily(p, size) : gm_os_release(p, size);
}

/* Takes the lowest run of bits out of the mask; its length. */
static unsigned next_run(uint64_t *mask, unsigned *from) {
    *from = gm_low_bit(*mask);
    unsigned n = gm_low_bit(~(*mask >> *from));
    *mask &= ~gm_mask(*from, n);
    return n;
}

size_t gm_holes_release(struct gm_span *s, uint32_t pages) {
    size_t unit = gm_os_page_size(), done = 0;
    gm_heap_lock();
    size_t first = gm_arena_page_of(s->arena, s->start);
    bool split = gm_huge_leave(s->arena, first, s->npages);
    gm_heap_unlock();
    if (split) gm_huge_split(s->arena, first, s->npages);
    for (uint64_t left = pages; left;) {
        unsigned from, n = next_run(&left, &from);
        if (!release((void *)(s->start + from * unit), n * unit)) continue;
        s->gone |= (uint32_t)gm_mask(from, n);
        done += n * unit;
    }
    if (done) gm_heap_count_holes((ptrdiff_t)done);
    return done;
}

/* The slots that lie on the pages leave the span. */
static void strike_out(struct gm_span *s, uint32_t pages) {
    size_t size = gm_class_size[s->cls];
    unsigned struck = 0;
    for (size_t i = 0; i < gm_class_slots[s->cls]; i++) {
        size_t first = i * size >> GM_PAGE_SHIFT, last = (i * size + size - 1) >> GM_PAGE_SHIFT;
        uint64_t bit = UINT64_C(1) << (i & 63);
        if (!(pages & gm_mask((unsigned)first, (unsigned)(last - first + 1))) || !(gm_load_relaxed(&s->home[i / 64]) & bit)) continue;
        gm_and_acquire(&s->home[i / 64], ~bit); /* as in gm_span_take */
        struck++;
    }
    gm_sub_relaxed(&s->nfree, struck);
    s->nslots = (uint16_t)(s->nslots - struck);
}

unsigned gm_holes_cede(struct gm_span *s) {
    if (s->npages < 2 || s->npages > 16) return 0;
    uint32_t pages = free_pieces(s, GM_PAGE_SIZE) & ~(uint32_t)s->ceded;
    if (!pages) return 0;
    size_t unit = gm_os_page_size(), each = unit < GM_PAGE_SIZE ? GM_PAGE_SIZE / unit : 0;
    strike_out(s, pages);
    for (uint64_t left = pages; left;) {
        unsigned from, n = next_run(&left, &from);
        uint32_t pieces = each ? (uint32_t)gm_mask((unsigned)(from * each), (unsigned)(n * each)) : 0, gone = s->gone & pieces;
        if (gone) gm_heap_count_holes(-(ptrdiff_t)(gm_popcount(gone) * unit));
        s->gone &= ~pieces;
        gm_heap_cede(s, from, n, gone && gone == pieces && gm_conf.madvise != GM_MADVISE_FREE);
    }
    return gm_popcount(pages);
}

void gm_holes_forget(struct gm_span *s) {
    if (s->cls == GM_CLASS_8 || s->gone == 0) return;
    size_t bytes = gm_popcount(s->gone) * gm_os_page_size();
    gm_heap_count_holes(-(ptrdiff_t)bytes);
    if (gm_load_relaxed(&gm_heap_crowded)) gm_add_relaxed(&gm_heap_owed, bytes); /* paid for when the lock is free */
    s->gone = 0;
}
