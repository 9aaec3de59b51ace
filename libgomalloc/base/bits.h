/* Masks, counts, rounding: the arithmetic of sizes and bitmaps. Pure functions. */
#ifndef GM_BASE_BITS_H
#define GM_BASE_BITS_H

#include "libgomalloc/base/compiler.h"

/* a is a power of two in all of these. gm_align_up wraps to a smaller value on overflow. */
GM_INLINE uintptr_t gm_align_up(uintptr_t n, uintptr_t a) { return (n + a - 1) & ~(a - 1); }
GM_INLINE uintptr_t gm_align_down(uintptr_t n, uintptr_t a) { return n & ~(a - 1); }
GM_INLINE bool gm_is_aligned(uintptr_t n, uintptr_t a) { return (n & (a - 1)) == 0; }
GM_INLINE bool gm_is_pow2(uintptr_t n) { return n != 0 && (n & (n - 1)) == 0; }

/* Index of the lowest or highest set bit; the argument is not 0. */
GM_INLINE unsigned gm_low_bit(uint64_t w) { return (unsigned)__builtin_ctzll(w); }
GM_INLINE unsigned gm_high_bit(uint64_t w) { return 63u - (unsigned)__builtin_clzll(w); }
GM_INLINE unsigned gm_popcount(uint64_t w) { return (unsigned)__builtin_popcountll(w); }

/* A word with bits [from, from + n) set; n in 0..64, from + n <= 64. */
GM_INLINE uint64_t gm_mask(unsigned from, unsigned n) {
    return n == 0 ? 0 : (~UINT64_C(0) >> (64 - n)) << from;
}

GM_INLINE size_t gm_min(size_t a, size_t b) { return a < b ? a : b; }
GM_INLINE size_t gm_max(size_t a, size_t b) { return a > b ? a : b; }
/* Of what may be negative. */
GM_INLINE int64_t gm_min_signed(int64_t a, int64_t b) { return a < b ? a : b; }
GM_INLINE int64_t gm_max_signed(int64_t a, int64_t b) { return a > b ? a : b; }

#endif
