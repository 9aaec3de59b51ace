/* Allocation by signal handlers that interrupted the allocator itself. See nested.c. */
#ifndef GM_NESTED_H
#define GM_NESTED_H

#include "libgomalloc/base/compiler.h"

/* Where the handler entered the allocator's safe mode on this thread; NULL: not in it. */
extern GM_HIDDEN GM_TLS void *gm_nested_mark;

bool gm_nested_check(void);
/* True while this thread must allocate by the safe means below. For slow paths. */
GM_INLINE bool gm_nested(void) { return GM_UNLIKELY(gm_nested_mark != NULL) && gm_nested_check(); }

/* A block of its own mapping, page-aligned; NULL and ENOMEM. */
void *gm_nested_alloc(size_t n);
/* If p came from gm_nested_alloc: its size; else 0. */
size_t gm_nested_size(const void *p);
/* Frees such a block. Any time, any thread. */
void gm_nested_release(void *p);
/* Puts an ordinary block aside, to be freed by gm_nested_drain. If there is no more room it is lost. */
void gm_nested_defer(void *p);
/* Frees what was put aside. For ordinary slow paths, when gm_nested_deferred. */
extern GM_HIDDEN bool gm_nested_deferred;
void gm_nested_drain(void (*free_block)(void *));

/* Calls fn for what was put aside; for the collector, while every other thread is held. */
void gm_nested_each_deferred(void (*fn)(void *arg, uintptr_t p), void *arg);

/* preload/signal.h has the contract. */
void *gm_signal_enter(const void *interrupted_pc);
void gm_signal_leave(void *token);

#endif
