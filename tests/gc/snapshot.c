/* A program beside the child that marks its snapshot: what it may do meanwhile, what it waits for, what is mended afterwards. */
#include "tests/gc/hide.h"

#include "libgomalloc/gomalloc.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

#pragma weak gogc_set_percent
#pragma weak gogc_enable
#pragma weak gomalloc_read_stats

#define MIB ((size_t)1 << 20)
enum { NODE = 128 };

static struct gomalloc_stats stats(void) {
    struct gomalloc_stats s;
    gomalloc_read_stats(&s, sizeof s);
    return s;
}
static uint64_t cycles(void) { return stats().num_gc; }
static void only_on_snapshots(void) {
    if (!strstr(getenv("GOMALLOC") ?: "", "fork")) skip("no snapshots are made");
    if (access(check_format("/proc/self/task/%d/children", getpid()), R_OK) != 0) skip("the kernel does not list children");
}
static uint64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

struct node { struct node *next; char fill[NODE - 32]; };
static struct node *volatile kept;
static HIDE_NOINLINE void keep(size_t bytes) {
    for (size_t n = 0; n < bytes; n += NODE) {
        struct node *node = malloc(sizeof *node);
        memset(node, 0x5a, sizeof *node);
        node->next = kept;
        kept = node;
    }
    hide_wash();
}
static HIDE_NOINLINE void waste(size_t bytes) {
    for (size_t n = 0; n < bytes; n += 256) {
        void *volatile p = malloc(256);
        memset(p, 0x11, 256);
    }
}

