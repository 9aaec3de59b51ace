/* Threads in calls that block, while collections go on: they are not woken, see no EINTR that is not theirs, and
 * what happens to them there (handlers, jumps, cancellation, fork) leaves them what they are. */
#include "tests/gc/hide.h"

#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>

static atomic_int there, leave, tid;
static int ends[2];

static void nap(long ns) {
    struct timespec t = {0, ns};
    while (nanosleep(&t, &t) != 0 && errno == EINTR) continue;
}
static pthread_t start(void *(*run)(void *), void *arg) {
    pthread_t t;
    if (!gogc_collect) skip("the library is not preloaded");
    if (!expect_eq(pthread_create(&t, NULL, run, arg), 0)) _exit(1);
    return t;
}

/* ---- not woken: the kernel counts how often a thread has slept and been woken */

static long switches(int thread, bool *asleep) {
    char path[64], line[128], state = 0;
    long n = 0, k;
    snprintf(path, sizeof path, "/proc/self/task/%d/status", thread);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "voluntary_ctxt_switches: %ld", &k) == 1 || sscanf(line, "nonvoluntary_ctxt_switches: %ld", &k) == 1) n += k;
        else sscanf(line, "State: %c", &state);
    if (f) fclose(f);
    *asleep = state == 'S';
    return n;
}

/* Returns when it has gone to sleep. */
static pthread_t start_there(void *(*run)(void *)) {
    pthread_t t = start(run, NULL);
    bool asleep = false;
    while (!there) sched_yield();
    for (long before = -1, now; (now = switches(tid, &asleep)) != before || !asleep; before = now) nap(20000000);
    return t;
}

static void *(*waiter)(void);
static void *wait_there(void *arg) {
    tid = (int)syscall(SYS_gettid);
    there = 1;
    errno = 4711;
    void *answer = waiter();
    if (!leave) diag("came back with %ld, errno %d", (long)answer, errno);
    expect(leave);
    return NULL;
}

static void sleeps_through(void *(*wait)(void), void (*wake)(void)) {
    waiter = wait;
    expect_eq(pipe(ends), 0);
    bool asleep;
    pthread_t t = start_there(wait_there);
    long before = switches(tid, &asleep);
    for (int i = 0; i < 20; i++) gogc_collect();
    expect_eq(switches(tid, &asleep) - before, 0);
    leave = 1;
    wake();
    pthread_join(t, NULL);
}

static void write_one(void) { expect_eq(write(ends[1], "1", 1), 1); }
static void nothing(int signal) {}
static void kick(void) {
    struct sigaction a = {.sa_handler = nothing};
    sigaction(SIGUSR1, &a, NULL);
    syscall(SYS_tgkill, getpid(), (int)tid, SIGUSR1);
}

