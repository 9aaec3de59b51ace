/* Bugs that were found by reading, and what showed them: each test is a program that was answered
 * wrongly, or crashed, once. Most are about a kernel that refuses something in mid-course. */
#include "tests/check.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define MIB ((size_t)1 << 20)
#define COUNT(a) (sizeof(a) / sizeof *(a))

static bool limit(int resource, size_t bytes) {
    struct rlimit r;
    getrlimit(resource, &r);
    r.rlim_cur = bytes;
    return setrlimit(resource, &r) == 0;
}

/* ---- a class that has no span yet borrows a slot of a larger one: not for an aligned request */

static void *by_posix_memalign(size_t align) {
    void *p = NULL;
    expect_eq(posix_memalign(&p, align, align), 0);
    return p;
}
static void *by_aligned_alloc(size_t align) {
    return aligned_alloc(align, align / 2 + 1);
}
static void *by_memalign(size_t align) {
    return memalign(align, align - 1);
}

/* The neighbours come first, so that larger classes have spans; all blocks stay. */
static void align_first_requests(void *(*get)(size_t)) {
    static const size_t neighbours[] = {48,  80,  96,  112, 144, 160, 176,  208,  224,  240,
                                        288, 320, 384, 576, 640, 704, 1152, 1280, 1408, 2304};
    for (size_t i = 0; i < COUNT(neighbours); i++) {
        void *volatile p = malloc(neighbours[i]);
        expect(p);
    }
    for (size_t align = 16; align <= 32768; align *= 2)
        for (int i = 0; i < 5; i++) {
            void *p = get(align);
            if (!expect(p != NULL && (uintptr_t)p % align == 0)) diag("aligned to %zu: %p", align, p);
        }
}

/* Each in a process of its own: only there all classes are without spans. */
TEST(aligned_first_requests_of_a_class) {
    void *(*const getters[])(size_t) = {by_posix_memalign, by_aligned_alloc, by_memalign};
    for (size_t i = 0; i < COUNT(getters); i++) {
        pid_t child = fork();
        if (child == 0) {
            align_first_requests(getters[i]);
            _exit(0);
        }
        expect_eq(check_wait(child, 5), 0);
    }
}

/* ---- Linux unmaps the target of mremap before it finds that the limit forbids the move */

TEST(moving_realloc_at_a_data_limit) {
    struct rlimit before;
    getrlimit(RLIMIT_DATA, &before);
    char *hole = malloc(64 * MIB); /* later: room for the grown block */
    char *p = malloc(8 * MIB), *stop = malloc(MIB), *q;
    if (!expect(hole && p && stop)) return;
    memset(hole, 1, 64 * MIB);
    stop[0] = 1;
    check_fill(p, 8 * MIB, 2);
    free(hole);
    if (!limit(RLIMIT_DATA, 16 * MIB)) skip("no such limit");
    errno = 0;
    q = realloc(p, 20 * MIB);
    if (q) p = q;
    else expect_eq(errno, ENOMEM);
    expect(check_filled(p, 8 * MIB, 2));
    setrlimit(RLIMIT_DATA, &before);
    q = realloc(p, 30 * MIB);
    if (!expect(q)) return;
    expect(q != p); /* else nothing was to be moved */
    expect(check_filled(q, 8 * MIB, 2));
    memset(q, 3, 30 * MIB);
    free(q);
    /* No hole is left where the target was. */
    for (size_t n = MIB; n <= 64 * MIB; n *= 2)
        if (expect(p = malloc(n))) memset(p, 4, n);
}

/* ---- a thread whose first call comes while it ends leaves no cache behind */

static pthread_key_t late_key;

static void free_late(void *p) {
    free(p);
}
static void *set_late(void *p) {
    pthread_setspecific(late_key, p);
    return NULL;
}
static void run_late_threads(int n) {
    for (int i = 0; i < n; i++) {
        pthread_t t;
        void *p = malloc(100);
        if (!expect_eq(pthread_create(&t, NULL, set_late, p), 0)) return;
        pthread_join(t, NULL);
    }
}

TEST_LIMIT(first_call_in_a_key_destructor, 60) {
    expect_eq(pthread_key_create(&late_key, free_late), 0);
    run_late_threads(200);
    long before = check_rss_kib();
    run_late_threads(2000);
    expect_at_most(check_rss_kib() - before, 1500);
}

/* ---- the kernel releases no locked pages: they are not zero when they are used again */

