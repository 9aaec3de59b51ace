/* See mark.h.
 *
 * What costs is not the marking but the waiting: each pointer followed is three lines that lie anywhere (the
 * target's state byte, its mark bit, the target itself). So a worker looks at nothing at once. A word that
 * may point into the heap has its state and mark prefetched and waits in a ring of 16, `maybe`; taken out of
 * it, it is checked and marked. An object that was marked waits in the worker's buffer; on its way to be
 * scanned it waits in another ring, `soon`, while its first lines come. (bench/gc/mark.c measures it; what is
 * left is mostly the TLB: with huge pages under states and marks it takes half as long.)
 *
 * Large objects are scanned in pieces, each piece's entry queued before the one before it is read, so that
 * several workers share one object; each is looked up again, as every entry is.
 *
 * No memory for a buffer: entries are dropped, and a pass over all marked objects finds what is unscanned. */
#include "gc/mark.h"

#include "gc/roots.h"
#include "gc/work.h"
#include "libgomalloc/base/atomic.h"
#include "libgomalloc/base/bits.h"
#include "libgomalloc/base/check.h"
#include "libgomalloc/gcview.h"
#include "libgomalloc/os/os.h"
#include "libgomalloc/os/pagemap.h"

enum { RING = 16, PIECE = 128 * 1024, SHARE_EVERY = 64 };

/* First in, first out; what is in it has been prefetched. */
struct ring {
    unsigned first, n;
    uintptr_t at[RING];
};

struct worker {
    struct ring maybe;           /* words in the primary arena */
    struct ring soon;            /* grey addresses */
    struct gc_buffer *grey;      /* NULL: no memory */
    unsigned until_share;
    bool alone;                  /* no other worker: marks are set without a locked instruction */
    struct gc_mark_totals totals;
} GM_ALIGNED(128);

static struct worker workers[GC_MARK_WORKERS_MAX];
static struct {
    uintptr_t base, bytes;       /* of the primary arena, as far as it had grown at the stop */
    uintptr_t base16;
    const uint8_t *state;
    uint64_t *marks;
    bool sparse;                 /* there are other arenas */
} heap;
static bool started, started_shared;
static uint32_t dropped;         /* atomic: entries were, for want of memory */

static inline uintptr_t leave(struct ring *r) {
    uintptr_t p = r->at[r->first];
    r->first = (r->first + 1) % RING;
    r->n--;
    return p;
}

static inline void enter(struct ring *r, uintptr_t p) { r->at[(r->first + r->n++) % RING] = p; }

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

static void drop_entry(struct worker *w) { gm_store_relaxed(&dropped, 1); }

static GM_NOINLINE void next_buffer(struct worker *w) {
    if (w->grey) gc_work_publish(w->grey);
    w->grey = gc_work_empty();
}

static inline void queue(struct worker *w, uintptr_t p) {
    if (GM_UNLIKELY(!w->grey || w->grey->n == GC_WORK_ENTRIES)) next_buffer(w);
    if (GM_UNLIKELY(!w->grey)) return drop_entry(w);
    w->grey->entry[w->grey->n++] = p;
}

static inline void count(struct worker *w, size_t bytes) {
    w->totals.objects++;
    w->totals.bytes += bytes;
}

/* Marks a found object, and queues it if it is to be scanned. A free one (root words only) has its mark set. */
static void mark_found(struct worker *w, const struct gm_gc_object *o, bool from_stack) {
    if (!o->live && !from_stack) return;
    if (!set_bit(w, gm_gc_mark_word(o->arena, o->start), gm_gc_mark_bit(o->arena, o->start)) || !o->live) return;
    count(w, o->size);
    if (!o->noscan) queue(w, o->start);
}

/* Whatever is not the start of a plain live slot of the primary arena. */
static GM_NOINLINE void mark_odd(struct worker *w, uintptr_t word, bool from_stack) {
    struct gm_gc_object o;
    if (gm_gc_find(word, &o)) mark_found(w, &o, from_stack);
}

/* A word in the primary arena whose state and mark have been prefetched. */
static inline void check(struct worker *w, uintptr_t word) {
    uintptr_t i = (word >> GM_STATE_SHIFT) - heap.base16;
    uint8_t cls = gm_load_relaxed(&heap.state[i]) & GM_STATE_CLASS;
    if (GM_UNLIKELY(cls <= GM_CLASS_8 || (word & 15))) return mark_odd(w, word, false);
    if (!set_bit(w, &heap.marks[i >> 6], UINT64_C(1) << (i & 63))) return;
    count(w, gm_class_size[cls]);
    queue(w, word);
}

