/* The collector's view of the heap, and all it may know of it: what an address is, the state of a slot, the
 * mark bitmap, the colours. No lock is taken here but where it says so, so that everything else may be used
 * while other threads are held wherever they happen to be, allocator locks in hand.
 *
 * A slot's state byte says that it is live and with which colour it was born. A cycle turns the colour
 * over while the world is held (gm_gc_flip): what exists then is white, what is born later is black.
 * Marking never touches states; it sets bits in a bitmap, one for 16 bytes of heap. That of a live object's first 16
 * bytes is its mark; others may be set as well, and mean nothing (mark.c). The sweep takes each
 * white slot by compare-and-swap: marked, it gets the new colour; unmarked, it gets state 0 and belongs to
 * the sweeper alone. A slot that is free or black is never touched.
 *
 * A thread can be held between taking a slot and storing its state; it stores the old colour when it goes
 * on. Its register or stack has the address then: a root that points to the start of a free slot sets the
 * mark bit (the marker does so for all of them anyhow), and the sweep finds a marked white slot, or none. Every
 * place of the allocator that makes or ends an object keeps its address in a register until the state is stored (gm_gc_keep).
 *
 * Which slot states lie where:
 *   slots of 16 bytes to 1 KiB    a byte of the arena's flat table: class | colour
 *   above that                    a word of its table by KiB: class | colour | place in the KiB (gm_state_get)
 *   class 8                       a byte a slot in the span's side table; two slots share a mark bit
 *   large objects                 gm_span.state
 *   tiny blocks, pointer-free and uncollectable slots   as their class's: GM_CLASS_8 | colour, "see the page entry" */
#ifndef GM_GCVIEW_H
#define GM_GCVIEW_H

#include "libgomalloc/span.h"

/* The mark bitmap is made before the first cycle, for the arenas there are and those to come. `shared`: a
 * forked child's marks are seen here. From now on objects have room behind their ends (gm_class_leave_end_room).
 * False: no memory for it, or spans have lodged slots of other classes, whose sizes page entries do not tell. While there is
 * one thread, the first time (heap lock). */
bool gm_gc_start(bool shared);
/* Child of a host's fork: its marks must not be its parent's. False: no memory; there can be no cycle. */
bool gm_gc_fork_child(void);
/* Clears the bitmap and brings home what a fork left behind. Not while anybody marks or sweeps. */
void gm_gc_clear_marks(void);
/* Bytes of the bitmap in use. */
size_t gm_gc_marks_bytes(void);
/* A snapshot child has gone, or there is another: huge pages that it has split are made whole again, or no longer (mend.h). Where the
 * library has no thread for it, allocating threads are asked to come by now and then, as long as this is `waiting` for them. */
void gm_gc_mend(bool begin);
bool gm_gc_mend_waiting(void);
void gm_gc_mend_some(void);

/* Keeps threads from coming and going: the collector holds the world with it. */
void gm_gc_lock_caches(void);
void gm_gc_unlock_caches(void);
/* Bytes that are out of the spans now: live objects, and slots in caches and batches. */
int64_t gm_gc_heap_out(void);
/* What the soft memory limit leaves for objects, beside their tables; INT64_MAX: there is none. */
int64_t gm_gc_heap_limit(void);

/* Turns the birth colour over. Every other thread is held. */
void gm_gc_flip(void);
/* Addresses the allocator itself holds on to: tiny blocks that are open, frees that were put off. World held. */
void gm_gc_each_own(void (*fn)(void *arg, uintptr_t p), void *arg);

/* Memory that holds addresses of objects and is no root: the heaps, their tables and bitmaps, and the allocator's own
 * records. At most a few ranges and three for each arena. World held. */
void gm_gc_each_private(void (*fn)(void *arg, uintptr_t low, uintptr_t high), void *arg);

/* From now on every free takes the slow path, which does nothing. While there is one thread. */
void gm_gc_ignore_free(void);

/* What a word points to. */
enum gm_gc_kind { GM_GC_NOTHING, GM_GC_SLOT, GM_GC_PAIR /* two slots of class 8 */, GM_GC_LARGE };
struct gm_gc_object {
    uintptr_t start;
    size_t size;
    struct gm_arena *arena;
    uint8_t kind;       /* enum gm_gc_kind */
    uint8_t noscan;
    uint8_t tiny;       /* a block of tiny objects */
    uint8_t live;       /* its state is not 0 (of a pair: of one at least) */
    uint8_t moving;     /* its pages are being moved: read it with care */
};
/* The object that holds an address, live or not. False: there is none. */
bool gm_gc_find(uintptr_t word, struct gm_gc_object *o);

/* The mark bit of an address in `a`. */
GM_INLINE uint64_t *gm_gc_mark_word(const struct gm_arena *a, uintptr_t p) {
    return &a->marks[(p - a->base) >> (GM_STATE_SHIFT + 6)];
}
GM_INLINE uint64_t gm_gc_mark_bit(const struct gm_arena *a, uintptr_t p) {
    return UINT64_C(1) << ((p - a->base) >> GM_STATE_SHIFT & 63);
}
GM_INLINE bool gm_gc_marked(const struct gm_arena *a, uintptr_t p) {
    return gm_load_relaxed(gm_gc_mark_word(a, p)) & gm_gc_mark_bit(a, p);
}

/* Of an object that was found, or of the half of a pair at p: whether it has the colour of what existed at the flip. */
bool gm_gc_is_white(const struct gm_gc_object *o, uintptr_t p);
/* Sets the mark of an object, which need not be white. */
void gm_gc_mark_by_hand(uintptr_t p);
/* A plain slot's free shall take the slow path (or no longer): its state says "odd". The program keeps the object. */
void gm_gc_watch(uintptr_t p, bool on);

/* ---- for the sweep */

/* Between the two no arena goes away. Takes the heap lock. */
void gm_gc_pin_arenas(void);
void gm_gc_unpin_arenas(void);
/* Slots of one page whose states the caller has set from white to 0 go home, in ascending order; cls is the
 * state byte's class. Takes allocator locks. */
void gm_gc_give(unsigned cls, void **slots, unsigned n);
/* The same for slots of which some have a state byte that says GM_CLASS_8. */
void gm_gc_give_odd(void **slots, unsigned n);
/* A large object whose state the caller has set to 0. */
void gm_gc_give_large(struct gm_span *s);
/* Turns unmarked white slots of the class-8 span at `page` to 0 and marked ones black. Stores the former in
 * out[0..1024), returns how many; adds the others to *kept. Takes the class's lock. */
unsigned gm_gc_sweep_small8(struct gm_arena *a, size_t page, uint8_t white, void **out, uint64_t *kept);

/* Of eight states together: 0x80 in the bytes of those that are not 0, that is whose class bits are not all 0. */
GM_INLINE uint64_t gm_gc_live_states(uint64_t states) {
    const uint64_t high = UINT64_C(0x8080808080808080);
    return ((states & ~high) + ~high) & high;
}

/* Calls fn for every live object of the pages [from, to), of whatever colour; a pair's halves one by one,
 * a tiny block as a whole. `state`: its state byte. For walkers; the world is held, or a moment's picture will do. */
void gm_gc_each_object(struct gm_arena *a, size_t from, size_t to,
                       void (*fn)(void *arg, uintptr_t p, size_t size, uint8_t state), void *arg);
/* Calls fn for every live object that is a root by itself (gogc_malloc_uncollectable). World held. */
void gm_gc_each_uncollectable(void (*fn)(void *arg, uintptr_t p), void *arg);

#endif
