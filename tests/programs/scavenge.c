/* Idle memory goes back to the kernel: at its time, at its pace, and in the right process. Sizes are scaled
 * down; STRESS=1 asks for the full 50 million objects. */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "libgomalloc/gomalloc.h"
#include "tests/check.h"

enum { OBJECT = 120 };
static size_t objects(void) { return check_stress() ? 50000000 : 1000000; }

__attribute__((weak)) void gomalloc_read_stats(struct gomalloc_stats *out, size_t size);
__attribute__((weak)) int64_t gomalloc_set_memory_limit(int64_t bytes);

static void nap(double seconds) {
    struct timespec t = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    while (nanosleep(&t, &t) != 0 && errno == EINTR) {}
}

/* Allocates and frees n objects; the resident set at the peak, KiB. */
static long burst(size_t n) {
    void **first = NULL;
    for (size_t i = 0; i < n; i++) {
        void **p = malloc(OBJECT);
        if (!p) break;
        p[0] = first;
        first = p;
    }
    long peak = check_rss_kib();
    while (first) {
        void **next = first[0];
        free(first);
        first = next;
    }
    return peak;
}

/* Until no more is resident than so much, KiB, or a minute has passed: it goes at a pace, by the clock, and a busy machine is slow. */
static void expect_falls_to(long bound, void (*meanwhile)(void)) {
    for (int i = 0; i < 300 && check_rss_kib() > bound; i++) {
        nap(0.2);
        if (meanwhile && i % 5 == 4) meanwhile();
    }
    expect_at_most(check_rss_kib(), bound);
}
static void few_allocations(void) {
    void *p[200];
    for (int i = 0; i < 200; i++) p[i] = malloc(OBJECT);
    for (int i = 0; i < 200; i++) free(p[i]);
}

TEST_LIMIT(one_thread_pays_at_its_next_allocations, 60) {
    long before = check_rss_kib(), peak = burst(objects());
    expect_falls_to(before + peak / 20, few_allocations);
    expect_eq(check_threads(), 1);
}

static void *burst_in_thread(void *n) {
    long *peak = malloc(sizeof *peak);
    *peak = burst((size_t)n);
    return peak;
}

static void bursts_in_threads(int n) {
    pthread_t t[8];
    long before = check_rss_kib(), peak = 0;
    for (int i = 0; i < n; i++) pthread_create(&t[i], NULL, burst_in_thread, (void *)(objects() / (size_t)n));
    for (int i = 0; i < n; i++) {
        void *r;
        pthread_join(t[i], &r);
        if (*(long *)r > peak) peak = *(long *)r;
        free(r);
    }
    expect_falls_to(before + peak / 20, NULL);
}

TEST_LIMIT(eight_threads_need_not_allocate, 60) { bursts_in_threads(8); }

TEST_LIMIT(a_child_of_a_threaded_process_does_it_itself, 60) {
    pthread_t t;
    pthread_create(&t, NULL, burst_in_thread, (void *)(size_t)1000);
    void *r;
    pthread_join(t, &r);
    free(r);
    int done[2];
    char c;
    if (!expect(pipe(done) == 0)) return;
    pid_t child = fork();
    if (child == 0) {
        if (fork() != 0) _exit(0); /* a daemon's second fork */
        long before = check_rss_kib(), peak = burst(objects());
        expect_falls_to(before + peak / 20, few_allocations);
        bursts_in_threads(1);
        _exit(0);
    }
    close(done[1]);
    waitpid(child, NULL, 0);
    while (read(done[0], &c, 1) > 0) {} /* until the grandchild is gone */
}

/* ---- threads that wait for work */

enum { POOL = 100 };
static pthread_barrier_t worked;
static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t pool_wakes = PTHREAD_COND_INITIALIZER;
static bool pool_ends;

/* A burst in many sizes, then a wait for more work. */
static void *worker(void *arg) {
    enum { BURST = 3000 };
    unsigned number = (unsigned)(uintptr_t)arg;
    struct check_rng rng = check_rng(number);
    char **p = malloc(BURST * sizeof *p);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < BURST; i++) p[i] = memset(malloc(1 + check_below(&rng, i % 8 ? 300 : 4000)), 1, 1);
        for (int i = 0; i < BURST; i++) free(p[i]);
    }
    free(p);
    pthread_barrier_wait(&worked);
    pthread_mutex_lock(&pool_lock);
    while (!pool_ends) pthread_cond_wait(&pool_wakes, &pool_lock);
    pthread_mutex_unlock(&pool_lock);
    for (int i = 0; i < 300; i++) free(memset(malloc(200), 1, 200)); /* still works */
    return NULL;
}

