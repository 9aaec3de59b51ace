/* See free_slots.h. A page's states are 512 bytes, its marks eight words: where slots start there depends on the class and on
 * which of its span's pages it is, and is kept from page to page, as neighbours are often alike. */
#include "gc/free_slots.h"

#include "libgomalloc/base/bits.h"
#include "libgomalloc/gcview.h"

enum { WORDS = GM_PAGE_SIZE / 16 / 64, SPAN_PAGES = 64 };

struct starts {
    unsigned cls;
    uint64_t bits[WORDS];
};

/* A bit for each slot that starts on the page. What is behind the span's last one passes for a slot that is free. */
static void find_starts(struct starts *s, unsigned cls, unsigned page) {
    size_t size = gm_class_size[cls], from = (size_t)page << GM_PAGE_SHIFT;
    *s = (struct starts){ .cls = cls };
    for (size_t p = (from + size - 1) / size * size - from; p < GM_PAGE_SIZE; p += size) s->bits[p >> 10] |= UINT64_C(1) << (p >> 4 & 63);
}

/* The same for those of 64 states that are not 0. */
static inline uint64_t live_bits(const uint64_t *states) {
    uint64_t bits = 0;
    for (unsigned i = 0; i < 8; i++) bits |= (gm_gc_live_states(gm_load_relaxed(&states[i])) >> 7) * UINT64_C(0x0102040810204080) >> 56 << (8 * i);
    return bits;
}

void gc_free_slots_mark(const struct gm_arena *a, size_t bytes) {
    struct starts known[SPAN_PAGES] = { 0 };
    for (size_t page = 0; page < bytes >> GM_PAGE_SHIFT; page++) {
        /* acquire: as everywhere (heap.c). */
        uint64_t e = gm_load_acquire(&a->pages[page]);
        unsigned cls = gm_entry_class(e);
        if (e <= GM_ENTRY_FREED || cls <= GM_CLASS_8 || cls >= GM_FIRST_MEDIUM) continue;
        struct starts *s = &known[gm_entry_page(e)];
        if (s->cls != cls) find_starts(s, cls, gm_entry_page(e));
        uintptr_t start = a->base + (page << GM_PAGE_SHIFT);
        const uint64_t *states = (const uint64_t *)gm_arena_state_of(a, start);
        uint64_t *marks = gm_gc_mark_word(a, start);
        for (unsigned i = 0; i < WORDS; i++) {
            uint64_t free = s->bits[i] & ~live_bits(&states[i * 8]);
            /* Relaxed: a mark guards nothing but itself. */
            if (free) __atomic_fetch_or(&marks[i], free, __ATOMIC_RELAXED);
        }
    }
}
