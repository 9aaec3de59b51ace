/* The lists of spans with room, one set for each size class under the class's lock: what central.c hands slots out of
 * and room.c makes room in. See malloc.c for the overview.
 *
 * A span with slots at home stands in one of four lists by how many; refills take from the fullest spans first, so that
 * the emptier ones drain and go back to the heap as wholes. Hosts (guests.h) stand by their longest run of slots at home
 * instead, each doubling in four steps: 1, 2, 3, 4, ..., 8-9, 10-11, ..., 448-511, 512. */
#ifndef GM_LISTS_H
#define GM_LISTS_H

#include "libgomalloc/base/bits.h"
#include "libgomalloc/base/lock.h"
#include "libgomalloc/guests.h"

enum { GM_BUCKETS = 4, GM_ROOMY = GM_BUCKETS - 1, GM_RUNS = 32 };
/* Of gm_span.looked. */
enum { GM_LOOKED_NOT, GM_LOOKED_ONCE, GM_LOOKED_DONE };

/* Zero is its first state: a process touches the lines of the classes it uses. */
struct gm_lists {
    struct gm_lock lock;
    uint64_t out;                    /* atomic: slots of the class not at home, wherever they lie */
    uint64_t pages;                  /* atomic: of the class's spans */
    struct gm_list partial[GM_BUCKETS]; /* by share of slots at home: [0] fewest; made at first use */
    struct gm_list sparse;           /* spans with room outside the primary arena */
} GM_ALIGNED(64);
extern GM_HIDDEN struct gm_lists gm_lists[GM_CLASSES];
extern GM_HIDDEN struct gm_list gm_lists_by_run[GM_RUNS]; /* hosts' lock */

GM_INLINE bool gm_lists_is_empty(const struct gm_list *l) { return !l->next || gm_list_empty(l); }
GM_INLINE void gm_lists_add(struct gm_list *l, struct gm_span *s) {
    if (!l->next) gm_list_init(l);
    gm_list_push(l, &s->link);
}
/* A class's lists are numbered; their number, and one of them. */
GM_INLINE unsigned gm_lists_of(const struct gm_lists *c) { return GM_BUCKETS + (c == &gm_lists[GM_CLASS_HOST] ? GM_RUNS : 0u); }
GM_INLINE struct gm_list *gm_lists_at(struct gm_lists *c, unsigned bucket) {
    return bucket < GM_BUCKETS ? &c->partial[bucket] : &gm_lists_by_run[bucket - GM_BUCKETS];
}

/* Which of gm_lists_by_run a host with such a longest run, not 0, stands in. */
GM_INLINE unsigned gm_lists_run(unsigned slots) {
    unsigned k = gm_high_bit(slots);
    return k < 2 ? slots - 1 : 4 * (k - 2) + 3 + (slots >> (k - 2) & 3);
}

/* All that follows down to the next comment: the class's lock is held. Where a span with so many slots at home stands. */
unsigned gm_lists_bucket(const struct gm_span *s, unsigned home);
/* Puts a span that is in no list, with n slots at home, where it belongs; true: it is empty, and the caller has to give
 * it to the heap (gm_lists_gone) once the lock is free. */
bool gm_lists_settle(struct gm_lists *c, struct gm_span *s, unsigned n);
bool gm_lists_settle_in(struct gm_lists *c, struct gm_span *s, unsigned n, unsigned bucket);
/* Slots have come home to a span that may be in a list, `home` are there now. True: likewise, and it is in no list. */
bool gm_lists_resettle(struct gm_lists *c, struct gm_span *s, unsigned home, unsigned bucket);
/* Slots of it leave, or it does: what went back of it counts as backed again, touched or not. */
void gm_lists_in_use_again(struct gm_span *s);

/* Empty spans of the class go to the heap. No class's lock is held. */
void gm_lists_gone(struct gm_lists *c, struct gm_span *s);
void gm_lists_all_gone(struct gm_lists *c, struct gm_list *empty);
/* Slots of class cls left the spans (positive) or came home. */
void gm_lists_count_out(struct gm_lists *c, unsigned cls, int slots);

/* A class's lock, for who must see spans that do not vanish meanwhile. */
void gm_central_lock_class(unsigned cls);
void gm_central_unlock_class(unsigned cls);

/* Slots of the class that are not at home: live, in caches or in batches. */
uint64_t gm_central_out(unsigned cls);
/* Bytes of all spans of the class. Its objects may lie in others (guests.h), and others' in these. */
uint64_t gm_central_span_bytes(unsigned cls);

/* Where the counts lie, for a reader in another process (endpoint.h): GM_CLASSES records, `stride` bytes each. */
struct gm_central_roots { const void *base; uint32_t stride, out, pages; };
extern GM_HIDDEN const struct gm_central_roots gm_central_roots;

void gm_central_init(void);
void gm_central_lock_all(void); /* for fork and walkers, in rank order */
void gm_central_unlock_all(void);
/* Debug: every span in every list. */
void gm_central_verify(void);

#endif
