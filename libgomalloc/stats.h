/* Statistics: gathers what the parts count. The public side is gomalloc.h. */
#ifndef GM_STATS_H
#define GM_STATS_H

#include "libgomalloc/base/compiler.h"

/* GOMALLOC=stats:exit: the text report on stderr, under one heading line. */
void gm_stats_print_exit(void);

#endif
