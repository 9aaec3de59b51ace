/* See heap.h.
 *
 * Where pages are found and how the heap grows: grow.c.
 *
 * Giving back: the accounts for it are here; what goes, in which order: giveback.c; when and how much: scavenge.c. */
#include "libgomalloc/heap.h"

#include "libgomalloc/base/check.h"
#include "libgomalloc/base/lock.h"
#include "libgomalloc/conf.h"
#include "libgomalloc/grow.h"
#include "libgomalloc/hooks.h"
#include "libgomalloc/huge.h"
#include "libgomalloc/meta.h"
#include "libgomalloc/os/os.h"
#include "libgomalloc/pace.h"

enum { FALL_LEAST = 128 * 1024 };

static struct gm_lock heap_lock = GM_LOCK_INIT(GM_RANK_HEAP);
static struct gm_heap_stats stats; /* guarded by heap_lock */

/* For the scavenger; all guarded by the heap lock but for `gm_heap_pending`, which is atomic. */
static struct gm_pace pace;        /* the need of the last seconds */
static size_t used_pages;          /* in spans */
static bool lazily_released;       /* madvise:free was used: the zero bit means "given back", not "zero" */
/* Atomic. The control group's is found in up to a dozen files, which is some 80 us, a tenth of the time that a small
 * process takes from its start to its end: it is asked for from this size on. */
static size_t memory_limit = SIZE_MAX;
enum { ASK_FROM = 4 << 20 };
const struct gm_heap_roots gm_heap_roots = { &stats, &pace, &memory_limit };
bool gm_heap_pending, gm_heap_fallen;
size_t gm_heap_fresh, gm_heap_owed;
uint64_t gm_heap_unbacked;
bool gm_heap_crowded, gm_heap_urgent;
uint32_t gm_heap_squeezes;

void gm_heap_lock(void) { gm_lock(&heap_lock); }
void gm_heap_unlock(void) { gm_unlock(&heap_lock); }
bool gm_heap_init(void) { return gm_arena_init(); }

/* ---- entries of the page table */

static uint64_t treatment_of(const struct gm_span *s) {
    return (s->flags & GM_SPAN_NOSCAN ? GM_ENTRY_NOSCAN : 0) | (s->flags & GM_SPAN_UNCOLLECTABLE ? GM_ENTRY_UNCOLLECTABLE : 0) |
           (s->flags & GM_SPAN_TINY ? GM_ENTRY_TINY : 0);
}

static void write_entries(struct gm_span *s, size_t from_page, size_t to_page, bool clear) {
    uint64_t *pages = s->arena->pages;
    size_t first = gm_arena_page_of(s->arena, s->start);
    if (s->cls != 0) {
        for (size_t i = from_page; i < to_page; i++)
            gm_store_release(&pages[first + i], clear ? 0 : gm_entry_make(s, (unsigned)i, s->cls, treatment_of(s)));
        return;
    }
    size_t chunk_end = gm_align_up(first + 1, GM_CHUNK_PAGES) - first; /* pages in the first chunk */
    uint64_t e = clear ? 0 : gm_entry_make(s, 0, 0, treatment_of(s));
    for (size_t i = from_page; i < to_page && i < chunk_end; i++) gm_store_release(&pages[first + i], e);
    size_t i = from_page > chunk_end ? chunk_end + gm_align_up(from_page - chunk_end, GM_CHUNK_PAGES) : chunk_end;
    for (; i < to_page; i += GM_CHUNK_PAGES) gm_store_release(&pages[first + i], e);
}

/* ---- the accounts */

static size_t dirty_bytes(void) {
    size_t pages = 0;
    for (const struct gm_arena *a = gm_arena_next(NULL); a; a = gm_arena_next((struct gm_arena *)a))
        pages += a->index.free_pages - a->index.zero_pages;
    return pages << GM_PAGE_SHIFT;
}

/* Backed memory as the accounts have it: used and dirty pages, tables, records. */
static size_t backed_bytes(void) {
    size_t tables = 0;
    for (const struct gm_arena *a = gm_arena_next(NULL); a; a = gm_arena_next((struct gm_arena *)a))
        tables += gm_arena_table_bytes(a);
    return (used_pages << GM_PAGE_SHIFT) + dirty_bytes() + tables + gm_meta_used() - gm_load_relaxed(&stats.holes);
}

/* Pages have gone to spans, or come from them. Dirty pages beyond a tenth of the need are the scavenger's. Returns
 * the time; 0 while the heap is so small that nobody will ask: such a process does not even touch the clock's page. */
