/* The summary tree over the page bitmaps of all chunks.
 *
 * Why a tree: the heap must answer "the lowest n free pages" among up to millions of chunks while its
 * lock is held. Lists of free spans by length answer it fast but scatter allocations over the address
 * space, keep records that must be merged when neighbours are freed, and live in memory of their own.
 * Bits need none of that, and the three numbers of a node say enough to search them:
 *
 *   start + what is free before it   a run that crosses into the node
 *   max                              a run somewhere inside: go down, it is certainly there
 *   end                              what a run that crosses out of it begins with
 *
 * 1. A node of level k covers span(k) = 256 * 8^k pages; start == span means all of it is free.
 * 2. A node is the merge of its children, a chunk's node is the summary of its bitmap: always, not
 *    lazily. A change goes up only until a node comes out as it was.
 * 3. Nodes that cover no grown chunk are never touched; as children they count as nothing free.
 * 4. zero is a subset of free: taking a page clears both bits.
 * 5. No free page lies below search_from. It may lag behind: the lowest free page can be higher.
 *
 * A search begins at search_from, at the bottom, and looks to the right: the rest of the group of
 * eight, then the rest of the parent's group, and so on up, so a near answer is found near. When a node
 * promises a run it goes straight down. It never turns back: at most 8 nodes a level up and 8 down.
 *
 * Alignment has no place in the summaries. The aligned search asks for the next run of n, then for one
 * from the next aligned page on, and so on; each round passes at least one free run for good. Heaps with
 * very many runs that are long enough but unluckily placed (each left behind by an aligned allocation
 * before this one) would make a sequence of such requests quadratic, so after ALIGNED_TRIES rounds it
 * takes the lowest run with room to align in, if there is one, instead of the lowest that happens to fit. */
#include "libgomalloc/pageindex.h"

#include <string.h>

#include "libgomalloc/base/check.h"

#define FANOUT_SHIFT 3
#define FANOUT ((size_t)1 << FANOUT_SHIFT)
#define CHUNK_PAGES_SHIFT (GM_CHUNK_SHIFT - GM_PAGE_SHIFT)
#define ALIGNED_TRIES 1024

GM_STATIC_ASSERT(CHUNK_PAGES_SHIFT + FANOUT_SHIFT * GM_PAGEINDEX_LEVELS < 32, "runs fit the fields");

/* A node number of level k, shifted left by this, is the node's first page. */
GM_INLINE unsigned page_shift(unsigned k) { return CHUNK_PAGES_SHIFT + FANOUT_SHIFT * k; }
GM_INLINE size_t span(unsigned k) { return (size_t)1 << page_shift(k); }

/* How many nodes of level k cover the first `chunks` chunks. */
GM_INLINE size_t nodes(size_t chunks, unsigned k) {
    return (chunks + ((size_t)1 << FANOUT_SHIFT * k) - 1) >> FANOUT_SHIFT * k;
}

/* How many pages are free at the end of node s of level k, if `run` are free just before it. */
GM_INLINE size_t carry(const struct gm_pagesum *s, unsigned k, size_t run) {
    return s->start == span(k) ? run + span(k) : s->end;
}

/* -- Memory ------------------------------------------------------------------------------------- */

static unsigned levels_for(size_t chunks) {
    GM_CHECK(chunks > 0 && nodes(chunks, GM_PAGEINDEX_LEVELS) == 1);
    unsigned levels = 1;
    while (nodes(chunks, levels - 1) > FANOUT)
        levels++;
    return levels;
}

static size_t level_bytes(size_t chunks, unsigned k) {
    return gm_align_up(nodes(chunks, k) * sizeof(struct gm_pagesum), GM_CACHE_LINE);
}

size_t gm_pageindex_bytes(size_t chunks) {
    size_t bytes = 0;
    for (unsigned k = 0; k < levels_for(chunks); k++)
        bytes += level_bytes(chunks, k);
    return bytes;
}

/* Smallest first: a small heap touches only the head of each level, and the upper ones share a page. */
static void place_levels(struct gm_pageindex *ix, void *summaries) {
    char *memory = summaries;
    for (unsigned k = ix->levels; k-- > 0;) {
        ix->level[k] = (struct gm_pagesum *)memory;
        memory += level_bytes(ix->chunks, k);
    }
}

void gm_pageindex_init(struct gm_pageindex *ix, size_t chunks, struct gm_pagebits *bits, void *summaries) {
    *ix = (struct gm_pageindex){.bits = bits, .chunks = chunks, .levels = levels_for(chunks),
                                .summaries = summaries, .all_bits = bits};
    place_levels(ix, summaries);
}

