/* What a snapshot can still reach: conservative marking of its heap, by this command, from the snapshot's roots. */
#ifndef GM_COMMAND_MARKS_H
#define GM_COMMAND_MARKS_H

#include "preload/command/image.h"

/* Where a root word stands: an address outside the heap, or in a register: */
#define ROOT_IN_REGISTER (UINT64_C(1) << 63)
#define ROOT_THREAD_SHIFT 20          /* which of the snapshot's threads; below it the offset in its registers */
#define ROOT_VECTOR 0x10000u          /* from here on in struct held_thread.vector */

struct marks {
    const struct image *m;
    struct gm_range own[GM_ENDPOINT_RANGES]; /* no roots: the collector's */
    uint64_t objects, bytes;          /* reachable */
    uint64_t root_bytes;              /* looked at outside the heap */
    unsigned dead_stacks;             /* of threads that have ended: not looked at */
    uintptr_t *grey;                  /* addresses still to be scanned */
    size_t n, room, first;
    bool in_order;                    /* first in, first out: shortest ways first */
};
/* Marks everything that can be reached. With parents in the image, they lead back by shortest ways. */
void marks_make(struct marks *k, const struct image *m);
void marks_free(struct marks *k);
bool is_marked(const struct image *m, uintptr_t start);

/* Calls fn for every word of a live object that points into a live object. */
void each_pointer(const struct image *m, const struct heap_object *o, void (*fn)(void *arg, uintptr_t word, uintptr_t where), void *arg);

#endif