static uint64_t note_need(ptrdiff_t pages) {
    enum { SMALL_HEAP = 512 * 1024 };
    gm_count_add(&used_pages, (size_t)pages);
    if ((used_pages << GM_PAGE_SHIFT) + dirty_bytes() <= SMALL_HEAP) return 0;
    uint64_t now = gm_os_coarse_time();
    gm_pace_need(&pace, now, used_pages << GM_PAGE_SHIFT);
    size_t dirty = pages < 0 ? dirty_bytes() : 0, used = used_pages << GM_PAGE_SHIFT;
    if (dirty > gm_heap_slack(used)) gm_store_relaxed(&gm_heap_pending, true), gm_store_relaxed(&gm_hooks.idle, 1);
    if (dirty > used / 8 + FALL_LEAST) gm_store_relaxed(&gm_heap_fallen, true);
    return now;
}

size_t (*gm_heap_squeeze)(uint64_t until, bool at_once);

/* The rest is looked for where it costs more, by one thread at a time and for at most half of it. */
static void squeeze(size_t want) {
    static uint64_t next; /* atomic */
    uint64_t now = gm_os_nanotime(), due = gm_load_relaxed(&next);
    if (!gm_heap_squeeze || now < due || !gm_cas_acquire(&next, &due, UINT64_MAX)) return;
    gm_add_relaxed(&gm_heap_squeezes, 1);
    size_t done = gm_heap_squeeze(now + 200000000, true);
    if (done < want) gm_heap_scavenge(want - done); /* pages that spans have ceded */
    uint64_t spent = gm_os_nanotime() - now;
    gm_store_release(&next, now + 2 * spent + 1000000);
}

/* Near the memory limit: as much goes back as new pages have come in, and 1 MiB more so that this does not
 * happen for every span. Nothing is refused: when no free page is left, the limit is passed. */
static void keep_limit(void) {
    enum { MORE = 1 << 20 };
    if (gm_load_relaxed(&memory_limit) == GM_LIMIT_OF_GROUP) {
        if (gm_load_relaxed(&used_pages) << GM_PAGE_SHIFT < ASK_FROM) return;
        if (gm_heap_memory_limit() == SIZE_MAX) return;
    }
    gm_lock(&heap_lock);
    size_t backed = backed_bytes(), aim = memory_limit - memory_limit / 32;
    size_t want = backed > aim ? backed - aim + MORE : 0, dirty = dirty_bytes();
    gm_unlock(&heap_lock);
    gm_store_relaxed(&gm_heap_urgent, want != 0 || backed + MORE > aim - memory_limit / 16);
    if (want) gm_heap_scavenge(gm_min(want, dirty));
    if (want > dirty) squeeze(want - dirty);
}

/* Gives the record its pages, where `room` more are free behind them. False: out of memory. Heap lock. */
static bool place_locked(struct gm_span *s, size_t npages, size_t room, size_t align_pages, bool anywhere, bool *zero) {
    size_t page, had = gm_space.primary.committed;
    struct gm_arena *a = gm_grow_find(npages + room, align_pages, anywhere, &page);
    if (!a) return false;
    size_t grown = gm_space.primary.committed > had ? gm_space.primary.committed - had : 0, unbacked = a->index.zero_pages;
    *zero = gm_pageindex_take(&a->index, page, npages) == npages && !lazily_released;
    bool crowded = gm_load_relaxed(&gm_heap_crowded);
    gm_huge_placed(a, page, npages, s->cls != 0 && !crowded);
    unbacked -= a->index.zero_pages;
    gm_count_add(&gm_heap_unbacked, unbacked << GM_PAGE_SHIFT);
    gm_count_add(&gm_heap_fresh, (crowded ? npages : unbacked) << GM_PAGE_SHIFT);
    gm_add_relaxed(&gm_heap_owed, crowded ? unbacked << GM_PAGE_SHIFT : grown);
    note_need((ptrdiff_t)npages);
    s->arena = a;
    gm_store_relaxed(&s->start, a->base + (page << GM_PAGE_SHIFT));
    gm_store_relaxed(&s->npages, (uint32_t)npages);
    if (a != &gm_space.primary) s->flags |= GM_SPAN_SPARSE;
    write_entries(s, 0, npages, false);
    return true;
}

/* A class's first spans (GM_HEAP_SHORT), and all while much lies free in pieces, make do with a short run of pages where the class
 * would have a long one: as few pages as keep the waste at its end below an eighth, or hold one slot if that is larger than
 * a page. Forty classes of a program of some MiB that have a few slots each would have forty spans of up to 104 KiB. */
