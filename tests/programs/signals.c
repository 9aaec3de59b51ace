/* Signal handlers that allocate, although they should not: at 10 kHz, in the middle of whatever
 * malloc was doing. The blocks of handler and program must be apart and whole, and nothing hangs. */
#include "tests/check.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

#define SLOTS 64
#define SIGNALS 10000 /* some are lost, the more the busier the machine: it is how many that counts, not how long */

struct owner {
    struct check_rng rng;
    struct { unsigned char *p; size_t n; uint64_t key; } slot[SLOTS];
};

/* One step: check and free a block, take another. */
static void step(struct owner *o) {
    size_t k = check_below(&o->rng, SLOTS), n = check_random_size(&o->rng, 100000);
    if (n > 3000 && check_below(&o->rng, 20)) n = 3000;
    if (o->slot[k].p && !expect(check_filled(o->slot[k].p, o->slot[k].n, o->slot[k].key))) _exit(1);
    if (check_below(&o->rng, 4) == 0) {
        o->slot[k].p = realloc(o->slot[k].p, n + 1);
    } else {
        free(o->slot[k].p);
        o->slot[k].p = check_below(&o->rng, 2) ? malloc(n + 1) : calloc(1, n + 1);
    }
    if (!expect(o->slot[k].p)) _exit(1);
    o->slot[k].n = n;
    o->slot[k].key = check_random(&o->rng);
    check_fill(o->slot[k].p, n, o->slot[k].key);
}

static __thread struct owner in_handler;
static atomic_long handled;

static void handler(int signal) {
    (void)signal;
    int saved = errno;
    handled++;
    for (int i = 0; i < 3; i++) step(&in_handler);
    errno = saved;
}

static void install(int signal, int flags) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    action.sa_flags = flags;
    sigaction(signal, &action, NULL);
}

static struct owner in_program;

TEST_LIMIT(one_thread_at_10_khz, 30) {
    in_handler.rng = check_rng(1);
    in_program.rng = check_rng(2);
    install(SIGALRM, SA_RESTART);
    struct itimerval every = {{0, 100}, {0, 100}};
    setitimer(ITIMER_REAL, &every, NULL);
    while (handled < SIGNALS)
        for (int i = 0; i < 20; i++) step(&in_program);
    memset(&every, 0, sizeof every);
    setitimer(ITIMER_REAL, &every, NULL);
}

static void *run_with_timer(void *arg) {
    struct owner *mine = calloc(1, sizeof *mine);
    struct sigevent event;
    timer_t timer;
    mine->rng = check_rng(10 + (unsigned)(size_t)arg);
    in_handler.rng = check_rng(20 + (unsigned)(size_t)arg);
    memset(&event, 0, sizeof event);
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = SIGUSR1;
    event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    if (timer_create(CLOCK_MONOTONIC, &event, &timer)) return NULL;
    struct itimerspec every = {{0, 100000}, {0, 100000}}, never;
    memset(&never, 0, sizeof never);
    timer_settime(timer, 0, &every, NULL);
    while (handled < 4 * SIGNALS)
        for (int i = 0; i < 20; i++) step(mine);
    timer_settime(timer, 0, &never, NULL);
    timer_delete(timer);
    for (int k = 0; k < SLOTS; k++) free(mine->slot[k].p);
    free(mine);
    return NULL;
}

TEST_LIMIT(four_threads_each_with_a_timer, 60) {
    pthread_t t[4];
    install(SIGUSR1, SA_RESTART);
    for (size_t i = 0; i < 4; i++) pthread_create(&t[i], NULL, run_with_timer, (void *)i);
    for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
}

/* Threads that start and exit under signals: before their cache exists and after it has gone. */
static atomic_int stop;

static void *short_life(void *arg) {
    (void)arg;
    in_handler.rng = check_rng(30);
    struct owner mine = {.rng = check_rng(31)};
    for (int i = 0; i < 100; i++) step(&mine);
    for (int k = 0; k < SLOTS; k++) free(mine.slot[k].p);
    return NULL;
}

static void *be_born_often(void *arg) {
    while (!stop) {
        pthread_t t;
        if (pthread_create(&t, NULL, short_life, arg) == 0) pthread_join(t, NULL);
    }
    return NULL;
}

TEST_LIMIT(threads_start_and_exit_under_signals, 60) {
    pthread_t t[2];
    install(SIGALRM, SA_RESTART);
    for (int i = 0; i < 2; i++) pthread_create(&t[i], NULL, be_born_often, NULL);
    sigset_t alarm_signal;
    sigemptyset(&alarm_signal);
    sigaddset(&alarm_signal, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &alarm_signal, NULL); /* so that the others get them */
    struct itimerval every = {{0, 200}, {0, 200}};
    setitimer(ITIMER_REAL, &every, NULL);
    while (handled < SIGNALS / 2) usleep(10000);
    memset(&every, 0, sizeof every);
    setitimer(ITIMER_REAL, &every, NULL);
    stop = 1;
    for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
}

TEST_MAIN()