TEST_LIMIT(a_hundred_idle_threads_keep_at_most_4_kib_each, 60) {
    pthread_t t[POOL];
    struct gomalloc_stats s;
    if (!gomalloc_read_stats) skip("no library");
    pthread_barrier_init(&worked, NULL, POOL + 1);
    for (uintptr_t i = 0; i < POOL; i++) pthread_create(&t[i], NULL, worker, (void *)i);
    pthread_barrier_wait(&worked);
    gomalloc_read_stats(&s, sizeof s);
    uint64_t before = s.heap_inuse - s.heap_alloc;
    for (int k = 0; k < 300; k++) { /* two looks, a second each, and the pace of taking: on a busy machine it is slow */
        nap(0.2);
        gomalloc_read_stats(&s, sizeof s);
        if (s.heap_inuse - s.heap_alloc <= POOL * 4096) break;
    }
    diag("free in spans: %lu KiB after the burst, %lu KiB later, of %lu caches; scavenger %lu us", (unsigned long)(before >> 10),
         (unsigned long)((s.heap_inuse - s.heap_alloc) >> 10), (unsigned long)s.threads, (unsigned long)(s.scavenge_ns / 1000));
    expect_at_most(s.heap_inuse - s.heap_alloc, POOL * 4096);
    pthread_mutex_lock(&pool_lock);
    __atomic_store_n(&pool_ends, true, __ATOMIC_RELAXED);
    pthread_cond_broadcast(&pool_wakes);
    pthread_mutex_unlock(&pool_lock);
    for (int i = 0; i < POOL; i++) pthread_join(t[i], NULL);
}

static void *sleeper(void *unused) {
    nap(0.3);
    return NULL;
}

