/* What a cycle marks, at a stop or in a snapshot child: roots, finalizers' objects, and all that they lead to. The cycle lock is held. */
#ifndef GC_MARKING_H
#define GC_MARKING_H

#include "libgomalloc/base/compiler.h"

struct gc_fork_result;

/* The world is held: all roots that must be taken now are scanned, with `all` the others as well. `program_from`: where the program's
 * part of this thread's stack begins, with all its registers. `expected`: bytes that are likely to be looked at. False: they cannot be read. */
bool gc_marking_held(uintptr_t program_from, int64_t expected, bool all);
/* The rest, with the world held; `scanned`: of the roots nothing is left. False: they cannot be read. */
bool gc_marking_all(bool scanned);
/* The rest, in a snapshot child (fork.h). */
bool gc_marking_child(struct gc_fork_result *result);
/* How many threads mark: a quarter of the CPUs beside the program and those it leaves, all of them while it stands still, one
 * for what is soon done. */
unsigned gc_marking_workers(bool beside, int64_t bytes, unsigned cpus);
/* A child has marked for so long, and the program's threads have waited for it so long together. */
void gc_marking_waited(uint64_t waited_ns, uint64_t mark_ns);

#endif
