/* Stacks are cut from arenas of 64 MiB, one size to an arena. See proc.c for the overview.
 *
 * A stack is 256 KiB of address space, of which a fresh goroutine touches one page, and a guard page below. Thus the distance
 * between two stacks is an odd number of pages, and their first pages spread over all sets of the translation caches: at a
 * distance of 64 pages a thousand goroutines would share a handful of sets. The first frames begin at different cache
 * lines of their pages, for the same reason. Huge pages are refused for the arenas: one touched page must stay one page.
 *
 * Guards are made in one of three ways, each where the one before cannot be had:
 *
 *   install   MADV_GUARD_INSTALL (Linux 6.13) needs no mapping of its own: a million guarded stacks are a few mappings
 *   protect   mprotect splits mappings, two for a guard, of which a process may have vm.max_map_count; half of them is what
 *             the stacks take
 *   canary    words at the low end that must not change, looked at whenever the goroutine leaves its stack: an overflow is
 *             named, but late, and costs a page of memory a stack
 *
 * Stacks of the default size stay with their dead goroutine (record.c); others come back here, one list per size. A
 * returned stack's pages beyond the first are given back to the kernel. Arenas are never unmapped. */
#include "sched/stack.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libgomalloc/base/print.h"
#include "libgomalloc/os/os.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

enum { ARENA = 64 << 20, CLASSES = 12 /* 16 KiB << 0 .. 32 MiB */, COLOURS = 16, CANARY_WORDS = 8, RANGES = 48 };
static const uintptr_t CANARY = (uintptr_t)0x7a3c9e15d2b8f460;

static struct {
    struct gs_lock lock;
    struct class {
        char *fresh, *end; /* of the current arena */
        void *free;        /* linked through the topmost word, whose page was touched before */
    } of[CLASSES];
    size_t mapped;         /* atomic */
    enum gs_guard guard;   /* the best that may still work */
    long protect_left;     /* guards that mprotect may still make; 0: not asked yet, <0: none */
    /* Arenas; neighbours make one range. Changed under the lock, one word at a time: read at any moment. */
    struct range { char *low, *high; } range[RANGES];
    uint32_t ranges;
} pool;

static long quiet(long number, void *p, size_t n, long how) {
    int saved = errno;
    long r = syscall(number, p, n, how);
    errno = saved;
    return r;
}

/* ---- guards; the pool's lock is held */

static void read_protect_limit(void *limit) {
    char text[32];
    gm_os_read_file("/proc/sys/vm/max_map_count", text, sizeof text);
    long mappings = atol(text);
    *(long *)limit = (mappings > 0 ? mappings : 65530) / 4;
}

static bool protect(char *low, size_t guard) {
    if (pool.protect_left == 0) gm_os_apart(read_protect_limit, &pool.protect_left);
    if (pool.protect_left <= 1) return false;
    pool.protect_left--;
    return quiet(SYS_mprotect, low, guard, PROT_NONE) == 0;
}

static enum gs_guard make_guard(char *low, size_t guard) {
    if (pool.guard == GS_GUARD_INSTALL) {
        if (quiet(SYS_madvise, low, guard, MADV_GUARD_INSTALL) == 0) return GS_GUARD_INSTALL;
        pool.guard = GS_GUARD_PROTECT;
    }
    if (pool.guard == GS_GUARD_PROTECT) {
        if (protect(low, guard)) return GS_GUARD_PROTECT;
        pool.guard = GS_GUARD_CANARY;
    }
    uintptr_t *word = (uintptr_t *)(void *)(low + guard);
    for (int i = 0; i < CANARY_WORDS; i++) word[i] = CANARY;
    return GS_GUARD_CANARY;
}

enum gs_guard gs_stack_guard_by(enum gs_guard best, long protect_left) {
    gs_lock_acquire(&pool.lock, GS_RANK_STACK);
    enum gs_guard before = pool.guard;
    pool.guard = best;
    pool.protect_left = protect_left;
    gs_lock_release(&pool.lock);
    return before;
}

bool gs_stack_intact(const struct gs_g *g) {
    const uintptr_t *word = (const uintptr_t *)(const void *)g->stack_low;
    for (int i = 0; i < CANARY_WORDS; i++)
        if (word[i] != CANARY) return false;
    return true;
}

bool gs_stack_guards(const struct gs_g *g, const void *address) {
    const char *a = address;
    return g->stack_low && a < g->stack_low && a >= g->stack_low - gm_os_page_size();
}

/* ---- stacks */

static unsigned class_of(size_t bytes) {
    unsigned k = 0;
    while (k < CLASSES && ((size_t)GS_STACK_MIN << k) < bytes) k++;
    return k;
}