void gm_pageindex_start_small(struct gm_pageindex *ix, struct gm_pageindex_small *small) {
    struct gm_pagesum *next = small->nodes;
    ix->small = small;
    ix->bits = small->bits;
    for (unsigned k = 0; k < ix->levels; k++) {
        ix->level[k] = next;
        next += nodes(GM_PAGEINDEX_SMALL, k);
    }
    GM_CHECK(next <= small->nodes + GM_PAGEINDEX_SMALL_NODES);
}

/* To the memory given to init. What was grown is all there is: the rest of either place is zero. */
static void leave_small(struct gm_pageindex *ix) {
    struct gm_pageindex from = *ix;
    memcpy(from.all_bits, from.bits, from.grown * sizeof *from.bits);
    place_levels(ix, ix->summaries);
    for (unsigned k = 0; k < ix->levels; k++)
        memcpy(ix->level[k], from.level[k], nodes(from.grown, k) * sizeof(struct gm_pagesum));
    ix->bits = ix->all_bits;
    ix->small = NULL;
}

/* -- Summaries ---------------------------------------------------------------------------------- */

static struct gm_pagesum merge(const struct gm_pageindex *ix, unsigned k, size_t node) {
    size_t child = node << FANOUT_SHIFT;
    size_t end = gm_min(child + FANOUT, nodes(ix->grown, k - 1));
    size_t start = 0, max = 0, run = 0;
    bool missing = end < child + FANOUT, leading = true;
    for (const struct gm_pagesum *s = &ix->level[k - 1][child]; child < end; child++, s++) {
        start += leading ? s->start : 0;
        leading = leading && s->start == span(k - 1);
        max = gm_max(max, gm_max(s->max, run + s->start));
        run = carry(s, k - 1, run);
    }
    return (struct gm_pagesum){(uint32_t)start, (uint32_t)max, missing ? 0 : (uint32_t)run, 0};
}

static struct gm_pagesum summary(const struct gm_pageindex *ix, unsigned k, size_t node) {
    if (k > 0)
        return merge(ix, k, node);
    struct gm_pagesum s;
    gm_pagebits_summary(&ix->bits[node], &s.start, &s.max, &s.end);
    s.freed = ix->level[0][node].freed;
    return s;
}

static bool same(const struct gm_pagesum *a, const struct gm_pagesum *b) {
    return a->start == b->start && a->max == b->max && a->end == b->end;
}

/* Bits of pages [page, page + n) have changed. */
static void update(struct gm_pageindex *ix, size_t page, size_t n) {
    bool changed = true;
    for (unsigned k = 0; k < ix->levels && changed; k++) {
        size_t last = (page + n - 1) >> page_shift(k);
        changed = false;
        for (size_t node = page >> page_shift(k); node <= last; node++) {
            struct gm_pagesum now = summary(ix, k, node);
            if (!same(&now, &ix->level[k][node])) {
                ix->level[k][node] = now;
                changed = true;
            }
        }
    }
}

/* -- Changes ------------------------------------------------------------------------------------ */

/* The part of a range of pages that lies in one chunk. */
struct piece {
    struct gm_pagebits *bits;
    unsigned from, n;
};

/* Cuts the range's first piece off it. */
GM_INLINE struct piece next_piece(struct gm_pageindex *ix, size_t *page, size_t *n) {
    unsigned from = (unsigned)(*page % GM_CHUNK_PAGES);
    struct piece p = {&ix->bits[*page / GM_CHUNK_PAGES], from, (unsigned)gm_min(*n, GM_CHUNK_PAGES - from)};
    *page += p.n;
    *n -= p.n;
    return p;
}

GM_INLINE void check_range(size_t chunks, size_t page, size_t n) {
    size_t end = chunks << CHUNK_PAGES_SHIFT;
    GM_CHECK(n > 0 && page < end && n <= end - page);
}

static void add_free(struct gm_pageindex *ix, size_t page, size_t n, bool zero) {
    ix->free_pages += n;
    ix->zero_pages += zero ? n : 0;
    ix->search_from = gm_min(ix->search_from, page);
    for (size_t at = page, left = n; left > 0;) {
        struct piece p = next_piece(ix, &at, &left);
        GM_CHECK(gm_pagebits_none(p.bits->free, p.from, p.n));
        gm_pagebits_set(p.bits->free, p.from, p.n);
        if (zero)
            gm_pagebits_set(p.bits->zero, p.from, p.n);
    }
    update(ix, page, n);
}

void gm_pageindex_grow(struct gm_pageindex *ix, size_t page, size_t n) {
    check_range(ix->chunks, page, n);
    size_t grown = gm_max(ix->grown, (page + n - 1) / GM_CHUNK_PAGES + 1);
    if (ix->small && grown > GM_PAGEINDEX_SMALL)
        leave_small(ix);
    ix->grown = grown;
    add_free(ix, page, n, true);
}

