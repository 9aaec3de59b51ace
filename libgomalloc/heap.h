/* The page heap: hands out and takes back runs of pages as spans, under one lock; grows by arena.
 * Thread-safe; takes the heap lock. See malloc.c for the overview. */
#ifndef GM_HEAP_H
#define GM_HEAP_H

#include "libgomalloc/span.h"

struct gm_pace;

/* A span of class cls; its pages and home bits follow from the class, how the collector treats it from `flags`
 * (GM_SPAN_NOSCAN, ...); with GM_HEAP_SHORT among them it has as few pages as make sense. `anywhere`: in the primary arena
 * or, if that is exhausted, in any other. NULL: out of memory. */
enum { GM_HEAP_ROOM = 1 << 8, GM_HEAP_SHORT = 1 << 9 }; /* behind the flags of a span */
struct gm_span *gm_heap_alloc_small(unsigned cls, bool anywhere, unsigned flags);
/* A large span of npages, starting at a multiple of align_pages (power of two), for an object of
 * `requested` bytes. *zero: all its memory is known to be zero. NULL: out of memory. With GM_HEAP_ROOM among the
 * flags it lies where it can grow by half, if there is such a place. */
struct gm_span *gm_heap_alloc_large(size_t npages, size_t align_pages, size_t requested, unsigned flags, bool *zero);
/* So many bytes of free pages went back to the kernel (giveback.c); `lazily`: they need not read as zero. Heap lock. */
void gm_heap_went_back(size_t bytes, bool lazily);
/* So many bytes inside of spans went back to the kernel (holes.c), or, negative, may be touched again. */
void gm_heap_count_holes(ptrdiff_t bytes);
/* Makes a large span's memory read as zero by giving it back to the kernel; false: refused. */
bool gm_heap_zero_by_release(struct gm_span *s);
/* A small span gives up the pages [page, page + n) in it, on which nothing lies any more; `zero`: they are not backed.
 * The class's lock. */
void gm_heap_cede(struct gm_span *s, unsigned page, unsigned n, bool zero);
/* The pages of a small span get other records, one each. */
void gm_heap_replace(struct gm_span *const *by, unsigned n);
/* Atomic: bytes of pages without memory behind them that spans have been given, since whoever acts on it set it to 0
 * (central.c). A hint: an update may be lost. */
extern GM_HIDDEN size_t gm_heap_fresh;
/* Atomic: all such bytes since the start. */
extern GM_HIDDEN uint64_t gm_heap_unbacked;
/* Atomic: much lies free in spans although the heap takes fresh memory (central.c). */
extern GM_HIDDEN bool gm_heap_crowded;
/* Atomic: the memory limit is near. */
extern GM_HIDDEN bool gm_heap_urgent;
/* Atomic: how often the limit was so near that caches had to give up what they hold. */
extern GM_HIDDEN uint32_t gm_heap_squeezes;
/* Takes a span back. All its slots are home, or the large object is dead; nobody else knows of it. */
void gm_heap_free(struct gm_span *s);
/* The same of a large object that is alive; false: it is not, and nothing is done. */
bool gm_heap_free_live(struct gm_span *s);
/* Makes a large span npages long where it stands, now holding `requested` bytes. Growing fails if the
 * pages behind it are not free and the heap's end is elsewhere; shrinking always succeeds. */
bool gm_heap_resize(struct gm_span *s, size_t npages, size_t requested);

/* The host lowers its address-space limit to `bytes`: gives reserved space back (arena.h). */
void gm_heap_limit_address_space(size_t bytes);

/* Gives free pages back to the kernel, highest first, until `want` bytes went back or none is left.
 * Bytes given back. The lock is not held during the system calls. */
size_t gm_heap_scavenge(size_t want);

/* The same at the scavenger's leisure: whole free chunks first, then free pages of chunks that are neither
 * dense nor were freed into during the last second, until the clock (gm_os_nanotime) says `until`. */
size_t gm_heap_scavenge_idle(size_t want, uint64_t until);

/* As the first, until the clock says `until`. */
size_t gm_heap_scavenge_until(size_t want, uint64_t until);
/* Behind any of them, when nothing more is to go back soon: the tables over chunks that have gone go as well. */
void gm_heap_release_tables(void);

/* Atomic: bytes by which the heap has grown (giveback.c says what counts) and for which nothing has been given back yet. */
extern GM_HIDDEN size_t gm_heap_owed;
enum { GM_HEAP_OWED_MOST = 64 * 1024 };
/* As many that lie idle go back. No lock is held. */
void gm_heap_pay_now(void);
GM_INLINE void gm_heap_pay(void) {
    if (GM_UNLIKELY(gm_load_relaxed(&gm_heap_owed) >= GM_HEAP_OWED_MOST)) gm_heap_pay_now();
}

/* What the scavenger decides by. */
struct gm_heap_need {
    size_t used;                   /* bytes of pages in spans */
    size_t dirty;                  /* of free pages that memory stands behind */
    size_t goal;                   /* bytes worth keeping (pace.h) */
};
void gm_heap_read_need(struct gm_heap_need *out);
/* Dirty bytes that are never worth a look. */
GM_INLINE size_t gm_heap_slack(size_t used) { return used / 10 + 256 * 1024; }
/* There may be work for the scavenger. Atomic; set by the heap, cleared by gm_heap_read_need. */
extern GM_HIDDEN bool gm_heap_pending;
/* More lies free and backed than an eighth of what is in use: set with it, cleared by who acts on it. Atomic. */
extern GM_HIDDEN bool gm_heap_fallen;

/* Soft limit of the library's memory; SIZE_MAX: none. GM_LIMIT_OF_GROUP stands for that of the control group; it
 * is read when the heap first has some MiB, or the limit is asked for. */
#define GM_LIMIT_OF_GROUP (SIZE_MAX - 1)
void gm_heap_set_memory_limit(size_t bytes);
size_t gm_heap_memory_limit(void);
/* Between the two no arena goes away. */
void gm_heap_pin_arenas(void);
void gm_heap_unpin_arenas(void);
/* What brings memory near the limit when no page is free any more: gives back what lies above this layer. */
extern GM_HIDDEN size_t (*gm_heap_squeeze)(uint64_t until, bool at_once);

struct gm_heap_stats {
    size_t goal;                   /* bytes of used and dirty pages that the scavenger leaves */
    uint64_t scavenged;            /* atomic: bytes given back since the start */
    uint64_t holes;                /* atomic: bytes given back inside of spans, not touched since */
    size_t committed;              /* bytes the heap has grown to */
    size_t idle;                   /* in free pages */
    size_t released;               /* of those, not backed by memory */
    size_t tables;                 /* bytes of page tables, states, bitmaps in use */
    uint64_t large_mallocs, large_frees;
    uint64_t large_requested;      /* bytes asked for since the start */
    uint64_t large_total;          /* the same, rounded to pages */
    uint64_t large_live;           /* bytes of live large spans */
    uint64_t large_live_requested; /* asked for in them */
};
void gm_heap_read_stats(struct gm_heap_stats *out);
/* The part of it that is kept, not summed up, and what the goal is made of: for a reader in another process (endpoint.h). */
struct gm_heap_roots {
    const struct gm_heap_stats *stats;
    const struct gm_pace *pace;
    const size_t *memory_limit;
};
extern GM_HIDDEN const struct gm_heap_roots gm_heap_roots;

bool gm_heap_init(void);
void gm_heap_lock(void);   /* for fork and walkers */
void gm_heap_unlock(void);
/* Debug: page index against its bitmaps, entries against spans. */
void gm_heap_verify(void);

#endif