static inline void consider(struct worker *w, uintptr_t word) {
    if (word - heap.base >= heap.bytes) {
        if (GM_UNLIKELY(heap.sparse)) mark_odd(w, word, false);
        return;
    }
    uintptr_t i = (word >> GM_STATE_SHIFT) - heap.base16;
    __builtin_prefetch(&heap.state[i]);
    __builtin_prefetch(&heap.marks[i >> 6], 1);
    if (w->maybe.n == RING) check(w, leave(&w->maybe));
    enter(&w->maybe, word);
}

static void settle_maybe(struct worker *w) {
    while (w->maybe.n) check(w, leave(&w->maybe));
}

/* ---- scanning */

static inline void scan_words(struct worker *w, uintptr_t p, size_t bytes) {
    const uintptr_t *word = (const uintptr_t *)p, *end = (const uintptr_t *)(p + bytes);
    w->totals.words_checked += bytes / sizeof *word;
    w->totals.scanned_bytes += bytes;
    for (; word < end; word++) consider(w, gm_load_relaxed(word));
}

/* Memory that may not be there at this moment. */
static void scan_carefully(struct worker *w, uintptr_t p, size_t bytes) {
    uintptr_t copy[256];
    for (size_t o = 0; o < bytes; o += sizeof copy) {
        size_t n = gm_pagemap_read(p + o, copy, gm_min(sizeof copy, bytes - o));
        scan_words(w, (uintptr_t)copy, n & ~(sizeof *copy - 1));
    }
}

/* An entry that is no plain slot: the start of an odd object, or of a later piece of a large one. */
static GM_NOINLINE void scan_odd(struct worker *w, uintptr_t p) {
    struct gm_gc_object o;
    if (!gm_gc_find(p, &o) || !o.live) return; /* it is gone: nothing to scan */
    size_t bytes = o.start + o.size - p;
    if (bytes > PIECE) {
        queue(w, p + PIECE);
        bytes = PIECE;
        if (w->grey && w->grey->n > 1 && gc_work_wanted()) next_buffer(w);
    }
    if (o.moving) scan_carefully(w, p, bytes);
    else scan_words(w, p, bytes);
}

static inline void scan(struct worker *w, uintptr_t p) {
    if (GM_LIKELY(p - heap.base < heap.bytes)) {
        uint8_t cls = gm_load_relaxed(&heap.state[(p >> GM_STATE_SHIFT) - heap.base16]) & GM_STATE_CLASS;
        if (GM_LIKELY(cls > GM_CLASS_8)) return scan_words(w, p, gm_class_size[cls]);
    }
    scan_odd(w, p);
}

/* ---- draining */

/* Somebody has nothing to do: half of what we have, the older half, is for them. */
static GM_NOINLINE void share(struct worker *w) {
    w->until_share = SHARE_EVERY;
    struct gc_buffer *mine = w->grey, *theirs;
    if (!mine || mine->n < 2 || !gc_work_wanted() || !(theirs = gc_work_empty())) return;
    size_t n = mine->n / 2;
    for (size_t i = 0; i < n; i++) theirs->entry[i] = mine->entry[i];
    for (size_t i = n; i < mine->n; i++) mine->entry[i - n] = mine->entry[i];
    theirs->n = n;
    mine->n -= n;
    gc_work_publish(theirs);
}

/* Until the worker's own grey is used up. `soon` is kept as full as there is grey; what is in `maybe` may still turn
 * grey, and is looked at when there is nothing else. */
static void drain_own(struct worker *w) {
    for (;;) {
        while (w->soon.n < RING && w->grey && w->grey->n) {
            uintptr_t p = w->grey->entry[--w->grey->n];
            __builtin_prefetch((const void *)p);
            __builtin_prefetch((const char *)p + GM_CACHE_LINE);
            enter(&w->soon, p);
        }
        if (w->soon.n) {
            scan(w, leave(&w->soon));
            if (GM_UNLIKELY(--w->until_share == 0)) share(w);
        } else if (w->maybe.n) {
            settle_maybe(w);
        } else {
            return;
        }
    }
}

static bool refill(struct worker *w, struct gc_buffer *b) {
    if (!b) return false;
    if (w->grey) gc_work_release(w->grey);
    w->grey = b;
    return true;
}

static void run_worker(void *arg, unsigned number) {
    struct worker *w = &workers[number];
    do drain_own(w);
    while (refill(w, gc_work_try()) || refill(w, gc_work_wait()));
}

