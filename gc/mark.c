/* See mark.h.
 *
 * What costs is not the marking but the waiting: each pointer followed is three lines that lie anywhere (the
 * target's mark, its state byte, the target itself). So a worker looks at nothing at once.
 *
 *   word -> in the heap? -> it waits in a batch: when one is full, the marks of all its words are prefetched, and those of
 *        the batch before it are set: marked already: done
 *        -> grey: it waits in the worker's buffer
 *        -> target and state are prefetched, it waits in the ring `soon` -> scanned
 *
 * THE MARK OF A WORD is the bit of the 16 bytes it points to, whatever lies there: set before anything is known of
 * the target but that it is in the heap. Nearly always that is the start of a slot, and then its state byte, read
 * when the entry comes out of `soon`, says so together with its size. If not, the page entry tells what it is
 * (resolve): of an object that was pointed into, the first 16 bytes are marked as well, and that is the mark that counts. Bits
 * elsewhere, and those of free slots, mean nothing to anybody: who asks for a mark asks for that of a live object's start.
 * So an entry is any address, and all there is to know is looked up when it is taken out.
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

#include "gc/roots.h"
#include "gc/work.h"
#include "libgomalloc/base/atomic.h"
#include "libgomalloc/base/bits.h"
#include "libgomalloc/base/check.h"
#include "libgomalloc/gcview.h"
#include "libgomalloc/os/os.h"
#include "libgomalloc/os/pagemap.h"

enum { RING = 16, PIECE = 128 * 1024, SHARE_EVERY = 64, AT_ONCE = 32, BATCH = 8 };

/* First in, first out, always full: of nothing (0) at first. What is in it has been prefetched. */
struct ring {
    unsigned at;
    uintptr_t entry[RING];
};

/* Words that point into the primary arena. */
struct batch {
    size_t n;
    uintptr_t word[BATCH + AT_ONCE];
};

struct worker {
    struct batch batch[2];       /* the one that fills, and the other, whose marks have been prefetched */
    unsigned filling;
    struct ring soon;            /* grey entries */
    struct gc_grey grey;
    unsigned until_share;
    bool alone;                  /* no other worker: marks are set without a locked instruction */
    struct gc_mark_totals totals;
} GM_ALIGNED(128);

static struct worker workers[GC_MARK_WORKERS_MAX];
static struct {
    uintptr_t base, bytes;       /* of the primary arena, as far as it had grown at the stop */
    const uint64_t *pages;
    const uint8_t *state;
    uintptr_t biased_marks;      /* address of its marks, less what mark_word_of adds for its base */
    bool sparse;                 /* there are other arenas */
} heap;
static bool started, started_shared;
static uint32_t dropped;         /* atomic: entries were, for want of memory */

/* Puts an entry in, and takes out the one that has been in longest. */
static inline uintptr_t pass(struct ring *r, uintptr_t entry) {
    uintptr_t *e = &r->entry[r->at], out = *e;
    *e = entry;
    r->at = (r->at + 1) % RING;
    return out;
}

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

/* A word that may point into an arena other than the primary. */
static GM_NOINLINE void consider_sparse(struct worker *w, uintptr_t word) {
    struct gm_gc_object o;
    if (gm_gc_find(word, &o)) mark_found(w, &o, false);
}

/* The word of marks for the granule that an address of the primary arena lies in. The arena is aligned to more than
 * such a word speaks for, so that the table can be addressed without subtracting its base. */
enum { MARK_WORD_SHIFT = GM_STATE_SHIFT + 6 };
static inline uint64_t *mark_word_of(uintptr_t biased, uintptr_t p) { return (uint64_t *)(biased + (p >> MARK_WORD_SHIFT << 3)); }

/* Sets the marks of a batch; words whose mark was not set turn grey. No other worker is there. */
static inline void mark_alone(struct gc_buffer *grey, uintptr_t biased, const struct batch *b) {
    size_t n = grey->n;
    for (size_t i = 0; i < b->n; i++) {
        uintptr_t word = b->word[i];
        uint64_t *at = mark_word_of(biased, word), marks = gm_load_relaxed(at), bit = UINT64_C(1) << (word >> GM_STATE_SHIFT & 63);
        gm_store_relaxed(at, marks | bit);
        grey->entry[n] = word; /* there is room for all of the batch, and one more */
        n += (marks & bit) == 0;
    }
    grey->n = n;
}

