/* See mark.h.
 *
 * What costs is not the marking but the waiting: each pointer followed is lines that lie anywhere, its target's mark and the target
 * itself. So a worker looks at nothing at once.
 *
 *   word -> in the heap? -> its mark is prefetched, it waits in a batch; when the group is through, the marks of the batch before
 *        it are set: marked already: done
 *        -> grey: it waits in the worker's buffer
 *        -> a group is taken from there and prefetched as a whole, it waits while the group before it is scanned -> scanned
 *
 * GROUPS, and not one in, one out: a prefetch does not wait for its line, but the processor goes no further than some 300
 * instructions before it has translated the address, and random addresses of a large heap are in no table of translations. By
 * samples of where the processor stood, on a heap of 1 GiB seven tenths of the marking were spent at that one instruction as long as some two
 * hundred others lay between one prefetch and the next. In a row they are translated side by side. More than 24 lines
 * on their way at once are too many: what is asked for then is not fetched.
 *
 * THE MARK OF A WORD is the bit of the 16 bytes it points to, whatever lies there: set before anything is known of
 * the target but that it is in the heap. Nearly always that is the start of a slot. Its page's entry tells, and the size
 * with it: the entries of 64 KiB of heap share a line, they are at hand. If not, the entry tells what it is
 * (resolve): of an object that was pointed into, the first 16 bytes are marked as well, and that is the mark that counts. Bits
 * elsewhere, and those of free slots, mean nothing to anybody: who asks for a mark asks for that of a live object's start.
 * So an entry is any address, and all there is to know is looked up when it is taken out.
 *
 * FREE SLOTS are not to be scanned: what they once pointed to would stay. Each object's state byte would tell, on one more line that
 * lies anywhere. Instead the free slots' marks are set before all others (free_slots.c), by a walk over the states in
 * their order: they never turn grey. Until then words are looked up one by one (consider_carefully).
 *
 * Which words of an object are pointers, and whether their targets are marked, cannot be foreseen, and a branch that was
 * taken wrongly costs as much as ten words. So both are sorted out without branches: each word is stored, and the
 * number of them grows by 0 or 1.
 *
 * Large objects are scanned in pieces, each piece's entry queued before the one before it is read, so that
 * several workers share one object; each is looked up again, as every entry is.
 *
 * No memory for a buffer: entries are dropped, and a pass over all marked objects finds what is unscanned.
 * bench/gc/mark.c measures all this. */
#include "gc/mark.h"

#include "gc/batch.h"
#include "gc/free_slots.h"
#include "gc/roots.h"
#include "gc/work.h"
#include "libgomalloc/base/atomic.h"
#include "libgomalloc/base/bits.h"
#include "libgomalloc/base/check.h"
#include "libgomalloc/gcview.h"
#include "libgomalloc/os/os.h"
#include "libgomalloc/os/pagemap.h"

enum { GROUP = 16, PIECE = 128 * 1024, SHARE_EVERY = 4 };

/* Grey entries that have been prefetched; size 0: what is there is not known yet. */
struct group {
    unsigned n;
    uint32_t size[GROUP];
    uintptr_t entry[GROUP];
};

struct worker {
    struct gc_batch batch[2];    /* the one that fills, and the other, whose marks have been prefetched */
    unsigned filling;
    struct group group[2];       /* as the batches: the one that fills, and the one that is scanned */
    struct gc_grey grey;
    unsigned until_share;
    bool alone;                  /* no other worker: marks are set without a locked instruction */
    struct gc_mark_totals totals;
} GM_ALIGNED(128);

static struct worker workers[GC_MARK_WORKERS_MAX];
static struct {
    uintptr_t base, bytes;       /* of the primary arena, as far as it had grown at the stop */
    const uint64_t *pages;
    uintptr_t biased_marks;      /* see gc_batch_mark */
    bool sparse;                 /* there are other arenas */
    bool free_marked;            /* free slots have their marks set */
} heap;
/* By class, of plain slots, else 0. */
static struct shape {
    uint32_t reciprocal, size;
} shapes[GM_CLASSES];
static bool started, started_shared;
static uint32_t dropped;         /* atomic: entries were, for want of memory */

/* An entry that is where a piece of a large object begins. No address has this bit. */
#define PIECE_ENTRY (UINT64_C(1) << 63)

/* ---- setting marks */

/* True if the bit was not set. */
static inline bool set_bit(const struct worker *w, uint64_t *word, uint64_t bit) {
    /* Relaxed: a mark guards nothing but itself. The object's words are what they were when the world was
     * stopped, which came before all workers. */
    if (gm_load_relaxed(word) & bit) return false;
    if (w->alone) {
        gm_store_relaxed(word, *word | bit);
        return true;
    }
    return !(__atomic_fetch_or(word, bit, __ATOMIC_RELAXED) & bit);
}

