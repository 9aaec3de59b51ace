/* See roots.h, and cycle.c for the overview.
 *
 * Stacks. Only what lies at or above a thread's stack pointer (less the red zone) is alive, but a mapping
 * is taken for a stack only where that is certain: the kernel's [stack], and a mapping above a guard
 * (PROT_NONE, directly below) in whose upper end the thread's own control block lies: that is how NPTL
 * lays out what it allocates. Any other mapping in which a stack pointer points (a stack the program
 * made, perhaps between its data) is scanned whole, which costs precision, never soundness. A thread
 * that stands on an alternative stack leaves none of its own stack pointers in its main stack, so that is
 * scanned whole as well. The library's own threads are not held: they stand where their own frames begin, as
 * below that, where the sweep runs as well, lie addresses of dead objects.
 *
 * Steps. Words in data are aligned; on stacks and in registers they may stand at 4 (packed structs such
 * as epoll_event); in anonymous executable mappings at any byte (immediates in generated code). */
#include "gc/roots.h"

#include <errno.h>

#include "gc/kernel_roots.h"
#include "gc/mark.h"
#include "gc/world.h"
#include "libgomalloc/base/atomic.h"
#include "libgomalloc/base/bits.h"
#include "libgomalloc/endpoint.h"
#include "libgomalloc/gcview.h"
#include "libgomalloc/os/maps.h"
#include "libgomalloc/os/os.h"
#include "libgomalloc/os/pagemap.h"

enum { MAX_EXCLUDED = 256, MAX_KEPT = GM_ENDPOINT_RANGES, MAX_ADDED = 256, MAX_STACKS = 1024, MAX_OWN = 8, RUNS = 64,
       RED_ZONE = 128, STACK_STEP = 4, COPY = 64 * 1024, SHORT_STACK = 64 * 1024, LOOK_AHEAD = 32 << 20 };

static struct gm_range added[MAX_ADDED];       /* cycle lock */
static struct gm_range stacks[MAX_STACKS];     /* the program's own (cycle lock) */
static struct gm_range kept[MAX_KEPT];         /* never scanned; atomic; tools see it */
static struct gm_range excluded[MAX_EXCLUDED]; /* the same, found anew at each stop */
static unsigned excluded_count, kept_count, added_count, stack_count;
static size_t bytes;
static size_t private_bytes[2];             /* of all private mappings: now, and as seen in the process that was stopped */
static uintptr_t own_sp;                    /* the caller's: that of a call */
static struct gm_os_own_stack own[MAX_OWN]; /* of the library's threads */
static unsigned own_count;
static struct gm_maps maps;                 /* static: the caller may stand on a small stack */
static struct gm_page_run runs[RUNS];
static _Alignas(16) char copy[COPY];        /* of pages that may not be read where they are */

size_t gc_roots_bytes(void) { return bytes; }

/* Of the stacks of the library's own threads the C library's part is looked at. */
void gc_roots_own_stack(uintptr_t sp) {
    struct gm_os_own_stack s;
    own_sp = sp;
    own_count = 0;
    for (unsigned i = 0; own_count < MAX_OWN && gm_os_own_stack(&i, &s);) {
        own[own_count++] = s;
        if (s.control_block == (uintptr_t)__builtin_thread_pointer()) own_sp = s.from;
    }
}

/* Any thread, any time: a reader that comes between sees an empty range, which excludes nothing. */
bool gc_roots_exclude(uintptr_t low, uintptr_t high) {
    unsigned i = gm_add_relaxed(&kept_count, 1);
    if (i >= MAX_KEPT) return false;
    gm_store_relaxed(&kept[i].low, low);
    gm_store_release(&kept[i].high, high);
    gm_store_release(&gm_endpoint.own, kept);
    return true;
}

#define EXCLUDE(variable) exclude_for_now(NULL, (uintptr_t)&(variable), (uintptr_t)(&(variable) + 1))
/* Too many: they are scanned, which is harmless. */
static void exclude_for_now(void *arg, uintptr_t low, uintptr_t high) {
    if (excluded_count < MAX_EXCLUDED) excluded[excluded_count++] = (struct gm_range){ low, high };
}

