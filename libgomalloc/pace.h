/* How much memory to keep, and how fast to give the rest back: pure arithmetic, no clock and no heap
 * inside. The caller brings the time (any monotonic clock, nanoseconds) and guards the record.
 *
 * What is kept is the peak need of the last 3 s plus a tenth. A program that works in rounds keeps what it
 * uses in each of them; after a fall of its heap the difference goes 3 s later. What exceeds the goal is
 * paid out at a pace: an account fills with a share of the passing time, and work is drawn from it. */
#ifndef GM_PACE_H
#define GM_PACE_H

#include "libgomalloc/base/compiler.h"

#define GM_PACE_SLICES 12
#define GM_PACE_SLICE_NS UINT64_C(250000000) /* 12 of them: 3 s */

/* All zero is a ready record. */
struct gm_pace {
    size_t peak[GM_PACE_SLICES]; /* the most needed in each slice of time; bytes */
    uint64_t slice;              /* number of the newest: time / GM_PACE_SLICE_NS */
    size_t need;                 /* now */
    uint64_t counted;            /* the account is filled up to this time */
    int64_t account;             /* ns of work allowed; below 0: overdrawn */
    bool falling;                /* the heap has fallen: a fifth of a CPU, else a hundredth */
};

/* From `now` on so many bytes are needed. */
void gm_pace_need(struct gm_pace *p, uint64_t now, size_t need);
/* Bytes worth keeping. */
size_t gm_pace_goal(struct gm_pace *p, uint64_t now);
/* ns that may be worked now on giving `excess` bytes back while `goal` are kept; 0: none yet. */
uint64_t gm_pace_budget(struct gm_pace *p, uint64_t now, size_t excess, size_t goal);
void gm_pace_spent(struct gm_pace *p, uint64_t ns);

#endif
