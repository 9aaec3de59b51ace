/* See granules.h. */
#include "gc/granules.h"

#include "gc/mark.h"
#include "libgomalloc/base/atomic.h"
#include "libgomalloc/conf.h"
#include "libgomalloc/gcview.h"
#include "libgomalloc/os/os.h"

enum { FIRST_SHIFT = GM_STATE_SHIFT, LAST_SHIFT = 7, PIECE = 512 /* pages a worker takes at a time */ };
/* Then a word of bits never speaks for more than a page, so that spans share none. */
GM_STATIC_ASSERT(64 << LAST_SHIFT <= GM_PAGE_SIZE, "a word of bits lies in one page");

struct gc_granules gc_granules;
static struct {
    size_t pages, bytes;          /* of the arena; of the mapping */
    size_t begun, copied;         /* atomic: pages that somebody has begun to fill, to copy */
    uint32_t done;                /* atomic: pages that are filled */
} table;

static const struct gm_arena *arena(void) { return &gm_space.primary; }

/* The layout: spare lines, the parts of `unmarked` (each a bit per 2^shift bytes), the pages' records. */
static size_t lay_out(void) {
    size_t heap = table.pages << GM_PAGE_SHIFT, at = GC_MARK_WORKERS_MAX * GM_CACHE_LINE, part[LAST_SHIFT + 1];
    for (unsigned shift = LAST_SHIFT; shift >= FIRST_SHIFT; shift--) {
        part[shift] = at * 8 - (arena()->base >> shift);
        at += heap >> (shift + 3);
    }
    for (unsigned c = GM_CLASS_16; c < GM_CLASSES; c++) {
        unsigned shift = gm_min(gm_high_bit(gm_class_size[c]), (unsigned)LAST_SHIFT);
        gc_granules.cls[c] = (struct gc_granule_class){ part[shift], gm_class_reciprocal[c], gm_class_size[c], (uint8_t)shift };
    }
    return at;
}

bool gc_granules_make(void) {
    table.pages = gm_load_acquire(&arena()->committed) >> GM_PAGE_SHIFT;
    table.begun = table.done = table.copied = 0;
    size_t records = lay_out();
    table.bytes = gm_align_up(records + table.pages * sizeof *gc_granules.page, gm_os_page_size());
    bool huge = table.bytes >= GM_CHUNK_SIZE && gm_conf.thp != GM_THP_NEVER;
    if (huge) table.bytes = gm_align_up(table.bytes, GM_CHUNK_SIZE);
    char *p = gm_os_reserve(NULL, table.bytes, huge ? GM_CHUNK_SIZE : gm_os_page_size());
    if (!p) return false;
    gc_granules.unmarked = (uint64_t *)p;
    gc_granules.page = (uint16_t *)(p + records);
    if (!gm_os_commit(p, table.bytes)) {
        gc_granules_drop();
        return false;
    }
    if (huge) gm_os_huge(p, table.bytes, true);
    return true;
}

void gc_granules_drop(void) {
    gm_os_unmap(gc_granules.unmarked, table.bytes);
    gc_granules.unmarked = NULL;
}

static bool take_piece(size_t *next, size_t *from, size_t *to) {
    *from = gm_add_relaxed(next, (size_t)PIECE);
    *to = gm_min(*from + PIECE, table.pages);
    return *from < table.pages;
}

/* Where on a page its first slot starts; the page's size or more: none does. */
static unsigned first_slot(uint64_t e, unsigned size) {
    unsigned before = gm_entry_page(e) << GM_PAGE_SHIFT;
    return (before + size - 1) / size * size - before;
}

/* Bits for the live slots that start on a page; those that are marked already (roots) get none. */
static void fill_bits(uintptr_t start, uint64_t e) {
    const struct gc_granule_class *c = &gc_granules.cls[gm_entry_class(e)];
    const uint8_t *state = gm_arena_state_of(arena(), start);
    const uint64_t *marks = gm_gc_mark_word(arena(), start);
    uint64_t first = c->first + (start >> c->shift), *bits = &gc_granules.unmarked[first >> 6];
    uint64_t word = 0, at = 0;
    for (unsigned p = first_slot(e, c->size); p < GM_PAGE_SIZE; p += c->size) {
        unsigned granule = p >> GM_STATE_SHIFT, bit = p >> c->shift;
        uint64_t live = (gm_load_relaxed(&state[granule]) & GM_STATE_CLASS) != 0;
        if (bit >> 6 != at) {
            gm_store_relaxed(&bits[at], word);
            at = bit >> 6;
            word = 0;
        }
        word |= (live & ~(gm_load_relaxed(&marks[granule >> 6]) >> (granule & 63))) << (bit & 63);
    }
    gm_store_relaxed(&bits[at], word);
}

/* A span that has ceded pages is left to who looks closer: an address may lie in a slot of it that is none any more. */
static void fill_page(size_t page) {
    uint64_t e = gm_load_acquire(&arena()->pages[page]);
    unsigned cls = gm_entry_class(e);
    if (cls <= GM_CLASS_8 || cls >= GM_FIRST_MEDIUM || e & (GM_ENTRY_NOSCAN | GM_ENTRY_UNCOLLECTABLE | GM_ENTRY_TINY)) return;
    if (gm_span_ceded(gm_entry_span(e))) return;
    fill_bits(arena()->base + (page << GM_PAGE_SHIFT), e);
    gm_store_relaxed(&gc_granules.page[page], (uint16_t)(cls | gm_entry_page(e) << GC_GRANULES_PAGE_SHIFT));
}

/* Others may still be at pieces they have taken. */
static void wait_for_others(void) {
    enum { SPINS = 1000, SLICE_NS = 50000 };
    uint32_t done;
    for (unsigned i = 0; (done = gm_load_acquire(&table.done)) < table.pages; i++) {
        if (i < SPINS) gm_cpu_relax();
        else gm_os_futex_wait(&table.done, done, SLICE_NS);
    }
}

void gc_granules_fill(void) {
    for (size_t from, to; take_piece(&table.begun, &from, &to);) {
        for (size_t page = from; page < to; page++) fill_page(page);
        gm_add_acq_rel(&table.done, (uint32_t)(to - from)); /* pairs with the acquire of those who wait: they see what was filled */
    }
    wait_for_others();
}

/* What has no bit any more is marked, or is no object. */
static void copy_page(size_t page) {
    uint64_t e = gm_load_relaxed(&arena()->pages[page]), m = 0;
    if (gc_granules.page[page] == 0) return;
    const struct gc_granule_class *c = &gc_granules.cls[gm_entry_class(e)];
    uintptr_t start = arena()->base + (page << GM_PAGE_SHIFT);
    uint64_t first = c->first + (start >> c->shift), *marks = gm_gc_mark_word(arena(), start);
    const uint64_t *bits = &gc_granules.unmarked[first >> 6];
    unsigned at = 0;
    for (unsigned p = first_slot(e, c->size); p < GM_PAGE_SIZE; p += c->size) {
        unsigned granule = p >> GM_STATE_SHIFT, bit = p >> c->shift;
        if (granule >> 6 != at) {
            gm_store_relaxed(&marks[at], m);
            at = granule >> 6;
            m = 0;
        }
        m |= (~gm_load_relaxed(&bits[bit >> 6]) >> (bit & 63) & 1) << (granule & 63);
    }
    gm_store_relaxed(&marks[at], m);
}

void gc_granules_copy_marks(void) {
    for (size_t page, to; take_piece(&table.copied, &page, &to);)
        for (; page < to; page++) copy_page(page);
}

void gc_granules_copy_again(void) {
    table.copied = 0;
    gc_granules_copy_marks();
}
