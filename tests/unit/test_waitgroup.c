/* gowaitgroup: counting, many who wait, reuse, its memory, misuse. */
#include "tests/unit/crew.h"

static gowaitgroup wg;
static uint32_t returned, ended;
static uint64_t plain[64];

TEST(nothing_to_wait_for) {
    gowaitgroup_wait(&wg);
    gowaitgroup_add(&wg, 3);
    gowaitgroup_add(&wg, -2);
    gowaitgroup_done(&wg);
    gowaitgroup_wait(&wg);
    expect_eq(wg.state, 0);
}

static void worker(void *i) {
    plain[(uintptr_t)i % 64]++;
    go_yield();
    gowaitgroup_done(&wg);
}
/* What they wrote is seen without any other means. */
TEST(waits_for_all) {
    go_maxprocs(2);
    for (unsigned round = 0; round < crew_rounds(50); round++) {
        gowaitgroup_add(&wg, 64);
        for (uintptr_t i = 0; i < 64; i++) go(worker, (void *)i);
        gowaitgroup_wait(&wg);
        for (int i = 0; i < 64; i++) expect_eq(plain[i], round + 1);
    }
}

static void waits(unsigned who) {
    gowaitgroup_wait(&wg);
    expect_eq(crew_get(&ended), 1);
    crew_up(&returned);
}
static void *ends_late(void *arg) {
    crew_pause();
    expect_eq(crew_get(&returned), 0);
    crew_up(&ended);
    gowaitgroup_done(&wg);
    return NULL;
}
TEST(many_may_wait) {
    pthread_t t;
    gowaitgroup_add(&wg, 1);
    pthread_create(&t, NULL, ends_late, NULL);
    crew(10, 4, waits);
    pthread_join(t, NULL);
    expect_eq(returned, 14);
}

/* On the stack of the one that waits, gone as soon as wait returns. */
struct task {
    gowaitgroup wg;
    uint64_t guard;
};
static void finish(void *arg) { gowaitgroup_done(&((struct task *)arg)->wg); }
static void *finish_thread(void *arg) {
    for (int i = 0; i < 20; i++) sched_yield();
    finish(arg);
    return NULL;
}
static __attribute__((noinline)) void one_task(void) {
    struct task t = {.guard = 1};
    gowaitgroup_add(&t.wg, 2);
    go(finish, &t);
    go(finish, &t);
    gowaitgroup_wait(&t.wg);
    memset(&t, 0x5a, sizeof t);
    __asm__ volatile("" : : "r"(&t) : "memory");
}
static void on_the_stack(unsigned who) {
    for (unsigned i = 0; i < crew_rounds(500); i++) one_task();
}
TEST_LIMIT(memory_may_go_after_wait, 60) {
    go_maxprocs(4);
    crew(6, 2, on_the_stack);
    for (int i = 0; i < 50; i++) {
        pthread_t t;
        struct task *task = calloc(1, sizeof *task);
        gowaitgroup_add(&task->wg, 1);
        pthread_create(&t, NULL, finish_thread, task);
        gowaitgroup_wait(&task->wg);
        memset(task, 0xff, sizeof *task);
        free(task);
        pthread_join(t, NULL);
    }
}

static void negative(void) { gowaitgroup_done(&wg); }
static void negative_by_add(void) {
    gowaitgroup_add(&wg, 2);
    gowaitgroup_add(&wg, -3);
}
static void just_wait(void *arg) { gowaitgroup_wait(&wg); }
static void until_one_waits(void) {
    while ((uint32_t)__atomic_load_n(&wg.state, __ATOMIC_ACQUIRE) == 0) go_yield(), usleep(500);
}
static void add_while_one_waits(void) {
    gowaitgroup_add(&wg, 1);
    go(just_wait, NULL);
    until_one_waits();
    __atomic_fetch_sub(&wg.state, (uint64_t)1 << 32, __ATOMIC_RELAXED); /* what a done that was just interrupted leaves behind */
    gowaitgroup_add(&wg, 1);
}
/* The woken one finds a counter of the next round. */
static void done_and_add(void *arg) {
    gowaitgroup_done(&wg);
    gowaitgroup_add(&wg, 1);
    go_yield();
}
static void reused_too_early(void) {
    go_maxprocs(1);
    gowaitgroup_add(&wg, 1);
    go(just_wait, NULL);
    until_one_waits();
    go(done_and_add, NULL);
    for (int i = 0; i < 20000; i++) usleep(1000); /* ended by the panic */
}
static void *caught;
static void catch_it(void *arg) { caught = go_recover(); }
static void caught_negative(void) {
    GO_DEFER(catch_it, NULL);
    gowaitgroup_done(&wg);
}
TEST(misuse_panics) {
    expect_panics("panic: sync: negative WaitGroup counter", negative);
    expect_panics("panic: sync: negative WaitGroup counter", negative_by_add);
    expect_panics("panic: sync: WaitGroup misuse: Add called concurrently with Wait", add_while_one_waits);
    expect_panics("panic: sync: WaitGroup is reused before previous Wait has returned", reused_too_early);
    caught_negative();
    expect_str((const char *)caught, "sync: negative WaitGroup counter");
}

TEST_MAIN()
