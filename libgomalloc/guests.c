/* See guests.h.
 *
 * Random survivors of small objects pin spans that nothing else can be made of: of 128 objects to a kernel page one in
 * twenty stays, and not one page in five hundred is free of them. An allocator with boundary tags would join the free
 * neighbours and serve any size from them. So can this one: what free() goes by is the state of the object's start (arena.h),
 * which names the object's class whatever the span around it is. A guest is an object of class C that covers a run of
 * slots of a host, a span of 16-byte slots. While it is out, the home bits of all these slots are clear; the states inside
 * it are 0, in both tables of states. Guests above 1 KiB have theirs in the second one: no two of them start in one KiB.
 *
 *   malloc, free, the caches and batches    see a slot of class C like others
 *   what comes home to central              finds that the span is not of class C, and sets the home bits of the run
 *   who asks what lies at an address        goes by the states (gm_guests_find), not by the span's grid
 *
 * A nearly empty span of another class is made into hosts, one for each page: the objects in it become guests where they
 * lie, which may be across two hosts, and all the rest is room. What no longer fits the class's grid (between pages that
 * it ceded, at the span's end) is room again as well. Its record goes while there are live objects in it, which is
 * otherwise never so: who looks at the record of a live slot without the class's lock looks at the page's entry again when
 * he is done (gm_what_is). A host is never made into anything else while there is an object in it.
 *
 * A guest is aligned as a slot of its own class is: to the largest power of two that divides its size.
 *
 * There are none where a collector runs, which finds objects by the grid, and none are made while or after allocations
 * are sampled: a sampled object's class is known by its span only. */
#include "libgomalloc/guests.h"

#include "libgomalloc/base/check.h"

bool gm_guests_ever;

enum { UNIT = 16, UNITS = GM_PAGE_SIZE / UNIT };

/* The first unit from i on whose home bit is `home`; UNITS if there is none. */
static unsigned next(const struct gm_span *s, unsigned i, bool home) {
    while (i < UNITS) {
        uint64_t bits = gm_load_relaxed(&s->home[i / 64]);
        bits = (home ? bits : ~bits) >> (i & 63);
        if (bits) return i + gm_low_bit(bits);
        i = (i | 63) + 1;
    }
    return UNITS;
}

/* The bits of units [i, end) in the word that i lies in. */
static uint64_t bits_of(unsigned i, unsigned end) { return gm_mask(i & 63, (unsigned)gm_min(end - i, 64 - (i & 63))); }

static void take(struct gm_span *s, unsigned i, unsigned end) {
    for (; i < end; i = (i | 63) + 1) gm_and_acquire(&s->home[i / 64], ~bits_of(i, end)); /* as in gm_span_take */
}

unsigned gm_guests_take(struct gm_span *s, unsigned cls, void **out, unsigned want) {
    unsigned width = gm_class_size[cls] / UNIT, n = 0;
    unsigned aligned = (unsigned)gm_min(width & -width, UNITS); /* pages are aligned to 8 KiB */
    for (unsigned i = next(s, 0, true); i < UNITS && n < want;) {
        unsigned end = next(s, i, false);
        for (i = (unsigned)gm_align_up(i, aligned); n < want && i + width <= end; i += width) {
            take(s, i, i + width);
            out[n++] = (void *)(s->start + i * UNIT);
        }
        i = next(s, end, true);
    }
    if (n) gm_sub_relaxed(&s->nfree, n * width);
    for (unsigned i = 0; i < n / 2; i++) {
        void *p = out[i];
        out[i] = out[n - 1 - i];
        out[n - 1 - i] = p;
    }
    return n;
}

unsigned gm_guests_longest(const struct gm_span *s) {
    unsigned longest = 0;
    for (unsigned i = next(s, 0, true), end; i < UNITS; i = next(s, end, true)) {
        end = next(s, i, false);
        longest = (unsigned)gm_max(longest, end - i);
    }
    return longest;
}

unsigned gm_guests_run(const struct gm_span *s, uintptr_t p) {
    unsigned i = (unsigned)(p - s->start) / UNIT, end = next(s, i, false), w = i / 64;
    uint64_t out = ~gm_load_relaxed(&s->home[w]) & gm_mask(0, i & 63);
    while (!out && w > 0) out = ~gm_load_relaxed(&s->home[--w]);
    return out ? end - (w * 64 + gm_high_bit(out) + 1) : end;
}

