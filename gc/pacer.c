/* See pacer.h. */
#include "gc/pacer.h"

#include "libgomalloc/base/bits.h"

#define MIB      (INT64_C(1) << 20)
#define HEAP_MIN (4 * MIB)
#define ROOM_MIN (1 * MIB)
#define ROOM_MAX (32 * MIB)
enum { DEAR = 8, CHEAP = 32 }; /* shares of the time */

static void recompute(struct gc_pacer *p) {
    if (p->percent < 0) {
        p->goal = p->limit;
    } else {
        int64_t growth;
        if (__builtin_mul_overflow(gm_max(p->live + p->roots, HEAP_MIN), p->percent, &growth)) growth = INT64_MAX / 2;
        if (__builtin_add_overflow(p->live, growth / 100, &p->goal)) p->goal = INT64_MAX;
        p->goal = gm_min(gm_max(p->goal, p->live + p->room), p->limit);
    }
    if (p->goal == INT64_MAX) {
        p->trigger = INT64_MAX;
        return;
    }
    /* At the limit a cycle must still be worth something: never less than 1 MiB after the last one. */
    p->goal = gm_max(p->goal, p->live + ROOM_MIN);
    p->trigger = p->goal - gm_min(p->runway, (p->goal - p->live) / 2);
}

void gc_pacer_init(struct gc_pacer *p, int64_t percent, int64_t limit) {
    *p = (struct gc_pacer){ .percent = percent, .limit = limit, .room = ROOM_MIN };
    recompute(p);
}

void gc_pacer_cycle_done(struct gc_pacer *p, int64_t live, int64_t roots, int64_t allocated) {
    p->live = live;
    p->roots = roots;
    p->runway = (p->runway + gm_max(allocated, 0)) / 2;
    recompute(p);
}

void gc_pacer_cost(struct gc_pacer *p, uint64_t cost_ns, uint64_t since_ns) {
    if (cost_ns > since_ns / DEAR) p->room = gm_min(2 * p->room, ROOM_MAX);
    else if (cost_ns < since_ns / CHEAP) p->room = gm_max(p->room / 2, ROOM_MIN);
}

void gc_pacer_set(struct gc_pacer *p, int64_t percent, int64_t limit) {
    p->percent = percent;
    p->limit = limit;
    recompute(p);
}