#define SLEEPS(name, wake, ...) \
    static void *name##_wait(void) { __VA_ARGS__; } \
    TEST_LIMIT(sleeps_in_##name, 30) { sleeps_through(name##_wait, wake); }

static struct timespec minute = {60, 0};
static sem_t sem;
static void post(void) { sem_post(&sem); }
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static void signal_cond(void) {
    pthread_mutex_lock(&mutex);
    pthread_cond_signal(&cond);
    pthread_mutex_unlock(&mutex);
}
static struct timespec in_a_minute(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    t.tv_sec += 60;
    return t;
}

SLEEPS(read, write_one, char c; return (void *)read(ends[0], &c, 1))
SLEEPS(poll, write_one, struct pollfd p = {.fd = ends[0], .events = POLLIN}; return (void *)(long)poll(&p, 1, 60000))
SLEEPS(ppoll, write_one, struct pollfd p = {.fd = ends[0], .events = POLLIN}; return (void *)(long)ppoll(&p, 1, &minute, NULL))
SLEEPS(select, write_one, struct timeval t = {60, 0}; fd_set s; FD_ZERO(&s); FD_SET(ends[0], &s); return (void *)(long)select(ends[0] + 1, &s, NULL, NULL, &t))
SLEEPS(pselect, write_one, fd_set s; FD_ZERO(&s); FD_SET(ends[0], &s); return (void *)(long)pselect(ends[0] + 1, &s, NULL, NULL, &minute, NULL))
SLEEPS(epoll_wait, write_one, struct epoll_event e = {.events = EPOLLIN}; int fd = epoll_create1(0); epoll_ctl(fd, EPOLL_CTL_ADD, ends[0], &e);
       return (void *)(long)epoll_wait(fd, &e, 1, -1))
SLEEPS(epoll_pwait, write_one, struct epoll_event e = {.events = EPOLLIN}; int fd = epoll_create1(0); epoll_ctl(fd, EPOLL_CTL_ADD, ends[0], &e);
       return (void *)(long)epoll_pwait(fd, &e, 1, 60000, NULL))
SLEEPS(nanosleep, kick, return (void *)(long)nanosleep(&minute, NULL))
SLEEPS(clock_nanosleep, kick, return (void *)(long)clock_nanosleep(CLOCK_REALTIME, 0, &minute, NULL))
SLEEPS(sleep, kick, return (void *)(long)sleep(60))
SLEEPS(usleep, kick, return (void *)(long)usleep(60000000))
SLEEPS(thrd_sleep, kick, return (void *)(long)thrd_sleep(&minute, NULL))
SLEEPS(pause, kick, return (void *)(long)pause())
SLEEPS(sigsuspend, kick, sigset_t s; sigemptyset(&s); return (void *)(long)sigsuspend(&s))
SLEEPS(sigwaitinfo, kick, sigset_t s; sigemptyset(&s); sigaddset(&s, SIGUSR1); pthread_sigmask(SIG_BLOCK, &s, NULL); return (void *)(long)sigwaitinfo(&s, NULL))
SLEEPS(sigwait_of_everything, kick, sigset_t s; int got; sigfillset(&s); pthread_sigmask(SIG_BLOCK, &s, NULL); return (void *)(long)sigwait(&s, &got))
SLEEPS(sem_wait, post, return (void *)(long)sem_wait(&sem))
SLEEPS(sem_timedwait, post, struct timespec t = in_a_minute(CLOCK_REALTIME); return (void *)(long)sem_timedwait(&sem, &t))
SLEEPS(pthread_cond_wait, signal_cond, pthread_mutex_lock(&mutex); pthread_cond_wait(&cond, &mutex); pthread_mutex_unlock(&mutex); return NULL)
SLEEPS(pthread_cond_timedwait, signal_cond, struct timespec t = in_a_minute(CLOCK_REALTIME); pthread_mutex_lock(&mutex); pthread_cond_timedwait(&cond, &mutex, &t);
       pthread_mutex_unlock(&mutex); return NULL)
static pid_t waited_for;
static void end_child(void) { kill(waited_for, SIGKILL); }
SLEEPS(waitpid, end_child, waited_for = fork(); if (waited_for == 0) for (;;) pause(); int s; return (void *)(long)waitpid(waited_for, &s, 0))
static int pair[2];
static void send_one(void) { expect_eq(send(pair[1], "1", 1, 0), 1); }
SLEEPS(recv, send_one, char c; socketpair(AF_UNIX, SOCK_STREAM, 0, pair); return (void *)recv(pair[0], &c, 1, 0))
SLEEPS(recvmsg, send_one, char c; struct iovec v = {&c, 1}; struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1}; socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
       return (void *)recvmsg(pair[0], &m, 0))
static int queue;
static void send_message(void) { long m = 1; msgsnd(queue, &m, 0, 0); }
SLEEPS(msgrcv, send_message, long m[2]; queue = msgget(IPC_PRIVATE, 0600); void *r = (void *)msgrcv(queue, m, 8, 0, 0); msgctl(queue, IPC_RMID, NULL); return r)
static void raise_semaphore(void) { struct sembuf b = {0, 1, 0}; semop(queue, &b, 1); }
SLEEPS(semop, raise_semaphore, struct sembuf b = {0, -1, 0}; queue = semget(IPC_PRIVATE, 1, 0600); void *r = (void *)(long)semop(queue, &b, 1);
       semctl(queue, 0, IPC_RMID); return r)
