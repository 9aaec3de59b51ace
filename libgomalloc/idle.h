/* Caches of threads that sleep: taken from them. See idle.c. */
#ifndef GM_IDLE_H
#define GM_IDLE_H

#include "libgomalloc/base/compiler.h"

/* What a sleeping thread may keep, bytes. */
enum { GM_IDLE_KEEP = 4096 };

/* A look at all caches: those that have not changed at the last GM_IDLE_LOOKS looks, hold more than GM_IDLE_KEEP and
 * whose owners sleep are handed home; likewise batches on their way that nobody takes. With `at_once` it does not matter
 * when they changed. Until the clock (gm_os_nanotime) says `until`; the rest has its turn next time. No lock held.
 * Returns how many caches were taken. */
enum { GM_IDLE_LOOKS = 2 };
unsigned gm_idle_drain(uint64_t until, bool at_once);
/* That, and holes in spans (central.h). Bytes that went back to the kernel by the latter. */
size_t gm_idle_tidy(uint64_t until, bool at_once);

#ifdef __SANITIZE_THREAD__
extern GM_HIDDEN bool gm_idle_on_any_futex; /* see idle.c */
#endif

#endif
