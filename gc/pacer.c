/* See pacer.h. Signed throughout: a program that frees while a cycle marks has taken less than nothing. */
#include "gc/pacer.h"

#include "libgomalloc/base/bits.h"

#define MIB      (INT64_C(1) << 20)
#define HEAP_MIN (4 * MIB)
#define ROOM_MIN (1 * MIB)
#define ROOM_MAX (32 * MIB)
enum { DEAR = 8, CHEAP = 32, WORK = 14, SOONEST = 4, STEPS = 16 }; /* shares of the time; of the way to the goal */

static void recompute(struct gc_pacer *p) {
    if (p->percent < 0) {
        p->goal = p->limit;
    } else {
        int64_t growth;
        if (__builtin_mul_overflow(gm_max_signed(p->live + p->roots, HEAP_MIN), p->percent, &growth)) growth = INT64_MAX / 2;
        if (__builtin_add_overflow(p->live, growth / 100, &p->goal)) p->goal = INT64_MAX;
        p->goal = gm_min_signed(gm_max_signed(p->goal, p->live + p->room), p->limit);
    }
    if (p->goal == INT64_MAX) {
        p->trigger = p->latest = INT64_MAX;
        return;
    }
    /* At the limit a cycle must still be worth something: never less than 1 MiB after the last one. */
    p->goal = gm_max_signed(p->goal, p->live + ROOM_MIN);
    int64_t way = p->goal - p->live;
    p->latest = p->goal - gm_min_signed(p->runway, way / 2);
    p->trigger = p->rest ? p->live + way / SOONEST : p->latest;
}

void gc_pacer_init(struct gc_pacer *p, int64_t percent, int64_t limit) {
    *p = (struct gc_pacer){ .percent = percent, .limit = limit, .room = ROOM_MIN };
    recompute(p);
}

void gc_pacer_cycle_done(struct gc_pacer *p, int64_t live, int64_t roots, int64_t allocated) {
    p->live = live;
    p->roots = roots;
    p->runway = (p->runway + gm_max_signed(allocated, 0)) / 2;
    recompute(p);
}

void gc_pacer_cost(struct gc_pacer *p, uint64_t cost_ns, uint64_t since_ns) {
    if (cost_ns > since_ns / DEAR) p->room = gm_min_signed(2 * p->room, ROOM_MAX);
    else if (cost_ns < since_ns / CHEAP) p->room = gm_max_signed(p->room / 2, ROOM_MIN);
}

void gc_pacer_snapshot(struct gc_pacer *p, uint64_t cost_ns, unsigned cpus) {
    uint64_t rest = cost_ns * WORK / cpus;
    p->rest = p->rest && rest ? (p->rest + rest) / 2 : rest;
}

bool gc_pacer_waits(struct gc_pacer *p, int64_t heap, uint64_t since_ns) {
    if (heap >= p->latest || since_ns >= p->rest) return false;
    p->trigger = gm_min_signed(p->latest, heap + gm_max_signed((p->goal - p->live) / STEPS, ROOM_MIN));
    return true;
}

void gc_pacer_set(struct gc_pacer *p, int64_t percent, int64_t limit) {
    p->percent = percent;
    p->limit = limit;
    recompute(p);
}
