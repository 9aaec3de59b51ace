/* gocond: who is woken, by whom, and that nothing is lost. */
#include "tests/unit/crew.h"

static gomutex m;
static gocond c;
static uint32_t waiting, woken;
static char order[64];

static void wait_named(void *name) {
    gomutex_lock(&m);
    crew_up(&waiting);
    gocond_wait(&c);
    expect(!gomutex_trylock(&m)); /* it is ours again */
    strcat(order, name);
    gomutex_unlock(&m);
    crew_up(&woken);
}
static void all_numbered(void) {
    gomutex_lock(&m); /* the last one is in wait */
    gomutex_unlock(&m);
}
static void start(int n) {
    static const char *const names[] = {"a", "b", "c", "d"};
    gocond_init(&c, &m);
    for (uint32_t i = 0; i < (uint32_t)n; i++) {
        go(wait_named, (void *)names[i]);
        crew_wait(&waiting, i + 1);
    }
    all_numbered();
}
TEST(a_signal_wakes_the_one_that_waits_longest) {
    start(4);
    crew_pause();
    expect_eq(crew_get(&woken), 0);
    for (uint32_t i = 1; i <= 4; i++) {
        gocond_signal(&c);
        crew_wait(&woken, i);
        crew_pause();
        expect_eq(crew_get(&woken), i);
    }
    expect_str(order, "abcd");
}
TEST(a_broadcast_wakes_all) {
    start(4);
    gocond_broadcast(&c);
    crew_wait(&woken, 4);
}
TEST(signals_are_not_kept) {
    gocond_init(&c, &m);
    gocond_signal(&c);
    gocond_broadcast(&c);
    go(wait_named, "x");
    crew_wait(&waiting, 1);
    all_numbered();
    crew_pause();
    expect_eq(crew_get(&woken), 0);
    gocond_signal(&c);
    crew_wait(&woken, 1);
}
/* Numbered while it held the mutex: a signal that comes after that is for it, even before it sleeps. */
TEST(numbers_may_wrap) {
    gocond_init(&c, &m);
    c.waits = c.notified = UINT32_MAX - 1;
    for (uint32_t i = 1; i <= 4; i++) {
        go(wait_named, "x");
        crew_wait(&waiting, i);
    }
    all_numbered();
    for (uint32_t i = 1; i <= 4; i++) {
        gocond_signal(&c);
        crew_wait(&woken, i);
    }
    expect_eq(c.waits, 2);
}

/* A signal between giving the mutex back and queueing. At one P, and with a mutex that starves: giving it back lets the signaller run. */
static void signals(void *arg) {
    gomutex_lock(&m);
    strcat(order, "s");
    gocond_signal(&c);
    gomutex_unlock(&m);
    crew_up(&waiting);
}
/* False: our time was over, and it was not as it should be. */
static bool wait_late(void) {
    order[0] = 0;
    gomutex_lock(&m);
    go(signals, NULL);
    go_yield();
    gomutex_unlock(&m);
    if (!gomutex_trylock(&m)) return false;
    usleep(1100);
    go_yield(); /* it finds the mutex locked after more than a millisecond */
    strcat(order, "w");
    gocond_wait(&c);
    strcat(order, "e");
    gomutex_unlock(&m);
    expect_str(order, "wse");
    return true;
}
static void waits_late(void *arg) {
    for (uint32_t i = 1; !wait_late() && expect(i < 50); i++) crew_wait(&waiting, i);
    crew_up(&woken);
}
TEST(a_signal_before_it_sleeps_is_not_lost) {
    go_maxprocs(1);
    gocond_init(&c, &m);
    go(waits_late, NULL);
    crew_wait(&woken, 1);
}

/* A bounded buffer: a lost wake-up is a hang, a wrong one a wrong sum. */
enum { ROOM = 3, EACH = 2000, PAIRS = 8 };
static gocond not_full, not_empty;
static unsigned fill;
static uint64_t in, out, items;
static void produce_or_consume(unsigned who) {
    for (unsigned i = 0; i < crew_times(EACH); i++) {
        gomutex_lock(&m);
        if (who % 2 == 0) {
            while (fill == ROOM) gocond_wait(&not_full);
            fill++;
            in++;
            gocond_signal(&not_empty);
            gomutex_unlock(&m);
        } else {
            while (fill == 0) gocond_wait(&not_empty);
            fill--;
            out++;
            gomutex_unlock(&m);
            gocond_signal(&not_full); /* without the mutex: allowed */
        }
    }
}
TEST_LIMIT(nothing_is_lost, 60) {
    go_maxprocs(4);
    gocond_init(&not_full, &m);
    gocond_init(&not_empty, &m);
    crew(2 * PAIRS - 4, 4, produce_or_consume);
    expect_eq(in, PAIRS * crew_times(EACH));
    expect_eq(out, PAIRS * crew_times(EACH));
    expect_eq(fill + items, 0);
}

static gocond copy;
static void use_a_copy(void) {
    gocond_init(&c, &m);
    gocond_signal(&c);
    memcpy(&copy, &c, sizeof c);
    gocond_signal(&copy);
}
static void wait_unlocked(void) {
    gocond_init(&c, &m);
    gocond_wait(&c);
}
TEST(misuse) {
    expect_panics("panic: sync.Cond is copied", use_a_copy);
    expect_panics("fatal error: sync: unlock of unlocked mutex", wait_unlocked);
}

TEST_MAIN()
