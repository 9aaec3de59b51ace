/* Timers and sleeping: order, stopping and setting at every moment, many at once, plain threads. */
#include <pthread.h>

#include "libgomalloc/base/atomic.h"
#include "sched/timer.h"
#include "sched/proc.h"
#include "sched/gosched.h"
#include "tests/check.h"

enum { MS = 1000000 };

static void wait_for(uint32_t *word, uint32_t value) {
    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) < value) usleep(200);
}
static void count(void *arg) { __atomic_fetch_add((uint32_t *)arg, 1, __ATOMIC_ACQ_REL); }

static uint32_t ended, order_next, wrong;

struct sleeper {
    int64_t ns, start, end;
    uint32_t place;
};

static void sleep_and_count(void *arg) {
    struct sleeper *s = arg;
    int64_t start = check_now_ns();
    go_sleep(s->ns);
    s->start = start;
    s->end = check_now_ns();
    if (s->end - start < s->ns) gm_add_relaxed(&wrong, 1);
    s->place = gm_add_relaxed(&order_next, 1);
    count(&ended);
}

TEST(sleeps_at_least_so_long_and_in_order) {
    enum { N = 8 };
    struct sleeper s[N];
    go_maxprocs(1);
    for (unsigned i = 0; i < N; i++) {
        s[i].ns = (int64_t)((i * 5) % N + 1) * 20 * MS;
        expect_eq(go(sleep_and_count, &s[i]), 0);
    }
    wait_for(&ended, N);
    expect_eq(gm_load_acquire(&wrong), 0);
    bool busy = false; /* so that they did not fall asleep together, or did not wake in time */
    for (unsigned i = 0; i < N; i++) busy |= s[i].start - s[0].start > 10 * MS || s[i].end - s[i].start - s[i].ns > 10 * MS;
    for (unsigned i = 0; i < N && !busy; i++) expect_eq(s[i].place, (i * 5) % N);
    if (busy) diag("the machine is too busy for an order");
}

/* Five that are due within GS_GATHER are run by one waking at its end; fewer are run when they are due. */
enum { CLOSE = 10000, APART = 200000 };
static int64_t due, apart, fell_asleep, first_woken;
static uint32_t awake;
static void sleep_until(void *i) {
    fell_asleep = check_now_ns();
    go_sleep(due + (int64_t)(intptr_t)i * apart - fell_asleep);
    if (gm_add_relaxed(&awake, 1) == 0) first_woken = check_now_ns();
    count(&ended);
}
static void fall_asleep_together(void *n) {
    due = check_now_ns() + 5 * MS;
    for (intptr_t i = 0; i < (intptr_t)n; i++) go(sleep_until, (void *)i);
}
/* All n slept in time, and the first was woken before GS_GATHER was over: none was waited for. */
static bool on_time(intptr_t n, int64_t between) {
    apart = between;
    gm_store_relaxed(&ended, 0);
    gm_store_relaxed(&awake, 0);
    expect_eq(go(fall_asleep_together, (void *)n), 0);
    wait_for(&ended, (uint32_t)n);
    return due - fell_asleep > MS && first_woken - due < GS_GATHER;
}
/* On a busy machine all are late. So four are tried until they were once on time, and beside them four that lie apart, which nobody
 * would wait for. */
TEST(many_at_once_are_waited_for) {
    enum { TIMES = 60, SURE = 300 };
    unsigned five = 0, others = 0;
    bool four = false;
    go_maxprocs(1);
    for (int i = 0; i < TIMES; i++) five += !on_time(5, CLOSE);
    for (int64_t end = check_now_ns() + 20000 * (int64_t)MS; !four && others < SURE && check_now_ns() < end;) {
        others += on_time(4, APART);
        four = on_time(4, CLOSE);
    }
    diag("five were waited for %u of %d times, four were %son time, four that lie apart %u times before", five, TIMES, four ? "" : "not ", others);
    expect(five > TIMES / 2);
    if (!four && others < SURE) skip("nobody is woken on time here");
    expect(four);
}

TEST(no_time_is_no_wait) {
    struct sleeper s = { .ns = -5 };
    expect_eq(go(sleep_and_count, &s), 0);
    wait_for(&ended, 1);
    go_sleep(0);
    go_sleep(-1);
    expect_eq(gm_load_acquire(&wrong), 0);
}

TEST(a_plain_thread_sleeps_and_keeps_errno) {
    int64_t start = check_now_ns();
    int threads = check_threads();
    errno = 77;
    go_sleep(20 * MS);
    expect(check_now_ns() - start >= 20 * MS);
    expect_eq(errno, 77);
    expect_eq(check_threads(), threads);
}

