/* Deadlocks are reported, with every stack, and nothing else is. */
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "libgomalloc/base/atomic.h"
#include "sched/gosched.h"
#include "sched/proc.h"
#include "tests/check.h"

#if defined(__SANITIZE_THREAD__)
/* It has a thread of its own, which is not known to touch no goroutine. */
#define SKIP_UNSEEN() skip("the sanitizer's own thread stands in the way of a verdict")
#else
#define SKIP_UNSEEN() ((void)0)
#endif


static char text[32768];
static int procs = 1;

/* Runs the body in a child; its status, and stderr in text. */
static void (*to_run)(void);
static void run_it(void) {
    alarm(50 * CHECK_BUSY);
    go_maxprocs(procs);
    to_run();
}
static int run(void (*body)(void)) {
    to_run = body;
    return check_in_child(run_it, text, sizeof text);
}

static const char asleep[] = "fatal error: all goroutines are asleep - deadlock!\n\n";
/* The body deadlocks: the report says so and shows these. */
static void expect_deadlock(void (*body)(void), const char *one, const char *other) {
    for (procs = 1; procs <= 2; procs++) {
        int status = run(body);
        if (!expect(WIFEXITED(status) && WEXITSTATUS(status) == 2)) diag("%d Ps: status %x: %.300s", procs, (unsigned)status, text);
        expect(strncmp(text, asleep, sizeof asleep - 1) == 0);
        if (!expect(strstr(text, one) && (!other || strstr(text, other)))) diag("%.1000s", text);
    }
}
static void expect_none(void (*body)(void)) {
    for (procs = 1; procs <= 2; procs++) {
        int status = run(body);
        if (!expect(WIFEXITED(status) && WEXITSTATUS(status) == 0)) diag("%d Ps: status %x: %.300s", procs, (unsigned)status, text);
        expect_str(text, "");
    }
}

static gochan *c;
static void receives(void *arg) { gochan_recv(c, NULL); }
static void sends(void *arg) { gochan_send(c, NULL); }
static void returns(void *arg) {}

/* ---- there is one */

static void main_alone(void) { gochan_recv(NULL, NULL); }
static void main_and_one(void) {
    c = gochan_make(0, 0);
    go(receives, NULL);
    gochan_recv(c, NULL);
}
static void main_comes_late(void) {
    c = gochan_make(0, 0);
    go(receives, NULL);
    usleep(50000);
    gochan_recv(c, NULL);
}
static void after_work(void) {
    c = gochan_make(0, 0);
    for (int i = 0; i < 1000; i++) go(sends, NULL);
    for (int i = 0; i < 1001; i++) gochan_recv(c, NULL);
}
static void locked_one(void *arg) {
    go_lock_thread();
    receives(NULL);
}
static void a_locked_one(void) {
    c = gochan_make(0, 0);
    go(locked_one, NULL);
    go_sleep(1000000);
    gochan_recv(c, NULL);
}
static void waits_for_all(void *arg) {
    gocase cases[] = { GO_RECV(c, NULL), GO_RECV(gochan_make(0, 0), NULL) };
    goselect(cases, 2);
}
static void in_a_select(void) {
    c = gochan_make(0, 0);
    go(waits_for_all, NULL);
    waits_for_all(NULL);
}
static void after_a_timer(void) {
    gotimer *t = gotimer_after(INT64_C(3600000000000), returns, NULL);
    go(returns, NULL);
    go_sleep(1000000);
    gotimer_stop(t);
    gochan_recv(NULL, NULL);
}
static int sockets[2];
static void reads(void *arg) {
    char b;
    go_read(sockets[0], &b, 1);
    receives(NULL);
}
static void after_network(void) {
    c = gochan_make(0, 0);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, sockets)) abort();
    go(reads, NULL);
    usleep(20000);
    if (write(sockets[1], "x", 1) != 1) abort();
    gochan_recv(c, NULL);
}
TEST_LIMIT(deadlocks_are_reported, 120) {
    SKIP_UNSEEN();
    expect_deadlock(main_alone, "main thread [chan receive (nil chan)]:\n", NULL);
    expect_deadlock(main_and_one, "\ngoroutine 1 [chan receive]:\n", "main thread [chan receive]:\n");
    expect_deadlock(main_comes_late, "\ngoroutine 1 [chan receive]:\n", "main thread [chan receive]:\n");
    expect_deadlock(after_work, "main thread [chan receive]:\n", NULL);
    expect_deadlock(a_locked_one, "\ngoroutine 1 [chan receive, locked to thread]:\n", NULL);
    expect_deadlock(in_a_select, "\ngoroutine 1 [select]:\n", "main thread [select]:\n");
    expect_deadlock(after_a_timer, "main thread [chan receive (nil chan)]:\n", NULL);
    expect_deadlock(after_network, "\ngoroutine 1 [chan receive]:\n", NULL);
}

