/* The public calls of gogc.h. See cycle.c for the overview. */
#include "gc/gogc.h"

#include <errno.h>

#include "gc/cycle.h"
#include "libgomalloc/alloc.h"
#include "libgomalloc/noscan.h"

GM_EXPORT void gogc_collect(void) { gc_collect(); }
GM_EXPORT int gogc_set_percent(int percent) { return (int)gc_set_percent(percent); }
GM_EXPORT int gogc_enable(int on) { return gc_enable(on != 0); }

GM_EXPORT void *gogc_malloc(size_t n) { return gm_alloc_zeroed(n); }
GM_EXPORT void *gogc_malloc_noscan(size_t n) { return gm_alloc_noscan(n, true); }
GM_EXPORT void *gogc_malloc_uncollectable(size_t n) { return gm_alloc_uncollectable(n, false); }

GM_EXPORT int gogc_add_roots(void *start, void *end) { return gc_add_roots((uintptr_t)start, (uintptr_t)end); }
GM_EXPORT int gogc_remove_roots(void *start, void *end) { return gc_remove_roots((uintptr_t)start, (uintptr_t)end); }

/* The call is what keeps it: the argument is alive at it. */
GM_EXPORT GM_NOINLINE void gogc_keep_alive(const void *obj) { __asm__ volatile("" : : "r"(obj) : "memory"); }