TEST(a_timer_runs_its_function_once) {
    uint32_t ran = 0;
    gotimer *t = gotimer_after(5 * MS, count, &ran);
    wait_for(&ran, 1);
    go_sleep(20 * MS);
    expect_eq(gm_load_acquire(&ran), 1);
    expect(!gotimer_stop(t));
    expect(!gotimer_reset(t, 5 * MS));
    wait_for(&ran, 2);
    gotimer_free(t);
    gotimer_free(NULL);
}

TEST(a_stopped_timer_does_not_run) {
    uint32_t ran = 0;
    gotimer *t = NULL;
    int64_t start, ns = 15 * MS;
    do { /* a machine that takes the time away between the two calls has to be given more of it */
        gotimer_free(t);
        gm_store_release(&ran, 0);
        start = check_now_ns();
        t = gotimer_after(ns *= 2, count, &ran);
    } while (!gotimer_stop(t) && expect(check_now_ns() - start >= ns));
    expect(!gotimer_stop(t));
    go_sleep(2 * ns);
    expect_eq(gm_load_acquire(&ran), 0);
    expect(!gotimer_reset(t, 10000 * (int64_t)MS));
    expect(gotimer_reset(t, 5 * MS)); /* to an earlier time: whoever sleeps for the late one is woken */
    wait_for(&ran, 1);
    expect(!gotimer_stop(t));
    gotimer_free(t);
}

TEST(far_times_do_not_overflow) {
    uint32_t ran = 0;
    gotimer *t = gotimer_after(INT64_MAX, count, &ran);
    go_sleep(5 * MS);
    expect(gotimer_stop(t));
    expect(!gotimer_reset(t, -7));
    wait_for(&ran, 1);
    gotimer_free(t);
}

/* Stop and reset race with the expiry: each setting either runs or was taken back, never both, never neither. */
static uint32_t racing_ran;
static void *race(void *arg) {
    struct check_rng rng = check_rng((unsigned)(uintptr_t)arg);
    uint64_t due = 0;
    gotimer *t = gotimer_after(0, count, &racing_ran);
    due++;
    for (int i = 0; i < 2000; i++) {
        bool taken = check_below(&rng, 2) ? gotimer_stop(t) : false;
        if (taken) due--;
        if (gotimer_reset(t, (int64_t)check_below(&rng, 60000))) due--;
        due++;
        for (uint64_t k = check_below(&rng, 4000); k > 0; k--) __asm__ volatile("");
    }
    if (gotimer_stop(t)) due--;
    gotimer_free(t);
    return (void *)due;
}

TEST_LIMIT(stop_and_reset_are_exact, 60) {
    enum { N = 4 };
    pthread_t threads[N];
    uint64_t due = 0;
    go_maxprocs(2);
    for (uintptr_t i = 0; i < N; i++) pthread_create(&threads[i], NULL, race, (void *)(i + 1));
    for (int i = 0; i < N; i++) {
        void *d;
        pthread_join(threads[i], &d);
        due += (uint64_t)d;
    }
    wait_for(&racing_ran, (uint32_t)due);
    go_sleep(10 * MS);
    expect_eq(gm_load_acquire(&racing_ran), due);
}

/* Timers of our own: order of expiry against a sorted model, with removals from the middle. */
enum { MODEL = 3000 };
static struct gs_timer model[MODEL];
static int64_t last_when;
static uint32_t fired, disordered;
static void fire(struct gs_timer *t, int64_t now) {
    if (t->when < last_when || t->when > now) disordered++;
    last_when = t->when;
    gm_store_release(&fired, fired + 1);
}

TEST(expiry_is_in_order) {
    struct check_rng rng = check_rng(9);
    uint32_t left, moved;
    go_maxprocs(1);
    for (int64_t ahead = 100 * MS;; ahead *= 2) { /* until all are set before the first is due */
        int64_t base = gs_deadline_in(ahead);
        left = MODEL, moved = 0;
        for (int i = 0; i < MODEL; i++) {
            expect_eq(gs_timer_init(&model[i], fire), 0);
            gs_timer_set(&model[i], base + (int64_t)check_below(&rng, MS), 0);
        }
        for (int i = 0; i < MODEL; i += 3) left -= gs_timer_stop(&model[i]);
        for (int i = 1; i < MODEL; i += 3) moved += gs_timer_set(&model[i], base + (int64_t)check_below(&rng, MS), 0);
        if (check_now_ns() < base) break;
        for (int i = 0; i < MODEL; i++) gs_timer_done(&model[i]);
        last_when = 0, disordered = 0;
        gm_store_release(&fired, 0);
    }
    expect_eq(left, MODEL - MODEL / 3);
    expect_eq(moved, MODEL / 3);
    wait_for(&fired, left);
    expect_eq(disordered, 0);
    for (int i = 0; i < MODEL; i++) gs_timer_done(&model[i]);
    expect_eq(gm_load_acquire(&fired), left);
}