int gc_roots_add(uintptr_t low, uintptr_t high) {
    if (low >= high) return -EINVAL;
    if (added_count == MAX_ADDED) return -ENOMEM;
    added[added_count++] = (struct gm_range){ low, high };
    return 0;
}

int gc_roots_remove(uintptr_t low, uintptr_t high) {
    for (unsigned i = 0; i < added_count; i++) {
        if (added[i].low != low || added[i].high != high) continue;
        added[i] = added[--added_count];
        return 0;
    }
    return -ENOENT;
}

int gc_roots_add_stack(uintptr_t low, uintptr_t high) {
    if (low >= high) return -EINVAL;
    if (stack_count == MAX_STACKS) return -ENOMEM;
    stacks[stack_count++] = (struct gm_range){ low, high };
    return 0;
}

int gc_roots_remove_stack(uintptr_t low) {
    for (unsigned i = 0; i < stack_count; i++) {
        if (stacks[i].low != low) continue;
        stacks[i] = stacks[--stack_count];
        return 0;
    }
    return -ENOENT;
}

/* ---- one range of memory */

static void scan_readable(uintptr_t low, uintptr_t high, unsigned step, bool stack) {
    bytes += high - low;
    gc_mark_root_range(low, high, step, stack);
}

/* Pages the program has protected are read through the kernel. */
static void scan_protected(uintptr_t low, uintptr_t high, unsigned step, bool stack) {
    while (low < high) {
        size_t n = gm_pagemap_read(low, copy, gm_min(high - low, sizeof copy));
        if (n == 0) return;
        scan_readable((uintptr_t)copy, (uintptr_t)copy + gm_align_down(n, 8), step, stack);
        low += n;
    }
}

/* How far the pages behind a range may be looked at together with its own: not into the heap, which is not asked for. */
static uintptr_t look_ahead(uintptr_t from) {
    const uintptr_t last = (UINT64_C(1) << 47) - gm_os_page_size();
    uintptr_t to = gm_min(from + LOOK_AHEAD, last);
    for (unsigned i = 0; i < excluded_count; i++)
        if (excluded[i].low >= from) to = gm_min(to, gm_align_down(excluded[i].low, gm_os_page_size()));
    return to;
}

static void scan_pages(const struct gm_mapping *m, uintptr_t low, uintptr_t high, unsigned step, bool stack) {
    if (stack && m->readable && high - low <= SHORT_STACK) return scan_readable(low, high, step, stack); /* all touched, mostly */
    uintptr_t end = gm_align_up(high, gm_os_page_size()), ahead = look_ahead(end);
    for (uintptr_t next = gm_align_down(low, gm_os_page_size()); next < end;) {
        int n = gm_pagemap_private(&next, end, ahead, runs, RUNS);
        if (n < 0) { /* no page map: all of it, if it can be read at all */
            if (m->readable) scan_readable(low, high, step, stack);
            else scan_protected(low, high, step, stack);
            return;
        }
        for (int i = 0; i < n; i++) {
            uintptr_t from = gm_max(runs[i].start, low), to = gm_min(runs[i].end, high);
            if (from >= to) continue;
            if (m->readable) scan_readable(from, to, step, stack);
            else scan_protected(from, to, step, stack);
        }
    }
}

/* The first piece of [low, *end) that one of the n ranges at x excludes, if it begins before *end. */
static void cut(const struct gm_range *x, unsigned n, uintptr_t low, uintptr_t *end, uintptr_t *resume) {
    for (; n > 0; n--, x++) {
        uintptr_t from = gm_load_relaxed(&x->low), to = gm_load_acquire(&x->high); /* pairs with gc_roots_exclude */
        gm_range_cut(from, to, low, end, resume);
    }
}

