/* The pages that are copied because the program writes to them while a snapshot child marks. See copies.c. */
#ifndef GC_COPIES_H
#define GC_COPIES_H

#include "libgomalloc/base/compiler.h"

/* A child has just been made of a process in whose heap `live` bytes were last alive (cycle lock). */
void gc_copies_begin(int64_t live);
/* The time the program has spent on them since, ns, roughly (cycle lock). */
uint64_t gc_copies_cost(void);
/* Asked by an allocating thread while the child marks. True: it should rest for 2 ms, then it may go on. */
bool gc_copies_too_many(void);

#endif