static void remember(char *arena) {
    for (uint32_t i = 0; i < pool.ranges; i++) {
        struct range *r = &pool.range[i];
        if (r->low == arena + ARENA) {
            gm_store_relaxed(&r->low, arena);
            return;
        }
        if (r->high == arena) {
            gm_store_relaxed(&r->high, arena + ARENA);
            return;
        }
    }
    if (pool.ranges == RANGES) return;
    pool.range[pool.ranges] = (struct range){ arena, arena + ARENA };
    gm_store_release(&pool.ranges, pool.ranges + 1); /* pairs with the acquire in gs_stack_range */
}

bool gs_stack_range(unsigned i, uintptr_t *low, uintptr_t *high) {
    if (i >= gm_load_acquire(&pool.ranges)) return false;
    *low = (uintptr_t)gm_load_relaxed(&pool.range[i].low);
    *high = (uintptr_t)gm_load_relaxed(&pool.range[i].high);
    return true;
}

/* The pool's lock is held. NULL: no memory. */
static char *fresh(struct class *c, size_t stride) {
    if ((size_t)(c->end - c->fresh) < stride) {
        char *arena = gm_os_map(ARENA);
        if (!arena) return NULL;
        quiet(SYS_madvise, arena, ARENA, MADV_NOHUGEPAGE);
        gm_os_name(arena, ARENA, "goroutine stacks");
        remember(arena);
        gm_store_relaxed(&pool.mapped, pool.mapped + ARENA);
        c->fresh = arena;
        c->end = arena + ARENA;
    }
    char *low = c->fresh;
    c->fresh += stride;
    return low;
}

bool gs_stack_get(struct gs_g *g, size_t bytes) {
    unsigned k = class_of(bytes);
    if (k == CLASSES) return false;
    size_t size = (size_t)GS_STACK_MIN << k, guard = gm_os_page_size();
    enum gs_guard by = GS_GUARD_INSTALL;
    gs_lock_acquire(&pool.lock, GS_RANK_STACK);
    struct class *c = &pool.of[k];
    char *low = NULL;
    if (c->free) {
        void **top = c->free;
        c->free = top[0];
        by = (enum gs_guard)(uintptr_t)top[-1];
        low = (char *)(top + 1) - size;
    } else if ((low = fresh(c, size + guard))) {
        by = make_guard(low, guard);
        low += guard;
    }
    gs_lock_release(&pool.lock);
    if (!low) return false;
    g->stack_low = low;
    g->stack_high = low + size;
    g->stack_top = low + size - (1 + (uintptr_t)low / guard % COLOURS) * GM_CACHE_LINE;
    g->guard = by;
    return true;
}

void gs_stack_put(struct gs_g *g) {
    size_t size = (size_t)(g->stack_high - g->stack_low), page = gm_os_page_size();
    size_t keep = g->guard == GS_GUARD_CANARY ? page : 0; /* the canary's */
    if (size > page + keep) gm_os_release(g->stack_low + keep, size - page - keep);
    void **top = (void **)(void *)g->stack_high - 1;
    top[-1] = (void *)(uintptr_t)g->guard;
    gs_lock_acquire(&pool.lock, GS_RANK_STACK);
    struct class *c = &pool.of[class_of(size)];
    top[0] = c->free;
    c->free = top;
    gs_lock_release(&pool.lock);
    g->stack_low = g->stack_high = NULL;
}

size_t gs_stack_trim(const struct gs_g *g) {
    enum { AT_ONCE = 256 };
    unsigned char present[AT_ONCE];
    size_t page = gm_os_page_size(), bytes = 0;
    char *low = g->stack_low + (g->guard == GS_GUARD_CANARY ? page : 0);
    char *sp = (char *)((uintptr_t)g->sp & ~(page - 1));
    for (size_t part; low < sp; low += part) {
        part = (size_t)(sp - low) < AT_ONCE * page ? (size_t)(sp - low) : AT_ONCE * page;
        if (quiet(SYS_mincore, low, part, (long)(uintptr_t)present) != 0) break;
        size_t n = 0;
        for (size_t i = 0; i < part / page; i++) n += present[i] & 1;
        if (n > 0 && gm_os_release(low, part)) bytes += n * page;
    }
    return bytes;
}

size_t gs_stack_mapped(void) { return gm_load_relaxed(&pool.mapped); }

void gs_stack_fork_prepare(void) { gs_lock_acquire(&pool.lock, GS_RANK_STACK); }
void gs_stack_fork_parent(void) { gs_lock_release(&pool.lock); }
void gs_stack_fork_child(void) { gs_lock_reset(&pool.lock); }
