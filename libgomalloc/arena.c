/* See arena.h. Layout of one reservation, low to high: bitmaps and summaries of the page index
 * (ready as a whole once it is needed, touched as the heap grows), slot states by KiB (downwards) and page table (upwards), slot states by
 * 16 bytes, the library's records
 * (primary arena only, see meta.h), heap. */
#include "libgomalloc/arena.h"

#include <string.h>

#include "libgomalloc/base/check.h"
#include "libgomalloc/hooks.h"
#include "libgomalloc/meta.h"
#include "libgomalloc/os/os.h"

struct gm_space gm_space GM_ALIGNED(2048); /* what a small process writes of it is on one page */
uint8_t gm_colour;

/* The size asked for first; halved until it can be had. 256 GiB is ten times what the machines at
 * hand have, costs one line in /proc/self/maps, and its tables are 16.8 GiB of equally unbacked
 * address space. Large memories get four times what they have, up to 1 TiB. */
enum { MIN_PRIMARY_MIB = 2 };
#define PRIMARY_DEFAULT ((size_t)256 << 30)
#define PRIMARY_MAX     ((size_t)1 << 40)

/* The sparse map: two levels over 48 bits of address. Written under the heap lock, read anywhere. */
enum { ROOT_BITS = 11, LEAF_BITS = 11 };
static struct gm_arena **sparse_root[1 << ROOT_BITS];
struct gm_arena *gm_sparse_arenas;      /* list; added to under the heap lock */

static struct gm_arena *spare;          /* records of dropped arenas and of tries that failed; heap lock */

struct layout {
    size_t index, both, medium, state, meta, total; /* bytes before the heap: of the tables, and their sum */
    /* both: page table and states by KiB, of which `medium` come before the place where they meet, in the middle of a
     * kernel page: a small heap touches one page of the two. */
};

/* A span record takes at most 128 bytes per 8 KiB page (192 for class 8): twice that for records. */
enum { META_SHIFT = 5 };

/* Heap, states and records would all begin at a multiple of 64 MiB, and what a small process has most use of lies at the beginning of
 * each. AMD's first-level cache guesses the way of a line by a hash of the address's bits 12 to 27: two lines of one set
 * whose hashes agree push each other out, and a malloc of which state, block and cache record meet so takes ten times as
 * long (a pair of 64 bytes: 45 ns, and 6 with these distances, which make the hashes differ). */
enum { RECORDS_APART = 0x6b000, STATES_APART = 0x34000 };

static struct layout layout_of(size_t heap, size_t os_page, bool primary) {
    size_t chunks = gm_align_up(heap, GM_CHUNK_SIZE) / GM_CHUNK_SIZE;
    struct layout l;
    l.index = gm_align_up(chunks * sizeof(struct gm_pagebits) + gm_pageindex_bytes(chunks), os_page);
    l.medium = gm_align_up((heap >> GM_STATE_MEDIUM_SHIFT) * sizeof(uint16_t), os_page) + os_page / 2;
    l.both = gm_align_up(l.medium + (heap >> GM_PAGE_SHIFT) * sizeof(uint64_t), os_page);
    l.state = gm_align_up((heap >> GM_STATE_SHIFT) + (primary ? STATES_APART : 0), os_page);
    l.meta = primary ? gm_align_up((heap >> META_SHIFT) + RECORDS_APART, os_page) : 0;
    l.total = l.index + l.both + l.state + l.meta;
    return l;
}

/* ---- mark bitmaps: mappings of their own, because they may be shared while the heap never is */

static bool marks_wanted, marks_shared; /* heap lock */

static size_t marks_bytes(const struct gm_arena *a) { return gm_align_up(a->size >> (GM_STATE_SHIFT + 3), gm_os_page_size()); }

static bool make_marks(struct gm_arena *a) {
    if (!marks_wanted || a->size == 0 || a->marks) return true;
    a->marks = gm_os_map_sparse(marks_bytes(a), marks_shared);
    if (a->marks) gm_os_name(a->marks, marks_bytes(a), "gomalloc marks");
    return a->marks != NULL;
}