unsigned gm_guests_give(struct gm_span *s, uintptr_t from, uintptr_t to) {
    GM_CHECK(s && s->cls == GM_CLASS_HOST && from >= s->start && to <= s->start + GM_PAGE_SIZE);
    unsigned i = (unsigned)(from - s->start) / UNIT, end = (unsigned)(to - s->start) / UNIT, width = end - i;
    for (; i < end; i = (i | 63) + 1) {
        /* release: as in gm_span_give. */
        uint64_t bits = bits_of(i, end), before = gm_or_release(&s->home[i / 64], bits);
        GM_CHECK(!(before & bits));
    }
    return gm_add_relaxed(&s->nfree, width) + width;
}

/* A slot that was struck out with pages the span ceded is neither at home nor out: it overlaps one of them. And a short
 * span (heap.c) ends before its last. */
static bool is_out(const struct gm_span *s, unsigned i, unsigned ceded) {
    size_t from = (size_t)i * gm_class_size[s->cls], to = from + gm_class_size[s->cls] - 1;
    if (gm_load_relaxed(&s->home[i / 64]) >> (i & 63) & 1 || to >= gm_span_bytes(s)) return false;
    return !(ceded & gm_mask((unsigned)(from >> GM_PAGE_SHIFT), (unsigned)((to >> GM_PAGE_SHIFT) - (from >> GM_PAGE_SHIFT) + 1)));
}

void gm_guests_move_in(struct gm_span *host, const struct gm_span *s, unsigned page) {
    size_t size = gm_class_size[s->cls], low = (size_t)page << GM_PAGE_SHIFT, high = low + GM_PAGE_SIZE;
    unsigned ceded = gm_span_ceded(s), left = UNITS;
    host->start = s->start + low;
    host->arena = s->arena;
    host->npages = 1;
    for (unsigned i = (unsigned)(low / size); i < gm_class_slots[s->cls] && i * size < high; i++) {
        if (!is_out(s, i, ceded)) continue;
        unsigned from = (unsigned)(gm_max(i * size, low) - low) / UNIT, to = (unsigned)(gm_min((i + 1) * size, high) - low) / UNIT;
        take(host, from, to);
        left -= to - from;
    }
    host->nfree = left;
}

/* The object that covers p, by one of the tables of states: the next start at or below p there. 0: none, or it is odd, and
 * its size not known. Objects do not overlap, so it does not matter which table is asked first. */
static uintptr_t covering(uintptr_t at, uint8_t state, uintptr_t p, unsigned *cls) {
    *cls = state & GM_STATE_CLASS;
    return at == p || (*cls > GM_CLASS_8 && p - at < gm_class_size[*cls]) ? at : 0;
}
static uintptr_t find_small(const struct gm_arena *a, uintptr_t p, size_t reach, unsigned *cls) {
    uintptr_t at = gm_align_down(p, UNIT), lowest = at - gm_min(at - a->base, reach);
    for (; at >= lowest; at -= UNIT) {
        uint8_t state = gm_load_relaxed(gm_arena_state_of(a, at));
        if (state) return covering(at, state, p, cls);
    }
    return 0;
}
static uintptr_t find_medium(const struct gm_arena *a, uintptr_t p, unsigned *cls) {
    const uintptr_t unit = (uintptr_t)1 << GM_STATE_MEDIUM_SHIFT;
    uintptr_t piece = gm_align_down(p, unit), lowest = piece - gm_min(piece - a->base, GM_MEDIUM_MAX);
    for (; piece >= lowest; piece -= unit) {
        uint16_t word = gm_load_relaxed(gm_arena_medium_of(a, piece));
        uintptr_t at = piece + ((uintptr_t)(word >> 8) << GM_STATE_SHIFT);
        if (word && at <= p) return covering(at, (uint8_t)word, p, cls);
    }
    return 0;
}

uintptr_t gm_guests_find(const struct gm_arena *a, uintptr_t p, unsigned *cls) {
    uintptr_t at = find_small(a, p, 0, cls); /* mostly it starts at p */
    if (!at) at = find_medium(a, p, cls);
    return at ? at : find_small(a, p, GM_SMALL_MAX, cls);
}
