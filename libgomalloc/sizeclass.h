/* Size to class, and what a class is. The table is generated (mksizeclass.c has the reasoning).
 *
 * Class 0 is no class. Class 1 (8 bytes) is the only one whose slots are not multiples of 16. */
#ifndef GM_SIZECLASS_H
#define GM_SIZECLASS_H

#include "libgomalloc/base/atomic.h"

#define GM_SMALL_MAX  1024          /* found by a table that has an entry for every size */
#define GM_MEDIUM_MAX 32768         /* found in steps of 32; above: a span of its own */
#define GM_MEDIUM_STEP 32          /* classes above GM_SMALL_MAX are multiples of it */
#define GM_CLASS_8    1
#define GM_CLASS_16   2

/* Size to class. The tables in use are reached by a pointer, so that they are part of the program text, which costs a
 * process nothing, although a collector wants others. The hit paths' own pointer leads to a table of zeros while allocations are
 * sampled (profile.c): class 0 is always empty, so every malloc takes its slow half. */
struct gm_class_tables {
    uint8_t small[GM_SMALL_MAX + 1];
    uint8_t medium[(GM_MEDIUM_MAX - GM_SMALL_MAX) / GM_MEDIUM_STEP + 1];
};
#include "libgomalloc/sizeclass_table.h"

extern GM_HIDDEN const uint16_t gm_class_size[GM_CLASSES];       /* bytes of a slot */
extern GM_HIDDEN const uint8_t gm_class_pages[GM_CLASSES];       /* 8 KiB pages of a span */
extern GM_HIDDEN const uint16_t gm_class_slots[GM_CLASSES];      /* slots of a span */
extern GM_HIDDEN const uint32_t gm_class_reciprocal[GM_CLASSES]; /* offset / size == offset * reciprocal >> 32 */

extern GM_HIDDEN const struct gm_class_tables gm_class_tables, *gm_classes_true, *gm_classes; /* the last is atomic: the hit paths' */
/* What the hit paths go by from now on; NULL: the true ones. */
void gm_class_divert(const struct gm_class_tables *to);

/* Bytes that an object is made larger than asked for, 0 or 1; and the call that makes it 1, before there are threads.
 * For a collector: what points just past an object of more than 16 bytes then points into it still (a header
 * without anything behind it: the only pointer kept may be the one behind the header). Not so for objects of
 * exactly 1024 or 32768 bytes, where the tables end, and of 16 bytes and less, which would take twice their memory. */
extern GM_HIDDEN size_t gm_class_end_room;
bool gm_class_leave_end_room(void); /* false: no memory for it */

/* size_t, so that no code is spent on widening a table entry twice. */
GM_INLINE size_t gm_class_of_small(size_t n) { return gm_load_relaxed(&gm_classes)->small[n]; }
GM_INLINE size_t gm_class_of_medium(size_t n) {
    return gm_load_relaxed(&gm_classes)->medium[(n - GM_SMALL_MAX + GM_MEDIUM_STEP - 1) / GM_MEDIUM_STEP];
}

/* The true one. n <= GM_MEDIUM_MAX. */
GM_INLINE unsigned gm_class_of(size_t n) {
    return n <= GM_SMALL_MAX ? gm_classes_true->small[n] : gm_classes_true->medium[(n - GM_SMALL_MAX + GM_MEDIUM_STEP - 1) / GM_MEDIUM_STEP];
}

#endif
