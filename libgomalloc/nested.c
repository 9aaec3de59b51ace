/* Allocation by signal handlers that interrupted the allocator itself.
 *
 * A handler must not allocate, and handlers do. If it interrupted anything but the allocator, that
 * just works. If it interrupted the allocator, the thread's cache may be half changed and the thread
 * may hold a lock; guarding against that on the hit paths would cost every malloc and free. So the
 * trampoline that runs the program's handlers (preload/signal.c) asks here first. The allocator was
 * interrupted if the program counter lies in its text, or the cache is marked busy, or the thread
 * holds one of its locks (it may be in a system call then, or in memcpy).
 *
 * In that case gm_tc is replaced by gm_no_cache until the handler returns: every malloc and free falls
 * through to the slow paths, and those see gm_nested() and come here. Blocks are then mappings of
 * their own, listed in a table that is changed by compare-and-swap only; ordinary blocks that are freed
 * are put aside in another and freed by the next ordinary slow path. Nothing here takes a lock.
 *
 * A handler that leaves by siglongjmp never calls gm_signal_leave. The mark is an address in its
 * stack: when a slow path runs above it, or no longer on the alternative stack the mark lies on, the
 * handler is gone. Its thread goes on with its cache, unless that was busy: then with a new one. (A
 * lock that was held stays held; jumping out of malloc is beyond help, and undefined by POSIX.) */
#include "libgomalloc/nested.h"

#include <errno.h>
#include <signal.h>

#include "libgomalloc/base/atomic.h"
#include "libgomalloc/base/bits.h"
#include "libgomalloc/base/lock.h"
#include "libgomalloc/cache.h"
#include "libgomalloc/os/os.h"

enum { BLOCKS = 1024, DEFERRED = 1024 };

GM_TLS void *gm_nested_mark;
static GM_TLS struct gm_cache *own_cache; /* what gm_tc was, while it is put away */
bool gm_nested_deferred;

/* A block's entry: address 1 while it is being filled in, then the block's; size before address. */
static struct { uintptr_t address; size_t size; } blocks[BLOCKS];
static void *deferred[DEFERRED];

/* The library's text, as the linker lays it out. */
extern const char __ehdr_start[] GM_HIDDEN, etext[] GM_HIDDEN;
/* In it, wrapped calls that block (preload/block.c). They hold nothing of the allocator's, and a handler may leave them by
 * a jump like the calls themselves. Absent where preload/ is. */
extern const char gm_wrappers[] GM_HIDDEN __attribute__((weak)), gm_wrappers_end[] GM_HIDDEN __attribute__((weak));

void *gm_signal_enter(const void *interrupted_pc) {
    const char *pc = interrupted_pc;
    if (gm_nested_mark != NULL) return NULL; /* safe already, by an outer handler */
    bool inside = pc >= __ehdr_start && pc < etext && (pc < gm_wrappers || pc >= gm_wrappers_end);
    if (!inside && gm_locks_held == 0 && !gm_load_relaxed(&gm_load_relaxed(&gm_tc)->busy)) return NULL;
    /* Another signal may come between any two of these stores. It finds either no mark and does all
     * of this itself, or the cache put away already and leaves it so. */
    bool put_away = gm_load_relaxed(&gm_tc) != &gm_no_cache;
    if (put_away) {
        own_cache = gm_load_relaxed(&gm_tc);
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        gm_store_relaxed(&gm_tc, &gm_no_cache);
    }
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    gm_nested_mark = (char *)__builtin_frame_address(0) + put_away; /* frames are aligned: a free bit */
    return gm_nested_mark;
}

/* The mark goes first: a signal that comes before the cache is back is then one that interrupted us. */
void gm_signal_leave(void *token) {
    if (gm_nested_mark != token) return;
    gm_nested_mark = NULL;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if ((uintptr_t)token & 1) gm_store_relaxed(&gm_tc, own_cache);
}

