/* See hooks.h. */
#include "libgomalloc/hooks.h"

#include "libgomalloc/arena.h"

struct gm_hooks gm_hooks = { .trigger = INT64_MAX };
bool gm_free_ignored;

/* The fast path of free takes an address for one of ours only below free_limit16. */
void gm_hooks_ignore_free(void) {
    gm_free_ignored = true;
    gm_store_relaxed(&gm_space.free_limit16, 0);
}
