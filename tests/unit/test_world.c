/* Holding the threads of the process: everybody stands, wherever it was, and goes on as if nothing had been. */
#include "gc/world.h"
#include "libgomalloc/os/os.h"
#include "libgomalloc/os/stop_signal.h"
#include "tests/check.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#if defined(__SANITIZE_ADDRESS__)
#define ONLY_BARE() skip("a sanitizer's runtime needs threads of its own make")
#else
#define ONLY_BARE() ((void)0)
#endif

#if defined(__SANITIZE_THREAD__)
TEST(holding) { skip("ThreadSanitizer has a thread of its own that hears no signals"); }
#else

static char why[200];

static bool hold(void) {
    bool ok = gc_world_hold(why, sizeof why) == GC_HELD;
    if (!ok) diag("not held: %s", why);
    return ok;
}

static void nap(long ns) {
    struct timespec t = {0, ns}, left;
    while (nanosleep(&t, &left) != 0 && errno == EINTR) t = left;
}

static const struct gc_thread *find(int tid) {
    for (unsigned i = 0; i < gc_world_count(); i++)
        if (gc_world_thread(i)->tid == tid) return gc_world_thread(i);
    return NULL;
}

static bool mentions(const void *regs, size_t bytes, uint64_t word) {
    for (size_t i = 0; i + 8 <= bytes; i++)
        if (memcmp((const char *)regs + i, &word, 8) == 0) return true;
    return false;
}

static pthread_t start(void *(*run)(void *), void *arg) {
    pthread_attr_t small;
    pthread_t t;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 128 << 10);
    if (!expect_eq(pthread_create(&t, &small, run, arg), 0)) _exit(1);
    return t;
}

/* ---- threads that run */

static atomic_bool stop;
static atomic_ulong counters[4];
static atomic_int tids[4];

static void *count(void *arg) {
    size_t i = (size_t)arg;
    tids[i] = (int)syscall(SYS_gettid);
    errno = 4711;
    while (!stop) counters[i]++;
    expect_eq(errno, 4711);
    return NULL;
}

TEST_LIMIT(running_threads_stand_still_until_the_release, 60) {
    pthread_t t[4];
    uint64_t longest = 0, sum = 0;
    for (size_t i = 0; i < 4; i++) t[i] = start(count, (void *)i);
    for (int i = 0; i < 4; i++)
        while (counters[i] == 0) sched_yield();
    for (int round = 0; round < 200; round++) {
        errno = 17;
        if (!expect(hold())) break;
        expect_eq(errno, 17);
        unsigned long before[4];
        for (int i = 0; i < 4; i++) before[i] = counters[i], expect(find(tids[i]) != NULL);
        expect_eq(find((int)syscall(SYS_gettid)), NULL);
        nap(round < 20 ? 1000000 : 0);
        for (int i = 0; i < 4; i++) expect_eq(counters[i], before[i]);
        sum += gc_world_last_hold_ns();
        longest = gc_world_last_hold_ns() > longest ? gc_world_last_hold_ns() : longest;
        gc_world_release();
    }
    diag("hold of 4 running threads: mean %llu us, longest %llu us", (unsigned long long)sum / 200000, (unsigned long long)longest / 1000);
    unsigned long before = counters[3];
    while (counters[3] == before) nap(1000000); /* they go on */
    stop = true;
    for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
}

/* ---- threads that sleep */

static int closing[2];

static void *sleep_in_read(void *arg) {
    char c;
    long n = read(closing[0], &c, 1); /* SA_RESTART: the hold is not seen */
    expect_eq(n, 0);
    return NULL;
}

static void hold_sleepers(int threads, int rounds) {
    pthread_t *t = calloc((size_t)threads, sizeof *t);
    uint64_t best = UINT64_MAX;
    expect_eq(pipe(closing), 0);
    for (int i = 0; i < threads; i++) t[i] = start(sleep_in_read, NULL);
    nap(100000000);
    for (int i = 0; i < rounds; i++) {
        if (!expect(hold())) break;
        expect_eq(gc_world_count(), threads);
        best = gc_world_last_hold_ns() < best ? gc_world_last_hold_ns() : best;
        gc_world_release();
        nap(1000000);
    }
    diag("hold of %d sleeping threads: best %llu us", threads, (unsigned long long)best / 1000);
    close(closing[1]);
    for (int i = 0; i < threads; i++) pthread_join(t[i], NULL);
    free(t);
}

