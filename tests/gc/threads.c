/* Threads and processes that come and go while collections run: every object that somebody holds is there in the end. */
#include "tests/gc/hide.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>

static atomic_int leave;
static atomic_ulong rounds, lives;

static void *collect(void *arg) {
    while (!leave) gogc_collect(), rounds++;
    return NULL;
}
/* On small stacks: the C library keeps them, and in the child of a fork does not tell whose thread-local blocks were just
 * being freed, which it would free with the stacks if there were many. */
static pthread_t start(void *(*run)(void *), void *arg) {
    pthread_attr_t small;
    pthread_t t;
    if (!gogc_collect) skip("the library is not preloaded");
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 256 << 10);
    if (!expect_eq(pthread_create(&t, &small, run, arg), 0)) _exit(1);
    return t;
}
static double seconds(void) {
    const char *s = getenv("GM_STRESS_SECONDS");
    return s ? atof(s) : 0.6;
}

/* A chain whose words tell which one it is; built slowly enough to be met by collections. */
static HIDE_NOINLINE struct hide_object *grow(uint64_t name, int length) {
    struct hide_object *chain = NULL;
    for (int i = 0; i < length; i++) {
        struct hide_object *o = malloc(sizeof *o);
        for (size_t k = 0; k < sizeof o->words / 8; k++) o->words[k] = name + k;
        o->next = chain;
        chain = o;
        free(malloc(HIDE_BYTES));
    }
    return chain;
}
static HIDE_NOINLINE bool is_whole(struct hide_object *chain, uint64_t name, int length) {
    for (; chain; chain = chain->next, length--)
        for (size_t k = 0; k < sizeof chain->words / 8; k++)
            if (chain->words[k] != name + k) return expect_eq(chain->words[k], name + k);
    return expect_eq(length, 0);
}

/* ---- threads: born, sleeping once, dead. Some hand what they made to whoever joins them, some to their last breath. */

static pthread_key_t key;
static void last_breath(void *p) {
    expect(is_whole(p, 5000, 20));
    struct timespec t = {0, 10000};
    nanosleep(&t, NULL);
    struct hide_object *more = grow(6000, 10);
    nanosleep(&t, NULL);
    expect(is_whole(more, 6000, 10));
    expect(is_whole(p, 5000, 20));
}
static void *live_once(void *arg) {
    struct hide_object *mine = grow((uintptr_t)arg, 30);
    struct timespec t = {0, 1 + (long)((uintptr_t)arg % 97) * 1000};
    pthread_setspecific(key, grow(5000, 20));
    nanosleep(&t, NULL);
    expect(is_whole(mine, (uintptr_t)arg, 30));
    lives++;
    return mine;
}
static void *give_birth(void *arg) {
    for (uintptr_t i = 0; !leave; i++) {
        pthread_t t[4];
        void *result;
        for (uintptr_t k = 0; k < 4; k++) t[k] = start(live_once, (void *)((uintptr_t)arg + i * 64 + k));
        for (uintptr_t k = 0; k < 4; k++) {
            pthread_join(t[k], &result);
            if (!is_whole(result, (uintptr_t)arg + i * 64 + k, 30)) leave = 1;
        }
    }
    return NULL;
}

/* For so many seconds the threads `run`, beside collections; and until a few of each have come to pass. */
static void beside_collections(double duration, int n, void *(*run[])(void *)) {
    pthread_t t[8], collector = start(collect, NULL);
    for (int i = 0; i < n; i++) t[i] = start(run[i], (void *)(uintptr_t)(100000 * (i + 1)));
    for (int64_t end = check_now_ns() + (int64_t)(duration * 1e9); (check_now_ns() < end || rounds <= 5 || lives <= 3) && !leave;) usleep(20000);
    leave = 1;
    for (int i = 0; i < n; i++) pthread_join(t[i], NULL);
    pthread_join(collector, NULL);
    diag("%lu collections, %lu lives", (unsigned long)rounds, (unsigned long)lives);
    expect(rounds > 5);
}
#define BESIDE_COLLECTIONS(duration, ...) \
    do { \
        void *(*run_[])(void *) = {__VA_ARGS__}; \
        beside_collections(duration, sizeof run_ / sizeof *run_, run_); \
    } while (0)

TEST_LIMIT(threads_come_and_go, 120) {
    pthread_key_create(&key, last_breath);
    BESIDE_COLLECTIONS(seconds(), give_birth, give_birth);
    expect(lives > 3);
}

/* ---- threads that only the kernel knows: no thread register, no C library; their stack is all they have */

