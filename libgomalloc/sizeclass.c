/* The generated tables, in one object. */
#define GM_SIZECLASS_TABLES
#include "libgomalloc/sizeclass.h"

#include "libgomalloc/meta.h"

const struct gm_class_tables *gm_classes_true = &gm_class_tables, *gm_classes = &gm_class_tables;
size_t gm_class_end_room;

/* An entry whose largest size fills its class wholly says the next class. */
static void leave_room(uint8_t *table, unsigned from, unsigned to, size_t offset, size_t step) {
    for (unsigned i = from; i < to; i++)
        if (gm_class_size[table[i]] == offset + i * step && table[i] + 1 < GM_CLASSES) table[i]++;
}

GM_COLD bool gm_class_leave_end_room(void) {
    if (gm_class_end_room) return true;
    struct gm_class_tables *t = gm_meta_alloc_own(sizeof *t, 64);
    if (!t) return false;
    *t = gm_class_tables;
    /* Not the last entry: the next class is none of those that the small fast path counts. */
    leave_room(t->small, 16 + 1, sizeof t->small - 1, 0, 1);
    leave_room(t->medium, 1, sizeof t->medium, GM_SMALL_MAX, GM_MEDIUM_STEP);
    gm_class_end_room = 1;
    if (gm_classes == gm_classes_true) gm_classes = t;
    gm_classes_true = t;
    return true;
}

void gm_class_divert(const struct gm_class_tables *to) { gm_store_relaxed(&gm_classes, to ? to : gm_classes_true); }
