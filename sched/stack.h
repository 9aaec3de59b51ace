/* Stacks of goroutines: address space with a guard below, pages only where touched. See stack.c. */
#ifndef GS_STACK_H
#define GS_STACK_H

#include "sched/gmp.h"

enum { GS_STACK_DEFAULT = 256 << 10, GS_STACK_MIN = 16 << 10, GS_STACK_GUARD = 4 << 10 };

/* Gives g a stack of at least `bytes` (rounded up to a power of two, guard included). False: no memory. */
bool gs_stack_get(struct gs_g *g, size_t bytes);
/* Takes it back. The caller is not on it. */
void gs_stack_put(struct gs_g *g);
/* Where the first frame of g begins: coloured by its place, so that stacks do not all use the same cache sets. */
char *gs_stack_top(const struct gs_g *g);
/* True if the address lies in the guard of g's stack. */
bool gs_stack_guards(const struct gs_g *g, const void *address);
/* Address space of all stacks, bytes. */
size_t gs_stack_mapped(void);

#endif
