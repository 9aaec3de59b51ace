/* See pacer.h. */
#include "gc/pacer.h"

#define MIB      (INT64_C(1) << 20)
#define HEAP_MIN (4 * MIB)
#define ROOM_MIN (1 * MIB)
#define ROOM_MAX (32 * MIB)
enum { DEAR = 8, CHEAP = 32, WORK = 8, SOONEST = 4 }; /* shares of the time; of the way to the goal */

/* Signed, as all of this may be below zero: a program that frees while a cycle marks. */
static int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t greater(int64_t a, int64_t b) { return a > b ? a : b; }

static void recompute(struct gc_pacer *p) {
    if (p->percent < 0) {
        p->goal = p->limit;
    } else {
        int64_t growth;
        if (__builtin_mul_overflow(greater(p->live + p->roots, HEAP_MIN), p->percent, &growth)) growth = INT64_MAX / 2;
        if (__builtin_add_overflow(p->live, growth / 100, &p->goal)) p->goal = INT64_MAX;
        p->goal = lesser(greater(p->goal, p->live + p->room), p->limit);
    }
    if (p->goal == INT64_MAX) {
        p->trigger = INT64_MAX;
        return;
    }
    /* At the limit a cycle must still be worth something: never less than 1 MiB after the last one. */
    p->goal = greater(p->goal, p->live + ROOM_MIN);
    int64_t way = p->goal - p->live;
    p->trigger = p->goal - lesser(p->runway, way / 2);
    if (p->worth < way) p->trigger = lesser(p->trigger, p->live + greater(p->worth - p->runway, way / SOONEST));
}

void gc_pacer_init(struct gc_pacer *p, int64_t percent, int64_t limit) {
    *p = (struct gc_pacer){ .percent = percent, .limit = limit, .room = ROOM_MIN, .worth = INT64_MAX };
    recompute(p);
}

void gc_pacer_cycle_done(struct gc_pacer *p, int64_t live, int64_t roots, int64_t allocated) {
    p->live = live;
    p->roots = roots;
    p->runway = (p->runway + greater(allocated, 0)) / 2;
    recompute(p);
}

void gc_pacer_cost(struct gc_pacer *p, uint64_t cost_ns, uint64_t since_ns) {
    if (cost_ns > since_ns / DEAR) p->room = lesser(2 * p->room, ROOM_MAX);
    else if (cost_ns < since_ns / CHEAP) p->room = greater(p->room / 2, ROOM_MIN);
}

void gc_pacer_snapshot(struct gc_pacer *p, uint64_t cost_ns, uint64_t since_ns, unsigned cpus, int64_t allocated) {
    const double most = (double)(INT64_C(1) << 50);
    double worth = (double)greater(allocated, 0) * (double)cost_ns * WORK / (((double)since_ns + 1) * cpus);
    double before = p->worth == INT64_MAX ? worth : (double)p->worth, now = (before + worth) / 2;
    p->worth = (int64_t)(now < most ? now : most);
}

void gc_pacer_set(struct gc_pacer *p, int64_t percent, int64_t limit) {
    p->percent = percent;
    p->limit = limit;
    recompute(p);
}