static void drop_marks(struct gm_arena *a) {
    if (a->marks) gm_os_unmap(a->marks, marks_bytes(a));
    a->marks = NULL;
}

/* ---- huge pages for a marker, which reads states and marks at random */

/* Not for a small heap, of which one huge page of tables would be a large part. */
enum { STATES_HUGE_FROM = 32 << 20 };
static bool tables_huge;                /* heap lock */

void gm_arena_huge_tables(void) {
    struct gm_arena *a = &gm_space.primary;
    if (!tables_huge && a->size) gm_os_huge(a->state, a->size >> GM_STATE_SHIFT, true);
    tables_huge = true;
}

/* Bytes of states that are made ready for `heap` bytes: in pieces of which the kernel can make huge pages. */
static size_t states_ready(const struct gm_arena *a, size_t heap) {
    size_t n = heap >> GM_STATE_SHIFT;
    if (!tables_huge || heap < STATES_HUGE_FROM) return n;
    return gm_min(gm_align_up((uintptr_t)a->state + n, GM_CHUNK_SIZE) - (uintptr_t)a->state, a->size >> GM_STATE_SHIFT);
}

void *gm_arena_huge_state(size_t i) {
    const struct gm_arena *a = &gm_space.primary;
    size_t committed = gm_load_relaxed(&a->committed);
    uintptr_t start = gm_align_up((uintptr_t)a->state, GM_CHUNK_SIZE) + i * GM_CHUNK_SIZE;
    bool there = tables_huge && committed >= STATES_HUGE_FROM && start < (uintptr_t)a->state + (committed >> GM_STATE_SHIFT);
    return there && start + GM_CHUNK_SIZE <= (uintptr_t)a->state + (a->size >> GM_STATE_SHIFT) ? (void *)start : NULL;
}

void gm_arena_clear_marks(struct gm_arena *a) {
    static size_t asked; /* of the primary's, from the first whole one on; by one thread at a time */
    size_t n = a->grown >> (GM_STATE_SHIFT + 3);
    uintptr_t start = (uintptr_t)a->marks, from = gm_align_up(start, GM_CHUNK_SIZE), to = gm_align_down(start + n, GM_CHUNK_SIZE);
    if (tables_huge && !marks_shared && a == &gm_space.primary && to > from + asked) {
        gm_os_huge((void *)from, to - from, true);
        gm_os_release((void *)(from + asked), to - from - asked); /* small pages: they come again as huge ones */
        asked = to - from;
    }
    memset(a->marks, 0, n);
}

bool gm_arena_make_marks(bool shared) {
    marks_wanted = true;
    marks_shared = shared;
    for (struct gm_arena *a = gm_arena_next(NULL); a; a = gm_arena_next(a)) {
        /* A kernel that counts every mapping in full does not give 2 GiB: then the heap may do with less of a
         * reservation, and what exceeds it goes elsewhere. */
        while (!make_marks(a)) {
            size_t before = a->size;
            if (a == &gm_space.primary) gm_arena_shrink(a, a->size / 2);
            if (a->size == before) return false;
        }
    }
    return true;
}

bool gm_arena_renew_marks(void) {
    for (struct gm_arena *a = gm_arena_next(NULL); a; a = gm_arena_next(a)) drop_marks(a);
    return gm_arena_make_marks(marks_shared);
}

/* Where the primary is likely to find `size` bytes free and aligned as it stands, so that nothing has to be cut off around it: below
 * the library, with room in between for what the program maps. NULL: nowhere there. */
static void *place_below(size_t size, size_t align) {
    enum { APART_GIB = 4 };
    uintptr_t here = (uintptr_t)&gm_space, apart = (uintptr_t)APART_GIB << 30;
    return here > size + 2 * apart ? (void *)gm_align_down(here - apart - size, align) : NULL;
}

