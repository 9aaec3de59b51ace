/* See gcview.h. */
#include "libgomalloc/gcview.h"

#include <string.h>

#include "libgomalloc/base/bits.h"
#include "libgomalloc/base/check.h"
#include "libgomalloc/cache.h"
#include "libgomalloc/central.h"
#include "libgomalloc/conf.h"
#include "libgomalloc/front.h"
#include "libgomalloc/guests.h"
#include "libgomalloc/heap.h"
#include "libgomalloc/hooks.h"
#include "libgomalloc/mend.h"
#include "libgomalloc/meta.h"
#include "libgomalloc/nested.h"
#include "libgomalloc/noscan.h"
#include "libgomalloc/profile.h"
#include "libgomalloc/scavenge.h"

/* ---- a cycle's frame */

bool gm_gc_start(bool shared) {
    gm_init_once();
    if (!gm_class_leave_end_room()) return false;
    gm_central_no_guests();
    if (gm_load_relaxed(&gm_guests_ever)) return false; /* by constructors before ours: their pages have slots of several classes */
    gm_heap_lock();
    bool made = gm_arena_make_marks(shared);
    if (gm_conf.thp != GM_THP_NEVER) gm_arena_huge_tables();
    gm_heap_unlock();
    return made;
}

bool gm_gc_fork_child(void) {
    gm_heap_lock();
    bool made = gm_arena_renew_marks();
    gm_heap_unlock();
    return made;
}

size_t gm_gc_marks_bytes(void) {
    size_t n = 0;
    for (struct gm_arena *a = gm_arena_next(NULL); a; a = gm_arena_next(a))
        if (a->marks) n += gm_load_relaxed(&a->committed) >> (GM_STATE_SHIFT + 3);
    return n;
}

void gm_gc_mend(bool begin) {
    if (!begin) return gm_mend_stop();
    gm_mend_begin();
    gm_scavenge_wake();
}
bool gm_gc_mend_waiting(void) { return gm_mend_due() && !gm_scavenge_has_thread(); }
void gm_gc_mend_some(void) {
    if (GM_UNLIKELY(gm_gc_mend_waiting())) gm_mend_inline();
}

void gm_gc_clear_marks(void) {
    gm_cache_adopt_orphans();
    gm_heap_pin_arenas();
    for (struct gm_arena *a = gm_arena_next(NULL); a; a = gm_arena_next(a))
        if (a->marks) gm_arena_clear_marks(a);
    gm_heap_unpin_arenas();
}

void gm_gc_lock_caches(void) { gm_cache_threads_lock(); }
void gm_gc_unlock_caches(void) { gm_cache_threads_unlock(); }

int64_t gm_gc_heap_out(void) {
    struct gm_heap_stats h;
    gm_heap_read_stats(&h);
    int64_t out = (int64_t)h.large_live;
    for (unsigned cls = 1; cls < GM_CLASSES; cls++) out += (int64_t)gm_central_out(cls) * gm_class_size[cls];
    return out;
}

/* States, marks, page entries, spans' ends and caches are an eighth of it at most. */
int64_t gm_gc_heap_limit(void) {
    size_t limit = gm_heap_memory_limit();
    return limit > INT64_MAX ? INT64_MAX : (int64_t)(limit - limit / 8);
}

/* The fast path of free takes an address for one of ours only below free_limit16. */
void gm_gc_ignore_free(void) {
    gm_free_ignored = true;
    gm_store_relaxed(&gm_space.free_limit16, 0);
}

void gm_gc_flip(void) { gm_cache_flip(); }

void gm_gc_each_own(void (*fn)(void *arg, uintptr_t p), void *arg) {
    gm_cache_each_tiny(fn, arg);
    gm_nested_each_deferred(fn, arg);
}

void gm_gc_each_private(void (*fn)(void *arg, uintptr_t low, uintptr_t high), void *arg) {
    for (struct gm_arena *a = gm_arena_next(NULL); a; a = gm_arena_next(a)) {
        size_t committed = gm_load_relaxed(&a->committed);
        if (a->size == 0) continue;
        fn(arg, a->base, a->base + a->size);
        fn(arg, gm_arena_low(a), (uintptr_t)a->state + (committed >> GM_STATE_SHIFT)); /* one after the other */
        if (a->marks) fn(arg, (uintptr_t)a->marks, (uintptr_t)a->marks + (a->size >> (GM_STATE_SHIFT + 3)));
    }
    fn(arg, (uintptr_t)&gm_space, (uintptr_t)(&gm_space + 1));
    gm_meta_each_own(fn, arg);
}

/* ---- what an address is */

/* The page entry that speaks for p: its own, or that of the chunk's first page (arena.h). */
static uint64_t entry_of(const struct gm_arena *a, uintptr_t p) {
    size_t page = gm_arena_page_of(a, p);
    /* acquire: pairs with the release in heap.c where entries are written: the record is filled in. */
    uint64_t e = gm_load_acquire(&a->pages[page]);
    if (e > GM_ENTRY_FREED) return e;
    e = gm_load_acquire(&a->pages[gm_align_down(page, GM_CHUNK_PAGES)]);
    return e > GM_ENTRY_FREED && gm_entry_class(e) == 0 ? e : 0;
}