/* No memory: the target is marked, so that the pass over all marked objects finds it. */
static GM_NOINLINE void drop_entry(struct worker *w, uintptr_t entry) {
    struct gm_gc_object o;
    if (gm_gc_find(entry & ~PIECE_ENTRY, &o) && o.live) set_bit(w, gm_gc_mark_word(o.arena, o.start), gm_gc_mark_bit(o.arena, o.start));
    gm_store_relaxed(&dropped, 1);
}

static inline void queue(struct worker *w, uintptr_t entry) {
    if (GM_UNLIKELY(!gc_grey_put(&w->grey, entry))) drop_entry(w, entry);
}

static inline void count(struct worker *w, size_t bytes) {
    w->totals.objects++;
    w->totals.bytes += bytes;
}

static inline bool mark_start(const struct worker *w, const struct gm_gc_object *o) {
    return set_bit(w, gm_gc_mark_word(o->arena, o->start), gm_gc_mark_bit(o->arena, o->start));
}

/* Marks a found object, and queues it if it is to be scanned. A free one (root words only) has its mark set. */
static void mark_found(struct worker *w, const struct gm_gc_object *o, bool from_stack) {
    if (!o->live && !from_stack) return;
    if (!mark_start(w, o) || !o->live) return;
    if (o->noscan) count(w, o->size);
    else queue(w, o->start);
}

/* A word that may point into an arena other than the primary, or to a slot that is free. */
static GM_NOINLINE void consider_carefully(struct worker *w, uintptr_t word) {
    struct gm_gc_object o;
    if (gm_gc_find(word, &o)) mark_found(w, &o, false);
}

/* Where there is no memory for grey. */
static GM_NOINLINE void mark_and_drop(struct worker *w, uintptr_t biased, const struct gc_batch *b) {
    for (size_t i = 0; i < b->n; i++) {
        uintptr_t word = b->word[i];
        if (set_bit(w, gc_batch_mark(biased, word), UINT64_C(1) << gc_batch_bit(word))) queue(w, word);
    }
}

/* The batch that fills is full, or shall be looked at all the same: the rest of its marks is prefetched, those of the other set. */
static void next_batch(struct worker *w) {
    const uintptr_t biased = heap.biased_marks;
    const struct gc_batch *full = &w->batch[w->filling];
    struct gc_batch *other = &w->batch[w->filling ^= 1];
    gc_batch_prefetch_rest(full, biased);
    struct gc_buffer *grey = gc_grey_room(&w->grey, other->n + 1);
    if (GM_UNLIKELY(!grey)) mark_and_drop(w, biased, other);
    else if (w->alone) gc_batch_settle_alone(other, grey, biased);
    else gc_batch_settle(other, grey, biased);
    gc_batch_clear(other);
}

/* A word that points into the primary arena. */
static inline void consider(struct worker *w, uintptr_t word) {
    struct gc_batch *b = &w->batch[w->filling];
    b->word[b->n++] = word;
    if (GM_UNLIKELY(b->n >= GC_BATCH_FULL)) next_batch(w);
}

/* True if there was something in the batches; they are empty then. */
static bool settle_batches(struct worker *w) {
    if (w->batch[0].n + w->batch[1].n == 0) return false;
    next_batch(w);
    next_batch(w);
    return true;
}

/* ---- scanning */

/* Where there are other arenas as well: any word may lie in one. */
static GM_NOINLINE void scan_words_sparse(struct worker *w, const uintptr_t *word, const uintptr_t *end) {
    for (; word < end; word++) {
        uintptr_t value = gm_load_relaxed(word);
        if (value - heap.base < heap.bytes) consider(w, value);
        else consider_carefully(w, value);
    }
}

/* `bytes`: a multiple of 16. */
static GM_NOINLINE void scan_words(struct worker *w, uintptr_t p, size_t bytes) {
    const uintptr_t *word = (const uintptr_t *)p, *end = (const uintptr_t *)(p + bytes);
    if (GM_UNLIKELY(heap.sparse)) return scan_words_sparse(w, word, end);
    while (word < end) {
        const uintptr_t *stop = end - word > GC_BATCH_ROOM ? word + GC_BATCH_ROOM : end;
        struct gc_batch *b = &w->batch[w->filling];
        gc_batch_filter(b, word, stop, heap.base, heap.bytes);
        if (GM_UNLIKELY(b->n >= GC_BATCH_FULL)) next_batch(w);
        word = stop;
    }
}

