/* The C library's allocation names, in glibc's semantics (2.36; where POSIX and glibc differ, see the
 * function). The work is done in libgomalloc/; here are argument checks and errno.
 *
 * Names that are another name with more arguments call that one by the dynamic linker's binding, not
 * ours directly: in a program that has its own free, free_sized must end there as well.
 *
 * errno: untouched by free and on success, by what the allocator promises in alloc.h; ENOMEM on
 * failure; EINVAL where an alignment cannot be had. */
#define _GNU_SOURCE 1
#include "libgomalloc/alloc.h"
#include "libgomalloc/base/bits.h"
#include "libgomalloc/fastpath.h"
#include "libgomalloc/os/os.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

/* What glibc aligns every block to. The allocator aligns blocks of up to 8 bytes to 8 only, as C
 * allows, since no object of that size needs more; an explicit request for more is kept. */
enum { SMALLEST_ALIGNMENT = 8, MALLOC_ALIGNMENT = 16 };

static void *fail(int error) {
    errno = error;
    return NULL;
}

/* ---- malloc and free */

GM_EXPORT void *malloc(size_t n) { return gm_alloc_fast(n); }

GM_EXPORT void free(void *p) { gm_free_fast(p); }

GM_EXPORT void *calloc(size_t count, size_t size) {
    size_t n;
    if (GM_UNLIKELY(__builtin_mul_overflow(count, size, &n))) return fail(ENOMEM);
    return gm_alloc_zeroed(n);
}

/* realloc(p, 0) frees p and answers NULL, which is no failure: errno stays. */
GM_EXPORT void *realloc(void *p, size_t n) {
    if (GM_UNLIKELY(p == NULL)) return gm_alloc(n);
    if (GM_UNLIKELY(n == 0)) {
        gm_free(p);
        return NULL;
    }
    return gm_realloc(p, n);
}

/* ---- derived names */

void cfree(void *p);
void free_sized(void *p, size_t n);
void free_aligned_sized(void *p, size_t align, size_t n);

GM_EXPORT void cfree(void *p) { free(p); }
GM_EXPORT void free_sized(void *p, size_t n) { free(p); }
GM_EXPORT void free_aligned_sized(void *p, size_t align, size_t n) { free(p); }

GM_EXPORT void *reallocarray(void *p, size_t count, size_t size) {
    size_t n;
    if (GM_UNLIKELY(__builtin_mul_overflow(count, size, &n))) return fail(ENOMEM);
    return realloc(p, n);
}

/* ---- alignment */

/* glibc's memalign takes any alignment and rounds it up to a power of two; up to malloc's own it is
 * malloc. */
GM_EXPORT void *memalign(size_t align, size_t n) {
    if (align <= SMALLEST_ALIGNMENT) return gm_alloc(n);
    if (GM_UNLIKELY(align > SIZE_MAX / 2 + 1)) return fail(EINVAL);
    if (GM_UNLIKELY(!gm_is_pow2(align))) {
        align = gm_max(align, MALLOC_ALIGNMENT);
        if (!gm_is_pow2(align)) align = (size_t)2 << gm_high_bit(align);
    }
    return gm_alloc_aligned(align, n);
}

/* glibc 2.36 has one function under both names; C's rule that the size be a multiple of the alignment
 * is not enforced by either. */
GM_EXPORT void *aligned_alloc(size_t align, size_t n) { return memalign(align, n); }

/* POSIX: the error is the result, errno is not set, and on failure *out is as it was. (glibc does set
 * errno here when memory runs out.) */
GM_EXPORT int posix_memalign(void **out, size_t align, size_t n) {
    if (align % sizeof(void *) != 0 || !gm_is_pow2(align)) return EINVAL;
    int saved = errno;
    void *p = align <= SMALLEST_ALIGNMENT ? gm_alloc(n) : gm_alloc_aligned(align, n);
    errno = saved;
    if (p == NULL) return ENOMEM;
    *out = p;
    return 0;
}

GM_EXPORT void *valloc(size_t n) { return gm_alloc_aligned(gm_os_page_size(), n); }

/* valloc in whole pages. */
GM_EXPORT void *pvalloc(size_t n) {
    size_t page = gm_os_page_size(), rounded = gm_align_up(n, page);
    if (GM_UNLIKELY(rounded < n)) return fail(ENOMEM);
    return gm_alloc_aligned(page, rounded);
}

GM_EXPORT size_t malloc_usable_size(void *p) { return gm_usable_size(p); }

/* ---- the names that interposers use for the real thing; here too it is ours */

#define ALIAS(name, of) \
    extern __typeof__(of) name __attribute__((alias(#of), visibility("default"), copy(of)))
ALIAS(__libc_malloc, malloc);
ALIAS(__libc_calloc, calloc);
ALIAS(__libc_realloc, realloc);
ALIAS(__libc_free, free);
ALIAS(__libc_memalign, memalign);
ALIAS(__libc_valloc, valloc);
ALIAS(__libc_pvalloc, pvalloc);
