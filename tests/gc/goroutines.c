/* Places of goroutines where a pointer can be. See hide.h. */
#include "tests/gc/hide.h"

#include <stdatomic.h>

#include "sched/gosched.h"

#pragma weak go
#pragma weak go_yield
#pragma weak go_sleep
#pragma weak gochan_make
#pragma weak gochan_send
#pragma weak gochan_recv
#pragma weak gochan_try_recv
#pragma weak gotimer_after
#pragma weak gotimer_free
#pragma weak golocal_create
#pragma weak golocal_set
#pragma weak gopool_get
#pragma weak gopool_put
#pragma weak goctx_background
#pragma weak goctx_with_value
#pragma weak goctx_release

static gochan *in, *out; /* to and from the goroutine */
static int one = 1, got;

static atomic_int washed;
static void nothing(void *arg) { (void)arg; }
static void washer(void *arg) { (void)arg; hide_wash(); washed++; }

/* All threads there will be: a new one inherits the vector registers of the one that makes it. And clean ones. */
static void wash_threads(void) {
    enum { WASHERS = 200 };
    washed = 0;
    for (int i = 0; i < WASHERS; i++) go(washer, NULL);
    while (washed < WASHERS) usleep(1000);
    usleep(50000); /* and they sleep */
}
static void start(void) {
    if (!gogc_collect) skip("the library is not preloaded");
    wash_threads();
}
#undef PLACE
#define PLACE(name, hide, erase) TEST_LIMIT(name, 30) { start(); hide_test(hide, erase); }

/* ---- on the stack of a goroutine that waits; its own frames must not be washed, ours must */

static HIDE_NOINLINE void wait_with(void *p) {
    void *volatile kept[4]; /* element by element: an initialiser would stand on the stack twice */
    kept[1] = p;
    gochan_send(out, &one);
    gochan_recv(in, &got);
    kept[1] = NULL;
    hide_wash();
    gochan_send(out, &one);
    gochan_recv(in, &got);
    __asm__ volatile("" : : "r"(kept) : "memory");
}
static void waiter(void *p) { wait_with(p); }
/* The argument stands in a register of the first frame: the second one holds the only pointer. */
static HIDE_NOINLINE void deep_wait(uintptr_t hidden) {
    wait_with((void *)~hidden);
    hide_wash();
}
static void deep_waiter(void *hidden) { deep_wait((uintptr_t)hidden); }

static void stack_hide(void *p) {
    in = gochan_make(sizeof(int), 0);
    out = gochan_make(sizeof(int), 0);
    go(deep_waiter, (void *)~(uintptr_t)p);
    gochan_recv(out, &got);
}
static void stack_erase(void) {
    gochan_send(in, &one);
    gochan_recv(out, &got);
    wash_threads();
}
PLACE(the_stack_of_a_waiting_goroutine, stack_hide, stack_erase)

static void argument_hide(void *p) {
    in = gochan_make(sizeof(int), 0);
    out = gochan_make(sizeof(int), 0);
    go(waiter, p);
    gochan_recv(out, &got);
}
PLACE(the_argument_of_a_goroutine, argument_hide, NULL)

/* ---- a goroutine that has not run yet: all Ps are busy */

static atomic_int stop, started, ran;
static void runs(void *arg) { (void)arg; ran = 1; }
static void busy(void *arg) { (void)arg; atomic_fetch_add(&started, 1); while (!stop) {} }
static void unstarted_hide(void *p) {
    int n = go_maxprocs(0);
    for (int i = 0; i < n; i++) go(busy, NULL);
    while (started < n) usleep(1000);
    go(runs, p);
}
static void unstarted_erase(void) {
    stop = 1;
    while (!ran) usleep(1000);
    wash_threads();
}
#pragma weak go_maxprocs
PLACE(the_argument_of_one_that_has_not_run, unstarted_hide, unstarted_erase)

/* ---- a goroutine that computes: stopped by the signal */

static atomic_int computing;
static HIDE_NOINLINE void compute(uintptr_t hidden) {
    void *volatile p = (void *)~hidden;
    computing = 1;
    while (!stop) {}
    p = NULL;
    hide_wash();
    computing = 2;
    while (stop < 2) {}
    __asm__ volatile("" : : "r"(&p) : "memory");
}
static void computer(void *hidden) { compute((uintptr_t)hidden); }
static void computer_hide(void *p) {
    go(computer, (void *)~(uintptr_t)p);
    while (computing != 1) usleep(1000);
}
static void computer_erase(void) {
    stop = 1;
    while (computing != 2) usleep(1000);
}
PLACE(the_stack_of_a_running_goroutine, computer_hide, computer_erase)

