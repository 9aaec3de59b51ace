/* gogc: the collector under a C program, for programs that know of it. Programs that do not are collected
 * as well: GOMALLOC=gc:on is all they need.
 *
 * With the collector off (the default) the allocating calls are plain allocation, collecting does nothing.
 * All functions may be called from any thread, none from a signal handler. Sizes are bytes. */
#ifndef GOGC_H
#define GOGC_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A full cycle; returns when all that was found unreachable has been reclaimed. */
void gogc_collect(void);
/* Growth in percent of the live heap after which the next cycle starts (GOGC); negative: never by itself. The
 * previous value. */
int gogc_set_percent(int percent);
/* Cycles that start by themselves: on (not 0) or off. The previous state. */
int gogc_enable(int on);

/* Zeroed memory, scanned by the collector, reclaimed when nothing points to it any more; free() frees it too.
 * NULL and ENOMEM. */
void *gogc_malloc(size_t n);
/* The same for what holds no pointers: never scanned. Below 16 bytes several objects share a block. */
void *gogc_malloc_noscan(size_t n);
/* Never reclaimed before free(), and scanned: a root. */
void *gogc_malloc_uncollectable(size_t n);

/* [start, end) holds pointers, wherever it lies. 0, -EINVAL, or -ENOMEM (256 ranges are the most). */
int gogc_add_roots(void *start, void *end);
/* Exactly a range that was added. 0 or -ENOENT. */
int gogc_remove_roots(void *start, void *end);

/* The object is reachable up to here, whatever the compiler makes of the last use. */
void gogc_keep_alive(const void *obj);

#ifdef __cplusplus
}
#endif

#endif