static void *thread_receives(void *arg) {
    receives(NULL);
    return NULL;
}
static void *thread_computes(void *arg) {
    usleep(300000);
    return NULL;
}
static void *thread_calls_and_ends(void *arg) {
    go_sleep(1);
    gochan_try_recv(c, NULL);
    usleep(300000);
    return NULL;
}
static pthread_t other;
static void threads_too(void) {
    c = gochan_make(0, 0);
    pthread_create(&other, NULL, thread_receives, NULL);
    usleep(10000);
    go(returns, NULL);
    gochan_recv(c, NULL);
}
static void when_a_stranger_has_gone(void) {
    c = gochan_make(0, 0);
    go(receives, NULL);
    pthread_create(&other, NULL, thread_computes, NULL);
    gochan_recv(c, NULL);
}
static void when_a_caller_has_gone(void) {
    c = gochan_make(0, 0);
    go(receives, NULL);
    pthread_create(&other, NULL, thread_calls_and_ends, NULL);
    gochan_recv(c, NULL);
}
static void *starts(void *arg) {
    c = gochan_make(0, 0);
    go(receives, NULL);
    return NULL;
}
static void main_ends(void) {
    pthread_create(&other, NULL, starts, NULL);
    pthread_join(other, NULL);
    pthread_exit(NULL);
}
static void in_the_child(void) {
    c = gochan_make(0, 0);
    go(receives, NULL);
    usleep(10000);
    pid_t pid = fork();
    if (pid == 0) gochan_recv(c, NULL);
    int status;
    waitpid(pid, &status, 0);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 9);
}
TEST_LIMIT(plain_threads_and_processes, 120) {
    SKIP_UNSEEN();
    expect_deadlock(threads_too, "\nthread ", "main thread [chan receive]:\n");
    expect_deadlock(when_a_stranger_has_gone, "\ngoroutine 1 [chan receive]:\n", "main thread [chan receive]:\n");
    expect_deadlock(when_a_caller_has_gone, "\ngoroutine 1 [chan receive]:\n", "main thread [chan receive]:\n");
    expect_deadlock(main_ends, "\ngoroutine 1 [chan receive]:\n", NULL);
    if (!CHECK_SANITIZED) expect_deadlock(in_the_child, "main thread [chan receive]:\n", NULL);
}

static void end_and_exit(void *arg) {}
static void nobody_left(void) {
    go(end_and_exit, NULL);
    go_exit();
}
TEST_LIMIT(the_last_goroutine_has_ended, 30) {
    SKIP_UNSEEN();
    for (procs = 1; procs <= 2; procs++) {
        int status = run(nobody_left);
        expect(WIFEXITED(status) && WEXITSTATUS(status) == 2);
        expect_str(text, "fatal error: no goroutines (main called go_exit) - deadlock!\n");
    }
}

/* ---- there is none. Each lasts longer than a verdict takes. */

