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

#endif