TEST_LIMIT(the_process_ends_with_its_last_thread, 20) {
    pid_t child = fork();
    if (child == 0) {
        pthread_t t;
        pthread_create(&t, NULL, sleeper, NULL);
        pthread_exit(NULL);
    }
    int status = check_wait(child, 5);
    expect(status >= 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* A steady state: two thirds of the data stay, a third goes and comes in other sizes, round after round, with rests. The same work with and without the
 * scavenger, in programs of their own. */
enum { STEADY_LIVE = 20000, STEADY_THREADS = 4 };
static int steady_rounds(void) { return check_stress() ? 600 : 60; }
static pthread_barrier_t steady_round;

/* What has been so far: faults, and ns the scavenger has worked. */
static void steady_look(long *faults, uint64_t *worked, int64_t *now) {
    struct rusage u;
    struct gomalloc_stats s;
    getrusage(RUSAGE_SELF, &u);
    gomalloc_read_stats(&s, sizeof s);
    *faults = u.ru_minflt;
    *worked = s.scavenge_ns;
    *now = check_now_ns();
}

static void *steady_work(void *number) {
    struct check_rng rng = check_rng((unsigned)(uintptr_t)number);
    char **block = calloc(STEADY_LIVE, sizeof *block);
    long faults = 0, faults_then = 0;
    uint64_t worked = 0, worked_then = 0;
    int64_t end = 0, start = 0;
    for (int round = 0; round < steady_rounds(); round++) {
        if (number == NULL && round == 0) steady_look(&faults_then, &worked_then, &start);
        pthread_barrier_wait(&steady_round);
        for (int i = 0; i < STEADY_LIVE; i++) {
            if (check_below(&rng, 3)) continue;
            free(block[i]);
            block[i] = NULL;
        }
        nap(0.025);
        for (int i = 0; i < STEADY_LIVE; i++) {
            size_t n = check_random_size(&rng, 20000);
            if (!block[i]) block[i] = memset(malloc(n), 1, n);
        }
        nap(0.025);
        pthread_barrier_wait(&steady_round);
    }
    if (number == NULL) {
        steady_look(&faults, &worked, &end);
        printf("%ld %ld %ld\n", faults - faults_then, (long)(worked - worked_then) / 1000, (long)(end - start) / 1000);
    }
    return NULL;
}

static void steady(unsigned threads) {
    pthread_t t[STEADY_THREADS];
    pthread_barrier_init(&steady_round, NULL, threads);
    for (uintptr_t i = 1; i < threads; i++) pthread_create(&t[i], NULL, steady_work, (void *)i);
    steady_work(NULL);
    for (unsigned i = 1; i < threads; i++) pthread_join(t[i], NULL);
}

static FILE *steady_start(const char *mode, unsigned threads) {
    char command[200];
    snprintf(command, sizeof command, "GM_SEED=%llu GOMALLOC=scavenge:%s exec /proc/%d/exe --steady %u", (unsigned long long)check_seed(),
             mode, (int)getpid(), threads);
    return popen(command, "r");
}

static void steady_costs(unsigned threads) {
    static const char *const mode[] = {"off", "on"};
    long faults[2] = {0}, worked[2] = {0}, took[2] = {1, 1};
    FILE *f[2];
    if (!gomalloc_read_stats) skip("no library");
    for (int i = 0; i < 2; i++) f[i] = steady_start(mode[i], threads); /* beside each other: mostly they rest */
    for (int i = 0; i < 2; i++) {
        expect(f[i] && fscanf(f[i], "%ld %ld %ld", &faults[i], &worked[i], &took[i]) == 3);
        if (f[i]) expect_eq(pclose(f[i]), 0);
    }
    diag("%u threads: %ld faults, %ld without the scavenger, which worked %.2f %% of %.1f s", threads, faults[1], faults[0],
         100.0 * (double)worked[1] / (double)took[1], (double)took[1] / 1e6);
    expect_eq(worked[0], 0);
    expect_at_most(worked[1], took[1] / 100);
    /* A tenth; and in the short form, a tenth of a heap that one takes for fallen before it knows its rounds. */
    expect_at_most(faults[1], faults[0] + faults[0] / (check_stress() ? 10 : 5));
}
TEST_LIMIT(a_steady_state_of_one_thread_costs_little, 60) { steady_costs(1); }
TEST_LIMIT(a_steady_state_of_threads_costs_little, 60) { steady_costs(STEADY_THREADS); }

/* A program that works in rounds falls at the end of each, and takes the same memory again at once. For a moment now and then
 * that may be taken for a fall, and then for one: not round after round. */
TEST_LIMIT(rounds_are_not_a_fall_each, 60) {
    enum { SIZE = 4 << 20, PAGE = 4096, FALLS = 10 };
    struct rusage a, b;
    struct timespec start, now;
    long rounds = 0;
    clock_gettime(CLOCK_MONOTONIC, &start);
    getrusage(RUSAGE_SELF, &a);
    do {
        char *p = NULL;
        for (size_t n = PAGE; n <= SIZE; n += PAGE) {
            p = realloc(p, n);
            if (!p) skip("no memory");
            memset(p + n - PAGE, 1, PAGE);
        }
        free(p);
        rounds++;
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - start.tv_sec < 2);
    getrusage(RUSAGE_SELF, &b);
    diag("%ld rounds, %ld faults", rounds, b.ru_minflt - a.ru_minflt);
    expect_at_most(b.ru_minflt - a.ru_minflt, FALLS * (SIZE / PAGE));
}

/* Half of the small objects go, in stripes, and leave holes; a large block then takes the place of one that
 * was given back. The heap does not grow by that, so only the limit makes it give up the holes. */
static void *nothing(void *unused) { return NULL; }
static long with_holes_and_a_large_block(int64_t limit) {
    enum { LIVE = 96 * 1024, LARGE = 60 << 20 };
    static char *live[LIVE];
    pthread_t t; /* a process with one thread would give some of a fall back at once */
    pthread_create(&t, NULL, nothing, NULL);
    pthread_join(t, NULL);
    gomalloc_set_memory_limit(limit);
    for (int i = 0; i < LIVE; i++) live[i] = memset(malloc(1000), 1, 1000);
    free(memset(malloc(LARGE), 1, LARGE));
    malloc_trim(0);
    for (int i = 0; i < LIVE; i++) {
        if (!((uintptr_t)live[i] >> 16 & 1)) continue;
        free(live[i]);
        live[i] = NULL;
    }
    char *large = memset(malloc(LARGE), 1, LARGE);
    long rss = check_rss_kib();
    free(large);
    for (int i = 0; i < LIVE; i++) free(live[i]);
    return rss;
}

TEST_LIMIT(a_limit_is_kept, 60) {
    enum { LIMIT = 128 << 20 };
    if (!gomalloc_set_memory_limit) skip("no library");
    expect_at_most(with_holes_and_a_large_block(LIMIT), LIMIT / 1024);
}

TEST_LIMIT(without_a_limit_holes_are_kept_for_a_while, 60) {
    enum { LIMIT = 128 << 20 };
    if (!gomalloc_set_memory_limit) skip("no library");
    expect(with_holes_and_a_large_block(INT64_MAX) > LIMIT / 1024);
}

TEST_LIMIT(trim_gives_everything_back, 20) {
    struct gomalloc_stats s;
    burst(objects() / 10);
    malloc_trim(0);
    if (!gomalloc_read_stats) skip("no library");
    gomalloc_read_stats(&s, sizeof s);
    expect(s.heap_released >= s.heap_idle); /* holes in spans are in it too */
}

/* A process with one thread that does nothing any more after a fall of its heap: a part has gone back at once. */
TEST_LIMIT(what_falls_in_one_thread_goes_back_without_another_call, 60) {
    enum { BLOCKS = 24, SIZE = 400000 };
    char *p[BLOCKS];
    if (!gomalloc_read_stats) skip("no library");
    nap(1.2); /* no program's start is slowed down by it */
    long before = check_rss_kib(), peak = 0, left = 1;
    for (int k = 0; k < 5 && left > peak / 4; k++) { /* the time for it is the clock's, and a busy machine takes it away */
        if (k > 0) nap(11);
        for (int i = 0; i < BLOCKS; i++) p[i] = memset(malloc(SIZE), 1, SIZE);
        peak = check_rss_kib() - before;
        for (int i = 0; i < BLOCKS; i++) free(p[i]);
        left = check_rss_kib() - before;
    }
    expect_eq(check_threads(), 1);
    expect_at_most(left, peak / 4);
}

/* And one that works in rounds pays little for it: its time for that is bounded. */
TEST_LIMIT(rounds_in_one_thread_keep_most_of_their_memory, 60) {
    enum { BLOCKS = 4000, SIZE = 5000, ROUNDS = 200 };
    static char *p[BLOCKS];
    struct rusage a, b;
    struct gomalloc_stats s, t;
    if (!gomalloc_read_stats) skip("no library");
    for (int round = 0; round < ROUNDS; round++) {
        if (round == 20) getrusage(RUSAGE_SELF, &a), gomalloc_read_stats(&s, sizeof s);
        for (int i = 0; i < BLOCKS; i++) p[i] = memset(malloc(SIZE), 1, SIZE);
        for (int k = 0; k < 10; k++)
            for (int i = 0; i < BLOCKS; i++) memset(p[i], k, SIZE);
        for (int i = 0; i < BLOCKS; i++) free(p[i]);
    }
    getrusage(RUSAGE_SELF, &b);
    gomalloc_read_stats(&t, sizeof t);
    double cpu = (double)(b.ru_utime.tv_sec - a.ru_utime.tv_sec) + (double)(b.ru_utime.tv_usec - a.ru_utime.tv_usec) / 1e6 +
                 (double)(b.ru_stime.tv_sec - a.ru_stime.tv_sec) + (double)(b.ru_stime.tv_usec - a.ru_stime.tv_usec) / 1e6;
    diag("%.2f s of CPU, %ld faults, scavenger %.1f ms", cpu, b.ru_minflt - a.ru_minflt, (double)(t.scavenge_ns - s.scavenge_ns) / 1e6);
    /* All of it in each round would be (ROUNDS - 20) * BLOCKS * SIZE / 4096 faults. */
    expect_at_most(b.ru_minflt - a.ru_minflt, (long)(ROUNDS - 20) * (BLOCKS * SIZE / 4096) / 15);
}

/* One object in twenty stays, at random, and with it nearly every span; the pages between them go back. */
TEST_LIMIT(what_few_objects_pin_goes_back_but_for_their_pages, 60) {
    enum { LIVE = 50000, SIZE = 1500 };
    static unsigned char *p[LIVE];
    struct check_rng rng = check_rng(3);
    long before = check_rss_kib();
    for (int i = 0; i < LIVE; i++) check_fill(p[i] = malloc(SIZE), SIZE, (uint64_t)i);
    long peak = check_rss_kib() - before;
    for (int i = 0; i < LIVE; i++)
        if (check_below(&rng, 20)) free(p[i]), p[i] = NULL;
    malloc_trim(0);
    long left = check_rss_kib() - before;
    diag("%ld KiB at the peak, %ld with a twentieth of it alive", peak, left);
    expect_at_most(left, peak / 3);
    for (int i = 0; i < LIVE; i++) {
        if (p[i]) expect(check_filled(p[i], SIZE, (uint64_t)i));
        else check_fill(p[i] = malloc(SIZE), SIZE, (uint64_t)i);
    }
    for (int i = 0; i < LIVE; i++) {
        expect(check_filled(p[i], SIZE, (uint64_t)i));
        free(p[i]);
    }
}

int main(int argc, char **argv) {
    if (argc > 2 && strcmp(argv[1], "--steady") == 0) return steady((unsigned)atoi(argv[2])), 0;
    return check_main(argc, argv);
}