/* [low, high) less what is excluded. */
static void scan_outside(const struct gm_mapping *m, uintptr_t low, uintptr_t high, unsigned step, bool stack) {
    while (low < high) {
        uintptr_t end = high, resume = high;
        cut(excluded, excluded_count, low, &end, &resume);
        cut(kept, (unsigned)gm_min(gm_load_relaxed(&kept_count), MAX_KEPT), low, &end, &resume);
        if (low < end) scan_pages(m, low, end, step, stack);
        low = resume;
    }
}

/* ---- stacks */

/* Whether a thread with this stack pointer and control block shows the mapping to be its stack. */
static bool is_stack_of(const struct gm_mapping *m, bool above_guard, uintptr_t sp, uintptr_t control_block) {
    return m->kind == GM_MAPPING_STACK || (above_guard && control_block > sp && control_block < m->end);
}

/* Where everybody stands, the caller too, in ascending order: there are as many mappings as threads, and more. */
enum { MAX_STANDING = (1 << 15) + 1 };
static struct standing { uintptr_t sp, live, control_block; } *standing; /* MAX_STANDING of them */
static unsigned standing_count;

/* Lets an entry sink in the heap of the first n, largest on top. */
static void sink(unsigned at, unsigned n) {
    struct standing moving = standing[at];
    for (unsigned child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && standing[child + 1].sp > standing[child].sp) child++;
        if (standing[child].sp <= moving.sp) break;
        standing[at] = standing[child];
    }
    standing[at] = moving;
}

bool gc_roots_start(void) {
    const size_t size = MAX_STANDING * sizeof *standing;
    if (!standing && (standing = gm_os_map(size)) != NULL) gc_roots_exclude((uintptr_t)standing, (uintptr_t)standing + size);
    return standing != NULL;
}

/* qsort allocates. False: no memory for the list. */
static bool list_standing(void) {
    unsigned n = 0;
    if (!gc_roots_start()) return false;
    standing[n++] = (struct standing){ own_sp, own_sp, (uintptr_t)__builtin_thread_pointer() }; /* a call's: below is nothing */
    for (unsigned i = 0; i < own_count; i++) standing[n++] = (struct standing){ own[i].from, own[i].from, own[i].control_block };
    for (unsigned i = 0; i < gc_world_count() && n < MAX_STANDING; i++) {
        const struct gc_thread *t = gc_world_thread(i);
        standing[n++] = (struct standing){ t->sp, t->sp - RED_ZONE, t->fs_base };
    }
    standing_count = n;
    for (unsigned i = n / 2; i-- > 0;) sink(i, n);
    while (n > 1) {
        struct standing largest = standing[0];
        standing[0] = standing[--n];
        standing[n] = largest;
        sink(0, n);
    }
    return true;
}

/* The first who stands at or above an address. */
static unsigned first_standing(uintptr_t address) {
    unsigned low = 0, high = standing_count;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (standing[middle].sp < address) low = middle + 1;
        else high = middle;
    }
    return low;
}

/* The lowest live address of a mapping that is certainly a stack; 0: it is none, or nobody stands on it. */
static uintptr_t live_from(const struct gm_mapping *m, bool above_guard) {
    unsigned first = first_standing(m->start), i = first;
    for (; i < standing_count && standing[i].sp < m->end; i++)
        if (!is_stack_of(m, above_guard, standing[i].sp, standing[i].control_block)) return 0;
    if (i == first) return 0;
    return gm_align_down(gm_max(standing[first].live, m->start), 8);
}

/* Where the live part of a stack begins: at the lowest stack pointer of a thread in it, or else where is said. */
static uintptr_t live_part(const struct gm_range *stack, uintptr_t otherwise) {
    unsigned first = first_standing(stack->low);
    if (first == standing_count || standing[first].sp >= stack->high) return gm_align_down(otherwise, 8);
    return gm_align_down(gm_max(standing[first].live, stack->low), 8);
}

static void scan_other_stack(uintptr_t low, uintptr_t high, uintptr_t saved) {
    uintptr_t from = live_part(&(struct gm_range){ low, high }, saved);
    if (from < high) scan_readable(from, high, STACK_STEP, true);
}

