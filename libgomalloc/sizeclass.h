/* Size to class, and what a class is. The table is generated (mksizeclass.c has the reasoning).
 *
 * Class 0 is no class. Class 1 (8 bytes) is the only one whose slots are not multiples of 16. */
#ifndef GM_SIZECLASS_H
#define GM_SIZECLASS_H

#include "libgomalloc/base/compiler.h"
#include "libgomalloc/sizeclass_table.h"

#define GM_SMALL_MAX  1024          /* found by gm_class_small in steps of 8 */
#define GM_MEDIUM_MAX 32768         /* found by gm_class_medium in steps of 128; above: a span of its own */
#define GM_CLASS_8    1
#define GM_CLASS_16   2

extern GM_HIDDEN const uint16_t gm_class_size[GM_CLASSES];       /* bytes of a slot */
extern GM_HIDDEN const uint8_t gm_class_pages[GM_CLASSES];       /* 8 KiB pages of a span */
extern GM_HIDDEN const uint16_t gm_class_slots[GM_CLASSES];      /* slots of a span */
extern GM_HIDDEN const uint32_t gm_class_reciprocal[GM_CLASSES]; /* offset / size == offset * reciprocal >> 32 */
extern GM_HIDDEN const uint8_t gm_class_small[GM_SMALL_MAX / 8 + 1];
extern GM_HIDDEN const uint8_t gm_class_medium[(GM_MEDIUM_MAX - GM_SMALL_MAX) / 128 + 1];

/* size_t, so that no code is spent on widening a table entry twice. */
GM_INLINE size_t gm_class_of_small(size_t n) { return gm_class_small[(n + 7) >> 3]; }
GM_INLINE size_t gm_class_of_medium(size_t n) { return gm_class_medium[(n - GM_SMALL_MAX + 127) >> 7]; }

/* n <= GM_MEDIUM_MAX. */
GM_INLINE unsigned gm_class_of(size_t n) {
    return (unsigned)(n <= GM_SMALL_MAX ? gm_class_of_small(n) : gm_class_of_medium(n));
}

#endif
