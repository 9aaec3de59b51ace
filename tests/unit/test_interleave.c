/* Random interleavings of sending, receiving, selecting, closing, yielding, sleeping, blocking and stealing, on one to five Ps that
 * change under way. Nothing may be lost: no value (what was sent has been received), no wake-up (everybody comes to an
 * end when `quit` is closed). STRESS=1: a thousand seeds of a million steps; 100 000 goroutines, 8000 of them alive at once,
 * which is as many as gcc 12's ThreadSanitizer can tell apart. */
#include <pthread.h>
#include <stdio.h>

#include "libgomalloc/base/atomic.h"
#include "sched/gosched.h"
#include "sched/proc.h"
#include "tests/check.h"

enum { CHANS = 6, WORKERS = 24, LIMIT_SECONDS = CHECK_LIMIT_SECONDS * CHECK_BUSY };

static gochan *chan[CHANS], *quit;
static uint64_t seed;
static uint32_t alive, steps, most_steps;
static uint64_t sent, received;    /* sums of values */

static uint32_t random_of(uint64_t *state, uint32_t n) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)((*state >> 33) % n);
}

/* Sends to a or receives from b, whichever goes first; true: quit. */
static bool exchange(uint64_t *r) {
    uint64_t out = random_of(r, 1000), in[2] = { 0, 0 };
    gocase cases[4] = { GO_RECV(quit, NULL), GO_SEND(chan[random_of(r, CHANS)], &out), GO_RECV(chan[random_of(r, CHANS)], &in[0]),
                        GO_RECV(random_of(r, 4) ? chan[random_of(r, CHANS)] : NULL, &in[1]) };
    int which = goselect(cases, 2 + random_of(r, 3));
    if (which == 1) gm_add_relaxed(&sent, out);
    if (which >= 2) gm_add_relaxed(&received, in[which - 2]);
    return which == 0;
}

static bool one_way(uint64_t *r) {
    uint64_t v = random_of(r, 1000);
    gochan *c = chan[random_of(r, CHANS)];
    bool send = random_of(r, 2);
    gocase cases[3] = { send ? GO_SEND(c, &v) : GO_RECV(c, &v), GO_RECV(quit, NULL), GO_DEFAULT };
    int which = goselect(cases, random_of(r, 3) ? 2 : 3);
    if (which == 0) gm_add_relaxed(send ? &sent : &received, v);
    return which == 1;
}

static void tries(uint64_t *r) {
    uint64_t v = random_of(r, 1000);
    gochan *c = chan[random_of(r, CHANS)];
    if (random_of(r, 2)) {
        if (gochan_try_send(c, &v)) gm_add_relaxed(&sent, v);
    } else if (gochan_try_recv(c, &v) == 1) {
        gm_add_relaxed(&received, v);
    }
}

/* A channel of their own, closed while children wait in it, are about to, or are through. */
struct nest {
    gochan *gate, *done;
    uint64_t random;
};
static void child(void *arg) {
    struct nest *n = arg;
    uint64_t r = n->random;
    if (random_of(&r, 2)) go_yield();
    if (random_of(&r, 2)) {
        gochan_recv(n->gate, NULL);
    } else {
        gocase cases[2] = { GO_RECV(n->gate, NULL), GO_RECV(NULL, NULL) };
        if (goselect(cases, 2) != 0 || cases[0].ok) expect(!"a closed channel gives nothing");
    }
    gochan_send(n->done, NULL);
}
static void nest(uint64_t *r) {
    unsigned children = 1 + random_of(r, 4);
    struct nest n = { gochan_make(0, random_of(r, 2)), gochan_make(0, random_of(r, 3)), *r | 1 };
    for (unsigned i = 0; i < children; i++)
        if (!expect_eq(go(child, &n), 0)) return;
    for (unsigned i = random_of(r, 4); i > 0; i--) go_yield();
    gochan_close(n.gate);
    for (unsigned i = 0; i < children; i++) gochan_recv(n.done, NULL);
    gochan_free(n.gate);
    gochan_free(n.done);
}

static void rests(uint64_t *r) {
    switch (random_of(r, 8)) {
    case 0: go_sleep(random_of(r, 20000)); break;
    case 1:
        go_entersyscall();
        if (random_of(r, 50) == 0) usleep(random_of(r, 300));
        go_exitsyscall();
        break;
    default: go_yield();
    }
}

static void worker(void *number) {
    uint64_t r = seed * 0x9e3779b97f4a7c15 + (uintptr_t)number * 0xbf58476d1ce4e5b9 + 1;
    for (bool over = false; !over;) {
        gm_add_relaxed(&steps, 1);
        switch (random_of(&r, 8)) {
        case 0: case 1: case 2: over = exchange(&r); break;
        case 3: case 4: over = one_way(&r); break;
        case 5: tries(&r); break;
        case 6: rests(&r); break;
        default: if (random_of(&r, 4) == 0) nest(&r);
        }
    }
    gm_add_acq_rel(&alive, -1u);
}
static void *plain(void *number) {
    worker(number);
    return NULL;
}