/* Reserves an arena for `heap` bytes, heap start aligned to 64 MiB (2 MiB for tiny ones). */
static bool reserve(struct gm_arena *a, size_t heap, size_t align) {
    size_t os_page = gm_os_page_size();
    bool primary = a == &gm_space.primary;
    struct layout l = layout_of(heap, os_page, primary);
    size_t before = gm_align_up(l.total, align);
    char *p = gm_os_reserve(primary ? place_below(before + heap, align) : NULL, before + heap, align);
    if (!p) return false;
    char *tables = p + (before - l.total);
    if (tables > p) gm_os_unmap(p, (size_t)(tables - p));
    char *meet = tables + l.index + l.medium;
    if (!primary && !gm_os_commit(tables, l.index)) {
        gm_os_unmap(tables, l.total + heap);
        return false;
    }
    size_t chunks = gm_align_up(heap, GM_CHUNK_SIZE) / GM_CHUNK_SIZE;
    a->base = (uintptr_t)p + before;
    a->size = heap;
    a->committed = a->grown = 0;
    a->index_bytes = l.index;
    a->pages = (uint64_t *)meet;
    a->medium = (uint16_t *)meet;
    a->state = (uint8_t *)tables + l.index + l.both;
    a->marks = NULL;
    if (!make_marks(a)) {
        gm_os_unmap(tables, l.total + heap);
        return false;
    }
    gm_os_huge(tables, l.total, false);
    if (primary) gm_meta_set_region(a->state + l.state, l.meta);
    gm_pageindex_init(&a->index, chunks, (struct gm_pagebits *)tables,
                      tables + chunks * sizeof(struct gm_pagebits));
    if (primary) gm_pageindex_start_small(&a->index, &gm_space.small_index);
    return true;
}

bool gm_arena_init(void) {
    struct gm_arena *a = &gm_space.primary;
    size_t want = PRIMARY_DEFAULT, memory = gm_os_physical_memory();
    while (want < PRIMARY_MAX && want / 4 < memory) want *= 2;
    size_t left = gm_os_address_space_left();
    if (left != SIZE_MAX) {
        /* Five eighths of what the limit leaves: the program's own mappings, stacks and libraries need the
         * rest, and what the heap needs beyond it can still come as further arenas. */
        want = gm_min(want, gm_align_down(left / 8 * 5, GM_CHUNK_SIZE));
    }
    for (; want >= (size_t)MIN_PRIMARY_MIB << 20; want = gm_align_down(want / 2, GM_CHUNK_SIZE)) {
        if (!reserve(a, want, want >= GM_ARENA_SIZE ? GM_ARENA_SIZE : GM_CHUNK_SIZE)) continue;
        gm_space.base16 = a->base >> GM_STATE_SHIFT;
        gm_space.state = a->state;
        gm_space.medium = a->medium;
        gm_space.state_bias = (uint8_t *)((uintptr_t)a->state - gm_space.base16);
        return true;
    }
    return false;
}

static struct gm_arena **sparse_slot(uintptr_t p, bool make) {
    uintptr_t n = p >> GM_ARENA_SHIFT;
    if (n >> (ROOT_BITS + LEAF_BITS)) return NULL;
    struct gm_arena ***leaf = &sparse_root[n >> LEAF_BITS];
    /* acquire: pairs with the release below, so the leaf's zeroed contents are seen. */
    struct gm_arena **l = gm_load_acquire(leaf);
    if (!l && make) {
        l = gm_meta_alloc_own(sizeof(*l) << LEAF_BITS, GM_CACHE_LINE);
        if (l) gm_store_release(leaf, l);
    }
    return l ? &l[n & ((1u << LEAF_BITS) - 1)] : NULL;
}

struct gm_arena *gm_arena_of_sparse(uintptr_t p) {
    struct gm_arena **slot = sparse_slot(p, false);
    /* acquire: pairs with the release in publish(): the arena's fields are seen. */
    struct gm_arena *a = slot ? gm_load_acquire(slot) : NULL;
    return a && p - a->base < gm_load_acquire(&a->committed) ? a : NULL;
}

struct gm_arena *gm_arena_of(const void *p) {
    struct gm_arena *a = &gm_space.primary;
    uintptr_t offset = (uintptr_t)p - a->base;
    /* acquire: pairs with the release in gm_arena_commit: tables are ready below `committed`. */
    if (offset < gm_load_acquire(&a->committed)) return a;
    return gm_arena_of_sparse((uintptr_t)p);
}