/* The child that marks; 0: there is none. Only this thread begins cycles. */
static pid_t marker(void) {
    char text[64] = { 0 };
    int fd = open(check_format("/proc/self/task/%d/children", (int)syscall(SYS_gettid)), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    if (read(fd, text, sizeof text - 1) < 0) text[0] = 0;
    close(fd);
    return (pid_t)strtol(text, NULL, 10);
}
static char state_of(pid_t child) {
    char text[256] = { 0 };
    int fd = open(check_format("/proc/%d/stat", child), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    const char *state = n > 0 ? strrchr(text, ')') : NULL;
    return state ? state[2] : 0;
}
/* True: it marks and does not get on. False: it is over, or as good as. */
static bool stops(pid_t child) {
    uint64_t before = cycles();
    if (state_of(child) == 'Z' || kill(child, SIGSTOP) != 0) return false;
    for (char state; (state = state_of(child)) != 0 && state != 'T' && state != 'Z';) usleep(100); /* when it gets a CPU */
    waste(64 * 1024); /* who comes by learns of its end */
    if (state_of(child) == 'T' && cycles() == before) return true;
    kill(child, SIGCONT);
    return false;
}
/* Allocates until one has begun, and stops it; for as long as the test may last, as it may be over before we get to look. */
static pid_t marker_stopped(void) {
    gogc_collect();
    pid_t last = marker(); /* one that is over stands there until somebody comes by */
    for (;;) {
        uint64_t before = cycles();
        waste(64 * 1024);
        pid_t child = marker();
        if (child && child != last && cycles() == before && stops(child)) return child;
        if (child && cycles() != before) last = child;
    }
}
static void let_it_end(pid_t child) {
    uint64_t before = cycles();
    kill(child, SIGCONT);
    while (cycles() == before) waste(16 * 1024), usleep(1000);
}

/* Who allocates far past the goal waits, but never for good, which the test's limit would end; when the marking is over, all goes on.
 * How long a MiB takes is many short waits, each as long as the machine is busy: no bound says anything about it. */
TEST_LIMIT(who_outruns_a_marking_waits, 60) {
    only_on_snapshots();
    keep(48 * MIB);
    pid_t child = marker_stopped();
    uint64_t before = cycles(), longest = 0, mib = 0;
    while (mib < 100 && longest < 150) {
        uint64_t start = now_ms();
        waste(MIB);
        mib++;
        longest = now_ms() - start;
    }
    diag("%lu ms for MiB number %lu", longest, mib);
    expect(longest >= 150);
    expect_eq(cycles(), before);
    let_it_end(child);
}

static bool kept_is_whole(size_t bytes) {
    size_t n = 0;
    for (struct node *node = kept; node; node = node->next) n += node->fill[0] == 0x5a && node->fill[sizeof node->fill - 1] == 0x5a;
    return n * NODE == bytes;
}
/* It has no part in that marking: what was lost before goes with its own first one, and nothing else does. */
TEST_LIMIT(a_child_of_the_programs_own_amid_a_marking, 60) {
    only_on_snapshots();
    keep(48 * MIB);
    uint64_t live = stats().heap_objects;
    pid_t marks = marker_stopped();
    uint64_t lost = stats().heap_objects - live;
    pid_t child = fork();
    if (child == 0) {
        gogc_collect();
        uint64_t left = stats().heap_objects;
        _exit(!kept_is_whole(48 * MIB) ? 2 : left > live + lost / 4);
    }
    diag("%lu objects lost", lost);
    expect(lost > 10000);
    expect_eq(check_wait(child, 30), 0);
    let_it_end(marks);
    expect(kept_is_whole(48 * MIB));
}

static long sleeps(void) {
    struct rusage r;
    getrusage(RUSAGE_THREAD, &r);
    return r.ru_nvcsw;
}

/* Nor does one that allocates nothing wait for anything, nor frees. */
TEST_LIMIT(who_only_frees_does_not_wait, 60) {
    only_on_snapshots();
    keep(48 * MIB);
    pid_t child = marker_stopped();
    long before = sleeps();
    for (struct node *n = kept, *next; n; n = next) next = n->next, free(n);
    kept = NULL;
    expect_at_most(sleeps() - before, 20);
    let_it_end(child);
}

/* ---- huge pages */

static long huge_kib(void) {
    static char text[1 << 12];
    int fd = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    text[n > 0 ? n : 0] = 0;
    const char *line = strstr(text, "AnonHugePages:");
    return line ? strtol(line + 14, NULL, 10) : 0;
}
static void *nothing(void *arg) { return NULL; }

/* Whether the kernel has so much left that small pages can be made huge ones of. */
static bool could_be_mended(size_t bytes) {
    enum { COLLAPSE = 25 /* MADV_COLLAPSE, Linux 6.1 */ };
    size_t huge = 2 * MIB;
    char *p = mmap(NULL, bytes + huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return false;
    p = (char *)(((uintptr_t)p + huge - 1) & ~(huge - 1));
    madvise(p, bytes, MADV_NOHUGEPAGE);
    memset(p, 1, bytes);
    madvise(p, bytes, MADV_HUGEPAGE);
    return madvise(p, bytes, COLLAPSE) == 0;
}

/* Where the program writes while a child marks, huge pages are split; later they are whole again. */
static void are_mended(void) {
    keep(160 * MIB);
    if (huge_kib() < 64 * 1024) skip("the machine has no huge pages to give");
    pid_t child = marker_stopped();
    long whole = huge_kib();
    uint64_t before = cycles();
    for (struct node *n = kept; n; n = n->next) n->fill[50]++;
    long split = huge_kib();
    kill(child, SIGCONT);
    long mended = split, enough = split + (whole - split) / 10 * 9;
    for (int64_t i = 0, last = check_now_ns() + INT64_C(150000000000); mended < enough && check_now_ns() < last; i++) {
        waste(16 * 1024);
        usleep(1000);
        if (cycles() != before) gogc_enable(0); /* the next would split them again, and on a busy machine comes before all are mended */
        if (i % 16 == 0) mended = huge_kib();
    }
    diag("%ld KiB in huge pages, %ld after writing, %ld later", whole, split, mended);
    expect(split < whole - 32 * 1024);
    if (mended < enough && !could_be_mended((size_t)(whole - split) * 1024 & ~(2 * MIB - 1))) skip("the machine has no more huge pages to give");
    expect(mended >= enough);
}
TEST_LIMIT(huge_pages_are_whole_again_in_a_program_of_one_thread, 60) {
    only_on_snapshots();
    are_mended();
    expect_eq(check_threads(), 1);
}
TEST_LIMIT(huge_pages_are_whole_again_where_the_library_has_a_thread, 60) {
    pthread_t t;
    only_on_snapshots();
    pthread_create(&t, NULL, nothing, NULL);
    pthread_join(t, NULL);
    are_mended();
}

/* ---- no memory */

/* From now on the process gets little more. */
static struct rlimit all_of_it;
static void no_more_memory(void) {
    char *line = NULL;
    size_t size = 0, kib = 0;
    FILE *f = fopen("/proc/self/status", "re");
    while (f && getline(&line, &size, f) > 0)
        if (strncmp(line, "VmData:", 7) == 0) kib = strtoul(line + 7, NULL, 10);
    if (f) fclose(f);
    free(line);
    getrlimit(RLIMIT_DATA, &all_of_it);
    struct rlimit little = { .rlim_cur = (kib << 10) + MIB / 2, .rlim_max = all_of_it.rlim_max };
    if (kib == 0 || setrlimit(RLIMIT_DATA, &little) != 0) skip("memory cannot be limited here");
    if (mmap(NULL, 2 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED) skip("the limit has no effect here");
}
static void give_all_again(void) { setrlimit(RLIMIT_DATA, &all_of_it); }

/* Marking gets no memory of its own either, nor does a child. */
TEST_LIMIT(what_was_lost_is_found_when_there_is_no_more, 60) {
    keep(32 * MIB);
    gogc_enable(0);
    waste(32 * MIB);
    no_more_memory();
    void *volatile p = malloc(24 * MIB);
    expect(p != NULL);
    give_all_again();
    expect(kept_is_whole(32 * MIB));
}

/* What helped nothing several times is not done for each request that fails. */
TEST_LIMIT(requests_that_fail_do_not_collect_each_time, 60) {
    keep(32 * MIB);
    gogc_enable(0);
    void *volatile big = malloc(4 * MIB);
    expect(big != NULL);
    no_more_memory();
    uint64_t before = cycles();
    for (int i = 0; i < 500; i++) expect(malloc(24 * MIB) == NULL && errno == ENOMEM);
    uint64_t collected = cycles() - before;
    expect(malloc((size_t)1 << 40) == NULL);
    uint64_t for_huge = cycles() - before - collected;
    give_all_again();
    diag("%lu collections for 500 requests", collected);
    expect(collected > 0);
    expect_at_most(collected, 100);
    expect_eq(for_huge, 0);
}

TEST_MAIN()