#if defined(__x86_64__)
enum { RAW_STACK = 32768 };
struct raw { /* at the upper end of its stack */
    struct hide_object *given;
    int futex; /* the kernel clears it and wakes us when the thread has gone */
};
/* Moves its only pointer about, in registers and on its stack, and looks at the object now and then. */
static __attribute__((noinline, optimize("no-stack-protector"))) int raw_thread(void *arg) {
    struct raw *r = arg;
    struct hide_object *volatile place[8] = {0};
    place[0] = r->given;
    __atomic_store_n(&r->given, NULL, __ATOMIC_SEQ_CST);
    uint64_t name = place[0]->words[0];
    bool whole = true;
    for (int i = 0; i < 3000; i++) {
        struct hide_object *o = place[i % 8];
        place[i % 8] = NULL;
        whole = whole && o->words[7] == name + 7 && o->next->words[3] == name + 3;
        place[(i + 1) % 8] = o;
    }
    r->given = whole ? place[3000 % 8] : (void *)1;
    __asm__ volatile("syscall" : : "a"(SYS_exit), "D"(0) : "rcx", "r11", "memory");
    return 0;
}
static void *give_raw_birth(void *arg) {
    char *stack = mmap(NULL, RAW_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct raw *r = (struct raw *)(stack + RAW_STACK - 64);
    int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_CHILD_CLEARTID | CLONE_PARENT_SETTID | CLONE_SETTLS;
    static char rubbish[4096];
    sigset_t ping; /* handlers are no business of threads without storage of their own */
    sigemptyset(&ping);
    sigaddset(&ping, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &ping, NULL);
    for (uintptr_t i = 0; !leave; i++) {
        uint64_t name = (uintptr_t)arg + i;
        r->given = grow(name, 3);
        r->futex = 1;
        int tid = clone(raw_thread, (char *)r - 256, flags, r, &r->futex, rubbish + 2048, &r->futex);
        if (!expect(tid > 0)) break;
        for (int there; (there = __atomic_load_n(&r->futex, __ATOMIC_SEQ_CST)) != 0;)
            syscall(SYS_futex, &r->futex, 0 /* FUTEX_WAIT */, there, NULL, NULL, 0);
        if (!expect(r->given != (void *)1) || !is_whole(r->given, name, 3)) leave = 1;
        lives++;
    }
    return NULL;
}
TEST_LIMIT(raw_threads_come_and_go, 120) {
    BESIDE_COLLECTIONS(seconds(), give_raw_birth, give_raw_birth);
    expect(lives > 3);
}
#else
static void *give_raw_birth(void *arg) { return NULL; }
#endif

/* ---- processes */

static sem_t sem;
static atomic_int blocking; /* threads that have nothing before them but sem_wait */
static void *block(void *arg) {
    struct hide_object *mine = grow(7000, 50);
    blocking++;
    while (!leave) sem_wait(&sem);
    expect(is_whole(mine, 7000, 50));
    return NULL;
}

/* A child has one thread, whatever the others were doing, and collects on its own. */
static int child_of_a_fork(struct hide_object *inherited) {
    sem_init(&sem, 0, 0);
    leave = 0;
    pthread_t t = start(block, NULL);
    struct hide_object *mine = grow(8000, 50);
    bool ok = true;
    for (int i = 0; i < 3; i++) {
        unsigned long before = rounds;
        gogc_collect();
        hide_fill(0);
        ok = ok && is_whole(mine, 8000, 50) && is_whole(inherited, 9000, 50) && rounds == before;
    }
    leave = 1;
    sem_post(&sem);
    pthread_join(t, NULL);
    return ok ? 0 : 1;
}
static void *fork_children(void *arg) {
    struct hide_object *mine = grow(9000, 50);
    while (!leave) {
        pid_t child = fork();
        if (child == 0) _exit(child_of_a_fork(mine));
        int status = check_wait(child, 30);
        if (!expect(WIFEXITED(status) && WEXITSTATUS(status) == 0)) {
            diag("status %x", (unsigned)status);
            leave = 1;
        }
        lives++;
    }
    expect(is_whole(mine, 9000, 50));
    for (int i = 0; i < 4; i++) sem_post(&sem);
    return NULL;
}
TEST_LIMIT(forks_beside_collections, 120) {
    sem_init(&sem, 0, 0);
    BESIDE_COLLECTIONS(seconds(), fork_children, block, block);
    expect(lives > 0);
}

/* From a handler that interrupted a call that blocks. */
static struct hide_object *kept;
static atomic_int answered;
static void fork_here(int signal) {
    pid_t child = fork();
    if (child == 0) {
        gogc_collect();
        hide_fill(0);
        _exit(is_whole(kept, 1000, 50) ? 0 : 1);
    }
    int status = check_wait(child, 30);
    answered = WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 1 : 2;
}
TEST_LIMIT(a_fork_from_a_handler_in_a_call, 60) {
    struct sigaction a = {.sa_handler = fork_here};
    sem_init(&sem, 0, 0);
    kept = grow(1000, 50);
    pthread_t t = start(block, NULL), collector = start(collect, NULL);
    sigaction(SIGUSR1, &a, NULL);
    while (!blocking) usleep(1000);
    for (int i = 0; i < 5; i++) {
        answered = 0;
        usleep(20000);
        pthread_kill(t, SIGUSR1);
        while (!answered) usleep(1000);
        expect_eq(answered, 1);
    }
    leave = 1;
    sem_post(&sem);
    pthread_join(t, NULL);
    pthread_join(collector, NULL);
}

/* From a handler that interrupted the allocator, which may hold any of its locks: nothing is collected, and nobody waits for ever. */
static void collect_here(int signal) {
    gogc_collect();
    answered++;
}
static void *allocate(void *arg) {
    while (!leave)
        for (size_t n = 2000; n < 200000; n *= 2) {
            void *p = malloc(n);
            __asm__ volatile("" : : "r"(p) : "memory");
            free(p);
        }
    return NULL;
}
TEST_LIMIT(a_handler_in_the_allocator_collects, 60) {
    struct sigaction a = {.sa_handler = collect_here};
    sigaction(SIGUSR1, &a, NULL);
    pthread_t t = start(allocate, NULL);
    for (int i = 0; i < 300; i++) {
        pthread_kill(t, SIGUSR1);
        while (answered <= i) usleep(100);
    }
    leave = 1;
    pthread_join(t, NULL);
}

/* The child of vfork blocks in wrapped calls on its parent's stack and storage, and may die in one. */
static int *dying; /* shared: the child that waits to be killed */
static HIDE_NOINLINE void vfork_once(bool die) {
    pid_t child = vfork();
    if (child == 0) {
        struct timespec t = {0, 200000}, longer = {0, 300000000};
        nanosleep(&t, NULL);
        if (die) {
            __atomic_store_n(dying, getpid(), __ATOMIC_SEQ_CST);
            nanosleep(&longer, NULL);
        }
        _exit(3);
    }
    int status = check_wait(child, 30);
    expect(WIFEXITED(status) ? WEXITSTATUS(status) == 3 : die && WIFSIGNALED(status));
}
static void *vfork_children(void *arg) {
    for (int i = 0; !leave && i < 40; i++) {
        vfork_once(i % 4 == 3);
        unsigned long until = rounds + 2;
        struct hide_object *mine = grow(2000, 20);
        for (int k = 0; k < 2000 && rounds < until && !leave; k++) hide_fill(0); /* it runs: must not be taken for asleep */
        if (!is_whole(mine, 2000, 20)) leave = 1;
        lives++;
    }
    return NULL;
}
static void *kill_the_dying(void *arg) {
    while (!leave) {
        int pid = __atomic_exchange_n(dying, 0, __ATOMIC_SEQ_CST);
        if (pid > 0) kill(pid, SIGKILL);
        usleep(500);
    }
    return NULL;
}
TEST_LIMIT(children_of_vfork_beside_collections, 120) {
    dying = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    BESIDE_COLLECTIONS(seconds(), vfork_children, kill_the_dying);
    expect(lives > 0);
}

extern char **environ;
static void *spawn(void *arg) {
    char *args[] = {"true", NULL};
    struct hide_object *mine = grow(3000, 20);
    while (!leave) {
        pid_t child;
        int status = -1;
        if (posix_spawnp(&child, "true", NULL, NULL, args, environ) == 0) waitpid(child, &status, 0);
        if (!expect_eq(status, 0) || !expect_eq(system("true"), 0)) break;
        FILE *f = popen("echo 17", "r");
        int number = 0;
        if (!expect(f != NULL) || !expect_eq(fscanf(f, "%d", &number), 1) || !expect_eq(number, 17)) break;
        pclose(f);
        if (!is_whole(mine, 3000, 20)) break;
        lives++;
    }
    return NULL;
}
TEST_LIMIT(programs_are_started_beside_collections, 120) {
    BESIDE_COLLECTIONS(seconds(), spawn);
    expect(lives > 0);
}

/* ---- and everything at once */

static void *load_libraries(void *arg) {
    const char *build = getenv("GM_BUILD_DIR"), *path = check_format("%s/tests/programs/plugins/roots.so", build ? build : "build");
    while (!leave) {
        void *handle = dlopen(path, RTLD_NOW);
        if (!expect(handle != NULL)) break;
        void *(*tls)(void) = (void *(*)(void))dlsym(handle, "roots_tls"), *(*data)(void) = (void *(*)(void))dlsym(handle, "roots_bss");
        *(void *volatile *)tls() = grow(11000, 10);
        *(void *volatile *)data() = grow(12000, 10);
        usleep(700);
        if (!is_whole(*(void *volatile *)tls(), 11000, 10) || !is_whole(*(void *volatile *)data(), 12000, 10)) leave = 1;
        dlclose(handle);
    }
    return NULL;
}
static void ping(int signal) { lives++; }
static void *send_signals(void *arg) {
    struct sigaction a = {.sa_handler = ping, .sa_flags = SA_RESTART};
    sigaction(SIGUSR2, &a, NULL);
    while (!leave) {
        kill(getpid(), SIGUSR2);
        usleep(300);
    }
    return NULL;
}
TEST_LIMIT(all_at_once, 240) {
    pthread_key_create(&key, last_breath);
    sem_init(&sem, 0, 0);
    BESIDE_COLLECTIONS(2 * seconds(), give_birth, give_raw_birth, fork_children, block, load_libraries, send_signals);
}

TEST_MAIN()