static bool publish(struct gm_arena *a) {
    for (size_t o = 0; o < a->size; o += GM_ARENA_SIZE)
        if (!sparse_slot(a->base + o, true)) return false;
    for (size_t o = 0; o < a->size; o += GM_ARENA_SIZE)
        gm_store_release(sparse_slot(a->base + o, true), a);
    a->next = gm_sparse_arenas;
    gm_store_release(&gm_sparse_arenas, a); /* pairs with the acquire of gm_arena_next */
    return true;
}

struct gm_arena *gm_arena_new(size_t bytes) {
    size_t size = gm_align_up(bytes, GM_ARENA_SIZE);
    if (size < bytes) return NULL;
    if (!spare) spare = gm_meta_alloc_own(sizeof *spare, GM_CACHE_LINE);
    struct gm_arena *a = spare, *rest = a ? a->next : NULL;
    if (!a || !reserve(a, size, GM_ARENA_SIZE)) return NULL;
    if (!publish(a)) {
        struct layout l = layout_of(size, gm_os_page_size(), false);
        drop_marks(a);
        gm_os_unmap((char *)a->base - l.total, l.total + size);
        a->next = rest;
        return NULL;
    }
    spare = rest;
    return a;
}

/* The kernel pages that a table needs beyond those of its first `from` bytes for `to` bytes; it grows up from its
 * address, or down. */
static size_t pages_beyond(void *table, bool down, size_t from, size_t to, char **start) {
    size_t page = gm_os_page_size();
    uintptr_t t = (uintptr_t)table, low = from ? gm_align_up(t + from, page) : gm_align_down(t, page), high = gm_align_up(t + to, page);
    if (down) low = gm_align_down(t - to, page), high = from ? gm_align_down(t - from, page) : gm_align_up(t, page);
    *start = (char *)low;
    return high > low ? high - low : 0;
}

static bool commit_table(void *table, bool down, size_t from, size_t to) {
    char *start;
    size_t bytes = pages_beyond(table, down, from, to, &start);
    return bytes == 0 || gm_os_commit(start, bytes);
}

/* Page table and states by KiB grow apart from where they meet, in the middle of a page. */
static bool commit_both(struct gm_arena *a, size_t old, size_t new) {
    char *low, *high;
    size_t down = pages_beyond(a->medium, true, (old >> GM_STATE_MEDIUM_SHIFT) * sizeof *a->medium, (new >> GM_STATE_MEDIUM_SHIFT) * sizeof *a->medium, &low);
    size_t up = pages_beyond(a->pages, false, (old >> GM_PAGE_SHIFT) * sizeof *a->pages, (new >> GM_PAGE_SHIFT) * sizeof *a->pages, &high);
    if (old == 0) return gm_os_commit(low, (size_t)(high + up - low)); /* they overlap in it */
    return (down == 0 || gm_os_commit(low, down)) && (up == 0 || gm_os_commit(high, up));
}

/* The primary arena's index is elsewhere while the heap is small (gm_pageindex_start_small). */
static bool commit_index(struct gm_arena *a, size_t heap) {
    if (a->index.small == NULL || heap <= GM_PAGEINDEX_SMALL * (size_t)GM_CHUNK_SIZE) return true;
    return gm_os_commit(a->index.all_bits, a->index_bytes);
}

static void set_limit(size_t committed) {
    gm_store_release(&gm_space.limit16, committed >> GM_STATE_SHIFT);
    if (!gm_free_ignored) gm_store_release(&gm_space.free_limit16, committed >> GM_STATE_SHIFT);
}