static bool on_alternative_stack(const void *p) {
    stack_t s;
    int saved = errno;
    bool inside = sigaltstack(NULL, &s) == 0 && !(s.ss_flags & SS_DISABLE) &&
                  (uintptr_t)p - (uintptr_t)s.ss_sp < s.ss_size;
    errno = saved;
    return inside;
}

GM_COLD bool gm_nested_check(void) {
    const void *here = __builtin_frame_address(0);
    if (on_alternative_stack(here) == on_alternative_stack(gm_nested_mark) && here < gm_nested_mark) return true;
    /* The handler was left by a jump. */
    bool back = (uintptr_t)gm_nested_mark & 1 && !own_cache->busy;
    gm_nested_mark = NULL;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (back) gm_store_relaxed(&gm_tc, own_cache);
    return false;
}

static unsigned hash(uintptr_t address) { return (unsigned)(address >> 12) * 2654435761u % BLOCKS; }

void *gm_nested_alloc(size_t n) {
    size_t size = gm_align_up(gm_max(n, 1), gm_os_page_size());
    char *p = size >= n ? gm_os_map(size) : NULL;
    if (p != NULL) {
        for (unsigned k = 0, i = hash((uintptr_t)p); k < BLOCKS; k++, i = (i + 1) % BLOCKS) {
            uintptr_t none = 0;
            if (gm_load_relaxed(&blocks[i].address) != 0 || !gm_cas_acquire(&blocks[i].address, &none, 1)) continue;
            gm_store_relaxed(&blocks[i].size, size);
            gm_store_release(&blocks[i].address, (uintptr_t)p); /* pairs with the acquire in entry_of */
            return p;
        }
        gm_os_unmap(p, size);
    }
    errno = ENOMEM;
    return NULL;
}

/* Entries are not moved, so a search may not stop at the first empty one; it is a rare path. */
static unsigned entry_of(const void *p) {
    unsigned first = hash((uintptr_t)p);
    for (unsigned k = 0; k < BLOCKS; k++) {
        unsigned i = (first + k) % BLOCKS;
        if (gm_load_acquire(&blocks[i].address) == (uintptr_t)p) return i;
    }
    return BLOCKS;
}

size_t gm_nested_size(const void *p) {
    if (!gm_is_aligned((uintptr_t)p, GM_OS_PAGE)) return 0;
    unsigned i = entry_of(p);
    return i < BLOCKS ? gm_load_relaxed(&blocks[i].size) : 0;
}

void gm_nested_release(void *p) {
    unsigned i = entry_of(p);
    if (i == BLOCKS) return;
    size_t size = gm_load_relaxed(&blocks[i].size);
    uintptr_t address = (uintptr_t)p;
    /* Only one of two that free it at once gets it; the other finds nothing of ours any more. */
    if (gm_cas_acquire(&blocks[i].address, &address, 0)) gm_os_unmap(p, size);
}

void gm_nested_defer(void *p) {
    for (unsigned i = 0; i < DEFERRED; i++) {
        void *none = NULL;
        /* release: pairs with the acquire in gm_nested_drain, as for any hand-over of a free block. */
        if (gm_load_relaxed(&deferred[i]) == NULL && gm_cas_release(&deferred[i], &none, p)) break;
    }
    gm_store_relaxed(&gm_nested_deferred, true);
}

GM_COLD void gm_nested_drain(void (*free_block)(void *)) {
    gm_store_relaxed(&gm_nested_deferred, false);
    for (unsigned i = 0; i < DEFERRED; i++) {
        if (gm_load_relaxed(&deferred[i]) == NULL) continue;
        void *p = gm_exchange_acquire(&deferred[i], NULL);
        if (p) free_block(p);
    }
}

void gm_nested_each_deferred(void (*fn)(void *arg, uintptr_t p), void *arg) {
    for (unsigned i = 0; i < DEFERRED; i++) {
        void *p = gm_load_relaxed(&deferred[i]);
        if (p) fn(arg, (uintptr_t)p);
    }
}