/* Memory that may not be there at this moment. */
static void scan_carefully(struct worker *w, uintptr_t p, size_t bytes) {
    uintptr_t copy[256];
    for (size_t o = 0; o < bytes; o += sizeof copy) {
        size_t n = gm_pagemap_read(p + o, copy, gm_min(sizeof copy, bytes - o));
        scan_words(w, (uintptr_t)copy, n & ~(2 * sizeof *copy - 1));
    }
}

/* From p on, in pieces. */
static void scan_rest(struct worker *w, const struct gm_gc_object *o, uintptr_t p) {
    size_t bytes = o->start + o->size - p;
    if (bytes > PIECE) {
        queue(w, (p + PIECE) | PIECE_ENTRY);
        bytes = PIECE;
        gc_grey_share(&w->grey);
    }
    w->totals.scanned_bytes += bytes;
    if (o->moving) scan_carefully(w, p, bytes);
    else scan_words(w, p, bytes);
}

/* An entry that is not the start of a live plain slot. */
static GM_NOINLINE void resolve(struct worker *w, uintptr_t entry) {
    struct gm_gc_object o;
    uintptr_t p = entry & ~PIECE_ENTRY;
    if (!gm_gc_find(p, &o) || !o.live) return; /* it is gone, or never was */
    if (p != entry) return scan_rest(w, &o, p);
    if (p - o.start >= 16 && !mark_start(w, &o)) return; /* it points inside */
    count(w, o.size);
    if (!o.noscan) scan_rest(w, &o, o.start);
}

/* The size of the plain slot that starts there, which is live, or its mark would have been set before; 0: it is something else. */
static inline uint32_t plain_size(uintptr_t entry) {
    uintptr_t i = gm_index16_checked((const void *)entry);
    if (GM_UNLIKELY(i >= heap.bytes >> GM_STATE_SHIFT)) return 0;
    /* Relaxed: the record is not looked at. */
    uint64_t e = gm_load_relaxed(&heap.pages[i >> (GM_PAGE_SHIFT - GM_STATE_SHIFT)]);
    struct shape s = shapes[e & GM_ENTRY_TREATMENT ? 0 : gm_entry_class(e)];
    uintptr_t offset = gm_entry_offset(e, entry);
    return (offset * s.reciprocal >> 32) * s.size == offset ? s.size : 0;
}

/* Takes what is grey and prefetches it. */
static inline void fill(struct worker *w, struct group *g) {
    const struct gc_buffer *grey = w->grey.at;
    unsigned n = (unsigned)gm_min(grey->n, GROUP);
    g->n = n;
    w->grey.at->n -= n;
    for (unsigned i = 0; i < n; i++) {
        uintptr_t entry = g->entry[i] = grey->entry[grey->n + i];
        __builtin_prefetch((const void *)entry);
    }
    for (unsigned i = 0; i < n; i++) {
        g->size[i] = plain_size(g->entry[i]);
        __builtin_prefetch((const void *)g->entry[i]);
    }
}

/* The end of a longer object, but not farther than where the processor sees by itself what comes. */
static inline void prefetch_end(const struct group *g, unsigned i) {
    enum { AHEAD = 128 };
    __builtin_prefetch((const char *)g->entry[i] + (g->size[i] < AHEAD ? g->size[i] : AHEAD) - 1);
}

static inline void scan_group(struct worker *w, struct group *g, const struct group *coming) {
    const uintptr_t base = heap.base, limit = heap.bytes;
    const uintptr_t biased = heap.biased_marks;
    const uint32_t most = heap.sparse ? 0 : GC_BATCH_ROOM * sizeof(uintptr_t);
    uint64_t bytes = 0, objects = 0;
    struct gc_batch *b = &w->batch[w->filling];
    for (unsigned i = 0; i < g->n; i++) {
        prefetch_end(coming, i);
        const uintptr_t *word = (const uintptr_t *)g->entry[i], *end = (const uintptr_t *)(g->entry[i] + g->size[i]);
        if (GM_LIKELY(g->size[i] - 1 < most)) {
            gc_batch_filter(b, word, end, base, limit);
            gc_batch_prefetch_some(b, biased);
            if (GM_UNLIKELY(b->n >= GC_BATCH_FULL)) {
                next_batch(w);
                b = &w->batch[w->filling];
            }
        } else {
            if (g->size[i]) scan_words(w, g->entry[i], g->size[i]);
            else resolve(w, g->entry[i]);
            b = &w->batch[w->filling];
        }
        objects += g->size[i] != 0;
        bytes += g->size[i];
    }
    g->n = 0;
    w->totals.objects += objects;
    w->totals.bytes += bytes;
    w->totals.scanned_bytes += bytes;
}

