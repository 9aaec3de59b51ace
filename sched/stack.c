/* Stacks are cut from arenas of 64 MiB, one size to an arena. See proc.c for the overview.
 *
 * A stack is 256 KiB of address space of which a fresh goroutine touches one page. The guard is the lowest page.
 * MADV_GUARD_INSTALL (Linux 6.13) makes it without a mapping of its own, so a million guarded stacks are a handful of
 * mappings; where the kernel does not have it, mprotect splits mappings, of which a process may have 65 530,
 * so after 15 000 guards (two mappings each) further stacks have none. Huge pages are refused for the arenas: one touched
 * page must stay one page.
 *
 * Stacks of the default size stay with their dead goroutine (proc.c); others come back here, one list per size. A returned
 * stack's pages beyond the first are given back to the kernel. Arenas are never unmapped. */
#include "sched/stack.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libgomalloc/os/os.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

enum { ARENA = 64 << 20, CLASSES = 13 /* 16 KiB << 0 .. 64 MiB */, MPROTECT_GUARDS = 15000, COLOURS = 16 };

static struct {
    struct gs_lock lock;
    struct class {
        char *fresh, *end; /* of the current arena */
        void *free;        /* linked through the topmost word, whose page was touched before */
    } of[CLASSES];
    size_t mapped;
    int guard_by;          /* 0 not tried, else MADV_GUARD_INSTALL or -1: mprotect */
    unsigned protected;
} pool;

static long quiet(long number, void *p, size_t n, long how) {
    int saved = errno;
    long r = syscall(number, p, n, how);
    errno = saved;
    return r;
}

/* Under the pool's lock. */
static void make_guard(char *low) {
    if (pool.guard_by >= 0) {
        if (quiet(SYS_madvise, low, GS_STACK_GUARD, MADV_GUARD_INSTALL) == 0) {
            pool.guard_by = MADV_GUARD_INSTALL;
            return;
        }
        if (pool.guard_by == 0) pool.guard_by = -1;
    }
    if (pool.protected < MPROTECT_GUARDS && quiet(SYS_mprotect, low, GS_STACK_GUARD, PROT_NONE) == 0) pool.protected++;
}

static unsigned class_of(size_t bytes) {
    unsigned k = 0;
    while (k < CLASSES && ((size_t)GS_STACK_MIN << k) < bytes) k++;
    return k;
}

static char *fresh(struct class *c, size_t size) {
    if (c->fresh == c->end) {
        char *arena = gm_os_map(ARENA);
        if (!arena) return NULL;
        quiet(SYS_madvise, arena, ARENA, MADV_NOHUGEPAGE);
        gm_os_name(arena, ARENA, "goroutine stacks");
        pool.mapped += ARENA;
        c->fresh = arena;
        c->end = arena + ARENA;
    }
    char *low = c->fresh;
    c->fresh += size;
    make_guard(low);
    return low;
}

bool gs_stack_get(struct gs_g *g, size_t bytes) {
    unsigned k = bytes <= SIZE_MAX / 2 ? class_of(bytes + GS_STACK_GUARD * (bytes != GS_STACK_DEFAULT)) : CLASSES;
    if (k == CLASSES) return false;
    size_t size = (size_t)GS_STACK_MIN << k;
    gs_lock_acquire(&pool.lock, GS_RANK_STACK);
    struct class *c = &pool.of[k];
    char *low;
    if (c->free) {
        void **top = c->free;
        c->free = *top;
        low = (char *)(top + 1) - size;
    } else {
        low = fresh(c, size);
    }
    gs_lock_release(&pool.lock);
    if (!low) return false;
    g->stack_low = low + GS_STACK_GUARD;
    g->stack_high = low + size;
    return true;
}

void gs_stack_put(struct gs_g *g) {
    size_t size = (size_t)(g->stack_high - g->stack_low) + GS_STACK_GUARD;
    if (size > GS_STACK_MIN) gm_os_release(g->stack_low, size - GS_STACK_GUARD - gm_os_page_size());
    void **top = (void **)(void *)g->stack_high - 1;
    gs_lock_acquire(&pool.lock, GS_RANK_STACK);
    struct class *c = &pool.of[class_of(size)];
    *top = c->free;
    c->free = top;
    gs_lock_release(&pool.lock);
    g->stack_low = g->stack_high = NULL;
}

char *gs_stack_top(const struct gs_g *g) {
    uintptr_t size = (uintptr_t)(g->stack_high - g->stack_low) + GS_STACK_GUARD;
    unsigned colour = (unsigned)((uintptr_t)g->stack_high / size) % COLOURS;
    return g->stack_high - GM_CACHE_LINE - colour * GM_CACHE_LINE;
}

bool gs_stack_guards(const struct gs_g *g, const void *address) {
    const char *a = address;
    return g->stack_low && a < g->stack_low && a >= g->stack_low - GS_STACK_GUARD;
}

size_t gs_stack_mapped(void) { return gm_load_relaxed(&pool.mapped); }