static size_t pages_for(unsigned cls, unsigned flags) {
    size_t size = gm_class_size[cls], pages = gm_align_up(size, GM_PAGE_SIZE) >> GM_PAGE_SHIFT;
    if (flags & UINT8_MAX || cls == GM_CLASS_8 || (!(flags & GM_HEAP_SHORT) && GM_LIKELY(!gm_load_relaxed(&gm_heap_crowded)))) return gm_class_pages[cls];
    if (pages > 1) return gm_min(pages, gm_class_pages[cls]);
    while (pages < gm_class_pages[cls] && (pages << GM_PAGE_SHIFT) % size > pages << GM_PAGE_SHIFT >> 3) pages++;
    return pages;
}

/* Whether so many pages would come to lie on memory that is backed already. Heap lock. */
static bool has_backed(size_t npages) {
    struct gm_pageindex *ix = &gm_space.primary.index;
    size_t page = ix->free_pages > ix->zero_pages ? gm_pageindex_find(ix, npages, 1) : GM_NO_PAGE;
    return page != GM_NO_PAGE && !(ix->bits[page / GM_CHUNK_PAGES].zero[page % GM_CHUNK_PAGES / 64] >> (page & 63) & 1);
}

/* Behind the lock: what growth costs is paid, and a span that found no place is none. */
static struct gm_span *settled(struct gm_span *s, bool placed) {
    gm_heap_pay();
    if (GM_UNLIKELY(gm_load_relaxed(&memory_limit) != SIZE_MAX)) keep_limit();
    if (placed) return s;
    gm_span_delete(s);
    return NULL;
}

struct gm_span *gm_heap_alloc_small(unsigned cls, bool anywhere, unsigned flags) {
    bool zero;
    struct gm_span *s = gm_span_new(cls);
    if (!s) return NULL;
    s->flags = (uint8_t)flags;
    size_t pages = pages_for(cls, flags);
    gm_lock(&heap_lock);
    if (pages < gm_class_pages[cls] && !(flags & GM_HEAP_SHORT) && has_backed(gm_class_pages[cls])) pages = gm_class_pages[cls];
    if (pages < gm_class_pages[cls]) gm_span_shorten(s, (unsigned)gm_min((pages << GM_PAGE_SHIFT) / gm_class_size[cls], s->nslots));
    bool placed = place_locked(s, pages, 0, 1, anywhere, &zero);
    gm_unlock(&heap_lock);
    return settled(s, placed);
}

struct gm_span *gm_heap_alloc_large(size_t npages, size_t align_pages, size_t requested, unsigned flags, bool *zero) {
    struct gm_span *s = gm_span_new(0);
    if (!s) return NULL;
    s->requested = requested;
    s->flags = (uint8_t)flags;
    gm_lock(&heap_lock);
    size_t room = flags & GM_HEAP_ROOM ? npages / 2 : 0;
    bool placed = place_locked(s, npages, room, align_pages, true, zero) ||
                  (room && place_locked(s, npages, 0, align_pages, true, zero));
    if (placed) {
        stats.large_mallocs++;
        stats.large_requested += requested;
        stats.large_live_requested += requested;
        stats.large_live += npages << GM_PAGE_SHIFT;
        gm_hooks_moved((int64_t)(npages << GM_PAGE_SHIFT));
        stats.large_total += npages << GM_PAGE_SHIFT;
    }
    gm_unlock(&heap_lock);
    return settled(s, placed);
}

bool gm_heap_zero_by_release(struct gm_span *s) {
    return gm_os_page_size() <= GM_PAGE_SIZE && gm_os_release((void *)s->start, gm_span_bytes(s));
}

/* Back to the index; the bytes read as zero afterwards if `zero`. */
static void give_pages(struct gm_arena *a, uintptr_t start, size_t npages, bool zero) {
    size_t page = gm_arena_page_of(a, start);
    gm_pageindex_give(&a->index, page, npages, zero);
    uint64_t now = note_need(-(ptrdiff_t)npages);
    for (size_t chunk = page / GM_CHUNK_PAGES; chunk <= (page + npages - 1) / GM_CHUNK_PAGES; chunk++)
        a->index.level[0][chunk].freed = (uint32_t)(now >> GM_FREED_SHIFT) & GM_FREED_MASK;
}