TEST_LIMIT(sleeping_threads_see_nothing, 60) { hold_sleepers(100, 20); }
TEST_LIMIT(a_thousand_sleeping_threads, 120) { hold_sleepers(1000, check_stress() ? 50 : 3); }

/* ---- birth and death */

static atomic_ulong lives;

static void *live_briefly(void *arg) {
    lives++;
    return NULL;
}

static void *give_birth(void *arg) {
    while (!stop) {
        pthread_t t;
        if (pthread_create(&t, NULL, live_briefly, NULL) == 0) pthread_join(t, NULL);
        lives++;
    }
    return NULL;
}

TEST_LIMIT(threads_are_born_and_die_around_holds, 90) {
    pthread_t t[3];
    for (int i = 0; i < 3; i++) t[i] = start(give_birth, NULL);
    while (lives == 0) sched_yield();
    int rounds = check_stress() ? 20000 : 300;
    for (int i = 0; i < rounds; i++) {
        if (!expect(hold())) break;
        unsigned long before = lives;
        for (int k = 0; k < 20; k++) sched_yield();
        expect_eq(lives, before);
        gc_world_release();
        if (i % 16 == 0) nap(200000);
    }
    diag("%lu lives", (unsigned long)lives);
    stop = true;
    for (int i = 0; i < 3; i++) pthread_join(t[i], NULL);
}

static void *hold_as_survivor(void *arg) {
    while (gm_os_thread_state(getpid()) != 'Z') nap(1000000);
    expect(hold());
    expect_eq(gc_world_count(), 0);
    gc_world_release();
    _exit(check_expect(true, __FILE__, __LINE__, "") ? 0 : 1);
}

TEST_LIMIT(a_leader_that_has_exited_is_no_thread_any_more, 30) {
    pid_t child = fork();
    if (child == 0) {
        gc_world_fork_child();
        start(hold_as_survivor, NULL);
        pthread_exit(NULL);
    }
    int status = check_wait(child, 20);
    expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* ---- threads that pthread_create has not made */

#if defined(__x86_64__)
static atomic_ulong raw_count;
static atomic_int raw_stop;

/* On its own stack, without the C library: its thread register points to rubbish. */
static __attribute__((no_sanitize("undefined"))) int raw_thread(void *arg) {
    while (!raw_stop) raw_count++;
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(SYS_exit), "D"(0) : "rcx", "r11", "memory");
    return 0;
}

TEST_LIMIT(a_raw_thread_without_tls_stands_too, 30) {
    ONLY_BARE();
    static char stack[65536] __attribute__((aligned(64))), rubbish[4096];
    int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS;
    int tid = clone(raw_thread, stack + sizeof stack, flags, NULL, NULL, rubbish + 2048);
    if (!expect(tid > 0)) return;
    while (raw_count == 0) sched_yield();
    int64_t end = check_now_ns() + INT64_C(3000000000); /* fewer rounds where each waits for its turn */
    for (int i = 0; i < 100 && (i < 5 || check_now_ns() < end); i++) {
        if (!expect(hold())) break;
        const struct gc_thread *t = find(tid);
        unsigned long before = raw_count;
        if (expect(t != NULL)) {
            expect_eq(t->fs_base, rubbish + 2048);
            expect(t->sp > (uintptr_t)stack && t->sp < (uintptr_t)stack + sizeof stack);
        }
        for (int k = 0; k < 20; k++) sched_yield();
        expect_eq(raw_count, before);
        gc_world_release();
    }
    raw_stop = 1;
    while (check_threads() > 1) nap(1000000);
}

/* ---- registers */

static atomic_int registers_ready;

static __attribute__((noinline, no_sanitize("address", "thread", "undefined"))) void *keep_in_registers(void *arg) {
    uint64_t general = 0x1234567800000000u + 0xabcd, vector = 0x2345678900000000u + 0xbcde;
    __asm__ volatile("movq %1, %%xmm9\n\tmovq %0, %%r13\n\t" : : "r"(general), "r"(vector) : "r13", "xmm9");
    registers_ready = 1;
    __asm__ volatile("movq %0, %%r13\n\tmovq %1, %%xmm9\n1: pause\n\tcmpl $0, (%2)\n\tje 1b"
                     : : "r"(general), "r"(vector), "r"(arg) : "r13", "xmm9", "memory");
    return NULL;
}

