/* See hooks.h. */
#include "libgomalloc/hooks.h"

struct gm_hooks gm_hooks = { .trigger = INT64_MAX };
bool gm_free_ignored;
