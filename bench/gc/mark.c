/* How long marking takes: 1 GiB (or argv[1] MiB) of 64-byte objects, each with two words that point to random
 * others (a permutation first, so that all are reachable), marked by one worker and by two. One line a run; each
 * is the least of several, because other work on the machine only adds. Then the sweep of it all, dead.
 *
 *     build/bench/gc-mark [-s] [MIB [REPEATS]]        target: 30 ns an object and worker, 1.7 times with two
 *
 * -s: one line of four figures instead, for bench/gc/run: ns an object with one worker and with two, the same in CPU time. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gc/mark.h"
#include "gc/sweep.h"
#include "libgomalloc/alloc.h"
#include "libgomalloc/gcview.h"

/* A slot of 64 bytes: while the collector is on, an object has at least a byte behind its end (sizeclass.h). */
struct object { struct object *to[2]; uint64_t rest[5]; };
enum { SLOT = 64 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* CPU time: on a busy machine the clock on the wall says little. */
static double now_cpu(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static uint64_t seed = 88172645463325252u;
static uint64_t next_random(void) {
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return seed;
}

static struct job { void (*fn)(void *, unsigned); void *arg; unsigned number; } jobs[GC_MARK_WORKERS_MAX];
static void *run_job(void *job) {
    struct job *j = job;
    j->fn(j->arg, j->number);
    return NULL;
}
static void run_threads(void (*fn)(void *arg, unsigned worker), void *arg, unsigned workers) {
    pthread_t t[GC_MARK_WORKERS_MAX];
    for (unsigned i = 0; i < workers; i++) jobs[i] = (struct job){ fn, arg, i };
    for (unsigned i = 1; i < workers; i++) pthread_create(&t[i], NULL, run_job, &jobs[i]);
    fn(arg, 0);
    for (unsigned i = 1; i < workers; i++) pthread_join(t[i], NULL);
}

static double cpu[3]; /* the least by number of workers */

static double mark(const struct object *root, unsigned workers, uint64_t expected) {
    struct gc_mark_totals totals;
    if (!gc_mark_begin(false)) exit(1);
    double t = now(), c = now_cpu();
    gc_mark_at_stop();
    gc_mark_root_word((uintptr_t)root, false);
    gc_mark_drain(workers, run_threads);
    t = now() - t, c = now_cpu() - c;
    if (cpu[workers] == 0 || c < cpu[workers]) cpu[workers] = c;
    gc_mark_totals(&totals);
    if (totals.objects != expected) exit(printf("%llu objects marked instead of %llu\n", (unsigned long long)totals.objects, (unsigned long long)expected));
    return t;
}

int main(int argc, char **argv) {
    bool brief = argc > 1 && strcmp(argv[1], "-s") == 0;
    if (brief) argc--, argv++;
    size_t n = (argc > 1 ? strtoul(argv[1], NULL, 10) : 1024) * 1024 * 1024 / SLOT;
    int repeats = argc > 2 ? atoi(argv[2]) : 3;
    if (!gm_gc_start(false)) return 1;
    struct object **all = malloc(n * sizeof *all), *root;
    for (size_t i = 0; i < n; i++) all[i] = gm_alloc_zeroed(sizeof(struct object));
    for (size_t i = n - 1; i > 0; i--) {
        size_t j = next_random() % (i + 1);
        struct object *swap = all[i];
        all[i] = all[j], all[j] = swap;
    }
    for (size_t i = 0; i < n; i++) { /* a tree over the shuffled objects keeps each alive, a further word is random */
        struct object *parent = all[i ? (i - 1) / 2 : 0];
        if (i) parent->to[(i - 1) % 2] = all[i];
        all[i]->rest[next_random() % 5] = (uintptr_t)all[next_random() % n];
    }
    root = all[0];
    if (gm_usable_size(root) != SLOT) return 1;
    free(all);
    double one = 1e30, two = 1e30;
    for (int i = 0; i < repeats; i++) {
        double t = mark(root, 1, n);
        one = t < one ? t : one;
        t = mark(root, 2, n);
        two = t < two ? t : two;
    }
    if (brief) {
        printf("%.2f %.2f %.2f %.2f\n", one / (double)n, two / (double)n, cpu[1] / (double)n, cpu[2] / (double)n);
        return 0;
    }
    printf("mark %zu objects: %.1f ns an object with one worker, %.1f with two (%.2f times faster)\n", n, one / (double)n, two / (double)n, one / two);
    printf("      CPU time: %.1f ns an object with one, %.1f with two together\n", cpu[1] / (double)n, cpu[2] / (double)n);
    double t = now();
    gm_gc_flip();
    gc_sweep_begin();
    gc_sweep_finish();
    printf("sweep, all alive: %.1f ns a slot\n", (now() - t) / (double)n);
    if (!gc_mark_begin(false)) return 1;
    gm_gc_flip();
    t = now();
    gc_sweep_begin();
    gc_sweep_finish();
    printf("sweep, all dead: %.1f ns a slot\n", (now() - t) / (double)n);
}
