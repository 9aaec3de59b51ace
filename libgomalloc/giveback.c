/* Giving free pages of the heap back to the kernel: which, in which order. See heap.c, and scavenge.c for when and
 * how much. With a chunk's pages go the slot states over them: a free page's are zero; and where several chunks in a row have gone,
 * the rest of what is known of them. */
#include "libgomalloc/heap.h"

#include "libgomalloc/conf.h"
#include "libgomalloc/huge.h"
#include "libgomalloc/os/os.h"

/* The slot states over [start, end) of the arena are zero; whole kernel pages of them go back. */
static void release_states(struct gm_arena *a, uintptr_t start, uintptr_t end) {
    enum { LEAST_PAGES = 4 }; /* of the kernel: under 128 KiB of heap it is not worth the call */
    uintptr_t os_page = gm_os_page_size(), from = gm_align_up((uintptr_t)gm_arena_state_of(a, start), os_page);
    uintptr_t to = gm_align_down((uintptr_t)gm_arena_state_of(a, end), os_page);
    if (to >= from + LEAST_PAGES * os_page) gm_os_release((void *)from, to - from);
}

/* Gives the kernel's pages that lie wholly inside the run back; kernel pages may be larger than ours.
 * Returns how many of ours that were, and the first of them. */
static size_t release_pages(struct gm_arena *a, size_t page, size_t n, size_t *from, bool *lazily) {
    uintptr_t os_page = gm_os_page_size(), start = gm_align_up(a->base + (page << GM_PAGE_SHIFT), os_page);
    uintptr_t end = gm_align_down(a->base + ((page + n) << GM_PAGE_SHIFT), os_page);
    if (start >= end) return 0;
    bool lazy = gm_conf.madvise == GM_MADVISE_FREE && gm_os_release_lazily((void *)start, end - start);
    if (lazy) *lazily = true;
    else if (!gm_os_release((void *)start, end - start)) return 0;
    release_states(a, start, end);
    *from = gm_arena_page_of(a, start);
    return (end - start) >> GM_PAGE_SHIFT;
}

/* ---- tables over nothing */

static bool tables_due;          /* chunks have gone back since the tables were looked at; heap lock */

/* Of [from, to) the whole kernel pages go back; and those at its ends, `below` and `above` which there is nothing. */
static void release_table(const void *from, const void *to, bool below, bool above) {
    uintptr_t os_page = gm_os_page_size(), low = (uintptr_t)from, high = (uintptr_t)to;
    low = below ? gm_align_down(low, os_page) : gm_align_up(low, os_page);
    high = above ? gm_align_up(high, os_page) : gm_align_down(high, os_page);
    if (low < high) gm_os_release((void *)low, high - low);
}

/* Nothing is in use of the pages [page, end) nor backed: their entries are 0, or say that an object was freed there long ago, and
 * their states are 0. They are written under the heap lock, which is held, or by whoever has memory there. That the heap's pages
 * go once more, in one piece, costs nothing and lets newer kernels (6.14) take the page tables as well. */
static void release_tables_of(struct gm_arena *a, size_t page, size_t end) {
    uintptr_t start = a->base + (page << GM_PAGE_SHIFT), stop = a->base + (end << GM_PAGE_SHIFT);
    bool last = stop == a->base + a->committed;
    release_table(&a->pages[page], &a->pages[end], false, last);
    release_table(gm_arena_medium_of(a, stop) + 1, gm_arena_medium_of(a, start) + 1, last, false);
    release_table(gm_arena_state_of(a, start), gm_arena_state_of(a, stop), false, last);
    release_table((void *)start, (void *)stop, false, false);
}

void gm_heap_release_tables(void) {
    gm_heap_lock();
    for (struct gm_arena *a = gm_arena_next(NULL); a && tables_due; a = gm_arena_next(a)) {
        size_t pages = a->committed >> GM_PAGE_SHIFT, from = 0; /* of the run that goes on at `page` */
        for (size_t page = 0, next; page < pages; page = next) {
            next = gm_min(page + GM_CHUNK_PAGES, pages);
            bool gone = gm_pagebits_all(a->index.bits[page / GM_CHUNK_PAGES].zero, 0, (unsigned)(next - page));
            size_t end = gone ? next : page;
            if ((!gone || next == pages) && end > from) release_tables_of(a, from, end);
            if (!gone) from = next;
        }
    }
    tables_due = false;
    gm_heap_unlock();
}

/* ---- pages */

enum pass { EVERYTHING, WHOLE_CHUNKS, SPARSE_CHUNKS };

/* Whether a chunk's free pages stay: it is dense, so its next span will take them, or something was freed
 * in it just now. Heap lock. */