void gm_pageindex_give(struct gm_pageindex *ix, size_t page, size_t n, bool zero) {
    check_range(ix->grown, page, n);
    add_free(ix, page, n, zero);
}

size_t gm_pageindex_take(struct gm_pageindex *ix, size_t page, size_t n) {
    check_range(ix->grown, page, n);
    size_t zeros = 0;
    for (size_t at = page, left = n; left > 0;) {
        struct piece p = next_piece(ix, &at, &left);
        GM_CHECK(gm_pagebits_all(p.bits->free, p.from, p.n));
        zeros += gm_pagebits_count(p.bits->zero, p.from, p.n);
        gm_pagebits_clear(p.bits->free, p.from, p.n);
        gm_pagebits_clear(p.bits->zero, p.from, p.n);
    }
    ix->free_pages -= n;
    ix->zero_pages -= zeros;
    if (page == ix->search_from)
        ix->search_from = page + n;
    update(ix, page, n);
    return zeros;
}

void gm_pageindex_mark_zero(struct gm_pageindex *ix, size_t page, size_t n) {
    check_range(ix->grown, page, n);
    while (n > 0) {
        struct piece p = next_piece(ix, &page, &n);
        GM_CHECK(gm_pagebits_all(p.bits->free, p.from, p.n));
        ix->zero_pages += p.n - gm_pagebits_count(p.bits->zero, p.from, p.n);
        gm_pagebits_set(p.bits->zero, p.from, p.n);
    }
}

/* -- Search ------------------------------------------------------------------------------------- */

/* The lowest run of n pages in a node that has one (its max says so). */
static size_t descend(const struct gm_pageindex *ix, unsigned k, size_t node, size_t n) {
    while (k-- > 0) {
        const struct gm_pagesum *s = ix->level[k];
        size_t run = 0;
        for (node <<= FANOUT_SHIFT;; node++) {
            GM_ASSERT(node < nodes(ix->grown, k));
            if (run + s[node].start >= n)
                return (node << page_shift(k)) - run;
            if (s[node].max >= n)
                break;
            run = carry(&s[node], k, run);
        }
    }
    return (node << CHUNK_PAGES_SHIFT) + gm_pagebits_find(ix->bits[node].free, 0, (unsigned)n);
}

/* The lowest run of n free pages to the right of chunk `node`, where `run` pages before its end are free. */
static size_t climb(const struct gm_pageindex *ix, size_t node, size_t run, size_t n) {
    unsigned k = 0;
    for (node++;; node++) {
        while (node % FANOUT == 0 && k + 1 < ix->levels) {
            node >>= FANOUT_SHIFT;
            k++;
        }
        if (node >= nodes(ix->grown, k))
            return GM_NO_PAGE;
        const struct gm_pagesum *s = &ix->level[k][node];
        if (run + s->start >= n)
            return (node << page_shift(k)) - run;
        if (s->max >= n)
            return descend(ix, k, node, n);
        run = carry(s, k, run);
    }
}

/* The lowest run of n free pages that begins at `from` or above. */
static size_t search(const struct gm_pageindex *ix, size_t from, size_t n) {
    size_t chunk = from >> CHUNK_PAGES_SHIFT;
    unsigned at = (unsigned)(from % GM_CHUNK_PAGES);
    if (chunk >= ix->grown)
        return GM_NO_PAGE;
    const struct gm_pagesum *s = &ix->level[0][chunk];
    if (s->max >= n) {
        unsigned found = gm_pagebits_find(ix->bits[chunk].free, at, (unsigned)n);
        if (found < GM_CHUNK_PAGES)
            return (chunk << CHUNK_PAGES_SHIFT) + found;
    }
    return climb(ix, chunk, gm_min(s->end, GM_CHUNK_PAGES - at), n);
}

static size_t search_aligned(const struct gm_pageindex *ix, size_t n, size_t align) {
    size_t from = gm_align_up(ix->search_from, align);
    for (unsigned tries = 0;; tries++) {
        size_t found = search(ix, from, n);
        if (found == GM_NO_PAGE || gm_is_aligned(found, align))
            return found;
        from = gm_align_up(found, align);
        if (tries == ALIGNED_TRIES) {
            size_t roomy = search(ix, from, n + align - 1);
            if (roomy != GM_NO_PAGE)
                return gm_align_up(roomy, align);
        }
    }
}

