/* Telling ThreadSanitizer and AddressSanitizer that the stack changes; nothing in other builds. */
#ifndef GS_SANITIZE_H
#define GS_SANITIZE_H

#include "sched/gmp.h"

/* Of functions that look at what others change meanwhile, and say so: traces, dumps, walks over stacks. */
#define GS_UNCHECKED __attribute__((no_sanitize("address", "thread")))

#if defined(__SANITIZE_THREAD__)
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void *fiber);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);
GM_INLINE void gs_fiber_thread(struct gs_g *g) { g->fiber = __tsan_get_current_fiber(); }
GM_INLINE void gs_fiber_create(struct gs_g *g) { g->fiber = __tsan_create_fiber(0); }
GM_INLINE void gs_fiber_delete(struct gs_g *g) { __tsan_destroy_fiber(g->fiber); }
/* A switch counts as synchronization, as the thread's own records (M, P, thread-locals) go from one stack to the other by it.
 * So races between two goroutines are seen when different threads run them. */
#define gs_fiber_switch(from, fiber, low, high) __tsan_switch_to_fiber((fiber), 0)
#define gs_fiber_arrived(g) ((void)(g))
#elif defined(__SANITIZE_ADDRESS__)
void __sanitizer_start_switch_fiber(void **fake_stack_save, const void *bottom, size_t size);
void __sanitizer_finish_switch_fiber(void *fake_stack_save, const void **bottom_old, size_t *size_old);
#define gs_fiber_thread(g) ((void)(g))
void __asan_unpoison_memory_region(void const volatile *low, size_t size);
/* What the goroutine that had the stack before left in it was never left. */
GM_INLINE void gs_fiber_create(struct gs_g *g) {
    g->fake_stack = NULL;
    __asan_unpoison_memory_region(g->stack_low, (size_t)(g->stack_high - g->stack_low));
}
#define gs_fiber_delete(g) ((void)(g))
#define gs_fiber_switch(from, fiber, low, high) \
    __sanitizer_start_switch_fiber((from)->state == GS_G_DEAD ? NULL : &(from)->fake_stack, (low), (size_t)((high) - (low)))
#define gs_fiber_arrived(g) __sanitizer_finish_switch_fiber((g)->fake_stack, NULL, NULL)
#else
#define gs_fiber_thread(g) ((void)(g))
#define gs_fiber_create(g) ((void)(g))
#define gs_fiber_delete(g) ((void)(g))
#define gs_fiber_switch(from, fiber, low, high) ((void)0)
#define gs_fiber_arrived(g) ((void)(g))
#endif

#endif
