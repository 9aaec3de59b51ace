/* See mark.h.
 *
 * What costs is not the marking but the waiting: each pointer followed is lines that lie anywhere (the target's mark,
 * the target itself). So a worker looks at nothing at once, and what it reads at random is as little as can be: of an object,
 * its own line, and for each pointer to it a bit in a table of a bit a slot (granules.h). The state byte, a line for
 * each object, is not read: the table is filled from all of them in order, which takes half a nanosecond for each.
 *
 *   word -> in the heap? -> it waits in `words`: when there are GC_WORDS_GROUP new ones, each is taken to the slot it points into, whose
 *        bit is prefetched; AHEAD words later the bits of a group are cleared, all at once. Clear already: done
 *        -> grey: it waits in the worker's buffer, with its class
 *        -> SOON at a time are prefetched, one right after the other -> those of the time before are scanned
 *
 * ONE RIGHT AFTER THE OTHER: a prefetch does not retire before its address is translated. On a large heap that is
 * a walk through page tables (through two sets of them in a virtual machine, whose own huge pages help little when the host
 * has none), and of walks that are hundreds of instructions apart no two overlap: the same prefetches one by one, each before an
 * object is scanned, make the marking half as fast.
 *
 * A WORD THAT POINTS ELSEWHERE, to a large object or one of the other kinds that have no bit in the table, is looked up when it
 * comes out of the buffer, and its mark set then (resolve). So are roots: they are found before the table is made. What is
 * in the buffer is an address at most with the class of its span, which is the same for all of a marking, whatever becomes of the slot.
 *
 * Which words of an object are pointers, and whether their targets are marked, cannot be foreseen, and a branch that was
 * taken wrongly costs as much as ten words. So both are sorted out without branches: each word is stored, and the
 * number of them grows by 0 or 1.
 *
 * Large objects are scanned in pieces, each piece's entry queued before the one before it is read, so that
 * several workers share one object; each is looked up again.
 *
 * No memory for a buffer: entries are dropped, and a pass over all marked objects finds what is unscanned. None for the
 * table: every word is looked up as one that points into another arena is.
 * bench/gc/mark.c measures all this. */
#include "gc/mark.h"

#include "gc/granules.h"
#include "gc/roots.h"
#include "gc/words.h"
#include "libgomalloc/base/atomic.h"
#include "libgomalloc/base/bits.h"
#include "libgomalloc/base/check.h"
#include "libgomalloc/gcview.h"
#include "libgomalloc/os/os.h"
#include "libgomalloc/os/pagemap.h"

enum { SOON = 16, PIECE = 128 * 1024, SHARE_EVERY = 64, AHEAD = 16 };

/* Grey entries that have been prefetched together, and the same of the time before. */
struct soon {
    unsigned n[2], turn;
    uintptr_t entry[2][SOON];
};

struct worker {
    struct gc_words words;
    struct soon soon;
    struct gc_grey grey;
    uint64_t spare;              /* index of a bit of its own */
    int until_share;
    bool alone;                  /* no other worker: marks are set without a locked instruction */
    struct gc_mark_totals totals;
} GM_ALIGNED(128);

static struct worker workers[GC_MARK_WORKERS_MAX];
static struct {
    uintptr_t base, bytes;       /* of the primary arena, as far as it had grown at the stop */
    bool sparse;                 /* words may point elsewhere, too */
} heap;
static bool started, started_shared;
static uint32_t dropped;         /* atomic: entries were, for want of memory */

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
    if (gm_gc_find(address_of(entry), &o) && o.live) set_bit(w, gm_gc_mark_word(o.arena, o.start), gm_gc_mark_bit(o.arena, o.start));
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
    count(w, o->size);
    if (!o->noscan) queue(w, o->start | PIECE_ENTRY);
}

/* A word that may point into an arena other than the primary. */
static GM_NOINLINE void consider_sparse(struct worker *w, uintptr_t word) {
    struct gm_gc_object o;
    if (gm_gc_find(word, &o)) mark_found(w, &o, false);
}

