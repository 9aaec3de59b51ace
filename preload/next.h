/* The definition of a libc name that stands behind ours in the process's search order: the C
 * library's own, or that of another interposer preloaded after us, which then does its work too. */
#ifndef GM_PRELOAD_NEXT_H
#define GM_PRELOAD_NEXT_H

#include "libgomalloc/base/atomic.h"

/* The version of the oldest names in glibc is that of its first release for the machine. */
#if defined(__x86_64__)
#define GM_GLIBC_FIRST "GLIBC_2.2.5"
#elif defined(__aarch64__)
#define GM_GLIBC_FIRST "GLIBC_2.17"
#endif

void *gm_next_find(void **slot, const char *name);
/* By another version; for a name whose first one is an older, different function, say. */
void *gm_next_find_version(void **slot, const char *name, const char *version);
/* The same for what need not be there: NULL. */
void *gm_next_try(void **slot, const char *name, const char *version);

/* For a function whose last call must be a jump, so that whom it calls sees our caller as its own. */
#define GM_TAIL_CALLS __attribute__((optimize("O2")))

/* `slot` keeps the answer. Relaxed: whoever asks finds the same address, and it points to text. */
GM_INLINE void *gm_next(void **slot, const char *name) {
    void *f = gm_load_relaxed(slot);
    return GM_LIKELY(f != NULL) ? f : gm_next_find(slot, name);
}

#endif
