/* Transparent huge pages; see malloc.c for the overview.
 *
 * A huge page costs a seventh of the faults' time and spares TLB entries; where memory is used thinly it costs RSS,
 * up to 2 MiB for an object. So with thp:auto a chunk asks for one
 *
 *   - when it is fresh, the first span in it is one of slots (they are handed out lowest first, and such spans fill one
 *     chunk after the other), and the heap is so large (LEAST) that the one chunk at the border is a few percent of it.
 *     Large objects are not asked for: a program may have its reasons not to touch all of one;
 *   - when the background thread finds it nearly full and resident and nothing has been freed in it for a while: then its
 *     pages are collapsed into one at once (kernel 6.1). That adds at most a twentieth of a chunk.
 *
 * Before a part of a chunk goes back to the kernel the wish is taken back (NOHUGEPAGE), or khugepaged would fill the
 * hole again: it reckons with up to 511 of 512 pages missing. Each such chunk may split a mapping in three, of
 * which a process may have 65530; past MAX_SPLIT holes are left to khugepaged.
 *
 * A COPY OF THE PROCESS (the collector's snapshot, gc/fork.c) shares huge pages until either side writes to one: then the
 * kernel splits it and copies 4 KiB, and it stays split. A program that writes all over its heap is a third slower from then on. So when
 * the copy has gone, each page that was huge is collapsed again (scavenge.c), which takes 0.3 ms; those nobody wrote to, a microsecond.
 *
 * ACCOUNTS. The first touch of a chunk that has asked backs all of it: its free pages lose their zero bit, and are
 * the scavenger's business as if they had been used.
 *
 * thp:always tells the kernel so for the whole heap, thp:never the contrary; the latter holds for the tables in any case,
 * which are read and written in spots: but while there is a collector, states and marks ask for huge pages (arena.c). Where the machine's administrator has chosen `never`, nothing is asked for; where
 * `always`, all chunks count as having asked. */
#include "libgomalloc/huge.h"

#include <string.h>

#include "libgomalloc/conf.h"
#include "libgomalloc/os/os.h"

#define LEAST ((size_t)64 << 20)
enum { MAX_SPLIT = 4096, FREE_PAGES = 2, OLD = 10000000000u >> GM_FREED_SHIFT };

/* Of a chunk, in gm_pagesum.huge. */
enum { PLAIN, HUGE, SMALL, DONE }; /* as the mapping around it; HUGEPAGE, NOHUGEPAGE was said; was collapsed, or could not be */

static uint32_t machine;           /* atomic: enum gm_os_huge_setting + 1; 0: not looked yet */
static unsigned split_chunks;      /* SMALL ones; heap lock */

static enum gm_os_huge_setting setting(void) {
    uint32_t m = gm_load_relaxed(&machine);
    return m ? (enum gm_os_huge_setting)(m - 1) : GM_OS_HUGE_NEVER;
}

void gm_huge_tell(void *p, size_t size) {
    if (gm_conf.thp != GM_THP_AUTO) gm_os_huge(p, size, gm_conf.thp == GM_THP_ALWAYS);
}

void gm_huge_start(void) {
    struct gm_arena *a = &gm_space.primary;
    if (gm_conf.thp == GM_THP_AUTO || a->size == 0) return;
    gm_huge_tell((void *)a->base, a->size);
    gm_huge_consider();
}

void gm_huge_consider(void) {
    if (gm_load_relaxed(&machine) != 0) return;
    if (gm_conf.thp == GM_THP_AUTO && gm_load_relaxed(&gm_space.primary.committed) < LEAST) return;
    gm_store_relaxed(&machine, (uint32_t)gm_os_huge_setting(GM_CHUNK_SIZE) + 1);
}

bool gm_huge_wanted(void) { return gm_conf.thp != GM_THP_NEVER && setting() != GM_OS_HUGE_NEVER; }

static void *chunk_address(const struct gm_arena *a, size_t chunk) { return (void *)(a->base + chunk * GM_CHUNK_SIZE); }

/* Never touched, and whole: a chunk in which nothing is in use but [page, page + n), which has just been taken. */
static bool is_fresh(const struct gm_arena *a, size_t chunk, size_t page, size_t n) {
    const struct gm_pagebits *b = &a->index.bits[chunk];
    size_t from = gm_max(page, chunk * GM_CHUNK_PAGES), to = gm_min(page + n, (chunk + 1) * GM_CHUNK_PAGES);
    return (chunk + 1) * GM_CHUNK_SIZE <= a->committed && a->index.level[0][chunk].freed == 0 &&
           gm_pagebits_count(b->zero, 0, GM_CHUNK_PAGES) == GM_CHUNK_PAGES - (to - from);
}

