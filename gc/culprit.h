/* Who stands against a hold (world.c). No allocation, errno kept or of no meaning. */
#ifndef GC_CULPRIT_H
#define GC_CULPRIT_H

#include "libgomalloc/base/compiler.h"

struct gm_out;

/* Tells of a thread that has not answered: its name, its state, where it is in the kernel. While threads run. */
void gc_culprit_late(struct gm_out *out, int tid);
/* A child of the thread that shares this memory without being a thread of ours, by its pid; 0: none. The word for "shares" is
 * kcmp's; where that is forbidden, such processes go unseen. While all threads stand. */
int gc_culprit_sharer(int tid);

#endif