/* When by chance all wait to send, or all to receive, this one does the opposite. */
static void pump(void *arg) {
    uint64_t r = seed | 1;
    while (gochan_try_recv(quit, NULL) == 0) {
        for (int i = 0; i < CHANS; i++) {
            uint64_t v = random_of(&r, 1000), in;
            if (gochan_try_send(chan[i], &v)) gm_add_relaxed(&sent, v);
            else if (gochan_try_recv(chan[i], &in) == 1) gm_add_relaxed(&received, in);
        }
        go_sleep(10000);
    }
    gm_add_acq_rel(&alive, -1u);
}

/* False: for so long nobody has made a step. */
static bool in_time(bool (*reached)(void)) {
    int64_t moved = check_now_ns();
    for (uint32_t before = 0; !reached(); usleep(100)) {
        uint32_t now = gm_load_relaxed(&steps);
        if (now != before) moved = check_now_ns();
        else if (check_now_ns() - moved > LIMIT_SECONDS * INT64_C(1000000000)) return false;
        before = now;
    }
    return true;
}
static bool enough_steps(void) { return gm_load_relaxed(&steps) >= most_steps; }
static bool nobody_alive(void) { return gm_load_acquire(&alive) == 0; }

static bool run_seed(uint64_t s) {
    pthread_t thread;
    uint64_t r = s * 0x94d049bb133111eb + 1, v, left = 0;
    seed = s;
    go_maxprocs(1 + (int)random_of(&r, 5));
    for (int i = 0; i < CHANS; i++) chan[i] = gochan_make(sizeof(uint64_t), random_of(&r, 2) ? 0 : random_of(&r, 5));
    quit = gochan_make(0, 0);
    steps = 0;
    sent = received = 0;
    alive = WORKERS + 2;
    go(pump, NULL);
    for (uintptr_t i = 0; i < WORKERS; i++) go(worker, (void *)i);
    pthread_create(&thread, NULL, plain, (void *)(uintptr_t)WORKERS);
    bool stepped = in_time(enough_steps);
    if (random_of(&r, 2)) go_maxprocs(1 + (int)random_of(&r, 5));
    gochan_close(quit);
    bool ended = in_time(nobody_alive);
    if (!expect(stepped) || !expect(ended)) {
        diag("seed %llu: %u steps, %u alive", (unsigned long long)s, steps, alive);
        go_dump(2);
        return false;
    }
    pthread_join(thread, NULL);
    for (int i = 0; i < CHANS; i++) {
        while (gochan_try_recv(chan[i], &v) == 1) left += v;
        gochan_free(chan[i]);
    }
    gochan_free(quit);
    return expect_eq(sent, received + left);
}

TEST_LIMIT(nothing_is_lost_in_any_order, 280) {
#ifdef __SANITIZE_THREAD__
    enum { SEEDS = 5 };
#else
    enum { SEEDS = 20 };
#endif
    unsigned seeds = check_stress() ? 1000 : SEEDS;
    most_steps = check_stress() ? 1000000 : 20000;
    uint64_t first = check_seed();
    for (unsigned i = 0; i < seeds; i++)
        if (!run_seed(first + i)) return;
    diag("%u seeds of %u steps from %llu", seeds, most_steps, (unsigned long long)first);
}

/* ---- many that come and go */

static gosem room;
static gochan *gate;
static gomutex mutex;
static uint32_t counted;

static void visitor(void *number) {
    uint64_t r = seed * 0x9e3779b97f4a7c15 + (uintptr_t)number * 0xbf58476d1ce4e5b9 + 1;
    gochan_recv(gate, NULL);
    for (unsigned i = 1 + random_of(&r, 4); i > 0; i--) {
        gm_add_relaxed(&steps, 1);
        switch (random_of(&r, 5)) {
        case 0: exchange(&r); break;
        case 1: one_way(&r); break;
        case 2: tries(&r); break;
        default: rests(&r);
        }
    }
    gomutex_lock(&mutex);
    counted++;
    gomutex_unlock(&mutex);
    gosem_release(&room, 1);
    gm_add_acq_rel(&alive, -1u);
}
static bool only_the_pump(void) { return gm_load_acquire(&alive) == 1; }

TEST_LIMIT(many_come_and_go, 280) {
    uint32_t n = check_stress() ? 100000 : 2000, at_once = check_stress() ? 8000 : 300;
    uint64_t v, left = 0;
    seed = check_seed();
    go_maxprocs(4);
    for (int i = 0; i < CHANS; i++) chan[i] = gochan_make(sizeof(uint64_t), (size_t)i % 3);
    quit = gochan_make(0, 0);
    gate = gochan_make(0, 0);
    gosem_init(&room, at_once);
    alive = n + 1;
    go(pump, NULL);
    for (uint32_t i = 0; i < n; i++) {
        if (i == at_once) gochan_close(gate); /* so many were alive at once */
        gosem_acquire(&room, 1);
        if (!expect_eq(go(visitor, (void *)(uintptr_t)i), 0)) return;
    }
    if (!expect(in_time(only_the_pump))) go_dump(2);
    gochan_close(quit);
    expect(in_time(nobody_alive));
    expect_eq(counted, n);
    for (int i = 0; i < CHANS; i++)
        while (gochan_try_recv(chan[i], &v) == 1) left += v;
    expect_eq(sent, received + left);
    diag("%u goroutines, %u alive at once", n, at_once);
}

TEST_MAIN()
