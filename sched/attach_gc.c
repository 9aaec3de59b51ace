/* What the collector must know of goroutines. See gc/world.h for the other side.
 *
 * A goroutine's stack is memory like any other and would be scanned from end to end, with what earlier calls have
 * left below the stack pointer, and the stacks of dead goroutines as well. So the arenas are taken out of the
 * scan, and the live part of each living goroutine's stack is named instead: from where it was switched away, or from
 * where the thread that runs it has been stopped. Registers are on the stack by then (switch_*.S). Records of
 * goroutines, Ms and timers lie in memory that is scanned anyway; channels, contexts and the like are objects of the
 * heap, alive as long as somebody can reach them. A goroutine that waits for ever on a channel nobody else knows
 * keeps both, as in Go.
 *
 * Called while the world is held, or in the snapshot child: no lock, no allocation. A thread may have been stopped
 * anywhere in the scheduler:
 *   - in the middle of a switch: it stands on the stack still, or has stored the stack pointer and left it
 *   - making a goroutine: its record is in the list before it has a stack, and its stack begins with its first frame
 *     (or nothing) before its state says that it lives; function and argument are in the record
 *   - ending one: what it leaves is looked at once more, which does no harm
 *
 * Pools are aged once a cycle: by sysmon, or by whoever puts something into one. Not by the collector, which comes by in
 * the middle of somebody's malloc, where nothing of the program's may be called. */
#include "sched/attach_gc.h"

#include "gc/world.h"
#include "libgomalloc/conf.h"
#include "sched/pool.h"
#include "sched/stack.h"
#include "sched/state.h"

static void each(void (*stack)(uintptr_t low, uintptr_t high, uintptr_t saved)) {
    for (struct gs_g *g = gm_load_acquire(&gs_sched.all_g); g; g = g->all_next) {
        uintptr_t low = (uintptr_t)g->stack_low, high = (uintptr_t)g->stack_high, sp = (uintptr_t)g->sp;
        uint32_t state = gm_load_relaxed(&g->state);
        if (!low || high <= low) continue; /* a stand-in, or without a stack so far */
        /* IDLE with a stack: being made, or dead. The dead have left: nobody stands there. */
        stack(low, high, state == GS_G_IDLE || state == GS_G_DEAD ? high : sp >= low && sp < high ? sp : low);
    }
}

static const struct gc_stacks stacks = { .range = gs_stack_range, .each = each };

bool gs_collected;

void gs_attach_gc(void) {
    gs_collected = gm_conf.gc != GM_GC_OFF;
    gc_world_set_stacks(&stacks);
}

static uint64_t seen; /* cycles for which pools have been aged; atomic */

void gs_pools_look(void) {
    uint64_t now = gc_world_cycles(), before = gm_load_relaxed(&seen);
    if (GM_UNLIKELY(now != before) && gm_cas_acquire(&seen, &before, now)) gs_pools_gc();
}