/* ---- draining */

static inline bool has_grey(const struct worker *w) { return w->grey.at && w->grey.at->n != 0; }

/* Until the worker's own grey is used up. */
static void drain_own(struct worker *w) {
    for (unsigned filling = 0;; filling ^= 1) {
        struct group *g = &w->group[filling];
        if (GM_LIKELY(has_grey(w)) || gc_grey_other(&w->grey)) fill(w, g);
        scan_group(w, &w->group[filling ^ 1], g);
        if (g->n == 0 && w->batch[0].n + w->batch[1].n == 0 && !has_grey(w)) return;
        next_batch(w);
        if (GM_UNLIKELY(--w->until_share == 0)) {
            w->until_share = SHARE_EVERY;
            gc_grey_share(&w->grey);
        }
    }
}

static void run_worker(void *arg, unsigned number) {
    struct worker *w = &workers[number];
    do drain_own(w);
    while (gc_grey_refill(&w->grey, gc_work_try()) || gc_grey_refill(&w->grey, gc_work_wait()));
}

/* The pass for entries that were dropped: every marked object is scanned, by one worker. */
static void rescan(void *arg, uintptr_t p, size_t size, uint8_t state) {
    struct worker *w = arg;
    struct gm_gc_object o;
    if (!gm_gc_find(p, &o) || o.noscan || !gm_gc_marked(o.arena, o.start)) return;
    if (o.moving) scan_carefully(w, o.start, o.size);
    else scan_words(w, o.start, o.size); /* a pair as a whole */
    settle_batches(w);
    do drain_own(w);
    while (gc_grey_refill(&w->grey, gc_work_try())); /* what was too much for its own buffers */
}

/* What was counted says nothing then. */
static void recount(void *arg, uintptr_t p, size_t size, uint8_t state) {
    struct gm_gc_object o;
    if (gm_gc_find(p, &o) && gm_gc_marked(o.arena, o.start)) count(arg, size);
}

static void each_object(void (*fn)(void *arg, uintptr_t p, size_t size, uint8_t state), void *arg) {
    for (struct gm_arena *a = gm_arena_next(NULL); a; a = gm_arena_next(a)) gm_gc_each_object(a, 0, SIZE_MAX, fn, arg);
}

static void rescan_all(void) {
    struct worker *w = &workers[0];
    w->alone = true;
    gc_work_set_workers(1); /* none of those that are done waits for anything */
    while (gm_load_relaxed(&dropped)) {
        gm_store_relaxed(&dropped, 0);
        each_object(rescan, w);
    }
    for (unsigned i = 0; i < GC_MARK_WORKERS_MAX; i++) workers[i].totals.objects = workers[i].totals.bytes = 0;
    each_object(recount, w);
}

void gc_mark_drain(unsigned n, void (*run)(void (*fn)(void *arg, unsigned worker), void *arg, unsigned workers)) {
    n = run ? (unsigned)gm_min(gm_max(n, 1), GC_MARK_WORKERS_MAX) : 1;
    gc_mark_free_slots();
    settle_batches(&workers[0]);
    for (unsigned i = 0; i < n; i++) {
        workers[i].alone = n == 1;
        workers[i].until_share = SHARE_EVERY;
    }
    gc_work_set_workers(n);
    if (n == 1) run_worker(NULL, 0);
    else run(run_worker, NULL, n);
    if (GM_UNLIKELY(gm_load_relaxed(&dropped))) rescan_all();
}

/* ---- a cycle's frame */

void gc_mark_forget_grey(void) {
    gc_work_begin();
    for (unsigned i = 0; i < GC_MARK_WORKERS_MAX; i++) {
        struct worker *w = &workers[i];
        gc_grey_forget(&w->grey);
        for (unsigned half = 0; half < 2; half++) {
            gc_batch_clear(&w->batch[half]);
            w->group[half].n = 0;
        }
    }
    gm_store_relaxed(&dropped, 0);
}

bool gc_mark_begin(bool shared) {
    if (!started || shared != started_shared) {
        if (!gm_gc_start(shared)) return false;
        if (!started) { /* full of addresses that mean nothing */
            gc_roots_exclude((uintptr_t)workers, (uintptr_t)(workers + GC_MARK_WORKERS_MAX));
            gc_roots_exclude((uintptr_t)&heap, (uintptr_t)(&heap + 1));
            for (unsigned cls = GM_CLASS_8 + 1; cls < GM_FIRST_MEDIUM; cls++) shapes[cls] = (struct shape){ gm_class_reciprocal[cls], gm_class_size[cls] };
        }
        started = true;
        started_shared = shared;
    }
    gm_gc_clear_marks();
    gc_mark_forget_grey();
    for (unsigned i = 0; i < GC_MARK_WORKERS_MAX; i++) workers[i].totals = (struct gc_mark_totals){ 0 };
    workers[0].alone = true;
    return true;
}

