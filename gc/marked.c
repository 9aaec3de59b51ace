/* Whether marks are complete, asked of the whole heap. See mark.h. */
#include "gc/mark.h"

#include "libgomalloc/base/check.h"
#include "libgomalloc/gcview.h"

static void verify_object(void *arg, uintptr_t p, size_t size, uint8_t state) {
    struct gm_gc_object o, target;
    GM_CHECK(gm_gc_find(p, &o) && o.live && p - o.start < 16);
    if (!gm_gc_marked(o.arena, o.start) || o.noscan || o.moving) return;
    for (size_t i = 0; i < size; i += sizeof(uintptr_t)) {
        uintptr_t word = gm_load_relaxed((const uintptr_t *)(p + i));
        if (gm_gc_find(word, &target) && target.live) GM_CHECK(gm_gc_marked(target.arena, target.start));
    }
}

void gc_mark_verify(void) {
    for (struct gm_arena *a = gm_arena_next(NULL); a; a = gm_arena_next(a)) gm_gc_each_object(a, 0, SIZE_MAX, verify_object, NULL);
}
