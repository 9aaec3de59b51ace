/* Transparent huge pages: what the three modes cost and save. Each run is a child of its own with a mode of its
 * own; where the machine allows no huge pages at all there is nothing to see. */
#include <pthread.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "tests/check.h"

enum { NEVER, AUTO, ALWAYS, MODES };
static const char *const names[MODES] = {"never", "auto", "always"};
struct figures { long peak, late, faults, huge; };

/* Live objects in many sizes, some churn among them, a few large ones: some 150 MiB. Then nearly all goes. */
static void work(struct figures *f) {
    enum { LIVE = 150000 };
    static char *p[LIVE];
    struct check_rng rng = check_rng(1);
    struct rusage u;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < LIVE; i++) {
            if (round && check_below(&rng, 2)) continue;
            size_t n = i % 500 ? 1 + check_below(&rng, 1500) : 100000;
            free(p[i]);
            p[i] = memset(malloc(n), 1, n);
        }
    }
    f->huge = check_smaps_kib("AnonHugePages:");
    getrusage(RUSAGE_SELF, &u);
    f->peak = u.ru_maxrss;
    f->faults = u.ru_minflt;
    for (int i = 0; i < LIVE; i++)
        if (i % 50) free(p[i]), p[i] = NULL; /* a fiftieth stays, all over the place */
    for (int k = 0; k < 8; k++) {
        struct timespec t = {0, 600000000};
        nanosleep(&t, NULL);
        char *few[200]; /* one thread: the work is done on its slow paths */
        for (int i = 0; i < 200; i++) few[i] = malloc(1000);
        for (int i = 0; i < 200; i++) free(few[i]);
    }
    f->late = check_rss_kib();
}

/* The mode is read at the start of a program: this one again, as a child. */
static pid_t start(const char *mode, int *from) {
    int out[2];
    char option[32];
    if (pipe(out) != 0) return -1;
    snprintf(option, sizeof option, "thp:%s", mode);
    pid_t child = fork();
    if (child == 0) {
        close(out[0]);
        dup2(out[1], 1);
        setenv("GOMALLOC", option, 1);
        execl("/proc/self/exe", "thp", "--work", (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    *from = out[0];
    return child;
}

static struct figures result(pid_t child, int from) {
    struct figures f = {0, 0, 0, 0};
    char text[200];
    ssize_t n = read(from, text, sizeof text - 1);
    text[n > 0 ? n : 0] = 0;
    expect(sscanf(text, "%ld %ld %ld %ld", &f.peak, &f.late, &f.faults, &f.huge) == 4);
    close(from);
    int status = check_wait(child, 100);
    expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return f;
}

TEST_LIMIT(peaks_are_near_each_other_and_faults_fall, 100) {
    struct figures f[MODES];
    pid_t child[MODES];
    int from[MODES];
    for (int m = 0; m < MODES; m++) child[m] = start(names[m], &from[m]); /* what they mostly do is wait */
    for (int m = 0; m < MODES; m++) {
        f[m] = result(child[m], from[m]);
        diag("thp:%-6s peak %ld KiB, %ld in huge pages, %ld faults; after the fall %ld KiB", names[m], f[m].peak, f[m].huge,
             f[m].faults, f[m].late);
    }
    if (f[ALWAYS].huge * 2 < f[ALWAYS].peak) skip("no huge pages on this machine, or too few"); /* its memory may be in pieces */
    expect_eq(f[NEVER].huge, 0);
    for (int m = AUTO; m < MODES; m++) {
        expect_at_most(f[m].peak * 100, f[NEVER].peak * 115);
        expect_at_most(f[NEVER].peak * 100, f[m].peak * 115);
        expect_at_most(f[m].faults * 10, f[NEVER].faults * 7);
        expect_at_most(f[m].late * 100, f[NEVER].late * 115 + 100 * 1024);
    }
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--work") == 0) {
        struct figures f;
        work(&f);
        printf("%ld %ld %ld %ld\n", f.peak, f.late, f.faults, f.huge);
        return 0;
    }
    return check_main(argc, argv);
}
