/* The global queue: goroutines that are ready and of no P. See proc.c for the overview. All under the scheduler's lock.
 *
 * It has two parts, and every P takes from it when its own ring is empty.
 *
 *   the line    who was made ready by a plain thread or came back from a call without a P: first come, first served
 *   the piles   halves of rings that overflowed, the newest on top. The line first, then the top pile.
 *
 * Go appends what overflows to the line. A program that starts goroutines faster than they end, each of them starting more, then works
 * through its tree level by level: of the million of skynet 94 000 exist at a time, each with a stack whose first
 * page has to be found. With the newest half on top it works near the leaves and finishes what it has begun: 1 700
 * exist at a time.
 *
 * Nobody is forgotten: the one goroutine that each P takes from here every 61st time is, 10 ms after the last one of these, of the
 * lowest pile, else the first of the line. (Every second time would be as often as a busy tree branches: 23 000 at a time.) */
#include "libgomalloc/os/os.h"
#include "sched/runq.h"
#include "sched/state.h"

enum { MOST = GS_RUNQ / 2 + 1 /* at a time: a pile; all but one have room in an empty ring */ };
static const int64_t LOWEST_EVERY = 10000000; /* ns */

static void added(unsigned n) { gm_store_relaxed(&gs_sched.queue_count, gs_sched.queue_count + n); }

void gs_global_put(struct gs_g *first, struct gs_g *last, unsigned n) {
    last->link = NULL;
    if (gs_sched.queue_tail) gs_sched.queue_tail->link = first;
    else gs_sched.queue_head = first;
    gs_sched.queue_tail = last;
    added(n);
}

void gs_global_pile(struct gs_g *first, unsigned n) {
    first->above = NULL;
    first->below = gs_sched.pile_top;
    if (first->below) first->below->above = first;
    else gs_sched.pile_bottom = first;
    gs_sched.pile_top = first;
    added(n);
}

/* The pile that began with `first` begins with `rest` now, or is gone. */
static void cut_pile(struct gs_g *first, struct gs_g *rest) {
    struct gs_g *above = first->above, *below = first->below;
    if (rest) {
        rest->above = above;
        rest->below = below;
    }
    if (above) above->below = rest ? rest : below;
    else gs_sched.pile_top = rest ? rest : below;
    if (below) below->above = rest ? rest : above;
    else gs_sched.pile_bottom = rest ? rest : above;
}

static void cut_line(struct gs_g *rest) {
    gs_sched.queue_head = rest;
    if (!rest) gs_sched.queue_tail = NULL;
}

/* Of the lowest pile, if its time has come. */
static struct gs_g *lowest(void) {
    if (!gs_sched.pile_bottom) return NULL;
    int64_t now = (int64_t)gm_os_coarse_time();
    if (now - gs_sched.pile_taken < LOWEST_EVERY) return NULL;
    gs_sched.pile_taken = now;
    return gs_sched.pile_bottom;
}

struct gs_g *gs_global_get(struct gs_p *p, unsigned max) {
    unsigned n = gs_sched.queue_count / gs_sched.procs + 1, taken = 1, count;
    if (gs_sched.queue_count == 0) return NULL;
    if (max > 0 && n > max) n = max;
    if (n > MOST) n = MOST;
    struct gs_g *first = max == 1 ? lowest() : NULL;
    bool pile = first || !gs_sched.queue_head;
    if (!first) first = gs_sched.queue_head ? gs_sched.queue_head : max == 1 ? NULL : gs_sched.pile_top;
    if (!first) return NULL;
    struct gs_g *rest = first->link, *after, *overflow;
    for (; rest && taken < n && gs_runq_length(p) < GS_RUNQ; rest = after, taken++) {
        after = rest->link; /* once it is in the ring it may run elsewhere */
        if (!gs_runq_put(p, rest, &overflow, &count)) break;
    }
    if (pile) cut_pile(first, rest);
    else cut_line(rest);
    gm_store_relaxed(&gs_sched.queue_count, gs_sched.queue_count - taken);
    return first;
}