static bool find_large(uint64_t e, uintptr_t word, struct gm_gc_object *o) {
    const struct gm_span *s = gm_entry_span(e);
    o->start = gm_load_relaxed(&s->start);
    o->size = (size_t)gm_load_relaxed(&s->npages) << GM_PAGE_SHIFT;
    if (word - o->start >= o->size) return false;
    o->kind = GM_GC_LARGE;
    o->live = gm_load_acquire(&s->state) != 0;
    o->noscan = (e & GM_ENTRY_NOSCAN) != 0;
    o->tiny = 0;
    o->moving = (gm_load_relaxed(&s->flags) & GM_SPAN_MOVING) != 0;
    return true;
}

/* Start of the small span whose page, by its entry e, holds p. */
static uintptr_t span_start(uint64_t e, uintptr_t p) { return p - gm_entry_offset(e, p); }

static bool find_pair(uint64_t e, uintptr_t word, struct gm_gc_object *o) {
    const uint8_t *side = gm_load_relaxed(&gm_entry_span(e)->side);
    size_t i = (word & (GM_PAGE_SIZE - 1)) >> 3 & ~(size_t)1;
    o->start = gm_align_down(word, 16);
    o->size = 16;
    o->kind = GM_GC_PAIR;
    o->live = gm_load_relaxed(&side[i]) || gm_load_relaxed(&side[i + 1]);
    return true;
}

bool gm_gc_find(uintptr_t word, struct gm_gc_object *o) {
    struct gm_arena *a = o->arena = gm_arena_of((void *)word);
    uint64_t e = a ? entry_of(a, word) : 0;
    if (e == 0) return false;
    unsigned cls = gm_entry_class(e);
    if (cls == 0) return find_large(e, word, o);
    o->noscan = (e & (GM_ENTRY_NOSCAN | GM_ENTRY_TINY)) != 0;
    o->moving = 0;
    o->tiny = (e & GM_ENTRY_TINY) != 0;
    if (cls == GM_CLASS_8) return find_pair(e, word, o);
    uintptr_t start = span_start(e, word);
    size_t i = ((word - start) * gm_class_reciprocal[cls]) >> 32;
    if (i >= gm_class_slots[cls]) return false; /* the span's unused end */
    o->size = gm_class_size[cls];
    o->start = start + i * o->size;
    o->kind = GM_GC_SLOT;
    o->live = gm_state_get(a, o->start, cls) != 0;
    return true;
}

static uint8_t state_of(const struct gm_gc_object *o, uintptr_t p) {
    uint64_t e = entry_of(o->arena, p);
    if (o->kind == GM_GC_LARGE) return gm_load_relaxed(&gm_entry_span(e)->state);
    if (o->kind == GM_GC_PAIR) return gm_load_relaxed((uint8_t *)gm_entry_span(e)->side + ((p & (GM_PAGE_SIZE - 1)) >> 3));
    return gm_state_get(o->arena, o->start, gm_entry_class(e));
}

bool gm_gc_is_white(const struct gm_gc_object *o, uintptr_t p) {
    uint8_t state = state_of(o, p);
    return state && (state & GM_STATE_COLOUR) != gm_load_relaxed(&gm_colour);
}

void gm_gc_mark_by_hand(uintptr_t p) {
    struct gm_gc_object o;
    if (gm_gc_find(p, &o)) __atomic_fetch_or(gm_gc_mark_word(o.arena, o.start), gm_gc_mark_bit(o.arena, o.start), __ATOMIC_RELAXED);
}

/* The sweep and the program may change the colour or the whole of it meanwhile. */
void gm_gc_watch(uintptr_t p, bool on) {
    struct gm_gc_object o;
    if (!gm_gc_find(p, &o) || o.kind != GM_GC_SLOT) return;
    uint64_t e = entry_of(o.arena, p);
    if (e & GM_ENTRY_TREATMENT) return; /* odd already */
    unsigned cls = gm_entry_class(e), says = on ? GM_CLASS_8 : cls;
    uint8_t state = gm_state_get(o.arena, p, cls);
    while (state && !gm_state_cas(o.arena, p, cls, &state, (uint8_t)(says | (state & GM_STATE_COLOUR)))) continue;
}

/* ---- sweeping */

void gm_gc_pin_arenas(void) { gm_heap_pin_arenas(); }
void gm_gc_unpin_arenas(void) { gm_heap_unpin_arenas(); }

static void give_odd(void *slot) {
    struct gm_span *s = gm_span_of(gm_arena_of(slot), (uintptr_t)slot);
    if (s->flags & GM_SPAN_TINY) return gm_tiny_reclaim(s, (uintptr_t)slot);
    if (gm_load_relaxed(&gm_always_slow)) gm_exact_free(slot, gm_class_size[s->cls]);
    if (gm_load_relaxed(&gm_profile.used)) gm_profile_forget(slot);
    if (gm_span_is_odd(s)) return gm_odd_give(s, slot);
    memset(slot, 0, gm_class_size[s->cls]); /* an ordinary slot that was sampled, or lies beside one */
    gm_central_give(s->cls, &slot, 1);
}