/* The same beside others: what is unmarked at a look first, then one locked instruction for each of those. Relaxed as in
 * set_bit. */
static inline void mark_beside_others(struct gc_buffer *grey, uintptr_t biased, struct batch *b) {
    size_t n = grey->n, unmarked = 0;
    for (size_t i = 0; i < b->n; i++) {
        uintptr_t word = b->word[i];
        bool marked = gm_load_relaxed(mark_word_of(biased, word)) >> (word >> GM_STATE_SHIFT & 63) & 1;
        b->word[unmarked] = word;
        unmarked += !marked;
    }
    for (size_t i = 0; i < unmarked; i++) {
        uintptr_t word = b->word[i];
        uint64_t bit = UINT64_C(1) << (word >> GM_STATE_SHIFT & 63);
        grey->entry[n] = word;
        n += !(__atomic_fetch_or(mark_word_of(biased, word), bit, __ATOMIC_RELAXED) & bit);
    }
    grey->n = n;
}

/* Where there is no memory for grey. */
static GM_NOINLINE void mark_and_drop(struct worker *w, uintptr_t biased, const struct batch *b) {
    for (size_t i = 0; i < b->n; i++) {
        uintptr_t word = b->word[i];
        if (set_bit(w, mark_word_of(biased, word), UINT64_C(1) << (word >> GM_STATE_SHIFT & 63))) queue(w, word);
    }
}

/* The batch that fills is full (or shall be looked at all the same): its marks are prefetched, those of the other set. */
static void next_batch(struct worker *w) {
    const uintptr_t biased = heap.biased_marks;
    const struct batch *full = &w->batch[w->filling];
    struct batch *other = &w->batch[w->filling ^= 1];
    for (size_t i = 0; i < full->n; i++) __builtin_prefetch(mark_word_of(biased, full->word[i]), 1);
    struct gc_buffer *grey = gc_grey_room(&w->grey, other->n + 1);
    if (GM_UNLIKELY(!grey)) mark_and_drop(w, biased, other);
    else if (w->alone) mark_alone(grey, biased, other);
    else mark_beside_others(grey, biased, other);
    other->n = 0;
}

/* A word that points into the primary arena. */
static inline void consider(struct worker *w, uintptr_t word) {
    struct batch *b = &w->batch[w->filling];
    b->word[b->n++] = word;
    if (GM_UNLIKELY(b->n >= BATCH)) next_batch(w);
}

/* True if there was something in the batches; they are empty then. */
static bool settle_batches(struct worker *w) {
    if (w->batch[0].n + w->batch[1].n == 0) return false;
    next_batch(w);
    next_batch(w);
    return true;
}

/* ---- scanning */

/* The even number of words [p, end), at most AT_ONCE: those that lie in [base, base + limit) join the batch. */
static inline void filter(struct batch *b, const uintptr_t *p, const uintptr_t *end, uintptr_t base, uintptr_t limit) {
    size_t n = b->n;
    for (; p < end; p += 2) {
        uintptr_t first = gm_load_relaxed(p), second = gm_load_relaxed(p + 1);
        b->word[n] = first;
        n += first - base < limit;
        b->word[n] = second;
        n += second - base < limit;
    }
    b->n = n;
}

/* The same where there are other arenas as well: any word may lie in one. */
static GM_NOINLINE void scan_words_sparse(struct worker *w, const uintptr_t *word, const uintptr_t *end) {
    for (; word < end; word++) {
        uintptr_t value = gm_load_relaxed(word);
        if (value - heap.base < heap.bytes) consider(w, value);
        else consider_sparse(w, value);
    }
}

