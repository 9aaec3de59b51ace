/* A span: a run of pages that holds slots of one size class, or one large object.
 *
 * Who may write what:
 *   at birth, under the heap lock     start, npages, cls, nslots, nwords, arena, flags
 *   under the class's central lock    place, link
 *   atomically, by anybody            home, nfree
 *   heap lock, large spans            npages, requested
 *
 * A slot is "home" while its bit in home[] is set: it is free, in no cache and no batch, and only
 * the span knows of it. Taking it clears the bit, which makes the taker its only owner; giving it
 * back sets the bit. That is all that keeps slots from being handed out twice:
 *   - cleared only by the owner of the span's CURRENT place (one thread), or under the central lock
 *     while the span is no one's current one;
 *   - set by whoever returns the slot, with release; the taker clears with acquire.
 * nfree counts the bits; it may lag behind them, never run ahead of what is safe: it is raised
 * after the bits are set and lowered after they are cleared.
 *
 * Whether the program holds a slot is not the span's business but that of its state byte (arena.h):
 * home implies state 0; state 0 with the home bit clear is a slot in a cache or batch. */
#ifndef GM_SPAN_H
#define GM_SPAN_H

#include "libgomalloc/arena.h"
#include "libgomalloc/base/list.h"
#include "libgomalloc/sizeclass.h"

struct gm_fix;

enum gm_place {
    GM_PLACE_HEAP,      /* being made or unmade: in no list */
    GM_PLACE_FULL,      /* no slot home; in no list */
    GM_PLACE_CURRENT,   /* a thread cache refills from it; in no list, never given to the heap */
    GM_PLACE_PARTIAL,   /* some slots home; in one of the class's lists, by how many */
};

enum {
    GM_SPAN_SPARSE = 1, /* not in the primary arena: slow paths only */
    GM_SPAN_MOVED = 2,  /* large; its pages came by mremap: a mapping of its own */
    GM_SPAN_EMPTIED = 8, /* large; its pages were moved away, it reads as zero */
    GM_SPAN_TINY = 4,   /* slots are shared by tiny objects; side[] counts them */
    GM_SPAN_NOSCAN = 16, /* its objects hold no pointers */
    GM_SPAN_UNCOLLECTABLE = 32, /* its live objects are roots of the collector */
    GM_SPAN_MOVING = 64, /* large; its pages are just being moved here */
    GM_SPAN_SAMPLED = 128, /* large; profile.c has a record of it */
};

struct gm_span {
    struct gm_list link;
    uintptr_t start;
    struct gm_arena *arena;
    uint32_t npages;
    uint32_t nfree;          /* atomic */
    uint16_t nslots;         /* it has: those of its class, or fewer in a short span, less what it ceded (central lock) */
    uint8_t nwords;          /* of home[] */
    uint8_t cls;             /* 0: one large object */
    uint8_t place;
    uint8_t flags;
    uint8_t bucket;          /* which of central's lists */
    union {
        uint8_t state;       /* large: GM_LARGE_LIVE and its colour, or 0; atomic */
        uint8_t looked;      /* others: for holes since slots last came or went: LOOKED_... in central.c (central lock) */
    };
    union {
        void *side;          /* class 8: a state byte a slot; tiny: a word a slot */
        size_t requested;    /* large: bytes asked for */
        struct {             /* the other classes (central lock) */
            uint32_t gone;   /* kernel pages in it that went back, a bit each */
            uint16_t ceded;  /* pages in its range that are not its own any more, a bit each (holes.h); heap lock as well */
        };
    };
    uint64_t home[];
};
#define GM_LARGE_LIVE 1u     /* of gm_span.state */
GM_STATIC_ASSERT(sizeof(struct gm_span) + 8 == 64, "a record with one word of bits fills a line");

GM_INLINE size_t gm_span_bytes(const struct gm_span *s) { return (size_t)s->npages << GM_PAGE_SHIFT; }
GM_INLINE uintptr_t gm_span_slot(const struct gm_span *s, unsigned i) {
    return s->start + (size_t)i * gm_class_size[s->cls];
}
/* Its objects are treated by the collector in a way of their own (noscan.c). */
GM_INLINE bool gm_span_is_odd(const struct gm_span *s) { return s->flags & (GM_SPAN_NOSCAN | GM_SPAN_UNCOLLECTABLE); }
/* Which slot an address lies in; it may point inside. */
GM_INLINE unsigned gm_span_index(const struct gm_span *s, uintptr_t p) {
    return (unsigned)(((p - s->start) * gm_class_reciprocal[s->cls]) >> 32);
}

/* The pages between its own that it ceded. */
GM_INLINE unsigned gm_span_ceded(const struct gm_span *s) { return s->cls > GM_CLASS_8 && !(s->flags & GM_SPAN_TINY) ? s->ceded : 0; }
/* Whether an address lies on a page of the small span. */
GM_INLINE bool gm_span_holds(const struct gm_span *s, uintptr_t p) {
    return p - s->start < gm_span_bytes(s) && !(gm_span_ceded(s) >> ((p - s->start) >> GM_PAGE_SHIFT) & 1);
}

/* The span that holds an address of `a`, or NULL. Safe against concurrent frees in that it reads
 * only records (which stay records), but the answer is as old as the moment it was looked up. */
struct gm_span *gm_span_of(const struct gm_arena *a, uintptr_t p);

/* Record for a span of class `cls` (0: large), with `side` bytes of side table, and its return. NULL: no
 * memory. */
enum { GM_SIDE_SMALL8 = 1024, GM_SIDE_TINY = 2048 };
struct gm_span *gm_span_new(unsigned cls);
/* A new one gets the first nslots slots only. */
void gm_span_shorten(struct gm_span *s, unsigned nslots);
bool gm_span_add_side(struct gm_span *s, size_t bytes);
void gm_span_delete(struct gm_span *s);
/* Bytes of all records handed out. */
size_t gm_span_record_bytes(void);
/* The kinds of records that counts, for a reader in another process (endpoint.h). */
#define GM_SPAN_FIXES 5
extern GM_HIDDEN const struct gm_fix *const gm_span_roots[GM_SPAN_FIXES];

/* Takes up to `want` home slots, lowest first, and stores their addresses so that a stack filled with
 * them hands out the lowest first: out[n - 1] is the lowest. For the owner of CURRENT, or under the
 * central lock. */
unsigned gm_span_take(struct gm_span *s, void **out, unsigned want);
/* The same from one line of the CPU's cache that is wholly at home, if there is one and the class has several slots to a line: what
 * two threads take in turn is then not two halves of a line that both write to. Else as gm_span_take. */
unsigned gm_span_take_line(struct gm_span *s, void **out, unsigned want);
/* Gives back the leading slots of slots[0..n) that belong to this span; *given: how many. Returns nfree
 * after it. One atomic operation for each run within a word of bits. */
unsigned gm_span_give(struct gm_span *s, void **slots, unsigned n, unsigned *given);
/* The same for one slot. */
unsigned gm_span_give_one(struct gm_span *s, uintptr_t slot);

/* Debug: home bits against state bytes and nfree (central lock, span not current). */
void gm_span_verify(const struct gm_span *s);

#endif