static int locked_fd;
static void unlock_file(void) { flock(locked_fd, LOCK_UN); }
SLEEPS(flock, unlock_file, char name[] = "/tmp/gomalloc-blocked-XXXXXX"; locked_fd = mkstemp(name); flock(locked_fd, LOCK_EX); int other = open(name, O_RDONLY | O_CLOEXEC);
       unlink(name); return (void *)(long)flock(other, LOCK_EX))
/* Deaf to every signal, by a system call of its own: it is held all the same, as nobody needs to wake it. */
SLEEPS(read_with_all_signals_blocked, write_one, char c; uint64_t all = ~UINT64_C(0); syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, 8);
       return (void *)read(ends[0], &c, 1))

/* ---- the signal may still come between entering and sleeping: nobody sees it */

static atomic_ulong rounds;
static void *collect(void *arg) {
    while (!leave) gogc_collect(), rounds++;
    return NULL;
}

#define BUSY_COLLECTORS(seconds, ...) \
    do { \
        pthread_t collector_ = start(collect, NULL); \
        unsigned long turns_ = 0; \
        for (int64_t end_ = check_now_ns() + (int64_t)((seconds) * 1e9); check_now_ns() < end_; turns_++) { __VA_ARGS__; } \
        leave = 1; \
        pthread_join(collector_, NULL); \
        diag("%lu calls, %lu collections", turns_, (unsigned long)rounds); \
    } while (0)

#define SHORT(name, ...) TEST_LIMIT(short_##name##s_are_whole, 30) { BUSY_COLLECTORS(0.4, __VA_ARGS__); }

static int64_t t0;
static void begins(void) { t0 = check_now_ns(); }
static void lasted(int64_t ns) { expect(check_now_ns() - t0 >= ns); }
SHORT(poll, begins(); if (!expect_eq(poll(NULL, 0, 2), 0)) break; lasted(2000000))
SHORT(ppoll, begins(); struct timespec t = {0, 300000}; if (!expect_eq(ppoll(NULL, 0, &t, NULL), 0)) break; lasted(300000))
SHORT(select, begins(); struct timeval t = {0, 300}; if (!expect_eq(select(0, NULL, NULL, NULL, &t), 0)) break; lasted(300000))
SHORT(pselect, begins(); struct timespec t = {0, 300000}; if (!expect_eq(pselect(0, NULL, NULL, NULL, &t, NULL), 0)) break; lasted(300000))
SHORT(nanosleep, begins(); struct timespec t = {0, 300000}; if (!expect_eq(nanosleep(&t, NULL), 0)) break; lasted(300000))
SHORT(clock_nanosleep, begins(); struct timespec t = {0, 300000}; if (!expect_eq(clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL), 0)) break; lasted(300000))
SHORT(usleep, begins(); if (!expect_eq(usleep(300), 0)) break; lasted(300000))
SHORT(epoll_wait, static int fd; if (!fd) fd = epoll_create1(0); struct epoll_event e; begins(); if (!expect_eq(epoll_wait(fd, &e, 1, 2), 0)) break; lasted(2000000))
SHORT(sigtimedwait, sigset_t s; sigemptyset(&s); sigaddset(&s, SIGUSR2); struct timespec t = {0, 300000}; errno = 0; if (!expect_eq(sigtimedwait(&s, NULL, &t), -1)) break;
      if (!expect_eq(errno, EAGAIN)) break)
SHORT(sem_timedwait, struct timespec t; clock_gettime(CLOCK_REALTIME, &t); t.tv_nsec += 300000; t.tv_sec += t.tv_nsec / 1000000000; t.tv_nsec %= 1000000000; errno = 0;
      if (!expect_eq(sem_timedwait(&sem, &t), -1)) break; if (!expect_eq(errno, ETIMEDOUT)) break)