/* `bytes`: a multiple of 16. */
static inline void scan_words(struct worker *w, uintptr_t p, size_t bytes) {
    const uintptr_t *word = (const uintptr_t *)p, *end = (const uintptr_t *)(p + bytes);
    w->totals.scanned_bytes += bytes;
    if (GM_UNLIKELY(heap.sparse)) return scan_words_sparse(w, word, end);
    while (word < end) {
        const uintptr_t *stop = end - word > AT_ONCE ? word + AT_ONCE : end;
        struct batch *b = &w->batch[w->filling];
        filter(b, word, stop, heap.base, heap.bytes);
        if (GM_UNLIKELY(b->n >= BATCH)) next_batch(w);
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

static inline void scan(struct worker *w, uintptr_t entry) {
    uintptr_t offset = entry - heap.base;
    if (GM_UNLIKELY(offset >= heap.bytes || offset & 15)) return resolve(w, entry);
    unsigned cls = gm_load_relaxed(&heap.state[offset >> GM_STATE_SHIFT]) & GM_STATE_CLASS;
    if (GM_UNLIKELY(cls <= GM_CLASS_8)) return resolve(w, entry);
    size_t size = gm_class_size[cls];
    count(w, size);
    scan_words(w, entry, size);
}

/* An entry on its way to scan(). */
static inline void prefetch(uintptr_t entry) {
    enum { AHEAD = 128 }; /* what is longer the processor sees coming by itself */
    uintptr_t offset = entry - heap.base;
    if (GM_UNLIKELY(offset >= heap.bytes)) return;
    /* Relaxed: a hint. The entries of 64 KiB of heap share a line: they are at hand. */
    size_t size = gm_class_size[gm_entry_class(gm_load_relaxed(&heap.pages[offset >> GM_PAGE_SHIFT]))];
    __builtin_prefetch((const void *)entry);
    __builtin_prefetch((const char *)entry + (size < AHEAD ? size : AHEAD) - 1);
    __builtin_prefetch(&heap.state[offset >> GM_STATE_SHIFT]);
}

/* ---- draining */

/* Until the worker's own grey is used up. What is in the batches may still turn grey, and is looked at when there is
 * nothing else. */
static void drain_own(struct worker *w) {
    for (unsigned idle = 0; idle < RING || settle_batches(w);) { /* so many times nothing in and nothing out: `soon` is empty */
        uintptr_t in = 0, out;
        if (GM_LIKELY(gc_grey_take(&w->grey, &in))) prefetch(in);
        out = pass(&w->soon, in);
        idle = in | out ? 0 : idle + 1;
        if (GM_UNLIKELY(!out)) continue;
        scan(w, out);
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
    struct gm_gc_object o;
    if (!gm_gc_find(p, &o) || o.noscan || !gm_gc_marked(o.arena, o.start)) return;
    scan_words(arg, p, size);
    settle_batches(arg);
    drain_own(arg);
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
    while (gm_load_relaxed(&dropped)) {
        gm_store_relaxed(&dropped, 0);
        each_object(rescan, w);
    }
    for (unsigned i = 0; i < GC_MARK_WORKERS_MAX; i++) workers[i].totals.objects = workers[i].totals.bytes = 0;
    each_object(recount, w);
}

void gc_mark_drain(unsigned n, void (*run)(void (*fn)(void *arg, unsigned worker), void *arg, unsigned workers)) {
    n = run ? (unsigned)gm_min(gm_max(n, 1), GC_MARK_WORKERS_MAX) : 1;
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
        w->batch[0].n = w->batch[1].n = 0;
        w->soon = (struct ring){ 0 };
    }
    gm_store_relaxed(&dropped, 0);
}

bool gc_mark_begin(bool shared) {
    if (!started || shared != started_shared) {
        if (!gm_gc_start(shared)) return false;
        if (!started) { /* full of addresses that mean nothing */
            gc_roots_exclude((uintptr_t)workers, (uintptr_t)(workers + GC_MARK_WORKERS_MAX));
            gc_roots_exclude((uintptr_t)&heap, (uintptr_t)(&heap + 1));
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
    heap.state = a->state;
    heap.biased_marks = (uintptr_t)a->marks - (a->base >> MARK_WORD_SHIFT << 3);
    heap.sparse = gm_arena_next(gm_arena_next(NULL)) != NULL;
    gm_gc_each_own(mark_own, NULL);
    gm_gc_each_uncollectable(mark_own, NULL);
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
        if (word - heap.base < heap.bytes) consider(w, word);
        else if (GM_UNLIKELY(heap.sparse)) consider_sparse(w, word);
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
