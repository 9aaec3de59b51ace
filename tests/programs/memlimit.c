/* A memory limit is kept: live data in many sizes with spikes on top, in one thread and in eight, by the option and in a
 * control group whose limit the library finds by itself. The most that was ever resident is the kernel's figure. Scaled down;
 * STRESS=1 is 400 MiB under 512. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/check.h"

__attribute__((weak)) int64_t gomalloc_set_memory_limit(int64_t bytes);

/* ---- the program that runs under the limit */

enum { MOST_THREADS = 8, ROUNDS = 24 };
struct load {
    unsigned number;
    size_t live, spike; /* bytes */
};
static pthread_barrier_t round_ends;

static size_t size_of(struct check_rng *rng) {
    switch (check_below(rng, 100)) {
    case 0: return 32768 + check_below(rng, 200000);
    case 1: case 2: case 3: case 4: case 5: return 1024 + check_below(rng, 16000);
    default: return 1 + check_below(rng, 1024);
    }
}

/* Blocks of about one size, another each round: what the spike before it left is of no use to it. */
static void spike(size_t bytes, unsigned round) {
    static const size_t sizes[] = {24, 700, 5000, 100, 40000, 2000, 64, 15000};
    size_t size = sizes[round % 8];
    void **first = NULL;
    for (size_t done = 0; done < bytes; done += size) {
        void **p = memset(malloc(size), 1, size);
        p[0] = first;
        first = p;
    }
    while (first) {
        void **next = first[0];
        free(first);
        first = next;
    }
}

static void *work(void *arg) {
    const struct load *l = arg;
    struct check_rng rng = check_rng(l->number);
    size_t room = l->live / 200, n = 0, live = 0;
    struct block { char *p; size_t size; } *block = malloc(room * sizeof *block);
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (; live < l->live && n < room; n++) {
            block[n].size = size_of(&rng);
            block[n].p = memset(malloc(block[n].size), 1, block[n].size);
            live += block[n].size;
        }
        pthread_barrier_wait(&round_ends);
        spike(l->spike, round + l->number);
        for (size_t gone = n / 10; gone > 0; gone--) { /* a tenth is replaced by others */
            size_t k = check_below(&rng, n--);
            free(block[k].p);
            live -= block[k].size;
            block[k] = block[n];
        }
    }
    while (n > 0) free(block[--n].p);
    free(block);
    return NULL;
}

static void run(unsigned threads, size_t live, size_t spikes) {
    pthread_t t[MOST_THREADS];
    struct load load[MOST_THREADS];
    struct rusage u;
    pthread_barrier_init(&round_ends, NULL, threads);
    for (unsigned i = 0; i < threads; i++) {
        load[i] = (struct load){i, live / threads, spikes / threads};
        if (threads > 1) pthread_create(&t[i], NULL, work, &load[i]);
    }
    if (threads == 1) work(&load[0]);
    for (unsigned i = 0; threads > 1 && i < threads; i++) pthread_join(t[i], NULL);
    getrusage(RUSAGE_SELF, &u);
    printf("%ld %ld\n", u.ru_maxrss, gomalloc_set_memory_limit ? (long)(gomalloc_set_memory_limit(-1) >> 10) : 0L);
}

/* ---- the limits it runs under */

enum { LIVE = 100 };
static size_t unit(void) { return check_stress() ? 4 << 20 : 1 << 20; } /* the limit is 128 of them, 100 live, 8 in a spike */

