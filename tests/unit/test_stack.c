/* Stacks: sizes, the three kinds of guards, overflow named, the program's own handler, no memory, pages given back. */
#include <setjmp.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "sched/stack.h"
#include "tests/unit/core.h"
#include "tests/unit/parked.h"

static void not_sanitized(void) {
    if (CHECK_SANITIZED) skip("the sanitizer has its own handler");
}

/* What a child that runs fn writes on stderr, and how it ended. */
static char said[16384];
static int in_child(void (*fn)(void)) { return check_in_child(fn, said, sizeof said); }

/* ---- sizes */

static void deep(void *bytes) {
    size_t n = (size_t)(uintptr_t)bytes;
    volatile char *p = __builtin_alloca(n);
    for (size_t i = 0; i < n; i += 1024) p[i] = 1;
    add_one(NULL);
}
TEST(stacks_have_the_size_asked_for) {
    go(deep, (void *)(uintptr_t)(250 << 10));
    expect_eq(go_stack(8 << 20, deep, (void *)(uintptr_t)((8 << 20) - (16 << 10))), 0);
    expect_eq(go_stack(1000, add_one, NULL), 0);
    wait_for(&count, 3);
    expect_eq(go_stack(SIZE_MAX, add_one, NULL), -ENOMEM);
    expect_eq(go_stack(SIZE_MAX / 2, add_one, NULL), -ENOMEM);
    expect_eq(go_stack((size_t)1 << 40, add_one, NULL), -ENOMEM);
}

/* ---- overflow */

/* From 4 KiB of frames at a time, so that the guard cannot be jumped over. */
__attribute__((noinline)) static int recursive_function(int n) {
    volatile char frame[2048];
    frame[0] = (char)n;
    return n > 1000000000 ? 0 : recursive_function(n + 1) + frame[0];
}
static void recurse(void *arg) { recursive_function(0); }

static void overflow(void) {
    go(recurse, NULL);
    sleep(60); /* ended by what is expected */
}
static void expect_named(const char *bytes) {
    int status = in_child(overflow);
    expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    char line[200];
    snprintf(line, sizeof line, "fatal error: stack overflow: goroutine 1 used all %s bytes of its stack\n", bytes);
    expect(strncmp(said, line, strlen(line)) == 0);
    expect(strstr(said, "goroutine 1 [running]:\nrecursive_function(") != NULL);
    expect(strstr(said, "created by overflow") != NULL);
}
TEST(an_overflow_is_named_with_its_stack) {
    not_sanitized();
    expect_named("262144");
}
static void overflow_small(void) {
    go_stack(32 << 10, recurse, NULL);
    sleep(60); /* ended by what is expected */
}
TEST(an_overflow_of_another_size_is_named) {
    not_sanitized();
    int status = in_child(overflow_small);
    expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    expect(strstr(said, "used all 32768 bytes") != NULL);
}
TEST(a_guard_by_mprotect) {
    not_sanitized();
    gs_stack_guard_by(GS_GUARD_PROTECT, 100);
    expect_named("262144");
}

/* A canary sees an overflow when the goroutine leaves its stack; what lies below is the neighbour's, here nobody's. */
static void writes_below(void *arg) {
    struct gs_g *g = gs_self();
    char *below = g->stack_low;
    memset(below, 7, 16);
    go_yield();
    add_one(NULL);
    go_exit();
}
static void overflow_canary(void) {
    gs_stack_guard_by(GS_GUARD_CANARY, -1);
    go(writes_below, NULL);
    sleep(60); /* ended by what is expected */
}
TEST(a_canary_where_there_is_no_guard) {
    not_sanitized();
    int status = in_child(overflow_canary);
    expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    expect(strncmp(said, "fatal error: stack overflow: goroutine 1 used all 262144 bytes of its stack\n", 60) == 0);
    expect(strstr(said, "writes_below(") != NULL);
}