static void mark_own(void *arg, uintptr_t p) { gc_mark_object(p); }

void gc_mark_at_stop(void) {
    const struct gm_arena *a = &gm_space.primary;
    heap.base = a->base;
    heap.bytes = gm_load_acquire(&a->committed);
    heap.pages = a->pages;
    heap.biased_marks = (uintptr_t)a->marks - (a->base >> GC_MARK_WORD_SHIFT << 3);
    heap.sparse = gm_arena_next(gm_arena_next(NULL)) != NULL;
    heap.free_marked = false;
    gm_gc_each_own(mark_own, NULL);
    gm_gc_each_uncollectable(mark_own, NULL);
}

void gc_mark_free_slots(void) {
    if (heap.free_marked) return;
    gc_free_slots_mark(&gm_space.primary, heap.bytes);
    heap.free_marked = true;
}

/* ---- roots */

/* A word at an object's start is also the end of whatever lies before it. */
static GM_NOINLINE void root_from_stack(struct worker *w, uintptr_t word) {
    struct gm_gc_object o;
    bool found = gm_gc_find(word, &o);
    if (found) mark_found(w, &o, true);
    if ((word & 7) == 0 && (!found || o.start == word) && gm_gc_find(word - 1, &o)) mark_found(w, &o, true);
}

static inline void root(struct worker *w, uintptr_t word, bool from_stack) {
    if (GM_LIKELY(!from_stack)) {
        if (GM_LIKELY(heap.free_marked) && word - heap.base < heap.bytes) consider(w, word);
        else if (GM_UNLIKELY(heap.sparse) || word - heap.base < heap.bytes) consider_carefully(w, word);
        return;
    }
    /* One more byte: a word at the very end of the heap is one past an object as well. */
    if (word - heap.base <= heap.bytes || GM_UNLIKELY(heap.sparse)) root_from_stack(w, word);
}

void gc_mark_root_word(uintptr_t word, bool from_stack) {
    workers[0].totals.words_checked++;
    root(&workers[0], word, from_stack);
}

/* Aligned words of data. Most are no addresses of the heap; eight of them are known not to be by one branch. */
static void root_words(struct worker *w, const uintptr_t *word, const uintptr_t *end) {
    enum { STRIDE = 8 };
    uintptr_t base = heap.base, bytes = heap.bytes;
    w->totals.words_checked += (size_t)(end - word);
    for (; word + STRIDE <= end; word += STRIDE) {
        unsigned any = heap.sparse;
        for (unsigned i = 0; i < STRIDE; i++) any |= gm_load_relaxed(&word[i]) - base < bytes;
        if (GM_LIKELY(!any)) continue;
        for (unsigned i = 0; i < STRIDE; i++) root(w, gm_load_relaxed(&word[i]), false);
    }
    for (; word < end; word++) root(w, gm_load_relaxed(word), false);
}

/* Unaligned words are read as the bytes they are. */
void gc_mark_root_range(uintptr_t low, uintptr_t high, unsigned step, bool from_stack) {
    struct worker *w = &workers[0];
    typedef uintptr_t __attribute__((aligned(1), may_alias)) loose;
    low = gm_align_up(low, step);
    if (step == sizeof(uintptr_t) && !from_stack) {
        if (low < high) root_words(w, (const uintptr_t *)low, (const uintptr_t *)gm_align_down(high, step));
        return;
    }
    for (; low + sizeof(uintptr_t) <= high; low += step) {
        root(w, *(const volatile loose *)low, from_stack);
        w->totals.words_checked++;
    }
}

void gc_mark_object(uintptr_t p) {
    struct gm_gc_object o;
    if (gm_gc_find(p, &o)) mark_found(&workers[0], &o, true);
}

/* ---- totals */

void gc_mark_totals(struct gc_mark_totals *out) {
    *out = (struct gc_mark_totals){ 0 };
    for (unsigned i = 0; i < GC_MARK_WORKERS_MAX; i++) {
        const struct gc_mark_totals *t = &workers[i].totals;
        out->objects += t->objects;
        out->bytes += t->bytes;
        out->scanned_bytes += t->scanned_bytes;
        out->words_checked += t->words_checked + t->scanned_bytes / sizeof(uintptr_t);
    }
}
