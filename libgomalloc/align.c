/* Aligned allocation. See malloc.c for the overview.
 *
 * Spans start on pages of 8 KiB, so a slot is aligned to whatever power of two up to that divides its
 * size: round up to a multiple of the alignment and take the next class that is one too (every power
 * of two is a class). Beyond that an object is a span that starts at a multiple of the alignment. */
#include "libgomalloc/base/bits.h"
#include "libgomalloc/base/check.h"
#include "libgomalloc/front.h"

static unsigned aligned_class(size_t align, size_t n) {
    size_t rounded = gm_align_up(gm_max(n, 1), align);
    if (rounded < n || rounded > GM_MEDIUM_MAX) return 0;
    unsigned cls = gm_class_of(rounded);
    while (cls < GM_CLASSES && gm_class_size[cls] % align != 0) cls++;
    return cls < GM_CLASSES ? cls : 0;
}

void *gm_alloc_aligned(size_t align, size_t n) {
    GM_ASSERT(gm_is_pow2(align));
    if (align <= 8) return gm_alloc(n);
    unsigned cls = align <= GM_PAGE_SIZE && n <= GM_MEDIUM_MAX ? aligned_class(align, n) : 0;
    bool zero;
    return cls ? gm_alloc_class(n, cls) : gm_large_alloc(n, align, 0, &zero);
}
