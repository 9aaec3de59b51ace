/* A server that runs for days, compressed: what is left of its memory after load has come and gone many
 * times?
 *
 *   fragment DAYS STEPS
 *
 * A day has STEPS steps. Each allocates one object that dies at a step known when it is born: nine in ten
 * live for hundreds of steps, most others for tens of thousands, and one in a hundred for hundreds of
 * thousands. By day objects live eight times longer than by night (the live set swells and shrinks), and
 * the sizes drift: each day's favourite range is another. Objects are found again through a wheel of lists
 * by the step of their death; the link is inside the object, behind its stamp, so the bookkeeping allocates
 * nothing. Peak RSS against the live peak is the interesting figure, and whether time per step stays flat.
 * */
#include "bench.h"

enum { WHEEL = 1 << 21, SMALLEST = 24 };

static void *wheel[WHEEL];

static uint64_t lifetime(struct rng *r, int day_time) {
    uint64_t kind = rng_below(r, 100);
    uint64_t scale = kind < 90 ? 1u << 8 : kind < 99 ? 1u << 14 : 1u << 18;
    return 1 + rng_below(r, scale * (day_time ? 8 : 1));
}

/* Half of the objects come from the day's favourite range, the rest from the general mix. */
static size_t pick_size(struct rng *r, uint64_t day) {
    if (rng_next(r) & 1) return SMALLEST + rng_size(r, 9);
    size_t favourite = SMALLEST + (size_t)(day * 208 % 1900);
    return favourite + rng_below(r, favourite / 4);
}

static void born(struct rng *r, uint64_t step, size_t size, int day_time, uint64_t *taken) {
    char *object = take(size, step, taken);
    void **place = &wheel[(step + lifetime(r, day_time)) % WHEEL];
    memcpy(object + 8, place, sizeof *place);
    *place = object;
}

static void die(uint64_t step, uint64_t *given) {
    char *object = wheel[step % WHEEL];
    wheel[step % WHEEL] = NULL;
    while (object != NULL) {
        char *next;
        memcpy(&next, object + 8, sizeof next);
        give(object, given);
        object = next;
    }
}

int main(int argc, char **argv) {
    uint64_t days = argument(argc, argv, 1, 10), steps = argument(argc, argv, 2, 1000000);
    uint64_t taken = 0, given = 0, step = 0;
    struct rng r = {7};
    for (uint64_t day = 0; day < days; day++) {
        for (uint64_t i = 0; i < steps; i++, step++) {
            die(step, &given);
            born(&r, step, pick_size(&r, day), i < steps / 2, &taken);
        }
    }
    for (uint64_t i = 0; i < WHEEL; i++) die(i, &given);
    return finish(taken, given);
}
