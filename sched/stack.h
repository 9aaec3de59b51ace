/* Stacks of goroutines: address space with a guard below, pages only where touched. See stack.c. */
#ifndef GS_STACK_H
#define GS_STACK_H

#include "sched/gmp.h"

enum { GS_STACK_DEFAULT = 256 << 10, GS_STACK_MIN = 16 << 10 };

/* Gives g a stack of at least `bytes` (rounded up to a power of two). False: no memory. */
bool gs_stack_get(struct gs_g *g, size_t bytes);
/* Takes it back. The caller is not on it. */
void gs_stack_put(struct gs_g *g);
/* True if the address lies in the guard of g's stack. */
bool gs_stack_guards(const struct gs_g *g, const void *address);
/* Of a stack whose guard is a canary: nobody has written below the stack. */
bool gs_stack_intact(const struct gs_g *g);
/* Gives the pages below g's saved stack pointer back to the kernel; g is off its stack and stays off. Bytes. */
size_t gs_stack_trim(const struct gs_g *g);
/* Address space of all stacks, bytes. */
size_t gs_stack_mapped(void);
/* From now on guards are made in no better way than this, and mprotect makes no more than so many (0: as many as the kernel's
 * limit allows). Returns what was the best before. For tests, on kernels that have the best one. */
enum gs_guard gs_stack_guard_by(enum gs_guard best, long protect_left);
void gs_stack_fork_prepare(void);
void gs_stack_fork_parent(void);
void gs_stack_fork_child(void);

#endif
