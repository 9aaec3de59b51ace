/* madvise: memory that a program keeps out of its forks (V8 does, with all its heap) is not in a snapshot of the
 * process either. The collector has to know: pointers in such memory keep objects alive. Straight to the kernel, as
 * the C library does it: the allocator calls it too, before anything could be looked up. */
#define _GNU_SOURCE 1
#include "libgomalloc/base/atomic.h"
#include "libgomalloc/hooks.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

GM_EXPORT int madvise(void *p, size_t n, int advice) {
    if (GM_UNLIKELY(advice == MADV_DONTFORK || advice == MADV_WIPEONFORK)) gm_store_relaxed(&gm_hooks.unforked, 1);
    return (int)syscall(SYS_madvise, p, n, advice);
}
