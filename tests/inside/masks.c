/* No mask, no wait and no handler of the program takes the collector's signal away. Linked with the whole library. */
#include "gc/world.h"
#include "libgomalloc/os/stop_signal.h"
#include "preload/process.h"
#include "tests/check.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <ucontext.h>

bool gm_sanitizer_in_charge(void) { return false; }

static sigset_t full;
static atomic_int ready, stop;

static uint64_t mask_now(void) {
    uint64_t mask = 0;
    syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, 8);
    return mask;
}

/* In another thread `wait` runs, and it can be held there. */
static void held_in(void *(*wait)(void *)) {
    pthread_t t;
    char why[200];
    sigfillset(&full);
    expect(gc_world_start());
    if (!expect_eq(pthread_create(&t, NULL, wait, NULL), 0)) return;
    while (!ready) sched_yield();
    struct timespec nap = {0, 30000000};
    nanosleep(&nap, NULL);
    if (!expect(gc_world_hold(why, sizeof why) == GC_HELD)) diag("%s", why);
    else {
        expect_eq(gc_world_count(), 1);
        gc_world_release();
    }
    stop = 1;
}

#define HELD_IN(name, ...) \
    static void *name##_thread(void *arg) { \
        ready = 1; \
        while (!stop) { __VA_ARGS__; } \
        return NULL; \
    } \
    TEST(held_in_##name) { held_in(name##_thread); }

static struct timespec second = {1, 0};

HELD_IN(pthread_sigmask_block, pthread_sigmask(SIG_BLOCK, &full, NULL))
HELD_IN(pthread_sigmask_set, pthread_sigmask(SIG_SETMASK, &full, NULL))
HELD_IN(sigprocmask, sigprocmask(SIG_SETMASK, &full, NULL))
HELD_IN(sigsuspend, sigsuspend(&full))
HELD_IN(sigwait, int got; pthread_sigmask(SIG_SETMASK, &full, NULL); sigwait(&full, &got))
HELD_IN(sigwaitinfo, pthread_sigmask(SIG_SETMASK, &full, NULL); sigwaitinfo(&full, NULL))
HELD_IN(sigtimedwait, pthread_sigmask(SIG_SETMASK, &full, NULL); sigtimedwait(&full, NULL, &second))
HELD_IN(ppoll, ppoll(NULL, 0, &second, &full))
HELD_IN(pselect, pselect(0, NULL, NULL, NULL, &second, &full))
HELD_IN(epoll_pwait, static int fd; if (!fd) fd = epoll_create1(0); struct epoll_event e; epoll_pwait(fd, &e, 1, 1000, &full))

static void linger(int signal) {
    while (!stop) sched_yield();
}

HELD_IN(handler_with_a_full_mask, struct sigaction a = {.sa_handler = linger, .sa_mask = full};
        sigaction(SIGUSR1, &a, NULL); raise(SIGUSR1))

HELD_IN(a_context_with_a_full_mask, ucontext_t c; volatile int back = 0; getcontext(&c);
        if (!back) { back = 1; c.uc_sigmask = full; setcontext(&c); })

TEST(a_signalfd_of_everything_does_not_take_it) {
    sigfillset(&full);
    expect(gc_world_start());
    int fd = signalfd(-1, &full, SFD_NONBLOCK);
    expect(fd >= 0);
    uint64_t bit = gm_stop_signal_bit();
    syscall(SYS_rt_sigprocmask, SIG_BLOCK, &bit, NULL, 8); /* past the wrapper, so that it stays pending */
    syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), gm_stop_signal);
    char info[200];
    expect_eq(read(fd, info, sizeof info), -1);
    expect_eq(errno, EAGAIN);
}

TEST(what_is_read_back_and_what_is_refused) {
    sigset_t old;
    struct sigaction action = {.sa_handler = linger}, before;
    sigfillset(&full);
    int highest = SIGRTMAX;
    expect(gc_world_start());
    expect_eq(gm_stop_signal, highest);
    expect_eq(SIGRTMAX, highest - 1);
    expect_eq(sigaction(gm_stop_signal, &action, NULL), -1);
    expect_eq(errno, EINVAL);
    expect(signal(gm_stop_signal, SIG_IGN) == SIG_ERR);
    expect_eq(sigaction(SIGRTMAX, &action, NULL), 0);
    pthread_sigmask(SIG_SETMASK, &full, NULL);
    pthread_sigmask(SIG_BLOCK, NULL, &old);
    expect_eq(sigismember(&old, SIGRTMAX), 1);
    expect_eq(sigismember(&old, gm_stop_signal), 0);
    action.sa_mask = full;
    sigaction(SIGUSR2, &action, NULL);
    sigaction(SIGUSR2, NULL, &before);
    expect(before.sa_handler == linger);
    expect_eq(sigismember(&before.sa_mask, SIGUSR1), 1);
    expect_eq(sigismember(&before.sa_mask, gm_stop_signal), 0);
}

/* As long as the collector is off nothing is left out, and no signal is taken. */
TEST(nothing_is_changed_while_it_is_off) {
    sigfillset(&full);
    int highest = SIGRTMAX;
    expect_eq(gm_stop_signal, 0);
    pthread_sigmask(SIG_SETMASK, &full, NULL);
    expect(mask_now() >> (highest - 1) & 1);
    struct sigaction action = {.sa_handler = linger};
    expect_eq(sigaction(highest, &action, NULL), 0);
    raise(0);
    expect_eq(sigprocmask(77, &full, NULL), -1);
    expect_eq(errno, EINVAL);
}

TEST_MAIN()
