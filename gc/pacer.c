/* See pacer.h. */
#include "gc/pacer.h"

#include "libgomalloc/base/bits.h"

#define HEAP_MIN ((int64_t)4 << 20)

static void recompute(struct gc_pacer *p) {
    if (p->percent < 0) {
        p->goal = p->limit;
    } else {
        int64_t growth;
        if (__builtin_mul_overflow(gm_max(p->live + p->roots, HEAP_MIN), p->percent, &growth)) growth = INT64_MAX / 2;
        if (__builtin_add_overflow(p->live, growth / 100, &p->goal)) p->goal = INT64_MAX;
        p->goal = gm_min(p->goal, p->limit);
    }
    if (p->goal == INT64_MAX) {
        p->trigger = INT64_MAX;
        return;
    }
    /* At the limit a cycle must still be worth something: never less than 1 MiB after the last one. */
    p->goal = gm_max(p->goal, p->live + ((int64_t)1 << 20));
    p->trigger = p->goal - gm_min(p->runway, (p->goal - p->live) / 2);
}

void gc_pacer_init(struct gc_pacer *p, int64_t percent, int64_t limit) {
    *p = (struct gc_pacer){ .percent = percent, .limit = limit };
    recompute(p);
}

void gc_pacer_cycle_done(struct gc_pacer *p, int64_t live, int64_t roots, int64_t allocated) {
    p->live = live;
    p->roots = roots;
    p->runway = (p->runway + gm_max(allocated, 0)) / 2;
    recompute(p);
}

void gc_pacer_set(struct gc_pacer *p, int64_t percent, int64_t limit) {
    p->percent = percent;
    p->limit = limit;
    recompute(p);
}