void gc_roots_scan_registers(void) {
    for (unsigned i = 0; i < gc_world_count(); i++) {
        const struct gc_thread *t = gc_world_thread(i);
        uintptr_t regs = (uintptr_t)t->regs;
        if (regs) gc_mark_root_range(regs, regs + t->regs_bytes, STACK_STEP, true);
        gc_mark_root_word(t->sp, true); /* a stack may be an object of the heap */
        gc_mark_root_word(t->alt_sp, true);
        gc_mark_root_word(t->fs_base, true);
    }
}

/* ---- all mappings */

static bool is_shared_memory(const struct gm_mapping *m) {
    return m->shared && m->writable && m->readable && m->end - m->start <= GC_SHARED_MAX;
}

static void scan_mapping(const struct gm_mapping *m, bool above_guard) {
    if (m->kind == GM_MAPPING_OTHER) return; /* [vvar], [vdso] */
    uintptr_t from = live_from(m, above_guard);
    bool stack = from != 0 || m->kind == GM_MAPPING_STACK;
    bool code = m->executable && m->kind == GM_MAPPING_ANONYMOUS;
    scan_outside(m, from ? from : m->start, m->end, stack ? STACK_STEP : code ? 1 : 8, stack);
}

enum part { PRIVATE = 1, SHARED = 2 };

static bool each_mapping(unsigned parts) {
    struct gm_mapping m;
    uintptr_t guard_end = 0;
    size_t sum = 0;
    if (!gm_maps_open(&maps)) return false;
    while (gm_maps_next(&maps, &m)) {
        if (!m.shared && m.kind != GM_MAPPING_OTHER) sum += m.end - m.start;
        if (parts & SHARED && is_shared_memory(&m)) scan_readable(m.start, m.end, 8, false);
        else if (parts & PRIVATE && !m.shared) scan_mapping(&m, m.start == guard_end);
        guard_end = !m.readable && !m.writable && !m.executable ? m.end : 0;
    }
    gm_maps_close(&maps);
    if (parts & PRIVATE) private_bytes[0] = sum;
    if (parts & SHARED) private_bytes[1] = sum;
    return true;
}

/* Both parts in one pass, or private memory alone. */
static bool scan_private(unsigned parts) {
    if (!list_standing()) return false;
    gm_pagemap_open(); /* failing is noticed by its users */
    bool ok = each_mapping(parts);
    gm_pagemap_close();
    for (unsigned i = 0; i < stack_count; i++) scan_readable(live_part(&stacks[i], stacks[i].low), stacks[i].high, STACK_STEP, true);
    if (gc_world_stacks()) gc_world_stacks()->each(scan_other_stack);
    for (unsigned i = 0; i < added_count; i++) scan_readable(gm_align_up(added[i].low, 8), gm_align_down(added[i].high, 8), 8, false);
    return ok && !gc_roots_incomplete();
}

bool gc_roots_scan_held(bool all) {
    bytes = 0;
    excluded_count = 0;
    gm_gc_each_private(exclude_for_now, NULL);
    /* What we ourselves know of addresses: where the heap begins there may be an object. */
    EXCLUDE(copy);
    EXCLUDE(excluded);
    EXCLUDE(runs);
    EXCLUDE(maps);
    for (unsigned i = 0; i < stack_count; i++) exclude_for_now(NULL, stacks[i].low, stacks[i].high);
    const struct gc_stacks *others = gc_world_stacks();
    uintptr_t low, high;
    for (unsigned i = 0; others && others->range(i, &low, &high); i++) exclude_for_now(NULL, low, high);
    gc_roots_scan_kernel();
    return all ? scan_private(PRIVATE | SHARED) : each_mapping(SHARED);
}

bool gc_roots_scan_private(void) { return scan_private(PRIVATE); }

bool gc_roots_incomplete(void) { return private_bytes[0] < private_bytes[1]; }