TEST(registers_of_both_kinds_are_shown) {
    static int done;
    pthread_t t = start(keep_in_registers, &done);
    while (!registers_ready) sched_yield();
    nap(10000000);
    if (expect(hold())) {
        const struct gc_thread *th = gc_world_thread(0);
        expect_eq(gc_world_count(), 1);
        expect(mentions(th->regs, th->regs_bytes, 0x123456780000abcdu));
        expect(mentions(th->regs, th->regs_bytes, 0x234567890000bcdeu));
        expect(th->sp < (uintptr_t)th->fs_base);
        gc_world_release();
    }
    __atomic_store_n(&done, 1, __ATOMIC_SEQ_CST);
    pthread_join(t, NULL);
}
#endif

/* ---- alternative stacks */

static char other_stack[65536];
static atomic_int on_other_stack, leave_other_stack, have_other_stack;

static void stay(int signal) {
    on_other_stack = 1;
    while (!leave_other_stack) counters[0]++;
}

static void *with_other_stack(void *arg) {
    stack_t s = {.ss_sp = other_stack, .ss_size = sizeof other_stack}, before;
    expect_eq(sigaltstack(&s, &before), 0);
    have_other_stack = 1;
    while (!stop) counters[1]++;
    sigaltstack(&before, NULL); /* a sanitizer's */
    return NULL;
}

TEST(an_alternative_stack_is_shown_and_stood_upon) {
    struct sigaction action = {.sa_handler = stay, .sa_flags = SA_ONSTACK};
    sigfillset(&action.sa_mask);
    sigdelset(&action.sa_mask, SIGRTMAX);
    gc_world_start();
    sigdelset(&action.sa_mask, gm_stop_signal);
    sigaction(SIGUSR1, &action, NULL);
    pthread_t t = start(with_other_stack, NULL);
    while (!have_other_stack) sched_yield();
    if (expect(hold())) {
        const struct gc_thread *th = gc_world_thread(0);
        expect_eq(th->alt_low, other_stack);
        expect_eq(th->alt_high, other_stack + sizeof other_stack);
        expect_eq(th->alt_sp, th->alt_high);
        gc_world_release();
    }
    pthread_kill(t, SIGUSR1);
    while (!on_other_stack) sched_yield();
    if (expect(hold())) {
        const struct gc_thread *th = gc_world_thread(0);
        expect(th->sp - (uintptr_t)other_stack < sizeof other_stack);
        expect_eq(th->alt_low, 0);
        gc_world_release();
    }
    leave_other_stack = 1;
    stop = true;
    pthread_join(t, NULL);
}

/* ---- who does not stop */

static atomic_int deaf_tid, hear_again, hears;

static void *be_deaf(void *arg) {
    uint64_t all = ~UINT64_C(0), none = 0;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, 8);
    deaf_tid = (int)syscall(SYS_gettid);
    while (!hear_again) nap(10000000);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, 8);
    hears = 1;
    while (!stop) nap(1000000);
    return NULL;
}

TEST_LIMIT(a_deaf_thread_is_named_and_everybody_goes_on, 60) {
    pthread_t deaf = start(be_deaf, NULL), running = start(count, (void *)0);
    while (!deaf_tid || !counters[0]) sched_yield();
    expect_eq(gc_world_hold(why, sizeof why), GC_HOLD_FAILED);
    diag("%s", why);
    char name[40];
    snprintf(name, sizeof name, "thread %d (", (int)deaf_tid);
    expect(strstr(why, name) != NULL);
    expect(strstr(why, "does not stop") != NULL);
    unsigned long before = counters[0];
    while (counters[0] == before) nap(1000000);
    hear_again = 1; /* the late signal arrives now, and is nobody's */
    while (!hears) nap(1000000);
    for (int i = 0; i < 20; i++) {
        if (!expect(hold())) break;
        expect_eq(gc_world_count(), 2);
        gc_world_release();
    }
    stop = true;
    pthread_join(deaf, NULL);
    pthread_join(running, NULL);
}