/* Where there is no memory for grey. */
static GM_NOINLINE void mark_and_drop(struct worker *w, const uintptr_t *word, const uint64_t *at, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint64_t bit = UINT64_C(1) << (at[i] & 63);
        uint64_t before = __atomic_fetch_and(&gc_granules.unmarked[at[i] >> 6], ~bit, __ATOMIC_RELAXED);
        if (before & bit || !is_plain(word[i])) queue(w, word[i]);
    }
}

/* The next `count` of those that were asked for. */
static inline void mark_some(struct worker *w, size_t count) {
    struct gc_words *q = &w->words;
    uintptr_t *word = &q->word[q->marked];
    uint64_t *at = &q->bit[q->marked];
    struct gc_buffer *grey = gc_grey_room(&w->grey, GC_WORDS_GROUP + 1);
    if (GM_UNLIKELY(!grey)) mark_and_drop(w, word, at, count);
    else if (w->alone) gc_words_mark_alone(grey, word, at, count);
    else gc_words_mark_beside_others(grey, word, at, count);
    q->marked += count;
}

/* There are new words for a group. */
static GM_NOINLINE void next_groups(struct worker *w) {
    struct gc_words *q = &w->words;
    do {
        gc_words_ask(heap.base, w->spare, &q->word[q->asked], &q->bit[q->asked]);
        if (q->asked - q->marked >= AHEAD) mark_some(w, GC_WORDS_GROUP);
        q->asked += GC_WORDS_GROUP;
    } while (q->n - q->asked >= GC_WORDS_GROUP);
    if (GM_UNLIKELY(q->n > GC_WORDS_MAX - GC_WORDS_AT_ONCE - 2 * GC_WORDS_GROUP)) gc_words_make_room(q);
}

/* A word that points into the primary arena. */
static inline void consider(struct worker *w, uintptr_t word) {
    struct gc_words *q = &w->words;
    q->word[q->n++] = word;
    if (GM_UNLIKELY(q->n - q->asked >= GC_WORDS_GROUP)) next_groups(w);
}

/* True if there were words left; there are none then. */
static bool settle_words(struct worker *w) {
    struct gc_words *q = &w->words;
    if (q->n == 0) return false;
    size_t n = q->n;
    while (q->n < q->asked + GC_WORDS_GROUP) q->word[q->n++] = heap.base; /* made up, to a group */
    gc_words_ask(heap.base, w->spare, &q->word[q->asked], &q->bit[q->asked]);
    while (q->marked < n) mark_some(w, gm_min(n - q->marked, (size_t)GC_WORDS_GROUP));
    q->n = q->marked = q->asked = 0;
    return true;
}

/* ---- scanning */

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
        const uintptr_t *stop = end - word > GC_WORDS_AT_ONCE ? word + GC_WORDS_AT_ONCE : end;
        gc_words_filter(&w->words, word, stop, heap.base, heap.bytes);
        if (w->words.n - w->words.asked >= GC_WORDS_GROUP) next_groups(w);
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

/* An entry that has no class. */
static GM_NOINLINE void resolve(struct worker *w, uintptr_t entry) {
    struct gm_gc_object o;
    uintptr_t p = address_of(entry);
    if (entry & ROOT_ENTRY) {
        if (p - heap.base < heap.bytes) consider(w, p);
        else consider_sparse(w, p);
        return;
    }
    if (!gm_gc_find(p, &o) || !o.live) return; /* it is gone, or never was */
    if (entry & PIECE_ENTRY) return scan_rest(w, &o, p);
    if (!mark_start(w, &o)) return;
    count(w, o.size);
    if (!o.noscan) scan_rest(w, &o, o.start);
}

static inline void scan(struct worker *w, uintptr_t entry) {
    if (GM_UNLIKELY(!is_plain(entry))) return resolve(w, entry);
    size_t size = gm_class_size[entry >> CLASS_SHIFT];
    count(w, size);
    scan_words(w, address_of(entry), size);
}