/* The next run of pages from *at on that the span has not ceded; its length, 0: none. */
static size_t kept_run(const struct gm_span *s, size_t *at) {
    unsigned ceded = gm_span_ceded(s);
    if (!ceded) return s->npages - *at;
    while (*at < s->npages && ceded >> *at & 1) ++*at;
    size_t n = 0;
    while (*at + n < s->npages && !(ceded >> (*at + n) & 1)) n++;
    return n;
}

void gm_heap_cede(struct gm_span *s, unsigned page, unsigned n, bool zero) {
    gm_lock(&heap_lock);
    write_entries(s, page, page + n, true);
    give_pages(s->arena, s->start + ((size_t)page << GM_PAGE_SHIFT), n, zero);
    s->ceded |= (uint16_t)gm_mask(page, n);
    gm_unlock(&heap_lock);
}

void gm_heap_replace(struct gm_span *const *by, unsigned n) {
    gm_lock(&heap_lock);
    for (unsigned i = 0; i < n; i++) write_entries(by[i], 0, 1, false);
    gm_unlock(&heap_lock);
}

/* `claim`: it is a large object, to be found alive still. That is decided under the lock: what another thread was
 * just freeing when the process forked is in the child either alive or wholly gone (the C library frees blocks of
 * threads that are not there any more, and does it again where its own accounts say so). */
static bool free_span(struct gm_span *s, bool claim) {
    struct gm_arena *a = s->arena;
    bool zero = s->flags & GM_SPAN_EMPTIED;
    if (s->flags & GM_SPAN_MOVED) {
        /* If that fails there may be no memory behind the addresses: they are never used again. */
        if (!gm_os_renew((void *)s->start, gm_span_bytes(s))) return !claim || gm_exchange_acq_rel(&s->state, 0) != 0;
        gm_os_name((void *)s->start, gm_span_bytes(s), "gomalloc heap"); /* or it could not merge */
        gm_huge_tell((void *)s->start, gm_span_bytes(s));
        zero = true;
    }
    gm_lock(&heap_lock);
    if (claim && gm_exchange_acq_rel(&s->state, 0) == 0) {
        gm_unlock(&heap_lock);
        return false;
    }
    size_t n;
    for (size_t at = 0; (n = kept_run(s, &at)) != 0; at += n) {
        write_entries(s, at, at + n, true);
        give_pages(a, s->start + (at << GM_PAGE_SHIFT), n, zero);
    }
    /* Left standing until the page is used again: a second free is then told for what it is. */
    if (s->cls == 0 || gm_class_slots[s->cls] == 1) gm_store_release(&a->pages[gm_arena_page_of(a, s->start)], GM_ENTRY_FREED);
    if (s->cls == 0) {
        stats.large_frees++;
        stats.large_live -= gm_span_bytes(s);
        gm_hooks_moved(-(int64_t)gm_span_bytes(s));
        stats.large_live_requested -= s->requested;
    }
    if (GM_UNLIKELY(gm_grow_tight)) gm_grow_relieve(a);
    gm_unlock(&heap_lock);
    gm_span_delete(s);
    return true;
}

void gm_heap_free(struct gm_span *s) { free_span(s, false); }
bool gm_heap_free_live(struct gm_span *s) { return free_span(s, true); }

static bool resize_locked(struct gm_span *s, size_t npages) {
    struct gm_arena *a = s->arena;
    size_t first = gm_arena_page_of(a, s->start), old = s->npages;
    if (npages == old) return true;
    if (npages < old) {
        write_entries(s, npages, old, true);
        uintptr_t tail = s->start + (npages << GM_PAGE_SHIFT);
        bool moved = s->flags & GM_SPAN_MOVED, renewed = moved && gm_os_renew((void *)tail, (old - npages) << GM_PAGE_SHIFT);
        if (renewed) gm_huge_tell((void *)tail, (old - npages) << GM_PAGE_SHIFT);
        if (!moved || renewed) give_pages(a, tail, old - npages, renewed); /* else: as in gm_heap_free */
    } else {
        size_t more = npages - old, behind = gm_pageindex_run(&a->index, first + old, more);
        if (behind < more) { /* at the heap's end there may be more to be had */
            if (((first + old + behind) << GM_PAGE_SHIFT) != a->committed || !gm_grow(a, more)) return false;
            if (gm_pageindex_run(&a->index, first + old, more) < more) return false;
        }
        size_t unbacked = gm_pageindex_take(&a->index, first + old, more);
        gm_count_add(&gm_heap_fresh, unbacked << GM_PAGE_SHIFT);
        gm_count_add(&gm_heap_unbacked, unbacked << GM_PAGE_SHIFT);
        note_need((ptrdiff_t)more);
    }
    gm_store_relaxed(&s->npages, (uint32_t)npages);
    if (npages > old) write_entries(s, old, npages, false);
    stats.large_live += (npages - old) << GM_PAGE_SHIFT; /* unsigned: shrinking wraps back */
    gm_hooks_moved(((int64_t)npages - (int64_t)old) * (int64_t)GM_PAGE_SIZE);
    return true;
}