/* ---- processes that share the memory */

static int share(void *arg) {
    while (!raw_stop) syscall(SYS_sched_yield);
    return 0;
}

TEST_LIMIT(a_process_that_shares_the_memory_forbids_a_hold, 30) {
    ONLY_BARE();
    static char stack[65536] __attribute__((aligned(64)));
    if (access("/proc/self/task/1", F_OK) != 0 && access("/proc/thread-self/children", F_OK) != 0)
        skip("no /proc/PID/task/TID/children");
    pid_t child = clone(share, stack + sizeof stack, CLONE_VM | SIGCHLD, NULL);
    if (!expect(child > 0)) return;
    expect_eq(gc_world_hold(why, sizeof why), GC_HOLD_FAILED);
    expect(strstr(why, check_format("process %d shares this memory", (int)child)) != NULL);
    raw_stop = 1;
    int status;
    expect_eq(waitpid(child, &status, 0), child);
    if (expect(hold())) gc_world_release();
}

extern char **environ;

static void *spawn(void *arg) {
    char *args[] = {"true", NULL};
    while (!stop) {
        pid_t child;
        if (posix_spawnp(&child, "true", NULL, NULL, args, environ) == 0) {
            int status;
            expect_eq(waitpid(child, &status, 0), child);
            expect_eq(status, 0);
        }
        counters[2]++;
    }
    return NULL;
}

/* Not for ever: a child that gets no time is told of. */
TEST_LIMIT(the_parent_of_a_vfork_is_waited_for, 60) {
    enum { ENOUGH = 20 };
    pthread_t t = start(spawn, NULL);
    unsigned long held = 0, given_up = 0;
    for (int64_t end = check_now_ns() + 1000000000; check_now_ns() < end || counters[2] < ENOUGH || held < ENOUGH;) {
        if (gc_world_hold(why, sizeof why) == GC_HELD) {
            held++;
            gc_world_release();
        } else {
            given_up++;
            if (!expect(strstr(why, "does not stop") || strstr(why, "shares this memory"))) diag("not held: %s", why);
        }
        nap(500000);
    }
    diag("%lu holds, %lu given up, %lu children", held, given_up, (unsigned long)counters[2]);
    stop = true;
    pthread_join(t, NULL);
}

/* ---- the library's own threads, fork */

static void *be_the_library(void *arg) {
    expect(gm_os_enter_library_thread());
    expect(gm_os_enter_library_thread()); /* once is enough */
    while (!stop) counters[1]++;
    return NULL;
}

TEST(library_threads_are_left_alone) {
    pthread_t t = start(be_the_library, NULL);
    while (counters[1] == 0) sched_yield();
    if (expect(hold())) {
        expect_eq(gc_world_count(), 0);
        unsigned long before = counters[1];
        while (counters[1] == before) nap(1000000);
        gc_world_release();
    }
    stop = true;
    pthread_join(t, NULL);
}

static void note_and_end(void) {
    expect(gm_os_is_library_thread(gm_os_gettid()));
    tids[0] = gm_os_gettid();
}
TEST_LIMIT(the_number_of_one_that_has_ended_is_anybodys, 30) {
    expect(gm_os_thread_start(note_and_end, "short"));
    while (tids[0] == 0 || gm_os_thread_exists(tids[0])) nap(1000000);
    expect(!gm_os_is_library_thread(tids[0]));
    expect_eq(gm_os_helpers(), 0);
}

TEST_LIMIT(a_child_holds_its_own_threads, 30) {
    pthread_t t = start(count, (void *)0);
    while (counters[0] == 0) sched_yield();
    expect(hold());
    pid_t child = fork(); /* while the others are held: the child has none */
    if (child == 0) {
        gc_world_fork_child();
        start(count, (void *)1);
        while (counters[1] == 0) sched_yield();
        bool ok = hold() && gc_world_count() == 1 && find(tids[1]) != NULL;
        gc_world_release();
        _exit(ok ? 0 : 1);
    }
    gc_world_release();
    int status = check_wait(child, 20);
    expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    stop = true;
    pthread_join(t, NULL);
}

#endif

TEST_MAIN()