size_t gm_pageindex_find(struct gm_pageindex *ix, size_t n, size_t align) {
    GM_ASSERT(n > 0 && gm_is_pow2(align));
    if (n > ix->free_pages)
        return GM_NO_PAGE;
    /* Something is free, so it lies at search_from or above. Leave full chunks behind for good. */
    if (ix->level[0][ix->search_from >> CHUNK_PAGES_SHIFT].max == 0)
        ix->search_from = search(ix, ix->search_from, 1);
    return align == 1 ? search(ix, ix->search_from, n) : search_aligned(ix, n, align);
}

size_t gm_pageindex_run(const struct gm_pageindex *ix, size_t page, size_t limit) {
    size_t node = page >> CHUNK_PAGES_SHIFT;
    if (node >= ix->grown)
        return 0;
    unsigned at = (unsigned)(page % GM_CHUNK_PAGES);
    size_t run = gm_pagebits_run(ix->bits[node].free, at);
    bool more = at + run == GM_CHUNK_PAGES;
    unsigned k = 0;
    for (node++; more && run < limit; node++) {
        while (node % FANOUT == 0 && k + 1 < ix->levels) {
            node >>= FANOUT_SHIFT;
            k++;
        }
        if (node >= nodes(ix->grown, k))
            break;
        run += ix->level[k][node].start;
        more = ix->level[k][node].start == span(k);
    }
    return gm_min(run, limit);
}

/* -- Giving memory back ------------------------------------------------------------------------- */

/* The highest chunk below `end` that has a free page; SIZE_MAX if there is none. end <= grown. */
static size_t chunk_below(const struct gm_pageindex *ix, size_t end) {
    unsigned k = 0;
    for (;; end--) { /* a node number of level k: the nodes left of it are still to be looked at */
        while (end % FANOUT == 0 && k + 1 < ix->levels) {
            end >>= FANOUT_SHIFT;
            k++;
        }
        if (end == 0)
            return SIZE_MAX;
        if (ix->level[k][end - 1].max > 0)
            break;
    }
    while (k-- > 0) {
        end <<= FANOUT_SHIFT; /* all eight are below the first end, so they exist */
        while (ix->level[k][end - 1].max == 0)
            end--;
    }
    return end - 1;
}

size_t gm_pageindex_next_dirty(const struct gm_pageindex *ix, size_t below, size_t limit, size_t *page) {
    if (ix->free_pages == ix->zero_pages || limit == 0)
        return 0;
    below = gm_min(below, ix->grown << CHUNK_PAGES_SHIFT);
    size_t chunk = below >> CHUNK_PAGES_SHIFT;
    unsigned first = 0, at = (unsigned)(below % GM_CHUNK_PAGES);
    size_t run = gm_pagebits_last_dirty(&ix->bits[chunk], at, &first);
    while (run == 0) {
        chunk = chunk_below(ix, chunk);
        if (chunk == SIZE_MAX)
            return 0;
        run = gm_pagebits_last_dirty(&ix->bits[chunk], GM_CHUNK_PAGES, &first);
    }
    size_t end = (chunk << CHUNK_PAGES_SHIFT) + first + run;
    while (first == 0 && chunk > 0 && run < limit) { /* the run may go on in the chunk before */
        unsigned more = gm_pagebits_last_dirty(&ix->bits[--chunk], GM_CHUNK_PAGES, &first);
        if (more == 0 || first + more < GM_CHUNK_PAGES)
            break;
        run += more;
    }
    run = gm_min(run, limit);
    *page = end - run;
    return run;
}

/* -- Checking ----------------------------------------------------------------------------------- */

void gm_pageindex_verify(const struct gm_pageindex *ix) {
    size_t free_pages = 0, zero_pages = 0;
    GM_CHECK(ix->grown <= ix->chunks);
    for (size_t chunk = 0; chunk < ix->grown; chunk++) {
        const struct gm_pagebits *b = &ix->bits[chunk];
        for (unsigned i = 0; i < GM_CHUNK_WORDS; i++)
            GM_CHECK((b->zero[i] & ~b->free[i]) == 0);
        unsigned lowest = gm_pagebits_find(b->free, 0, 1);
        GM_CHECK(lowest == GM_CHUNK_PAGES || (chunk << CHUNK_PAGES_SHIFT) + lowest >= ix->search_from);
        free_pages += gm_pagebits_count(b->free, 0, GM_CHUNK_PAGES);
        zero_pages += gm_pagebits_count(b->zero, 0, GM_CHUNK_PAGES);
    }
    GM_CHECK(free_pages == ix->free_pages && zero_pages == ix->zero_pages);
    for (unsigned k = 0; k < ix->levels; k++) {
        for (size_t node = 0; node < nodes(ix->grown, k); node++) {
            struct gm_pagesum expected = summary(ix, k, node);
            GM_CHECK(same(&expected, &ix->level[k][node]));
        }
    }
}