static void wakes_later(void *ns) {
    go_sleep((int64_t)(intptr_t)ns);
    sends(NULL);
}
static void a_sleeper(void) {
    c = gochan_make(0, 0);
    go(wakes_later, (void *)(intptr_t)100000000);
    gochan_recv(c, NULL);
}
static void a_timer(void) {
    c = gochan_make(0, 0);
    gotimer_after(100000000, sends, NULL);
    gochan_recv(c, NULL);
}
static void a_tick(void) {
    gochan *ticks = go_tick(30000000);
    for (int i = 0; i < 3; i++) gochan_recv(ticks, NULL);
}
static void *thread_writes(void *arg) {
    usleep(100000);
    if (write(sockets[1], "x", 1) != 1) abort();
    return NULL;
}
static void reads_and_sends(void *arg) {
    char b;
    go_read(sockets[0], &b, 1);
    sends(NULL);
}
static void the_network(void) {
    c = gochan_make(0, 0);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, sockets)) abort();
    go(reads_and_sends, NULL);
    pid_t pid = fork();
    if (pid == 0) {
        thread_writes(NULL);
        _exit(0);
    }
    gochan_recv(c, NULL);
    waitpid(pid, NULL, 0);
}
static void blocks_and_sends(void *arg) {
    go_entersyscall();
    usleep(100000);
    go_exitsyscall();
    sends(NULL);
}
static void a_blocking_call(void) {
    c = gochan_make(0, 0);
    go(blocks_and_sends, NULL);
    gochan_recv(c, NULL);
}
static void computes_and_sends(void *arg) {
    for (int64_t until = check_now_ns() + 100000000; check_now_ns() < until;) {}
    sends(NULL);
}
static void a_long_runner(void) {
    c = gochan_make(0, 0);
    go(computes_and_sends, NULL);
    gochan_recv(c, NULL);
}
static void *thread_sends_late(void *arg) {
    usleep(100000);
    sends(NULL);
    return NULL;
}
static void a_thread_elsewhere(void) {
    c = gochan_make(0, 0);
    go(receives, NULL);
    pthread_create(&other, NULL, thread_sends_late, NULL);
    gochan_recv(c, NULL);
}
static void main_elsewhere(void) {
    c = gochan_make(0, 0);
    go(receives, NULL);
    go(receives, NULL);
    usleep(200000);
    pthread_create(&other, NULL, thread_sends_late, NULL);
    pthread_join(other, NULL);
    sends(NULL);
}
static void main_without_scheduler(void) {
    c = gochan_make(0, 0);
    pthread_create(&other, NULL, thread_sends_late, NULL);
    gochan_recv(c, NULL);
    pthread_join(other, NULL);
}
/* The name of the library's own threads, which touch no goroutine, is no proof. */
static void *thread_named_as_ours(void *arg) {
    pthread_setname_np(pthread_self(), "gomalloc");
    return thread_sends_late(NULL);
}
static void a_thread_of_a_familiar_name(void) {
    c = gochan_make(0, 0);
    go(returns, NULL);
    pthread_create(&other, NULL, thread_named_as_ours, NULL);
    usleep(20000);
    gochan_recv(c, NULL);
    pthread_join(other, NULL);
}
static void main_sleeps(void) {
    c = gochan_make(0, 0);
    go(receives, NULL);
    go_sleep(200000000);
}
TEST_LIMIT(what_will_go_on_is_none, 120) {
    expect_none(a_sleeper);
    expect_none(a_timer);
    expect_none(a_tick);
    if (!CHECK_SANITIZED) expect_none(the_network);
    expect_none(a_blocking_call);
    expect_none(a_long_runner);
    expect_none(main_elsewhere);
    expect_none(main_without_scheduler);
    expect_none(a_thread_of_a_familiar_name);
    expect_none(main_sleeps);
}

/* Two receivers, one value: whoever does not get it is the deadlock, and not before the thread has sent. */
TEST_LIMIT(a_thread_elsewhere_puts_it_off, 30) {
    SKIP_UNSEEN();
    int64_t before = check_now_ns();
    int status = run(a_thread_elsewhere);
    expect(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 2));
    expect(check_now_ns() - before >= 100000000);
}

/* Everybody asleep but one, again and again, in all kinds of hand-over; looked at all the time. */
static gochan *ping, *pong;
static void echo(void *arg) {
    while (gochan_recv(ping, NULL)) gochan_send(pong, NULL);
    gochan_send(c, NULL);
}
static void *thread_echo(void *arg) {
    echo(NULL);
    return NULL;
}
static void nearly(void) {
    int64_t until = check_now_ns() + (check_stress() ? 8000 : 1500) * INT64_C(1000000);
    c = gochan_make(0, 0);
    ping = gochan_make(0, 0);
    pong = gochan_make(0, 0);
    go(echo, NULL);
    pthread_create(&other, NULL, thread_echo, NULL);
    for (unsigned i = 0; check_now_ns() < until; i++) {
        gochan_send(ping, NULL);
        if (i % 16 == 0) go_sleep(i % 100 * 1000);
        if (i % 64 == 1) usleep(i % 300);
        gochan_recv(pong, NULL);
        if (i % 256 == 0) go_maxprocs(1 + (int)(i >> 8) % 3);
    }
    gochan_close(ping);
    gochan_recv(c, NULL);
    gochan_recv(c, NULL);
    pthread_join(other, NULL);
}
TEST_LIMIT(never_reported_while_somebody_can_go_on, 60) { expect_none(nearly); }

TEST_MAIN()
