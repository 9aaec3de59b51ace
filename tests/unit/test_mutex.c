/* gomutex: exclusion, both modes, misuse; from goroutines and plain threads. */
#include "tests/unit/crew.h"

static gomutex m;
static uint32_t in, held, step;
static uint64_t counter;

static void hold(void *arg) {
    gomutex_lock(&m);
    crew_up(&held);
    crew_wait(&step, (uint32_t)(uintptr_t)arg);
    gomutex_unlock(&m);
}

TEST(zero_value_is_unlocked) {
    expect(gomutex_trylock(&m));
    expect(!gomutex_trylock(&m));
    gomutex_unlock(&m);
    gomutex_lock(&m);
    expect(!gomutex_trylock(&m));
    gomutex_unlock(&m);
    static const gomutex zero;
    expect(memcmp(&m, &zero, sizeof m) == 0);
}

static void unlock_it(void *arg) {
    gomutex_unlock(&m);
    crew_up(&step);
}
TEST(belongs_to_nobody) {
    gomutex_lock(&m);
    expect_eq(go(unlock_it, NULL), 0);
    gomutex_lock(&m);
    crew_wait(&step, 1);
    gomutex_unlock(&m);
}

static void contend(unsigned who) {
    struct check_rng rng = check_rng(who);
    for (unsigned i = 0; i < crew_times(3000); i++) {
        bool got = true;
        if (check_below(&rng, 8) == 0) got = gomutex_trylock(&m);
        else gomutex_lock(&m);
        if (!got) continue;
        if (crew_get(&in)) expect(!"two are in");
        __atomic_store_n(&in, 1, __ATOMIC_RELAXED);
        counter++;
        if (check_below(&rng, 64) == 0) go_yield();
        __atomic_fetch_add(&step, 1, __ATOMIC_RELAXED);
        __atomic_store_n(&in, 0, __ATOMIC_RELAXED);
        gomutex_unlock(&m);
    }
}
TEST_LIMIT(one_at_a_time_at_one_p, 60) {
    go_maxprocs(1);
    crew(50, 0, contend);
    expect_eq(counter, step);
}
TEST_LIMIT(one_at_a_time_with_plain_threads, 60) {
    go_maxprocs(4);
    crew(20, 4, contend);
    expect_eq(counter, step);
    expect_eq(m.state, 0);
    expect(m.first == NULL);
}

static char order[64];
static void queue_up(void *name) {
    gomutex_lock(&m);
    strcat(order, name);
    gomutex_unlock(&m);
    crew_up(&step);
}
static void holds(void *arg) {
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    gomutex_lock(&m);
    for (int i = 0; i < 5; i++) {
        go(queue_up, (void *)names[i]);
        go_yield(); /* at one P: until it sleeps */
    }
    gomutex_unlock(&m);
}
TEST(those_who_wait_are_served_in_turn) {
    go_maxprocs(1);
    go(holds, NULL);
    crew_wait(&step, 5);
    expect_str(order, "abcde");
}

static uint32_t got_it, stop_now;
static void wants_it_once(void *arg) {
    gomutex_lock(&m);
    __atomic_store_n(&got_it, 1, __ATOMIC_RELEASE);
    gomutex_unlock(&m);
}
static void hog(void *arg) {
    while (!crew_get(&stop_now)) {
        gomutex_lock(&m);
        for (int64_t end = check_now_ns() + 100000; check_now_ns() < end;) {}
        gomutex_unlock(&m);
    }
    crew_up(&step);
}
/* Without starvation mode those that run would take the mutex again each time, before the woken one runs. */
static void starve(int procs, void *(*other)(void *)) {
    pthread_t t;
    go_maxprocs(procs);
    go(hog, NULL);
    go(hog, NULL);
    if (other) pthread_create(&t, NULL, other, NULL);
    else {
        usleep(2000);
        go(wants_it_once, NULL);
    }
    crew_wait(&got_it, 1);
    __atomic_store_n(&stop_now, 1, __ATOMIC_RELEASE);
    crew_wait(&step, 2);
    if (other) pthread_join(t, NULL);
}
static void *thread_wants_it(void *arg) {
    usleep(2000);
    wants_it_once(NULL);
    return NULL;
}
TEST(a_goroutine_does_not_starve) { starve(3, NULL); }
TEST(a_plain_thread_does_not_starve) { starve(2, thread_wants_it); }

