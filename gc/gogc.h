/* gogc: the collector under a C program, for programs that know of it. Programs that do not are collected
 * as well: GOMALLOC=gc:on is all they need.
 *
 * With the collector off (the default) the allocating calls are plain allocation, collecting does nothing and
 * finalizers never run. All functions may be called from any thread, none from a signal handler. Sizes are bytes. */
#ifndef GOGC_H
#define GOGC_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A full cycle; returns when all that was found unreachable has been reclaimed (finalizers may still run). Called from a signal
 * handler that interrupted the allocator it does nothing. */
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

/* fn(obj, arg) is called once, some time after obj has become unreachable, on a thread of the library's that calls
 * one finalizer after another and has all signals blocked. obj: the start of an object, as malloc or gogc_malloc gave
 * it, not of one of less than 16 bytes without pointers. arg is kept alive until then; if it leads to obj, obj never
 * becomes unreachable. A second call replaces the first, fn NULL takes it away, and so does free(obj).
 * Order: what obj leads to is alive when its finalizer runs. So of objects with finalizers that point to each other
 * the first one goes first, the others in later cycles; in a circle, none ever does.
 * Resurrection: the object is whole and alive while fn runs, and goes on living if fn stores it; it has no finalizer
 * any more, and may be given one again. Else it is reclaimed by a later cycle; fn need not free it, and may.
 * At exit no finalizers are run. 0, -EINVAL or -ENOMEM. */
int gogc_set_finalizer(void *obj, void (*fn)(void *obj, void *arg), void *arg);

/* A reference that does not keep obj (as above) alive; it is to be freed. NULL with EINVAL or ENOMEM.
 * get: obj, or NULL once it has been found unreachable (before its finalizer runs, even if that brings it back), or
 * was freed. Waits if that is not known because a cycle is under way. */
void *gogc_weak(void *obj);
void *gogc_weak_get(void *weak);
void gogc_weak_free(void *weak);

/* [start, end) holds pointers, wherever it lies. 0, -EINVAL, or -ENOMEM (256 ranges are the most). */
int gogc_add_roots(void *start, void *end);
/* Exactly a range that was added. 0 or -ENOENT. */
int gogc_remove_roots(void *start, void *end);

/* [low, high) is a stack the program made: readable, and scanned as a stack is. Stacks in mappings of their own are
 * found without it, but looked at whole; with it, only above the stack pointer of the thread that stands on it. 0,
 * -EINVAL, -ENOMEM (1024 are the most); -ENOENT. */
int gogc_register_stack(void *low, void *high);
int gogc_unregister_stack(void *low);

/* The object is reachable up to here, whatever the compiler makes of the last use. */
void gogc_keep_alive(const void *obj);

#ifdef __cplusplus
}
#endif

#endif