TEST(calloc_after_locked_memory) {
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) skip("may not lock memory");
    if (!limit(RLIMIT_DATA, 200 * MIB)) skip("no such limit");
    void *volatile too_much = malloc(1024 * MIB); /* from now on free memory goes back at once */
    expect(!too_much);
    unsigned char *p = malloc(16 * MIB);
    if (!expect(p)) return;
    memset(p, 0xaa, 16 * MIB);
    free(p);
    /* Up to a 64 KiB boundary, from which on the heap is given back. */
    char *volatile pad = malloc(0x10000 - ((uintptr_t)p & 0xffff));
    unsigned char *q = calloc(1, 12 * MIB);
    if (!expect(pad && q)) return;
    size_t dirty = 0;
    for (size_t i = 0; i < 12 * MIB; i++) dirty += q[i] != 0;
    expect_eq(dirty, 0);
}

/* ---- address space reserved for a request that fails afterwards */

static size_t address_space_kib(void) {
    char text[100] = "";
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    expect(read(fd, text, sizeof text - 1) > 0);
    close(fd);
    return strtoul(text, NULL, 10) * ((size_t)sysconf(_SC_PAGESIZE) / 1024);
}

TEST(failing_requests_keep_no_address_space) {
    if (!limit(RLIMIT_DATA, 256 * MIB)) skip("no such limit");
    free(malloc(100));
    size_t before = address_space_kib();
    for (int shift = 30; shift <= 46; shift++)
        for (int i = 0; i < 20; i++) {
            void *volatile p = malloc((size_t)1 << shift);
            expect(!p);
        }
    expect_at_most(address_space_kib(), before + 64 * 1024);
    void *p = mmap(NULL, (size_t)1 << 40, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    expect(p != MAP_FAILED);
}

/* ---- a limit that is lowered takes nothing away that holds records */

enum { THREADS = 150 };
static pthread_barrier_t all_have_caches, limit_is_set;

static void churn(void) {
    for (size_t size = 16; size <= 256; size += 16) {
        void *p[200];
        for (size_t i = 0; i < COUNT(p); i++) p[i] = malloc(size);
        for (size_t i = 0; i < COUNT(p); i++) free(p[i]);
    }
}
static void *churn_twice(void *arg) {
    churn();
    pthread_barrier_wait(&all_have_caches);
    pthread_barrier_wait(&limit_is_set);
    churn();
    return arg;
}

/* The program again, under a limit from its start. */
static int lower_the_limit(void) {
    pthread_t t[THREADS];
    pthread_attr_t attr;
    struct rlimit r;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 65536);
    pthread_barrier_init(&all_have_caches, NULL, THREADS + 1);
    pthread_barrier_init(&limit_is_set, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&t[i], &attr, churn_twice, NULL) != 0) return 2;
    pthread_barrier_wait(&all_have_caches);
    getrlimit(RLIMIT_AS, &r);
    if (!limit(RLIMIT_AS, r.rlim_cur / 8 * 3)) return 3;
    pthread_barrier_wait(&limit_is_set);
    for (int i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
    return 0;
}

TEST_LIMIT(many_records_at_an_address_limit, 60) {
    static const size_t limits[] = {96, 128, 200, 256};
    for (size_t i = 0; i < COUNT(limits); i++) {
        pid_t child = fork();
        if (child == 0) {
            limit(RLIMIT_AS, limits[i] * MIB);
            execl("/proc/self/exe", "regress", "--lower-the-limit", (char *)NULL);
            _exit(4);
        }
        if (!expect_eq(check_wait(child, 10), 0)) diag("with %zu MiB", limits[i]);
    }
}

/* ---- realloc to less succeeds without memory, and success leaves errno alone */

TEST(shrink_without_memory_keeps_errno) {
    unsigned char *p = malloc(4096);
    if (!expect(p)) return;
    check_fill(p, 4096, 5);
    if (!limit(RLIMIT_DATA, 4096)) skip("no such limit"); /* 0 would be no limit to Linux */
    void *volatile block;
    for (int round = 0; round < 2; round++)
        for (size_t n = 0; n < 256 * MIB; n += 1000)
            if (!(block = malloc(1000))) break;
    expect(!block);
    errno = 0;
    unsigned char *q = realloc(p, 1000);
    expect_eq(errno, 0);
    if (expect(q)) expect(check_filled(q, 1000, 5));
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--lower-the-limit") == 0) return lower_the_limit();
    return check_main(argc, argv);
}