TEST_LIMIT(a_sleep_of_a_second_is_one, 30) {
    pthread_t t = start(collect, NULL);
    bool once = false;
    for (int i = 0; i < 10 && !once; i++) { /* a busy machine may wake it late, but not each time */
        begins();
        expect_eq(sleep(1), 0);
        lasted(1000000000);
        once = check_now_ns() - t0 < 1900000000;
    }
    expect(once);
    leave = 1;
    pthread_join(t, NULL);
}

TEST_LIMIT(errno_is_kept, 30) {
    BUSY_COLLECTORS(0.2, errno = 4711; struct timespec t = {0, 50000}; nanosleep(&t, NULL); if (!expect_eq(errno, 4711)) break;
                    if (!expect_eq(read(-1, NULL, 0), -1) || !expect_eq(errno, EBADF)) break);
}

/* ---- what is the program's own */

static atomic_ulong handled;
static struct hide_object *kept;
static void allocate(int signal) {
    struct hide_object *o = malloc(sizeof *o);
    o->words[3] = 0x1234;
    o->next = kept;
    kept = o;
    struct timespec t = {0, 20000};
    nanosleep(&t, NULL); /* published once more, above the first */
    handled++;
}
static void *sleep_and_be_disturbed(void *arg) {
    struct timespec minute_left = {60, 0};
    tid = (int)syscall(SYS_gettid);
    there = 1;
    while (!leave) nanosleep(&minute_left, NULL);
    return NULL;
}
/* The kernel sends the signals, also while everybody else is held. Every object is there in the end. */
static void disturb(void) {
    timer_t timer;
    struct sigevent e = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1};
    struct itimerspec often = {{0, 170000}, {0, 170000}}, never = {{0, 0}, {0, 0}};
    pthread_t t = start_there(sleep_and_be_disturbed), collector = start(collect, NULL);
    e._sigev_un._tid = (int)tid;
    if (!expect_eq(timer_create(CLOCK_MONOTONIC, &e, &timer), 0)) return;
    timer_settime(timer, 0, &often, NULL);
    for (int64_t end = check_now_ns() + 700000000; check_now_ns() < end;) hide_fill(0);
    timer_settime(timer, 0, &never, NULL);
    nap(50000000);
    leave = 1;
    pthread_kill(t, SIGUSR1);
    pthread_join(t, NULL);
    pthread_join(collector, NULL);
    unsigned long found = 0;
    for (struct hide_object *o = kept; o; o = o->next) found += o->words[3] == 0x1234;
    expect_eq(found, handled);
    diag("%lu handlers, %lu collections", found, (unsigned long)rounds);
}

TEST_LIMIT(handlers_on_sleeping_threads, 60) {
    struct sigaction a = {.sa_handler = allocate};
    sigaction(SIGUSR1, &a, NULL);
    disturb();
}

#if defined(__x86_64__)
/* Handlers that the library does not know: then nobody is taken for asleep. */
void restorer(void);
__asm__(".pushsection .text\n.globl restorer\nrestorer: mov $15, %eax\nsyscall\n.popsection");
TEST_LIMIT(handlers_past_the_library, 60) {
    struct { void (*handler)(int); unsigned long flags; void (*restorer)(void); uint64_t mask; } a = { allocate, 0x04000000, restorer, 0 };
    expect_eq(syscall(SYS_rt_sigaction, SIGUSR1, &a, NULL, 8), 0);
    disturb();
}
#endif