/* Guards by mprotect until they are used up, canaries from then on, and all of them run. */
static uint32_t by[3], let_go;
static void note_guard(void *arg) {
    gm_add_relaxed(&by[gs_self()->guard], 1);
    while (!gm_load_acquire(&let_go)) go_sleep(1000000);
    add_one(NULL);
}
TEST(guards_fall_back_one_after_the_other) {
    gs_stack_guard_by(GS_GUARD_PROTECT, 21);
    for (int i = 0; i < 50; i++) expect_eq(go(note_guard, NULL), 0);
    gm_store_release(&let_go, 1);
    wait_for(&count, 50);
    expect_eq(by[GS_GUARD_INSTALL], 0);
    expect_eq(by[GS_GUARD_PROTECT], 20);
    expect_eq(by[GS_GUARD_CANARY], 30);
    for (int i = 0; i < 50; i++) go(note_guard, NULL);
    wait_for(&count, 100);
    expect_eq(by[GS_GUARD_PROTECT] + by[GS_GUARD_CANARY], 100);
}

/* ---- the program's own handler */

static sigjmp_buf back;
static void jump(int sig) { siglongjmp(back, 1); }
static void jump_info(int sig, siginfo_t *info, void *context) { siglongjmp(back, info->si_addr == (void *)64 ? 2 : 3); }
static volatile int *volatile nowhere = (volatile int *)64;
static void fault(void *arg) { *nowhere = 1; }

