/* Values that goroutines and plain threads have for themselves. See local.c. */
#ifndef GS_LOCAL_H
#define GS_LOCAL_H

#include "sched/gmp.h"

/* At the end of g, called by itself: destructors, then the memory. g->locals is not NULL before and NULL after. */
void gs_locals_end(struct gs_g *g);

#endif
