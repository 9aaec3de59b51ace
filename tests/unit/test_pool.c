/* gopool: things come back, cycles of the collector drop them, nothing is given out twice. */
#include "sched/pool.h"
#include "tests/unit/crew.h"

static uint32_t made, dropped;
static void *make_one(void *arg) {
    crew_up(&made);
    return calloc(1, 16);
}
static void drop_one(void *item, void *arg) {
    crew_up(&dropped);
    free(item);
}
static gopool p;

TEST(zero_value) {
    expect(gopool_get(&p) == NULL);
    gopool_put(&p, NULL);
    expect(gopool_get(&p) == NULL);
    int a, b;
    gopool_put(&p, &a);
    gopool_put(&p, &b);
    void *x = gopool_get(&p), *y = gopool_get(&p);
    expect((x == &a && y == &b) || (x == &b && y == &a));
    expect(gopool_get(&p) == NULL);
    gopool_clear(&p);
    gopool_clear(&p);
}
static void *with_arg(void *arg) { return arg; }
TEST(makes_what_it_has_not) {
    p = (gopool){.make = with_arg, .arg = &made};
    expect(gopool_get(&p) == &made);
    gopool_put(&p, &p);
    expect(gopool_get(&p) == &p);
    expect(gopool_get(&p) == &made);
}
TEST(keeps_many) {
    p = (gopool){.make = make_one, .drop = drop_one};
    static void *items[1000];
    for (int i = 0; i < 1000; i++) items[i] = gopool_get(&p);
    expect_eq(made, 1000);
    for (int i = 0; i < 1000; i++) gopool_put(&p, items[i]);
    for (int i = 0; i < 1000; i++) items[i] = gopool_get(&p);
    expect_eq(made, 1000);
    for (int i = 0; i < 1000; i++) gopool_put(&p, items[i]);
    gopool_clear(&p);
    expect_eq(dropped, 1000);
}

/* Kept through one cycle, dropped by the second; what was used in between begins anew. */
TEST(two_cycles_empty_it) {
    p = (gopool){.drop = drop_one};
    gs_pools_gc();
    for (int i = 0; i < 10; i++) gopool_put(&p, calloc(1, 16));
    gs_pools_gc();
    expect_eq(dropped, 0);
    void *used = gopool_get(&p);
    expect(used != NULL);
    gopool_put(&p, used);
    gs_pools_gc();
    expect_eq(dropped, 9);
    expect(gopool_get(&p) == used);
    gopool_put(&p, used);
    gs_pools_gc();
    gs_pools_gc();
    expect_eq(dropped, 10);
    expect(gopool_get(&p) == NULL);
    for (int round = 0; round < 3; round++) { /* off the list, and on it again */
        gs_pools_gc();
        gopool_put(&p, calloc(1, 16));
        gs_pools_gc();
        gs_pools_gc();
        expect_eq(dropped, 11 + round);
    }
}
static gopool second;
TEST(every_pool_is_emptied) {
    p.drop = second.drop = drop_one;
    for (int i = 0; i < 100; i++) gopool_put(i % 2 ? &p : &second, calloc(1, 16));
    gs_pools_gc();
    gopool_clear(&second);
    expect_eq(dropped, 50);
    gs_pools_gc();
    expect_eq(dropped, 100);
    gs_pools_gc();
}

/* A thing of one goroutine is found by another, on whatever P. */
static void gets(unsigned who) {
    void *item = gopool_get(&p);
    expect(item != NULL);
    free(item);
}
TEST(found_on_other_shelves) {
    go_maxprocs(4);
    go_yield();
    for (int i = 0; i < 64; i++) gopool_put(&p, calloc(1, 16));
    crew(60, 4, gets);
    expect(gopool_get(&p) == NULL);
}

/* Whoever has a thing has it alone, while cycles come and go. */
struct thing {
    uint32_t users;
    uint64_t content;
};
static void *make_thing(void *arg) {
    crew_up(&made);
    return calloc(1, sizeof(struct thing));
}
static uint32_t over;
static void use(unsigned who) {
    struct check_rng rng = check_rng(who);
    struct thing *have[8];
    for (unsigned i = 0; i < crew_times(1500); i++) {
        unsigned n = 1 + (unsigned)check_below(&rng, 8);
        for (unsigned k = 0; k < n; k++) {
            have[k] = gopool_get(&p);
            if (__atomic_fetch_add(&have[k]->users, 1, __ATOMIC_RELAXED)) expect(!"given out twice");
            have[k]->content = who;
        }
        if (check_below(&rng, 8) == 0) go_yield();
        for (unsigned k = 0; k < n; k++) {
            if (have[k]->content != who) expect(!"somebody else's");
            __atomic_fetch_sub(&have[k]->users, 1, __ATOMIC_RELAXED);
            gopool_put(&p, have[k]);
        }
    }
}
static void *cycles(void *arg) {
    while (!crew_get(&over)) {
        gs_pools_gc();
        usleep(300);
    }
    return NULL;
}
TEST_LIMIT(stress, 60) {
    pthread_t t;
    go_maxprocs(4);
    p = (gopool){.make = make_thing, .drop = drop_one};
    pthread_create(&t, NULL, cycles, NULL);
    crew(12, 3, use);
    crew_up(&over);
    pthread_join(t, NULL);
    gopool_clear(&p);
    expect_eq(made, dropped);
}

/* Nothing of the C library's heap here: a sanitizer's may be locked for ever in the child. */
static gopool brief;
static int item;
static void drop_nothing(void *thing, void *arg) {}
static void one_more_pool(void) {
    gopool_put(&second, &item);
    gs_pools_gc();
    gopool_clear(&second);
}
static bool pools_work(void) {
    gopool_put(&brief, &item);
    gs_pools_gc();
    gs_pools_gc();
    return gopool_get(&brief) == NULL;
}
TEST_LIMIT(in_the_child_of_a_fork, 30) {
    second.drop = drop_nothing;
    crew_forks(crew_rounds(200), one_more_pool, pools_work);
}

TEST_MAIN()
