/* See grow.h, and heap.c for what is done with what is found.
 *
 * Growth: at the end of the committed part, by at least 1 MiB and in steps of 64 KiB; larger heaps
 * take larger steps (1/16 of what they have, at most 32 MiB), so that the calls to the kernel stay
 * rare. Committing touches nothing: a page costs when the program first writes to it.
 *
 * Placement: lowest address first over all arenas, primary first. Free neighbours coalesce because
 * they are adjacent bits (pageindex.h). */
#include "libgomalloc/grow.h"

#include "libgomalloc/huge.h"

enum { GROW_MAX = 32 * 1024 * 1024 };

bool gm_grow_tight;
unsigned gm_grow_pins;
static unsigned refused_commits;

void gm_grow_relieve(struct gm_arena *a) {
    enum { STEP_PAGES = GM_GROW_STEP / GM_PAGE_SIZE };
    size_t end = a->committed >> GM_PAGE_SHIFT, n = 0;
    if (a != &gm_space.primary && a->index.free_pages == end && gm_grow_pins == 0) {
        gm_arena_drop(a);
        return;
    }
    while (n < end && gm_pageindex_run(&a->index, end - n - STEP_PAGES, STEP_PAGES) == STEP_PAGES) n += STEP_PAGES;
    if (n << GM_PAGE_SHIFT < GM_GROW_MIN) return;
    gm_pageindex_take(&a->index, end - n, n);
    if (!gm_arena_uncommit(a, n << GM_PAGE_SHIFT)) gm_pageindex_give(&a->index, end - n, n, false);
}

bool gm_grow(struct gm_arena *a, size_t npages) {
    /* Free pages at the very end count towards what is needed. */
    size_t end = a->committed >> GM_PAGE_SHIFT, tail = 0;
    while (tail < npages && tail < end && gm_pageindex_run(&a->index, end - tail - 1, 1) == 1) tail++;
    size_t need = gm_align_up((npages - tail) << GM_PAGE_SHIFT, GM_GROW_STEP);
    size_t step = gm_min(gm_max(a->committed / 16, GM_GROW_MIN), GROW_MAX), room = a->size - a->committed;
    step = gm_min(gm_max(gm_align_up(step, GM_GROW_STEP), need), room);
    if (need > room) return false;
    if (gm_huge_wanted()) step = gm_min(gm_align_up(a->committed + step, GM_CHUNK_SIZE) - a->committed, room);
    if (gm_arena_commit(a, step) || (step > need && gm_arena_commit(a, need))) return true;
    gm_grow_tight = true;
    refused_commits++;
    return false;
}

/* The lowest fitting run of an arena. The index aligns relative to the arena's base, which is itself
 * aligned to 64 MiB: for more, a run with room to align in is looked for. */
static size_t find_in(struct gm_arena *a, size_t npages, size_t align_pages) {
    uintptr_t align = align_pages << GM_PAGE_SHIFT;
    if (gm_is_aligned(a->base, align)) return gm_pageindex_find(&a->index, npages, align_pages);
    size_t page = gm_pageindex_find(&a->index, npages + align_pages - 1, 1);
    if (page == GM_NO_PAGE) return page;
    return gm_arena_page_of(a, gm_align_up(a->base + (page << GM_PAGE_SHIFT), align));
}

static struct gm_arena *find(size_t npages, size_t align_pages, bool anywhere, size_t *page) {
    for (struct gm_arena *a = gm_arena_next(NULL); a; a = anywhere ? gm_arena_next(a) : NULL) {
        if (a->size == 0) continue;
        *page = find_in(a, npages, align_pages);
        if (*page != GM_NO_PAGE) return a;
    }
    return NULL;
}

struct gm_arena *gm_grow_find(size_t npages, size_t align_pages, bool anywhere, size_t *page) {
    struct gm_arena *a = find(npages, align_pages, anywhere, page);
    if (a) return a;
    size_t worst = npages + align_pages - 1;
    unsigned before = refused_commits;
    for (a = gm_arena_next(NULL); a; a = anywhere ? gm_arena_next(a) : NULL)
        if (a->size != 0 && gm_grow(a, worst)) return find(npages, align_pages, anywhere, page);
    if (!anywhere) return NULL;
    /* What the kernel will not commit here it will not commit elsewhere. */
    if (refused_commits != before) return NULL;
    a = gm_arena_new(worst << GM_PAGE_SHIFT);
    if (a) gm_huge_tell((void *)a->base, a->size);
    if (a && !gm_grow(a, worst)) {
        gm_arena_drop(a);
        a = NULL;
    }
    if (!a) gm_grow_tight = true;
    return a ? find(npages, align_pages, anywhere, page) : NULL;
}
