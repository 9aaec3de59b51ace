/* Pointers that only the kernel holds: the data words of epoll interests and the values of POSIX timers,
 * as /proc shows them. See roots.h for what is not to be had. Called while the world is held, in the
 * process itself (a snapshot child has no timers). */
#ifndef GC_KERNEL_ROOTS_H
#define GC_KERNEL_ROOTS_H

#include "libgomalloc/base/compiler.h"

void gc_roots_scan_kernel(void);

#endif
