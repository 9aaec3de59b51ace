/* See pace.h. */
#include "libgomalloc/pace.h"

#include "libgomalloc/base/bits.h"

/* Shares of the time in percent, and the most that the account saves up: a program that was idle since its
 * heap fell pays for all of it at once, up to so much. An excess of an eighth of the goal is a fall. */
enum { STEADY_PERCENT = 1, FALLING_PERCENT = 20, FALL_SHARE = 8 };
#define STEADY_MOST  INT64_C(10000000)
#define FALLING_MOST INT64_C(1000000000)
#define FALL_LEAST   ((size_t)1 << 20)

static void advance(struct gm_pace *p, uint64_t now) {
    uint64_t slice = now / GM_PACE_SLICE_NS;
    if (slice <= p->slice) return;
    uint64_t passed = slice - p->slice;
    for (uint64_t k = 1; k <= passed && k <= GM_PACE_SLICES; k++) p->peak[(slice - k + 1) % GM_PACE_SLICES] = p->need;
    p->slice = slice;
}

void gm_pace_need(struct gm_pace *p, uint64_t now, size_t need) {
    advance(p, now);
    p->need = need;
    size_t *peak = &p->peak[p->slice % GM_PACE_SLICES];
    *peak = gm_max(*peak, need);
}

size_t gm_pace_goal(struct gm_pace *p, uint64_t now) {
    size_t most = 0;
    advance(p, now);
    for (unsigned i = 0; i < GM_PACE_SLICES; i++) most = gm_max(most, p->peak[i]);
    return most + most / 10;
}

uint64_t gm_pace_budget(struct gm_pace *p, uint64_t now, size_t excess, size_t goal) {
    if (excess == 0) p->falling = false;
    else if (excess > goal / FALL_SHARE + FALL_LEAST) p->falling = true;
    int64_t percent = p->falling ? FALLING_PERCENT : STEADY_PERCENT, most = p->falling ? FALLING_MOST : STEADY_MOST;
    uint64_t passed = now > p->counted ? gm_min(now - p->counted, UINT64_C(100000000000)) : 0;
    p->account += (int64_t)passed * percent / 100;
    if (p->account > most) p->account = most;
    p->counted = now;
    return p->account > 0 ? (uint64_t)p->account : 0;
}

void gm_pace_spent(struct gm_pace *p, uint64_t ns) { p->account -= (int64_t)ns; }