void gm_gc_give(unsigned cls, void **slots, unsigned n) {
    if (GM_UNLIKELY(gm_load_relaxed(&gm_always_slow)))
        for (unsigned i = 0; i < n; i++) gm_exact_free(slots[i], gm_class_size[cls]);
    gm_central_give(cls, slots, n);
}

void gm_gc_give_odd(void **slots, unsigned n) {
    for (unsigned i = 0; i < n; i++) give_odd(slots[i]);
}

void gm_gc_give_large(struct gm_span *s) { gm_large_release(s); }

/* The lock keeps the span from becoming empty and its record and side table from becoming another's: a
 * span goes to the heap only after its place was set so under this lock. The states themselves are the
 * program's to change meanwhile. */
unsigned gm_gc_sweep_small8(struct gm_arena *a, size_t page, uint8_t white, void **out, uint64_t *kept) {
    uintptr_t start = a->base + (page << GM_PAGE_SHIFT);
    unsigned n = 0;
    gm_central_lock_class(GM_CLASS_8);
    uint64_t e = gm_load_acquire(&a->pages[page]);
    struct gm_span *s = gm_entry_class(e) == GM_CLASS_8 ? gm_entry_span(e) : NULL;
    if (s && gm_load_relaxed(&s->place) != GM_PLACE_HEAP) {
        uint8_t *side = s->side;
        for (unsigned i = 0; i < s->nslots; i++) {
            uint8_t state = gm_load_relaxed(&side[i]);
            if (state == 0 || (state & GM_STATE_COLOUR) != white) continue;
            bool marked = gm_gc_marked(a, start + i * 8);
            /* acquire: what the program did to the object comes before we give its slot away. */
            if (!gm_cas_acquire(&side[i], &state, (uint8_t)(marked ? state ^ GM_STATE_COLOUR : 0))) continue;
            if (marked) ++*kept;
            else out[n++] = (void *)(start + i * 8);
            if (!marked && (state & GM_STATE_CLASS) == GM_PROFILE_8) gm_profile_forget(out[n - 1]);
        }
    }
    gm_central_unlock_class(GM_CLASS_8);
    return n;
}

/* ---- walking */

/* The slots that start on a page at p. */
static void each_small(struct gm_arena *a, uint64_t e, uintptr_t p,
                       void (*fn)(void *arg, uintptr_t p, size_t size, uint8_t state), void *arg) {
    unsigned cls = gm_entry_class(e), size = gm_class_size[cls];
    uintptr_t start = span_start(e, p), end = p + GM_PAGE_SIZE;
    const uint8_t *side = cls == GM_CLASS_8 ? gm_load_relaxed(&gm_entry_span(e)->side) : NULL;
    size_t i = (p - start + size - 1) / size;
    for (p = start + i * size; i < gm_class_slots[cls] && p < end; i++, p += size) {
        uint8_t state = side ? gm_load_relaxed(&side[i]) : gm_state_get(a, p, cls);
        if (state) fn(arg, p, size, state);
    }
}

void gm_gc_each_object(struct gm_arena *a, size_t from, size_t to,
                       void (*fn)(void *arg, uintptr_t p, size_t size, uint8_t state), void *arg) {
    to = gm_min(to, gm_load_acquire(&a->committed) >> GM_PAGE_SHIFT);
    for (size_t page = from; page < to; page++) {
        uint64_t e = gm_load_acquire(&a->pages[page]);
        uintptr_t p = a->base + (page << GM_PAGE_SHIFT);
        if (e <= GM_ENTRY_FREED) continue;
        if (gm_entry_class(e) != 0) {
            each_small(a, e, p, fn, arg);
            continue;
        }
        const struct gm_span *s = gm_entry_span(e);
        uint8_t state = gm_load_acquire(&s->state);
        if (s->start == p && state) fn(arg, p, gm_span_bytes(s), state);
    }
}

struct root_walk {
    void (*fn)(void *arg, uintptr_t p);
    void *arg;
};
static void root_found(void *arg, uintptr_t p, size_t size, uint8_t state) {
    const struct root_walk *w = arg;
    w->fn(w->arg, p);
}

void gm_gc_each_uncollectable(void (*fn)(void *arg, uintptr_t p), void *arg) {
    struct root_walk w = { fn, arg };
    for (struct gm_arena *a = gm_arena_next(NULL); a; a = gm_arena_next(a)) {
        size_t end = gm_load_acquire(&a->committed) >> GM_PAGE_SHIFT;
        for (size_t page = 0; page < end; page++)
            if (gm_load_relaxed(&a->pages[page]) & GM_ENTRY_UNCOLLECTABLE) gm_gc_each_object(a, page, page + 1, root_found, &w);
    }
}