/* ---- the other objects */

static gochan *buffered;
static void buffer_hide(void *p) {
    buffered = gochan_make(sizeof p, 4);
    gochan_send(buffered, &p);
}
static void buffer_erase(void) {
    void *p;
    gochan_try_recv(buffered, &p);
    p = NULL;
}
PLACE(a_channels_buffer, buffer_hide, buffer_erase)

static HIDE_NOINLINE void send_it(uintptr_t hidden) {
    void *volatile p = (void *)~hidden;
    computing = 1; /* it is on this stack now, whenever we come to wait */
    gochan_send(buffered, (void *)&p);
    p = NULL;
    hide_wash();
}
static void sender(void *hidden) {
    send_it((uintptr_t)hidden);
    computing = 2;
    gochan_recv(in, &got);
}
static void sender_hide(void *p) {
    in = gochan_make(sizeof(int), 0);
    buffered = gochan_make(sizeof p, 0);
    go(sender, (void *)~(uintptr_t)p);
    while (!computing) usleep(1000);
    usleep(100000);
}
static void sender_erase(void) {
    void *p;
    gochan_recv(buffered, &p);
    p = NULL;
    while (computing != 2) usleep(1000);
    wash_threads();
}
PLACE(what_a_blocked_sender_sends, sender_hide, sender_erase)

static gotimer *timer;
static void timer_hide(void *p) { timer = gotimer_after(INT64_C(3600) * 1000000000, nothing, p); }
static void timer_erase(void) { gotimer_free(timer); timer = NULL; }
PLACE(a_timers_argument, timer_hide, timer_erase)

static void slept(void *hidden) {
    void *volatile p = (void *)~(uintptr_t)hidden;
    computing = 1;
    go_sleep(INT64_C(3600) * 1000000000);
    __asm__ volatile("" : : "r"(&p) : "memory");
}
static void sleeper_hide(void *p) {
    go(slept, (void *)~(uintptr_t)p);
    while (!computing) usleep(1000);
    usleep(100000);
}
PLACE(the_stack_of_a_sleeper, sleeper_hide, NULL)

static gopool pool;
static void pool_hide(void *p) { gopool_put(&pool, p); }
/* Two cycles empty it, and somebody who notices that there have been cycles. */
static void pool_erase(void) {
    static int other;
    for (int i = 0; i < 3; i++) {
        gogc_collect();
        gopool_put(&pool, &other);
    }
}
TEST_LIMIT(a_pool_until_cycles_have_passed, 30) {
    start();
    volatile uintptr_t hidden = hide_in(pool_hide);
    hide_wash();
    expect(!hide_collect(hidden, 1));
    pool_erase();
    hide_wash();
    expect(hide_collect(hidden, 4 * HIDE_ROUNDS));
}

/* A channel that nobody knows any more goes, with what lies in it. */
static void forgotten_hide(void *p) {
    buffered = gochan_make(sizeof p, 4);
    gochan_send(buffered, &p);
}
static void forgotten_erase(void) { buffered = NULL; }
PLACE(a_channel_that_is_forgotten, forgotten_hide, forgotten_erase)

/* What earlier calls have left below the stack pointer of a waiting goroutine keeps nothing alive. */
static HIDE_NOINLINE void leave_it(uintptr_t hidden) {
    void *volatile below[64];
    for (int i = 0; i < 64; i++) below[i] = (void *)~hidden;
    __asm__ volatile("" : : "r"(below) : "memory");
}
static void leaver(void *hidden) {
    char room[16384];
    __asm__ volatile("" : : "r"(room) : "memory");
    leave_it((uintptr_t)hidden);
}
static void leaving_waiter(void *hidden) {
    leaver(hidden);
    computing = 1;
    gochan_recv(in, &got);
}
TEST_LIMIT(what_lies_below_a_stack_pointer_is_dead, 30) {
    start();
    in = gochan_make(sizeof(int), 0);
    volatile uintptr_t hidden = ~(uintptr_t)hide_make();
    go(leaving_waiter, (void *)hidden);
    while (!computing) usleep(1000);
    usleep(100000); /* and it waits */
    hide_wash();
    expect(hide_collect(hidden, 4 * HIDE_ROUNDS));
}

TEST_MAIN()