/* The pass for entries that were dropped: every marked object is scanned, by one worker. */
static void rescan(void *arg, uintptr_t p, size_t size, uint8_t state) {
    struct gm_gc_object o;
    if (!gm_gc_find(p, &o) || o.noscan || !gm_gc_marked(o.arena, o.start)) return;
    scan_words(arg, p, size);
    settle_maybe(arg);
    drain_own(arg);
}

static void rescan_all(void) {
    struct worker *w = &workers[0];
    w->alone = true;
    while (gm_load_relaxed(&dropped)) {
        gm_store_relaxed(&dropped, 0);
        for (struct gm_arena *a = gm_arena_next(NULL); a; a = gm_arena_next(a)) gm_gc_each_object(a, 0, SIZE_MAX, rescan, w);
    }
}

void gc_mark_drain(unsigned n, void (*run)(void (*fn)(void *arg, unsigned worker), void *arg, unsigned workers)) {
    n = run ? (unsigned)gm_min(gm_max(n, 1), GC_MARK_WORKERS_MAX) : 1;
    settle_maybe(&workers[0]);
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
        if (w->grey) w->grey->n = 0;
        w->maybe.n = w->soon.n = 0;
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
    heap.base16 = a->base >> GM_STATE_SHIFT;
    heap.bytes = gm_load_acquire(&a->committed);
    heap.state = a->state;
    heap.marks = a->marks;
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
    if (GM_LIKELY(!from_stack)) return consider(w, word);
    /* One more byte: a word at the very end of the heap is one past an object as well. */
    if (word - heap.base <= heap.bytes || GM_UNLIKELY(heap.sparse)) root_from_stack(w, word);
}

void gc_mark_root_word(uintptr_t word, bool from_stack) {
    workers[0].totals.words_checked++;
    root(&workers[0], word, from_stack);
}

/* Aligned words of data. Most are no addresses of the heap; eight of them are known not to be by one branch. */
static void root_words(struct worker *w, const uintptr_t *word, const uintptr_t *end) {
    enum { AT_ONCE = 8 };
    uintptr_t base = heap.base, bytes = heap.bytes;
    w->totals.words_checked += (size_t)(end - word);
    for (; word + AT_ONCE <= end; word += AT_ONCE) {
        unsigned any = heap.sparse;
        for (unsigned i = 0; i < AT_ONCE; i++) any |= gm_load_relaxed(&word[i]) - base < bytes;
        if (GM_LIKELY(!any)) continue;
        for (unsigned i = 0; i < AT_ONCE; i++) root(w, gm_load_relaxed(&word[i]), false);
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

void gc_mark_object(uintptr_t p) { mark_odd(&workers[0], p, true); }

/* ---- questions */

bool gc_mark_is_marked(uintptr_t p) {
    struct gm_gc_object o;
    return gm_gc_find(p, &o) && o.live && gm_gc_marked(o.arena, o.start);
}

void *gc_mark_find(uintptr_t word, size_t *size, bool *live) {
    struct gm_gc_object o;
    if (!gm_gc_find(word, &o)) return NULL;
    *size = o.size;
    *live = o.live;
    return (void *)o.start;
}

void gc_mark_totals(struct gc_mark_totals *out) {
    *out = (struct gc_mark_totals){ 0 };
    for (unsigned i = 0; i < GC_MARK_WORKERS_MAX; i++) {
        const struct gc_mark_totals *t = &workers[i].totals;
        out->objects += t->objects;
        out->bytes += t->bytes;
        out->scanned_bytes += t->scanned_bytes;
        out->words_checked += t->words_checked;
    }
}

static void verify_object(void *arg, uintptr_t p, size_t size, uint8_t state) {
    struct gm_gc_object o, target;
    GM_CHECK(gm_gc_find(p, &o) && o.live && p - o.start < 16);
    if (!gm_gc_marked(o.arena, o.start) || o.noscan || o.moving) return;
    for (size_t i = 0; i < size; i += sizeof(uintptr_t)) {
        uintptr_t word = gm_load_relaxed((const uintptr_t *)(p + i));
        if (gm_gc_find(word, &target) && target.live) GM_CHECK(gm_gc_marked(target.arena, target.start));
    }
}

void gc_mark_verify(void) {
    for (struct gm_arena *a = gm_arena_next(NULL); a; a = gm_arena_next(a)) gm_gc_each_object(a, 0, SIZE_MAX, verify_object, NULL);
}
