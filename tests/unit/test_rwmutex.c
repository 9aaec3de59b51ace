/* gorwmutex: readers together, writers alone, who goes before whom, misuse. */
#include "tests/unit/crew.h"

static gorwmutex rw;
static uint32_t readers, writers, most, writes, step, got;
static uint64_t a, b;

static void some_of_both(unsigned who) {
    struct check_rng rng = check_rng(who);
    for (unsigned i = 0; i < crew_times(2000); i++) {
        bool write = check_below(&rng, 10) == 0, may_fail = check_below(&rng, 8) == 0;
        if (write) {
            if (!may_fail) gorwmutex_lock(&rw);
            else if (!gorwmutex_trylock(&rw)) continue;
            if (__atomic_fetch_add(&writers, 1, __ATOMIC_RELAXED) || crew_get(&readers)) expect(!"a writer is not alone");
            a++;
            if (check_below(&rng, 16) == 0) go_yield();
            b++;
            __atomic_fetch_add(&writes, 1, __ATOMIC_RELAXED);
            __atomic_fetch_sub(&writers, 1, __ATOMIC_RELAXED);
            gorwmutex_unlock(&rw);
        } else {
            if (!may_fail) gorwmutex_rlock(&rw);
            else if (!gorwmutex_tryrlock(&rw)) continue;
            uint32_t n = __atomic_add_fetch(&readers, 1, __ATOMIC_RELAXED);
            if (n > crew_get(&most)) __atomic_store_n(&most, n, __ATOMIC_RELAXED);
            if (crew_get(&writers) || a != b) expect(!"a reader meets a writer");
            if (check_below(&rng, 16) == 0) go_yield();
            __atomic_fetch_sub(&readers, 1, __ATOMIC_RELAXED);
            gorwmutex_runlock(&rw);
        }
    }
}
TEST_LIMIT(exclusion_at_one_p, 60) {
    go_maxprocs(1);
    crew(30, 0, some_of_both);
    expect_eq(a, writes);
    expect(most > 1);
}
TEST_LIMIT(exclusion_with_plain_threads, 60) {
    go_maxprocs(4);
    crew(16, 4, some_of_both);
    expect_eq(a, writes);
    expect_eq(rw.readers, 0);
    expect_eq(rw.departing, 0);
}

TEST(what_try_may_take) {
    expect(gorwmutex_tryrlock(&rw) && gorwmutex_tryrlock(&rw));
    expect(!gorwmutex_trylock(&rw));
    gorwmutex_runlock(&rw);
    expect(!gorwmutex_trylock(&rw));
    gorwmutex_runlock(&rw);
    expect(gorwmutex_trylock(&rw));
    expect(!gorwmutex_trylock(&rw) && !gorwmutex_tryrlock(&rw));
    gorwmutex_unlock(&rw);
    static const gorwmutex zero;
    expect(memcmp(&rw, &zero, sizeof rw) == 0);
}

static char order[16];
static void writes_once(void *arg) {
    gorwmutex_lock(&rw);
    strcat(order, arg);
    gorwmutex_unlock(&rw);
    crew_up(&got);
}
static void reads_once(void *arg) {
    gorwmutex_rlock(&rw);
    crew_up(&step);
    gorwmutex_runlock(&rw);
    crew_up(&got);
}
TEST(a_waiting_writer_goes_before_later_readers) {
    go_maxprocs(2);
    gorwmutex_rlock(&rw);
    go(writes_once, "w");
    crew_pause();
    expect(!gorwmutex_tryrlock(&rw));
    go(reads_once, NULL);
    crew_pause();
    expect_eq(crew_get(&step), 0);
    expect_str(order, "");
    gorwmutex_runlock(&rw);
    crew_wait(&got, 2);
    expect_str(order, "w");
}

static void note_reader(void *arg) {
    gorwmutex_rlock(&rw);
    crew_up(&step);
    crew_wait(&step, 3);
    gorwmutex_runlock(&rw);
    crew_up(&got);
}
TEST(readers_that_came_meanwhile_go_before_the_next_writer) {
    go_maxprocs(2);
    gorwmutex_lock(&rw);
    go(writes_once, "w");
    crew_pause();
    for (int i = 0; i < 3; i++) go(note_reader, NULL);
    crew_pause();
    gorwmutex_unlock(&rw);
    crew_wait(&step, 3); /* all three inside */
    crew_wait(&got, 4);
    expect_str(order, "w");
}

static void unlock_elsewhere(void *arg) {
    gorwmutex_unlock(&rw);
    crew_up(&step);
}
TEST(another_may_unlock) {
    gorwmutex_lock(&rw);
    go(unlock_elsewhere, NULL);
    gorwmutex_rlock(&rw);
    crew_wait(&step, 1);
    gorwmutex_runlock(&rw);
}

static void runlock_unlocked(void) { gorwmutex_runlock(&rw); }
static void runlock_of_writers(void) {
    gorwmutex_lock(&rw);
    gorwmutex_runlock(&rw);
}
static void unlock_unlocked(void) { gorwmutex_unlock(&rw); }
static void unlock_of_readers(void) {
    gorwmutex_rlock(&rw);
    gorwmutex_unlock(&rw);
}
TEST(misuse_is_fatal) {
    expect_panics("fatal error: sync: RUnlock of unlocked RWMutex", runlock_unlocked);
    expect_panics("fatal error: sync: RUnlock of unlocked RWMutex", runlock_of_writers);
    expect_panics("fatal error: sync: Unlock of unlocked RWMutex", unlock_unlocked);
    expect_panics("fatal error: sync: Unlock of unlocked RWMutex", unlock_of_readers);
}

TEST_MAIN()