/* Runs it in a child, in the control group with this file of tasks if it is not NULL. Its peak in KiB, 0: it did not end well. */
static long peak_of(unsigned threads, size_t live, const char *option, const char *tasks, long *limit) {
    int out[2];
    char words[3][32], text[100] = "";
    long peak = 0;
    if (pipe(out) != 0) return 0;
    snprintf(words[0], sizeof words[0], "%u", threads);
    snprintf(words[1], sizeof words[1], "%zu", live);
    snprintf(words[2], sizeof words[2], "%zu", 8 * unit());
    pid_t child = fork();
    if (child == 0) {
        int fd = tasks ? open(tasks, O_WRONLY) : -1;
        if (tasks && (fd < 0 || write(fd, "0", 1) != 1)) _exit(126);
        dup2(out[1], 1);
        close(out[0]);
        if (option) setenv("GOMALLOC", option, 1);
        execl("/proc/self/exe", "memlimit", "--work", words[0], words[1], words[2], (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    ssize_t n = read(out[0], text, sizeof text - 1);
    text[n > 0 ? n : 0] = 0;
    close(out[0]);
    int status = check_wait(child, 100);
    if (!expect(WIFEXITED(status) && WEXITSTATUS(status) == 0)) return diag("status %x", (unsigned)status), 0;
    return sscanf(text, "%ld %ld", &peak, limit) == 2 ? peak : 0;
}

static void by_option(unsigned threads) {
    char option[64];
    long limit = 0;
    if (!gomalloc_set_memory_limit) skip("no library");
    snprintf(option, sizeof option, "memlimit:%zu", 128 * unit());
    long with = peak_of(threads, LIVE * unit(), option, NULL, &limit), without = peak_of(threads, LIVE * unit(), "memlimit:off", NULL, &limit);
    diag("%u threads: %ld KiB under a limit of %zu, %ld without", threads, with, 128 * unit() >> 10, without);
    expect(with > 0 && with <= (long)(128 * unit() >> 10));
    expect(without > 0);
}
TEST_LIMIT(one_thread, 100) { by_option(1); }
TEST_LIMIT(eight_threads, 100) { by_option(8); }

static bool put(const char *path, const char *file, const char *text) {
    char name[600];
    snprintf(name, sizeof name, "%s/%s", path, file);
    int fd = open(name, O_WRONLY);
    bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0) close(fd);
    return done;
}

/* A new group below the one this process is in, with the limit; false: it cannot be had. */
static bool make_group(char *path, size_t size, size_t limit) {
    char text[2048], number[32], *line, *rest = text;
    int fd = open("/proc/self/cgroup", O_RDONLY);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0) close(fd);
    text[n > 0 ? n : 0] = 0;
    snprintf(number, sizeof number, "%zu", limit);
    while ((line = strsep(&rest, "\n")) != NULL) {
        char *own = strstr(line, ":memory:");
        bool first = own != NULL; /* version 1 */
        if (!first && strncmp(line, "0::", 3) != 0) continue;
        own = first ? own + 8 : line + 3;
        snprintf(path, size, "/sys/fs/cgroup%s%s/gomalloc-test-%d", first ? "/memory" : "", strcmp(own, "/") ? own : "", (int)getpid());
        if (mkdir(path, 0755) != 0) continue;
        if (put(path, first ? "memory.limit_in_bytes" : "memory.max", number)) return true;
        rmdir(path);
    }
    return false;
}

static void in_group(unsigned threads) {
    char path[400], tasks[420];
    long limit = 0;
    if (!gomalloc_set_memory_limit) skip("no library");
    if (!make_group(path, sizeof path, 128 * unit())) skip("no control group with a memory limit can be made here");
    snprintf(tasks, sizeof tasks, "%s/cgroup.procs", path);
    /* The kernel counts in the group what is not resident any more but not free yet either: pages that a thread which had to wait in
     * the middle of giving them back has in its hands, 8 MiB for each. The small group gets room for that. */
    long peak = peak_of(threads, (check_stress() ? LIVE : LIVE * 3 / 4) * unit(), NULL, tasks, &limit);
    for (int i = 0; i < 100 && rmdir(path) != 0 && errno == EBUSY; i++) usleep(50000);
    diag("%u threads in %s: %ld KiB, limit %ld", threads, path, peak, limit);
    expect_eq(limit, 128 * unit() >> 10);
    expect(peak > 0 && peak <= limit);
}
TEST_LIMIT(one_thread_in_a_control_group, 100) { in_group(1); }
TEST_LIMIT(eight_threads_in_a_control_group, 100) { in_group(8); }

int main(int argc, char **argv) {
    if (argc == 5 && strcmp(argv[1], "--work") == 0) {
        run((unsigned)atoi(argv[2]), strtoul(argv[3], NULL, 10), strtoul(argv[4], NULL, 10));
        return 0;
    }
    return check_main(argc, argv);
}
