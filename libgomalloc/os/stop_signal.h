/* The one signal that is the collector's: everybody who keeps the program from blocking or taking it looks here. */
#ifndef GM_OS_STOP_SIGNAL_H
#define GM_OS_STOP_SIGNAL_H

#include "libgomalloc/base/atomic.h"

/* 0 while the collector is off. Written once, by gc/world.c, before the program has threads. */
extern GM_HIDDEN int gm_stop_signal;

/* The signal's bit in the kernel's mask of 64. */
GM_INLINE uint64_t gm_stop_signal_bit(void) {
    int signal = gm_load_relaxed(&gm_stop_signal);
    return signal ? UINT64_C(1) << (signal - 1) : 0;
}

#endif
