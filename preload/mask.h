/* Sets of signals on their way to the kernel. See mask.c. */
#ifndef GM_PRELOAD_MASK_H
#define GM_PRELOAD_MASK_H

#include "libgomalloc/os/stop_signal.h"

#include <signal.h>

/* The set itself if there is nothing to leave out of it, else `copy`. */
GM_INLINE const sigset_t *gm_allowed(const sigset_t *set, sigset_t *copy) {
    uint64_t bit = gm_stop_signal_bit();
    if (GM_LIKELY(bit == 0) || set == NULL || !(set->__val[0] & bit)) return set;
    *copy = *set;
    copy->__val[0] &= ~bit;
    return copy;
}

#endif
