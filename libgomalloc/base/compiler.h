/* What the rest of the library asks of the compiler: attributes, branch hints, layout checks.
 *
 * Every private header of the project includes this one, directly or not, and this one refuses
 * outsiders: only code built by the project's Makefile (which defines GM_BUILD) sees the insides. */
#ifndef GM_BASE_COMPILER_H
#define GM_BASE_COMPILER_H

#ifndef GM_BUILD
#error "private header of gomalloc: include <gomalloc.h>, <gogc.h> or <gosched.h> instead"
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GM_LIKELY(x)   __builtin_expect(!!(x), 1)
#define GM_UNLIKELY(x) __builtin_expect(!!(x), 0)

#define GM_NOINLINE   __attribute__((noinline))
#define GM_INLINE     static inline __attribute__((always_inline))
#define GM_COLD       __attribute__((cold, noinline))
#define GM_NORETURN   __attribute__((noreturn))
#define GM_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define GM_ALIGNED(n) __attribute__((aligned(n)))
#define GM_EXPORT     __attribute__((visibility("default")))
/* On declarations: -fvisibility=hidden speaks of definitions only, and what may live in another object
 * is reached through a table. */
#define GM_HIDDEN     __attribute__((visibility("hidden")))
#define GM_UNUSED     __attribute__((unused))

/* The project's only thread-local storage: initial-exec, so that reading it is one load from the
 * thread register and a dlopen never has to make room for it. PT_TLS stays below 64 bytes (tested). */
#define GM_TLS __thread __attribute__((tls_model("initial-exec")))

/* Layout facts are compile errors, not comments. */
#define GM_STATIC_ASSERT(cond, why) _Static_assert(cond, why)

/* The compiler forgets what it knows of x, a variable in a register: it will not keep an address made with it. */
#define GM_FORGET(x) __asm__("" : "+r"(x))
/* The same for what is to be returned: it is best kept where results are. */
#if defined(__x86_64__)
#define GM_FORGET_RESULT(x) __asm__("" : "+a"(x))
#else
#define GM_FORGET_RESULT(x) GM_FORGET(x)
#endif

/* One cache line, on every machine the project runs on. */
#define GM_CACHE_LINE 64

#endif