void gm_huge_placed(struct gm_arena *a, size_t page, size_t n, bool dense) {
    if (!gm_huge_wanted() || (gm_conf.thp == GM_THP_AUTO && (!dense || a->committed < LEAST))) return;
    for (size_t chunk = page / GM_CHUNK_PAGES; chunk <= (page + n - 1) / GM_CHUNK_PAGES; chunk++) {
        struct gm_pagesum *sum = &a->index.level[0][chunk];
        if (sum->huge != PLAIN || !is_fresh(a, chunk, page, n)) continue;
        if (gm_conf.thp == GM_THP_AUTO && setting() == GM_OS_HUGE_ASKED && !gm_os_huge(chunk_address(a, chunk), GM_CHUNK_SIZE, true)) continue;
        sum->huge = HUGE;
        gm_pageindex_mark_backed(&a->index, chunk * GM_CHUNK_PAGES, GM_CHUNK_PAGES);
    }
}

/* What the kernel may take for a place for a huge page. */
static bool asks(unsigned huge) {
    return huge == HUGE || (huge != SMALL && (gm_conf.thp == GM_THP_ALWAYS || setting() == GM_OS_HUGE_ALWAYS));
}

bool gm_huge_leave(struct gm_arena *a, size_t page, size_t n) {
    bool any = false;
    for (size_t chunk = page / GM_CHUNK_PAGES; chunk <= (page + n - 1) / GM_CHUNK_PAGES; chunk++) {
        struct gm_pagesum *sum = &a->index.level[0][chunk];
        if (sum->huge == DONE) sum->huge = PLAIN;
        if (!gm_huge_wanted() || !asks(sum->huge) || split_chunks >= MAX_SPLIT) continue;
        sum->huge = SMALL;
        split_chunks++;
        any = true;
    }
    return any;
}

void gm_huge_split(struct gm_arena *a, size_t page, size_t n) {
    size_t from = page / GM_CHUNK_PAGES, to = (page + n - 1) / GM_CHUNK_PAGES + 1;
    gm_os_huge(chunk_address(a, from), gm_min((to - from) * GM_CHUNK_SIZE, a->size - from * GM_CHUNK_SIZE), false);
}

/* ---- chunks that have long been dense */

/* Heap lock. */
static bool is_old_and_full(struct gm_arena *a, size_t chunk) {
    const struct gm_pagesum *sum = &a->index.level[0][chunk];
    uint32_t age = ((uint32_t)(gm_os_coarse_time() >> GM_FREED_SHIFT) - sum->freed) & GM_FREED_MASK;
    return (sum->huge == PLAIN || sum->huge == SMALL) && (sum->freed == 0 || age > OLD) &&
           gm_pagebits_count(a->index.bits[chunk].free, 0, GM_CHUNK_PAGES) <= FREE_PAGES;
}

bool gm_huge_due(struct gm_arena *a, size_t chunk) {
    return gm_huge_wanted() && a->committed >= LEAST && (chunk + 1) * GM_CHUNK_SIZE <= a->committed && is_old_and_full(a, chunk);
}

bool gm_huge_begin(struct gm_arena *a, size_t chunk, bool *ask) {
    struct gm_pagesum *sum = &a->index.level[0][chunk];
    if (!gm_huge_due(a, chunk)) return false;
    *ask = sum->huge == SMALL;
    sum->huge = *ask ? HUGE : DONE;
    split_chunks -= *ask;
    gm_pageindex_mark_backed(&a->index, chunk * GM_CHUNK_PAGES, GM_CHUNK_PAGES);
    return true;
}

bool gm_huge_collapse(struct gm_arena *a, size_t chunk, bool ask) {
    void *p = chunk_address(a, chunk);
    if (ask) gm_os_huge(p, GM_CHUNK_SIZE, true);
    return gm_os_collapse(p, GM_CHUNK_SIZE);
}

bool gm_huge_piece(size_t i, void **piece) {
    struct gm_arena *a = &gm_space.primary;
    size_t chunks = a->committed / GM_CHUNK_SIZE;
    *piece = NULL;
    if (i >= chunks) return (*piece = gm_arena_huge_state(i - chunks)) != NULL;
    unsigned huge = a->index.level[0][i].huge;
    if (huge == HUGE || huge == DONE) *piece = chunk_address(a, i);
    return true;
}

bool gm_huge_is_resident(const struct gm_arena *a, size_t chunk) {
    return gm_os_resident(chunk_address(a, chunk), GM_CHUNK_SIZE) >= GM_CHUNK_SIZE - GM_CHUNK_SIZE / 20;
}