static bool chunk_stays(const struct gm_arena *a, size_t chunk) {
    enum { DENSE_FREE_PAGES = 8, YOUNG = 1000000000u >> GM_FREED_SHIFT };
    const struct gm_pageindex *ix = &a->index;
    uint32_t age = ((uint32_t)(gm_os_coarse_time() >> GM_FREED_SHIFT) - ix->level[0][chunk].freed) & GM_FREED_MASK;
    return age < YOUNG || gm_pagebits_count(ix->bits[chunk].free, 0, GM_CHUNK_PAGES) <= DENSE_FREE_PAGES;
}

/* The next run below `*below` that the pass gives back; takes it out of the index, so that it is ours while
 * the kernel works. Its length, 0 if there is none. Heap lock. */
static size_t take_run(struct gm_arena *a, enum pass pass, size_t *below, size_t *page) {
    enum { BATCH_PAGES = 1024 }; /* 8 MiB a call: about half a millisecond */
    for (size_t n; (n = gm_pageindex_next_dirty(&a->index, *below, BATCH_PAGES, page)) != 0; *below = *page) {
        size_t end = *page + n;
        if (pass == WHOLE_CHUNKS) {
            size_t from = gm_align_up(*page, GM_CHUNK_PAGES), to = gm_align_down(end, GM_CHUNK_PAGES);
            if (from >= to) continue;
            *page = from;
            end = to;
        } else if (pass == SPARSE_CHUNKS) {
            size_t chunk = (end - 1) / GM_CHUNK_PAGES;
            *page = gm_max(*page, chunk * GM_CHUNK_PAGES);
            if (chunk_stays(a, chunk)) {
                *page = chunk * GM_CHUNK_PAGES;
                continue;
            }
        }
        gm_pageindex_take(&a->index, *page, end - *page);
        *below = *page;
        return end - *page;
    }
    return 0;
}

/* Until `want` bytes went back, none is left for the pass, or it is `until`. */
static size_t scavenge(enum pass pass, size_t want, uint64_t until) {
    size_t done = 0;
    gm_heap_pin_arenas();
    for (struct gm_arena *a = gm_arena_next(NULL); a && done < want; a = gm_arena_next(a)) {
        size_t below = SIZE_MAX, page, n;
        while (a->size != 0 && done < want && (until == UINT64_MAX || gm_os_nanotime() < until)) {
            gm_heap_lock();
            if (below == SIZE_MAX) below = a->committed >> GM_PAGE_SHIFT;
            n = take_run(a, pass, &below, &page);
            bool split = n != 0 && gm_huge_leave(a, page, n);
            gm_heap_unlock();
            if (n == 0) break;
            if (split) gm_huge_split(a, page, n);
            bool lazily = false;
            size_t from, released = release_pages(a, page, n, &from, &lazily);
            gm_heap_lock();
            gm_pageindex_give(&a->index, page, n, false);
            if (released) gm_pageindex_mark_zero(&a->index, from, released);
            if (released >= GM_CHUNK_PAGES) tables_due = true;
            gm_heap_went_back(released << GM_PAGE_SHIFT, lazily);
            gm_heap_unlock();
            done += released << GM_PAGE_SHIFT;
        }
    }
    gm_heap_unpin_arenas();
    return done;
}

size_t gm_heap_scavenge_until(size_t want, uint64_t until) { return scavenge(EVERYTHING, want, until); }
size_t gm_heap_scavenge(size_t want) { return scavenge(EVERYTHING, want, UINT64_MAX); }

size_t gm_heap_scavenge_idle(size_t want, uint64_t until) {
    size_t done = scavenge(WHOLE_CHUNKS, want, until);
    return done < want ? done + scavenge(SPARSE_CHUNKS, want - done, until) : done;
}

/* The heap has grown although pages lie idle: they do not fit what is asked for. What exceeds 1/16 of the memory in use goes
 * back to the kernel, up to what the heap has grown by, so that the peak of the resident memory stays near what is in use. The
 * total given back this way is bounded by the heap's size, and so is its cost.
 * While much lies free in spans, what is taken of memory that had gone back, as pages or as holes in spans, counts as growth too: as
 * the lowest fitting run is taken whether memory stands behind it or not, idle pages elsewhere would add to the peak. At other
 * times it does not: a program that builds and drops large structures in turn would fault them all in anew each time. */
void gm_heap_pay_now(void) {
    enum { SLACK = 1 << 20 };
    size_t owed = gm_exchange_acquire(&gm_heap_owed, 0);
    gm_huge_consider();
    gm_heap_lock();
    const struct gm_pageindex *ix = &gm_space.primary.index;
    size_t dirty = (ix->free_pages - ix->zero_pages) << GM_PAGE_SHIFT;
    size_t allowed = (gm_space.primary.committed - (ix->free_pages << GM_PAGE_SHIFT)) / 16 + SLACK;
    if (gm_load_relaxed(&gm_heap_crowded)) allowed = SLACK;
    gm_heap_unlock();
    if (dirty > allowed) gm_heap_scavenge(gm_min(owed, dirty - allowed));
}