/* An entry on its way to scan(). Inline by force: to the compiler, a function that prefetches and does nothing else has no effect. */
GM_INLINE void prefetch(uintptr_t entry) {
    enum { SEEN = 128 }; /* what is longer the processor sees coming by itself */
    const char *p = (const char *)address_of(entry);
    __builtin_prefetch(p);
    if (GM_UNLIKELY(!is_plain(entry))) return;
    size_t size = gm_class_size[entry >> CLASS_SHIFT];
    __builtin_prefetch(p + (size < SEEN ? size : SEEN) - 1);
}

/* ---- draining */

/* As many entries as there are, up to SOON, are on their way to scan(). */
static inline unsigned fetch(struct worker *w, uintptr_t *entry) {
    struct gc_buffer *b = w->grey.at;
    if (GM_UNLIKELY(!b || b->n == 0)) {
        if (!gc_grey_other(&w->grey)) return 0;
        b = w->grey.at;
    }
    unsigned n = (unsigned)gm_min(b->n, (size_t)SOON);
    b->n -= n;
    for (unsigned i = 0; i < n; i++) prefetch(entry[i] = b->entry[b->n + i]);
    return n;
}

/* Until the worker's own grey is used up. Words that are left may still turn something grey, and are looked at when there is
 * nothing else. */
static void drain_own(struct worker *w) {
    struct soon *s = &w->soon;
    do {
        unsigned turn = s->turn ^= 1, n;
        s->n[turn] = fetch(w, s->entry[turn]);
        n = s->n[turn ^ 1];
        s->n[turn ^ 1] = 0;
        for (unsigned i = 0; i < n; i++) scan(w, s->entry[turn ^ 1][i]);
        if (GM_UNLIKELY((w->until_share -= n) <= 0)) {
            w->until_share = SHARE_EVERY;
            gc_grey_share(&w->grey);
        }
    } while (s->n[0] + s->n[1] || gc_grey_any(&w->grey) || settle_words(w));
}

static void run_worker(void *arg, unsigned number) {
    struct worker *w = &workers[number];
    bool own_tables = gc_granules.unmarked != NULL;
    if (own_tables) gc_granules_fill();
    do drain_own(w);
    while (gc_grey_refill(&w->grey, gc_work_try()) || gc_grey_refill(&w->grey, gc_work_wait()));
    if (own_tables) gc_granules_copy_marks();
}

/* The pass for entries that were dropped: every marked object is scanned, by one worker. */
static void rescan(void *arg, uintptr_t p, size_t size, uint8_t state) {
    struct gm_gc_object o;
    if (!gm_gc_find(p, &o) || o.noscan || !gm_gc_marked(o.arena, o.start)) return;
    scan_words(arg, p, size);
    settle_words(arg);
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
        gc_granules_copy_again();
    }
    for (unsigned i = 0; i < GC_MARK_WORKERS_MAX; i++) workers[i].totals.objects = workers[i].totals.bytes = 0;
    each_object(recount, w);
}

void gc_mark_drain(unsigned n, void (*run)(void (*fn)(void *arg, unsigned worker), void *arg, unsigned workers)) {
    n = run ? (unsigned)gm_min(gm_max(n, 1), GC_MARK_WORKERS_MAX) : 1;
    if (!gc_granules_make()) { /* then every word is looked up */
        heap.bytes = 0;
        heap.sparse = true;
    }
    for (unsigned i = 0; i < n; i++) {
        workers[i].alone = n == 1;
        workers[i].until_share = SHARE_EVERY;
        workers[i].spare = gc_granules_spare(i);
    }
    gc_work_set_workers(n);
    if (n == 1) run_worker(NULL, 0);
    else run(run_worker, NULL, n);
    if (GM_UNLIKELY(gm_load_relaxed(&dropped))) rescan_all();
    if (gc_granules.unmarked) gc_granules_drop();
}

/* ---- a cycle's frame */

void gc_mark_forget_grey(void) {
    gc_work_begin();
    for (unsigned i = 0; i < GC_MARK_WORKERS_MAX; i++) {
        struct worker *w = &workers[i];
        gc_grey_forget(&w->grey);
        w->words.n = w->words.marked = w->words.asked = 0;
        w->soon.n[0] = w->soon.n[1] = 0;
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
        if (word - heap.base < heap.bytes) queue(w, word | ROOT_ENTRY);
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
