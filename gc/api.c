/* The public calls of gogc.h. See cycle.c for the overview. */
#include "gc/gogc.h"

#include <errno.h>

#include "gc/cycle.h"
#include "gc/roots.h"
#include "gc/watch.h"
#include "libgomalloc/alloc.h"
#include "libgomalloc/noscan.h"

GM_EXPORT void gogc_collect(void) { gc_collect(); }
GM_EXPORT int gogc_set_percent(int percent) { return (int)gc_set_percent(percent); }
GM_EXPORT int gogc_enable(int on) { return gc_enable(on != 0); }

GM_EXPORT void *gogc_malloc(size_t n) { return gm_alloc_zeroed(n); }
GM_EXPORT void *gogc_malloc_noscan(size_t n) { return gm_alloc_noscan(n, true); }
GM_EXPORT void *gogc_malloc_uncollectable(size_t n) { return gm_alloc_uncollectable(n, false); }

#define LOCKED(call) ({ gc_cycle_lock(); int answer_ = (call); gc_cycle_unlock(); answer_; })
GM_EXPORT int gogc_add_roots(void *start, void *end) { return LOCKED(gc_roots_add((uintptr_t)start, (uintptr_t)end)); }
GM_EXPORT int gogc_remove_roots(void *start, void *end) { return LOCKED(gc_roots_remove((uintptr_t)start, (uintptr_t)end)); }
GM_EXPORT int gogc_register_stack(void *low, void *high) { return LOCKED(gc_roots_add_stack((uintptr_t)low, (uintptr_t)high)); }
GM_EXPORT int gogc_unregister_stack(void *low) { return LOCKED(gc_roots_remove_stack((uintptr_t)low)); }

/* Without a collector nothing would ever run it. */
GM_EXPORT int gogc_set_finalizer(void *obj, void (*fn)(void *obj, void *arg), void *arg) {
    return gc_is_on() ? gc_watch_set_finalizer(obj, fn, arg) : 0;
}

GM_EXPORT void *gogc_weak(void *obj) { return gc_watch_weak(obj); }
GM_EXPORT void *gogc_weak_get(void *weak) { return weak ? gc_weak_get(weak) : NULL; }
GM_EXPORT void gogc_weak_free(void *weak) { gc_watch_weak_free(weak); }

/* The call is what keeps it: the argument is alive at it. */
GM_EXPORT GM_NOINLINE void gogc_keep_alive(const void *obj) { __asm__ volatile("" : : "r"(obj) : "memory"); }
