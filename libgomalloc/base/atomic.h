/* Atomic operations with the memory order in the name, so that every use says what it relies on.
 *
 * The argument for an order stands where the operation is used and names its partner. Counters
 * that one thread writes and others only read for statistics use gm_count_add: a plain addition
 * (one instruction), which is atomic enough on every machine the project runs on, because aligned
 * words are never torn; ThreadSanitizer is told so by a real relaxed atomic in its variant. */
#ifndef GM_BASE_ATOMIC_H
#define GM_BASE_ATOMIC_H

#include "libgomalloc/base/compiler.h"

#define gm_load_relaxed(p)        __atomic_load_n((p), __ATOMIC_RELAXED)
#define gm_load_acquire(p)        __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define gm_load_seq_cst(p)        __atomic_load_n((p), __ATOMIC_SEQ_CST)
#define gm_store_relaxed(p, v)    __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define gm_store_release(p, v)    __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define gm_store_seq_cst(p, v)    __atomic_store_n((p), (v), __ATOMIC_SEQ_CST)
#define gm_exchange_acquire(p, v) __atomic_exchange_n((p), (v), __ATOMIC_ACQUIRE)
#define gm_exchange_acq_rel(p, v) __atomic_exchange_n((p), (v), __ATOMIC_ACQ_REL)
#define gm_add_relaxed(p, v)      __atomic_fetch_add((p), (v), __ATOMIC_RELAXED)
#define gm_sub_relaxed(p, v)      __atomic_fetch_sub((p), (v), __ATOMIC_RELAXED)
#define gm_add_acq_rel(p, v)      __atomic_fetch_add((p), (v), __ATOMIC_ACQ_REL)
#define gm_or_release(p, v)       __atomic_fetch_or((p), (v), __ATOMIC_RELEASE)
#define gm_and_acquire(p, v)      __atomic_fetch_and((p), (v), __ATOMIC_ACQUIRE)

/* Compare and swap: true if *p was *expected and is now v; else *expected is what *p was. */
#define gm_cas_relaxed(p, expected, v) \
    __atomic_compare_exchange_n((p), (expected), (v), false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)
#define gm_cas_acquire(p, expected, v) \
    __atomic_compare_exchange_n((p), (expected), (v), false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)
#define gm_cas_release(p, expected, v) \
    __atomic_compare_exchange_n((p), (expected), (v), false, __ATOMIC_RELEASE, __ATOMIC_RELAXED)
#define gm_cas_acq_rel(p, expected, v) \
    __atomic_compare_exchange_n((p), (expected), (v), false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)

/* gm_peek(x): a relaxed load that the compiler may fold into another instruction. */
#if defined(__SANITIZE_THREAD__)
#define gm_peek(x) gm_load_relaxed(&(x))
#define gm_count_add(p, v) gm_store_relaxed((p), gm_load_relaxed(p) + (v))
#define gm_count_down(p, v) (gm_count_add((p), -(v)), gm_load_relaxed(p) < 0)
#else
#define gm_peek(x) (x)
#define gm_count_add(p, v) ((void)(*(p) += (v)))
#define gm_count_down(p, v) ((*(p) -= (v)) < 0)
#endif

/* gm_step_release(p, v): *p += v by its only writer, behind everything that stands before it. The value is read anew:
 * on x86, where stores keep their order, that is one instruction and needs no register. */
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
#define gm_step_release(p, v) (__atomic_signal_fence(__ATOMIC_SEQ_CST), gm_count_add((p), (v)))
#else
#define gm_step_release(p, v) gm_store_release((p), gm_load_relaxed(p) + (v))
#endif

#if defined(__x86_64__)
#define gm_cpu_relax() __builtin_ia32_pause()
#else
#define gm_cpu_relax() __atomic_signal_fence(__ATOMIC_SEQ_CST)
#endif

#endif