bool gm_arena_commit(struct gm_arena *a, size_t bytes) {
    size_t old = a->committed, new = old + bytes;
    if (new > a->size || new < old || !commit_index(a, new)) return false;
    if (!commit_table(a->state, false, old >> GM_STATE_SHIFT, states_ready(a, new))) return false;
    if (!commit_both(a, old, new)) return false;
    if (a == &gm_space.primary && !gm_meta_commit(new >> META_SHIFT)) return false;
    if (!gm_os_commit((void *)(a->base + old), bytes)) return false;
    gm_os_name((void *)a->base, new, "gomalloc heap");
    /* release: pairs with the acquire in gm_arena_of. The fast path of free() reads limit16 without
     * one: the pointer it was given was handed out after this store, by a thread that had seen it,
     * and came to it by some synchronisation of the program's own. A wild pointer that slips past
     * an old limit merely takes the slow path. */
    gm_store_release(&a->committed, new);
    if (a == &gm_space.primary) set_limit(new);
    size_t again = gm_min(new, a->grown) - gm_min(old, a->grown); /* uncommitted at some time: known pages */
    if (again) gm_pageindex_give(&a->index, old >> GM_PAGE_SHIFT, again >> GM_PAGE_SHIFT, true);
    if (again < bytes) gm_pageindex_grow(&a->index, (old + again) >> GM_PAGE_SHIFT, (bytes - again) >> GM_PAGE_SHIFT);
    a->grown = gm_max(a->grown, new);
    return true;
}

bool gm_arena_uncommit(struct gm_arena *a, size_t bytes) {
    size_t new = a->committed - bytes;
    /* The tables stay ready: whoever looks a wild pointer up at this moment reads zeros in them. */
    if (!gm_os_uncommit((void *)(a->base + new), bytes)) return false;
    gm_store_release(&a->committed, new);
    if (a == &gm_space.primary) set_limit(new);
    return true;
}

void gm_arena_drop(struct gm_arena *a) {
    struct layout l = layout_of(a->size, gm_os_page_size(), false);
    struct gm_arena **link = &gm_sparse_arenas;
    while (*link != a) link = &(*link)->next;
    gm_store_release(link, a->next);
    for (size_t o = 0; o < a->size; o += GM_ARENA_SIZE)
        gm_store_release(sparse_slot(a->base + o, false), NULL);
    gm_store_release(&a->committed, 0);
    drop_marks(a);
    gm_os_unmap((char *)a->base - l.total, l.total + a->size);
    a->next = spare;
    spare = a;
}

/* A table for `size` bytes of heap becomes one for `keep`. */
static void shrink_table(void *table, bool down, size_t entry, unsigned shift, size_t keep, size_t size) {
    char *start;
    size_t bytes = pages_beyond(table, down, (keep >> shift) * entry, (size >> shift) * entry, &start);
    if (bytes) gm_os_unmap(start, bytes);
}

void gm_arena_shrink(struct gm_arena *a, size_t keep) {
    keep = gm_align_up(gm_max(keep, a->committed), GM_CHUNK_SIZE);
    if (a->size == 0 || keep >= a->size) return;
    gm_os_unmap((void *)(a->base + keep), a->size - keep);
    shrink_table(a->state, false, sizeof *a->state, GM_STATE_SHIFT, keep, a->size);
    shrink_table(a->medium, true, sizeof *a->medium, GM_STATE_MEDIUM_SHIFT, keep, a->size);
    shrink_table(a->pages, false, sizeof *a->pages, GM_PAGE_SHIFT, keep, a->size);
    if (a == &gm_space.primary) gm_meta_shrink_region(keep >> META_SHIFT);
    size_t marks_to = marks_bytes(a);
    a->size = keep;
    if (a->marks && marks_bytes(a) < marks_to) gm_os_unmap((char *)a->marks + marks_bytes(a), marks_to - marks_bytes(a));
}

size_t gm_arena_table_bytes(const struct gm_arena *a) {
    size_t c = a->committed, zero = gm_load_relaxed(&a->index.zero_pages) << GM_PAGE_SHIFT;
    size_t backed = c > zero ? c - zero : 0;
    return (backed >> GM_STATE_SHIFT) + (backed >> GM_STATE_MEDIUM_SHIFT) * sizeof *a->medium + (backed >> GM_PAGE_SHIFT) * sizeof *a->pages + (c >> GM_CHUNK_SHIFT) * sizeof(struct gm_pagebits);
}