/* The collecting thread has the signal blocked, so it is this one's; it comes again, as the first may come before the call. */
TEST_LIMIT(an_interrupted_call_is_the_programs, 30) {
    struct sigaction a = {.sa_handler = nothing};
    sigaction(SIGALRM, &a, NULL);
    sigset_t s;
    sigemptyset(&s);
    sigaddset(&s, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &s, NULL);
    pthread_t t = start(collect, NULL);
    pthread_sigmask(SIG_UNBLOCK, &s, NULL);
    struct itimerval soon = {{0, 100000}, {0, 100000}}, never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &soon, NULL);
    for (int i = 0; i < 10; i++) {
        int r = poll(NULL, 0, 600000), error = errno;
        expect_eq(r, -1);
        expect_eq(error, EINTR);
    }
    setitimer(ITIMER_REAL, &never, NULL);
    leave = 1;
    pthread_join(t, NULL);
}

/* Runs for a while, with a chain that hangs from deep in the stack: whoever takes this thread for asleep loses it. */
static HIDE_NOINLINE void live_deep(void) {
    char deep[8192];
    struct hide_object *chain = NULL;
    __asm__ volatile("" : : "r"(deep) : "memory");
    for (unsigned long until = rounds + 3; rounds < until && !leave;) {
        struct hide_object *o = malloc(sizeof *o);
        o->words[5] = 0x5005;
        o->next = chain;
        chain = o;
        hide_fill(0);
    }
    for (; chain; chain = chain->next)
        if (!expect_eq(chain->words[5], 0x5005)) _exit(1);
}

/* One that comes late, when the call has been left already, finds the thread in the allocator: no place to jump from. */
static sigjmp_buf out;
static void jump_out(int signal) {
    if (atomic_exchange(&there, 0)) siglongjmp(out, 1);
}
static void *jump_out_of_read(void *arg) {
    char c;
    volatile struct hide_object *volatile mine = hide_make();
    tid = (int)syscall(SYS_gettid);
    for (volatile int i = 0; i < 60; i++) {
        if (sigsetjmp(out, 1) == 0) {
            there = 1;
            read(ends[0], &c, 1);
        }
        live_deep();
        if (!expect(hide_is_whole(~(uintptr_t)mine))) break;
    }
    leave = 1;
    return NULL;
}
TEST_LIMIT(jumping_out_of_a_call, 60) {
    struct sigaction a = {.sa_handler = jump_out};
    sigaction(SIGUSR1, &a, NULL);
    expect_eq(pipe(ends), 0);
    pthread_t t = start(jump_out_of_read, NULL), collector = start(collect, NULL);
    while (!leave) {
        while (!there && !leave) sched_yield();
        nap(200000);
        if (there) pthread_kill(t, SIGUSR1);
        nap(300000);
    }
    pthread_join(t, NULL);
    pthread_join(collector, NULL);
}

static atomic_ulong cleaned;
static void clean_up(void *arg) {
    char c;
    live_deep();
    (void)!read(-1, &c, 1);
    struct hide_object *o = arg;
    expect(hide_is_whole(~(uintptr_t)o));
    cleaned++;
}
static void unlock(void *arg) { pthread_mutex_unlock(&mutex); }
static void *wait_for_the_end(void *arg) {
    char c;
    pthread_cleanup_push(clean_up, hide_make());
    there = 1;
    if (arg) {
        pthread_mutex_lock(&mutex);
        pthread_cleanup_push(unlock, NULL);
        for (;;) pthread_cond_wait(&cond, &mutex);
        pthread_cleanup_pop(1);
    }
    for (;;) (void)!read(ends[0], &c, 1);
    pthread_cleanup_pop(1);
    return NULL;
}
TEST_LIMIT(cancelled_in_a_call, 60) {
    expect_eq(pipe(ends), 0);
    pthread_t collector = start(collect, NULL);
    for (long i = 0; i < 40; i++) {
        void *result;
        there = 0;
        pthread_t t = start(wait_for_the_end, (void *)(i & 1));
        if (i % 3) while (!there) sched_yield();
        if (i % 5) nap(300000);
        pthread_cancel(t);
        pthread_join(t, &result);
        expect(result == PTHREAD_CANCELED);
    }
    expect(cleaned >= 20);
    leave = 1;
    pthread_join(collector, NULL);
}

TEST_MAIN()
