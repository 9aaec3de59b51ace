/* Grey objects: those marked and not yet scanned, as addresses. Each worker has a buffer of its own; full
 * ones go onto a shared list, from which workers that have run dry take whole buffers. See mark.c.
 *
 * An entry is the address of an object or of a piece of a large one, nothing else: class and bounds are
 * looked up again when it is taken out. */
#ifndef GC_WORK_H
#define GC_WORK_H

#include "libgomalloc/base/compiler.h"

enum { GC_WORK_ENTRIES = 510 };

struct gc_buffer {
    struct gc_buffer *next;   /* in a list */
    size_t n;
    uintptr_t entry[GC_WORK_ENTRIES];
};

/* Forgets everything that is published. Not while any worker runs, as the next. */
void gc_work_begin(void);
/* How many workers come. */
void gc_work_set_workers(unsigned workers);
/* An empty buffer; NULL: no memory. */
struct gc_buffer *gc_work_empty(void);
void gc_work_release(struct gc_buffer *b);
/* Gives a buffer away to whoever runs dry. */
void gc_work_publish(struct gc_buffer *b);
/* A buffer somebody published, or NULL at once. */
struct gc_buffer *gc_work_try(void);
/* The same, waiting for one. NULL: all workers wait, so nothing grey is left. */
struct gc_buffer *gc_work_wait(void);
/* Somebody waits and nothing is published: the time to share. */
bool gc_work_wanted(void);

/* ---- a worker's own: the buffer it fills and empties, and one that is full or empty, so that who stands at a buffer's
 * edge does not exchange one each time. Either may be missing. For its worker alone; no grey is lost without memory, it
 * is only not taken. */
struct gc_grey {
    struct gc_buffer *at, *other;
};

/* A full buffer makes way for one that is not; NULL: no memory. */
struct gc_buffer *gc_grey_next(struct gc_grey *g);
/* The buffer, with room for n <= GC_WORK_ENTRIES entries. */
static inline struct gc_buffer *gc_grey_room(struct gc_grey *g, size_t n) {
    return GM_LIKELY(g->at && g->at->n + n <= GC_WORK_ENTRIES) ? g->at : gc_grey_next(g);
}
/* False: no memory. */
static inline bool gc_grey_put(struct gc_grey *g, uintptr_t entry) {
    struct gc_buffer *b = gc_grey_room(g, 1);
    if (GM_UNLIKELY(!b)) return false;
    b->entry[b->n++] = entry;
    return true;
}
/* False: it has none. */
bool gc_grey_other(struct gc_grey *g);
static inline bool gc_grey_take(struct gc_grey *g, uintptr_t *entry) {
    if (GM_UNLIKELY(!g->at || g->at->n == 0) && !gc_grey_other(g)) return false;
    *entry = g->at->entry[--g->at->n];
    return true;
}
/* If somebody has nothing to do, about half of it, the older half, is for them. */
void gc_grey_share(struct gc_grey *g);
/* One that has none takes over a buffer; false: NULL was given. */
bool gc_grey_refill(struct gc_grey *g, struct gc_buffer *b);
void gc_grey_forget(struct gc_grey *g);

#endif