enum { STARVING = 4 };
static char phases[64];
static uint32_t seen;
static void second(void *arg) {
    gomutex_lock(&m);
    strcat(phases, "2");
    gomutex_unlock(&m);
    crew_up(&step);
}
static void first(void *arg) {
    gomutex_lock(&m);
    strcat(phases, "1");
    seen = m.state;
    gomutex_unlock(&m);
    crew_up(&step);
}
/* At one P this is all in a fixed order, unless our time is over in between (false): then the others run where they should not.
 * Nor where it is the turn of those in the queue before the newest, as every 61st time, which is counted from here on. */
static bool beat_them(void) {
    gm_store_relaxed(&gs_sched.p[0]->tick, 1);
    phases[0] = 0;
    gomutex_lock(&m);
    go(first, NULL);
    go_yield();
    go(second, NULL);
    go_yield();
    for (int i = 0; i < 3 && !(m.state & STARVING); i++) {
        gomutex_unlock(&m);                     /* readies `first` ... */
        if (!gomutex_trylock(&m)) return false; /* ... which is beaten to it */
        if (i == 2) usleep(1100);
        go_yield();
    }
    expect(m.state & STARVING);
    gomutex_unlock(&m);
    expect_str(phases, "12");  /* it hands over, and the new owner runs at once */
    expect(seen & STARVING);   /* it has starved, and somebody else waits */
    expect_eq(m.state, 0);
    return true;
}
static void beats_them(void *arg) {
    for (uint32_t i = 1; !beat_them() && expect(i < 50); i++) {
        crew_wait(&step, 2 * i);
        gomutex_lock(&m);
        gomutex_unlock(&m);
    }
    crew_up(&got_it);
}
TEST(who_waited_too_long_is_handed_the_mutex) {
    go_maxprocs(1);
    go(beats_them, NULL);
    crew_wait(&got_it, 1);
}

/* Nothing that it calls parks: another one on the same P gets its turn all the same. */
static void looks_in_a_loop(void *arg) {
    for (bool over = false; !over;) {
        gomutex_lock(&m);
        over = stop_now;
        gomutex_unlock(&m);
    }
    crew_up(&step);
}
static void ends_the_loop(void *arg) {
    gomutex_lock(&m);
    stop_now = 1;
    gomutex_unlock(&m);
}
TEST(a_loop_of_lock_and_unlock_lets_others_run) {
    go_maxprocs(1);
    go(looks_in_a_loop, NULL);
    usleep(1000);
    go(ends_the_loop, NULL);
    crew_wait(&step, 1);
}

/* The last one to unlock a counted object frees it, while the one before may still be inside its unlock. */
struct counted {
    gomutex m;
    int refs;
};
static struct counted *shared_object;
static void drop(unsigned who) {
    struct counted *c = shared_object;
    gomutex_lock(&c->m);
    bool last = --c->refs == 0;
    gomutex_unlock(&c->m);
    if (last) {
        memset(c, 0xff, sizeof *c);
        free(c);
    }
}
TEST(memory_may_go_after_the_last_unlock) {
    go_maxprocs(2);
    for (unsigned i = 0; i < crew_rounds(300); i++) {
        shared_object = calloc(1, sizeof *shared_object);
        shared_object->refs = 5;
        crew(3, 2, drop);
    }
}

TEST(errno_is_kept) {
    gomutex_lock(&m);
    errno = 77;
    go(hold, NULL);
    crew_pause();
    gomutex_unlock(&m);
    gomutex_lock(&m);
    expect_eq(errno, 77);
    gomutex_unlock(&m);
}

static void unlock_unlocked(void) { gomutex_unlock(&m); }
static void nothing_recovers(void *arg) { go_recover(); }
static void unlock_twice(void) {
    GO_DEFER(nothing_recovers, NULL);
    gomutex_lock(&m);
    gomutex_unlock(&m);
    gomutex_unlock(&m);
}
TEST(unlock_of_unlocked_is_fatal) {
    expect_panics("fatal error: sync: unlock of unlocked mutex", unlock_unlocked);
    expect_panics("fatal error: sync: unlock of unlocked mutex", unlock_twice);
}

TEST_MAIN()