static void tick(struct gs_timer *t, int64_t now) { gm_add_relaxed(&fired, 1); }

TEST(a_period_repeats_until_stopped) {
    struct gs_timer t;
    expect_eq(gs_timer_init(&t, tick), 0);
    gs_timer_set(&t, gs_deadline_in(2 * MS), 2 * MS);
    wait_for(&fired, 5);
    expect(gs_timer_stop(&t));
    gs_timer_done(&t);
    uint32_t now = gm_load_acquire(&fired);
    go_sleep(10 * MS);
    expect_eq(gm_load_acquire(&fired), now);
}

TEST(a_channel_gets_the_time_once) {
    int64_t start = check_now_ns(), when = 0, none;
    gochan *c = go_after(10 * MS);
    expect(gochan_recv(c, &when));
    expect(when - start >= 10 * MS);
    go_sleep(20 * MS);
    expect_eq(gochan_try_recv(c, &none), 0);
    gochan_free(c);
    c = go_after(10 * MS);
    gochan_free(c); /* before the time */
    go_sleep(20 * MS);
}

TEST(ticks_that_nobody_takes_are_dropped) {
    int64_t a, b;
    gochan *c = go_tick(5 * MS);
    expect(gochan_recv(c, &a));
    expect(gochan_recv(c, &b));
    expect(b > a);
    while (gochan_len(c) == 0) go_sleep(MS); /* a busy machine ticks late */
    go_sleep(30 * MS);
    expect_eq(gochan_len(c), 1);
    gochan_free(c);
    expect(go_tick(0) == NULL);
}

TEST(freeing_a_ticking_channel_is_safe_at_any_moment) {
    struct check_rng rng = check_rng(5);
    go_maxprocs(2);
    for (int i = 0; i < 300; i++) {
        gochan *c = go_tick(1000);
        usleep((unsigned)check_below(&rng, 200));
        gochan_free(c);
    }
}

static void nap(void *arg) {
    go_sleep((int64_t)(uintptr_t)arg);
    count(&ended);
}

TEST_LIMIT(many_sleepers, 120) {
    uint32_t n = check_stress() ? 200000 : 2000;
    struct check_rng rng = check_rng(3);
    go_maxprocs(2);
    for (uint32_t i = 0; i < n; i++) expect_eq(go(nap, (void *)(uintptr_t)(check_below(&rng, 200) * MS)), 0);
    wait_for(&ended, n);
    expect_eq(gm_load_acquire(&ended), n);
}

/* ---- a timer needs nobody's help but a thread's */

static uint32_t rang, may_end;
static void block_long(void *arg) {
    go_entersyscall();
    wait_for(&may_end, 1);
    go_exitsyscall();
    count(&ended);
}
static void short_nap(void *arg) {
    go_sleep(20 * MS);
    count(&rang);
}
static void in_a_blocked_call(int procs) {
    go_maxprocs(procs);
    expect_eq(go(short_nap, NULL), 0);
    expect_eq(go(block_long, NULL), 0);
    wait_for(&rang, 1);
    gm_store_release(&may_end, 1);
    wait_for(&ended, 1);
}
TEST(a_blocked_call_holds_up_no_timer_on_one_p) { in_a_blocked_call(1); }
TEST(a_blocked_call_holds_up_no_timer_on_two_ps) { in_a_blocked_call(2); }

/* The only P that is not idle has the timer and blocks: nobody kept the time when it was set. */
static void set_and_block(void *arg) {
    usleep(20000); /* until all others sleep */
    gotimer_after(20 * MS, count, &rang);
    block_long(NULL);
}
TEST(a_timer_set_before_a_blocked_call_rings) {
    go_maxprocs(2);
    expect_eq(go(set_and_block, NULL), 0);
    wait_for(&rang, 1);
    gm_store_release(&may_end, 1);
    wait_for(&ended, 1);
}

static void ring(struct gs_timer *t, int64_t now) { count(&rang); }
static void compute(void *arg) {
    struct gs_timer t;
    expect_eq(gs_timer_init(&t, ring), 0);
    usleep(20000);
    gs_timer_set(&t, gs_deadline_in(20 * MS), 0);
    wait_for(&rang, 1); /* computes without a call of ours */
    gs_timer_done(&t);
    count(&ended);
}
TEST(a_timer_of_a_busy_p_rings) {
    go_maxprocs(1);
    expect_eq(go(compute, NULL), 0);
    wait_for(&ended, 1);
}

TEST_MAIN()