bool gm_heap_resize(struct gm_span *s, size_t npages, size_t requested) {
    gm_lock(&heap_lock);
    bool done = resize_locked(s, npages);
    if (done) {
        stats.large_live_requested += requested - s->requested; /* unsigned, as above */
        s->requested = requested;
    }
    gm_unlock(&heap_lock);
    if (done && GM_UNLIKELY(gm_load_relaxed(&memory_limit) != SIZE_MAX)) keep_limit();
    return done;
}

void gm_heap_limit_address_space(size_t bytes) {
    gm_lock(&heap_lock);
    gm_arena_shrink(&gm_space.primary, bytes / 2);
    gm_unlock(&heap_lock);
}

/* ---- giving back */

void gm_heap_went_back(size_t bytes, bool lazily) {
    if (lazily) gm_store_relaxed(&lazily_released, true);
    gm_add_relaxed(&stats.scavenged, bytes);
}

void gm_heap_count_holes(ptrdiff_t bytes) {
    gm_add_relaxed(&stats.holes, (uint64_t)bytes);
    if (bytes > 0) gm_add_relaxed(&stats.scavenged, (uint64_t)bytes);
}

void gm_heap_read_need(struct gm_heap_need *out) {
    gm_lock(&heap_lock);
    out->used = used_pages << GM_PAGE_SHIFT;
    out->dirty = dirty_bytes();
    out->goal = gm_pace_goal(&pace, gm_os_coarse_time());
    /* Under the lock: a free that comes now sets it again. */
    if (out->dirty <= gm_heap_slack(out->used)) gm_store_relaxed(&gm_heap_pending, false), gm_store_relaxed(&gm_hooks.idle, 0);
    gm_unlock(&heap_lock);
}

void gm_heap_set_memory_limit(size_t bytes) { gm_store_relaxed(&memory_limit, bytes); }

size_t gm_heap_memory_limit(void) {
    size_t limit = gm_load_relaxed(&memory_limit), of_group;
    if (limit != GM_LIMIT_OF_GROUP) return limit;
    of_group = gm_os_cgroup_limit();
    /* Whoever sets a limit meanwhile wins. */
    return gm_cas_release(&memory_limit, &limit, of_group) ? of_group : limit;
}

void gm_heap_pin_arenas(void) {
    gm_lock(&heap_lock);
    gm_grow_pins++;
    gm_unlock(&heap_lock);
}

void gm_heap_unpin_arenas(void) {
    gm_lock(&heap_lock);
    gm_grow_pins--;
    gm_unlock(&heap_lock);
}

/* ---- numbers and checks */

void gm_heap_read_stats(struct gm_heap_stats *out) {
    gm_lock(&heap_lock);
    *out = stats;
    out->goal = gm_pace_goal(&pace, gm_os_coarse_time());
    for (struct gm_arena *a = gm_arena_next(NULL); a; a = gm_arena_next(a)) {
        out->committed += a->committed;
        out->idle += a->index.free_pages << GM_PAGE_SHIFT;
        out->released += a->index.zero_pages << GM_PAGE_SHIFT;
        out->tables += gm_arena_table_bytes(a);
    }
    gm_unlock(&heap_lock);
}

void gm_heap_verify(void) {
    gm_lock(&heap_lock);
    for (struct gm_arena *a = gm_arena_next(NULL); a; a = gm_arena_next(a)) {
        if (a->size == 0) continue;
        gm_pageindex_verify(&a->index);
        size_t end = a->committed >> GM_PAGE_SHIFT;
        for (size_t page = 0; page < end; page++) {
            uint64_t e = a->pages[page];
            if (e <= GM_ENTRY_FREED) continue;
            const struct gm_span *s = gm_entry_span(e);
            size_t first = gm_arena_page_of(a, s->start);
            GM_CHECK(page >= first && page < first + s->npages && s->cls == gm_entry_class(e));
            GM_CHECK(gm_pageindex_run(&a->index, page, 1) == 0);
        }
    }
    gm_unlock(&heap_lock);
}