TEST(a_handler_from_before_gets_its_faults) {
    not_sanitized();
    struct sigaction a = { .sa_sigaction = jump_info, .sa_flags = SA_SIGINFO | SA_NODEFER };
    sigaction(SIGSEGV, &a, NULL);
    go(add_one, NULL);
    wait_for(&count, 1);
    int got = sigsetjmp(back, 1);
    if (got == 0) fault(NULL);
    expect_eq(got, 2);
}
TEST(a_handler_from_later_has_the_signal_to_itself) {
    not_sanitized();
    go(add_one, NULL);
    wait_for(&count, 1);
    signal(SIGSEGV, jump);
    int got = sigsetjmp(back, 1);
    if (got == 0) fault(NULL);
    expect_eq(got, 1);
}
static void fault_on_goroutine(void) {
    go(fault, NULL);
    sleep(60); /* ended by what is expected */
}
static void fault_on_thread(void) {
    go(add_one, NULL);
    wait_for(&count, 1);
    fault(NULL);
}
static void sent(void) {
    go(add_one, NULL);
    wait_for(&count, 1);
    kill(getpid(), SIGSEGV);
    sleep(60); /* ended by what is expected */
}
static void sent_to_one_that_ignores(void) {
    signal(SIGSEGV, SIG_IGN);
    go(add_one, NULL);
    wait_for(&count, 1);
    kill(getpid(), SIGSEGV);
    usleep(20000);
}
TEST(other_faults_end_the_process_as_ever) {
    not_sanitized();
    void (*const cases[])(void) = { fault_on_goroutine, fault_on_thread, sent };
    for (int i = 0; i < 3; i++) {
        int status = in_child(cases[i]);
        expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
        expect_str(said, "");
    }
    int status = in_child(sent_to_one_that_ignores);
    expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* ---- no memory */

static void stay(void *arg) {
    while (!gm_load_acquire(&let_go)) go_sleep(1000000);
    add_one(NULL);
}
TEST(no_memory_for_a_stack_is_an_error) {
    if (CHECK_SANITIZED) skip("the sanitizer's memory exceeds any limit");
    uint32_t made = 0;
    int error = 0;
    expect_eq(go(stay, NULL), 0);
    struct rlimit l = { 0, RLIM_INFINITY };
    FILE *f = fopen("/proc/self/statm", "r");
    long pages = 0;
    if (f && fscanf(f, "%ld", &pages) == 1) fclose(f);
    l.rlim_cur = (rlim_t)pages * 4096 + (200 << 20);
    expect_eq(setrlimit(RLIMIT_AS, &l), 0);
    while (made < 100000 && (error = go(stay, NULL)) == 0) made++;
    expect_eq(error, -ENOMEM);
    expect(made > 100);
    gm_store_release(&let_go, 1);
    wait_for(&count, made + 1);
    expect_eq(go(add_one, NULL), 0); /* what is dead is used again */
    wait_for(&count, made + 2);
}

/* ---- pages given back */

enum { DEEP = 200 << 10 };
static uint32_t touched_wrong;
static gochan *gate;
static uint32_t keep_value(uint32_t depth) {
    volatile uint32_t value = depth * 7 + 1;
    if (depth == 0) {
        gochan_recv(gate, NULL);
    } else if (keep_value(depth - 1) != (depth - 1) * 7 + 1) {
        gm_add_relaxed(&touched_wrong, 1);
    }
    return value;
}
__attribute__((noinline)) static void touch(size_t n) {
    volatile char *p = __builtin_alloca(n);
    for (size_t i = 0; i < n; i += 1024) p[i] = 1;
}
static void goes_deep_then_waits(void *arg) {
    touch(DEEP);
    if (keep_value(20) != 20 * 7 + 1) gm_add_relaxed(&touched_wrong, 1);
    touch(DEEP);
    add_one(NULL);
}
/* Whoever has parked is off its stack. */
static bool threads_are_at_rest(void) {
    bool rest = true;
    gs_sched_lock();
    for (const struct gs_m *m = gs_sched.all_m; m; m = m->all_next) rest &= !gm_load_acquire(&m->g) && !gm_load_acquire(&m->left);
    gs_sched_unlock();
    return rest;
}
TEST(unused_pages_of_waiting_ones_are_given_back) {
    if (CHECK_SANITIZED) skip("frames and memory are the sanitizer's");
    enum { N = 100 };
    gate = gochan_make(0, 0);
    for (int i = 0; i < N; i++) expect_eq(go(goes_deep_then_waits, NULL), 0);
    parked_wait(N);
    while (!threads_are_at_rest()) usleep(1000);
    long before = check_rss_kib();
    size_t bytes = go_release_stacks();
    expect(bytes >= N * (DEEP - (16 << 10)));
    expect(before - check_rss_kib() >= (long)(bytes >> 10) * 9 / 10);
    expect_eq(go_release_stacks(), 0); /* nothing is left, and who did not run is not asked again */
    gochan_close(gate);
    wait_for(&count, N);
    expect_eq(gm_load_acquire(&touched_wrong), 0);
}

static void goes_deep_for_ever(void *arg) {
    touch(DEEP);
    gochan_recv(NULL, NULL);
}
static void sysmon_gives_back(bool busy) {
    if (CHECK_SANITIZED) skip("frames and memory are the sanitizer's");
    if (!check_stress()) skip("takes 12 s; STRESS=1");
    enum { N = 100 };
    go_maxprocs(2);
    for (int i = 0; i < N; i++) go(goes_deep_for_ever, NULL);
    parked_wait(N);
    long before = check_rss_kib(), wanted = N * (DEEP >> 10) * 9 / 10;
    for (int i = 0; i < 600 && before - check_rss_kib() < wanted; i++) {
        if (busy) go(add_one, NULL);
        usleep(100000);
    }
    expect(before - check_rss_kib() >= wanted);
}
TEST_LIMIT(sysmon_gives_back_while_all_wait, 90) { sysmon_gives_back(false); }
TEST_LIMIT(sysmon_gives_back_while_others_run, 90) { sysmon_gives_back(true); }

/* Goroutines that wait for moments only, while somebody trims without a pause: what they have on their stacks stays. */
static uint32_t stop;
static uint32_t checked(uint32_t depth, uint32_t seed) {
    volatile uint32_t words[64];
    for (uint32_t i = 0; i < 64; i++) words[i] = seed + i;
    if (depth == 0) go_sleep(1 + seed % 20000);
    else if (checked(depth - 1, seed + depth)) return 1;
    for (uint32_t i = 0; i < 64; i++)
        if (words[i] != seed + i) return 1;
    return 0;
}
static void comes_and_goes(void *arg) {
    for (uint32_t i = 0; !gm_load_relaxed(&stop); i++) {
        if (checked(i % 40, i)) gm_add_relaxed(&touched_wrong, 1);
        go_yield();
    }
    add_one(NULL);
}
TEST_LIMIT(trimming_disturbs_nobody, 60) {
    enum { N = 40 };
    go_maxprocs(3);
    for (int i = 0; i < N; i++) go(comes_and_goes, NULL);
    size_t bytes = 0;
    int64_t end = check_now_ns() + (check_stress() ? INT64_C(30000000000) : INT64_C(1000000000));
    while (check_now_ns() < end || bytes == 0) bytes += go_release_stacks();
    gm_store_relaxed(&stop, 1);
    wait_for(&count, N);
    expect_eq(gm_load_acquire(&touched_wrong), 0);
}

TEST_MAIN()
