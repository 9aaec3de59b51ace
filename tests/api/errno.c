/* errno: ENOMEM with every NULL, untouched by success and by free, also where the allocator talks
 * to the kernel on the way. */
#include "tests/check.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>

static void *volatile sink;
static volatile size_t size_max = SIZE_MAX, zero = 0;

/* The compiler must not see that a block is given to realloc and used again when that fails. */
static void *hide(void *p) {
    void *volatile hidden = p;
    return hidden;
}

#define SENTINEL 1234
#define untouched(...)              \
    do {                            \
        errno = SENTINEL;           \
        __VA_ARGS__;                \
        expect_eq(errno, SENTINEL); \
    } while (0)
#define no_memory(...)            \
    do {                          \
        errno = 0;                \
        sink = (__VA_ARGS__);     \
        expect(sink == NULL);     \
        expect_eq(errno, ENOMEM); \
    } while (0)

TEST(enomem_on_impossible_sizes) {
    const size_t huge[] = {size_max,        size_max - 1,        size_max - 7,     size_max - 15,
                           size_max - 16,   size_max - 4095,     size_max - 4096,  size_max - 8191,
                           size_max - 8192, size_max - 65536,    size_max / 2 + 2, size_max / 2 + 1,
                           size_max / 2,    size_max / 2 - 8192, (size_t)1 << 62,  (size_t)1 << 60,
                           (size_t)1 << 50, (size_t)1 << 48,     (size_t)1 << 47};
    char *p = malloc(100);
    memset(p, 7, 100);
    for (size_t i = 0; i < sizeof huge / sizeof *huge; i++) {
        no_memory(malloc(huge[i]));
        no_memory(calloc(1, huge[i]));
        no_memory(calloc(huge[i], 1));
        no_memory(realloc(NULL, huge[i]));
        no_memory(realloc(hide(p), huge[i]));
        no_memory(reallocarray(hide(p), huge[i], 1));
        no_memory(reallocarray(NULL, 1, huge[i]));
        for (int k = 0; k < 100; k++) expect(p[k] == 7);
    }
    free(p);
}

TEST(enomem_on_overflow) {
    static const size_t pair[][2] = {{SIZE_MAX, 2},
                                     {SIZE_MAX, SIZE_MAX},
                                     {SIZE_MAX / 2, 3},
                                     {SIZE_MAX / 2 + 1, 2},
                                     {(size_t)1 << 32, (size_t)1 << 32},
                                     {((size_t)1 << 32) + 1, ((size_t)1 << 32) + 1},
                                     {SIZE_MAX / 3, 4},
                                     {SIZE_MAX / 1000 + 1, 1001}};
    char *p = malloc(100);
    memset(p, 7, 100);
    for (size_t i = 0; i < sizeof pair / sizeof *pair; i++)
        for (int swap = 0; swap < 2; swap++) {
            volatile size_t a = pair[i][swap], b = pair[i][!swap];
            no_memory(calloc(a, b));
            no_memory(reallocarray(hide(p), a, b));
            no_memory(reallocarray(NULL, a, b));
            for (int k = 0; k < 100; k++) expect(p[k] == 7);
        }
    free(p);
}

/* More than the machine can ever hold must not be granted lazily: the program would find out by a
 * kill instead of by a NULL. Only where the kernel refuses such mappings itself. */
TEST(enomem_beyond_the_machine) {
    if (check_in_valgrind()) skip("valgrind");
    char mode = '0';

    int fd = open("/proc/sys/vm/overcommit_memory", 0);
    if (fd < 0 || read(fd, &mode, 1) != 1 || mode == '1') skip("the kernel overcommits without bound");
    size_t memory = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
    for (size_t n = memory * 16; n < (size_t)1 << 47; n *= 2) {
        no_memory(malloc(n));
        no_memory(calloc(n / 8, 8));
        no_memory(memalign(64, n));
    }
    sink = malloc(100000);
    expect(sink != NULL);
}

TEST_LIMIT(untouched_on_success, 20) {
    for (size_t n = 0; n <= ((size_t)200 << 20); n = n + n / 4 + 1) {
        void *p = NULL;
        untouched(p = malloc(n));
        expect(p);
        untouched(sink = (void *)malloc_usable_size(p));
        untouched(p = realloc(p, n + n / 2 + 1));
        untouched(p = realloc(p, n / 2 + 1));
        untouched(free(p));
        untouched(p = calloc(1, n));
        untouched(p = reallocarray(p, n + 1, 2));
        untouched(free(p));
        untouched(p = memalign(4096, n));
        untouched(free(p));
        untouched(sink = p = valloc(n));
        untouched(free(p));
    }
    untouched(free(NULL));
    untouched(malloc_trim(0));
    untouched(sink = realloc(NULL, 0));
    untouched(sink = realloc(sink, zero));
}

static void *churn(void *arg) {
    (void)arg;
    struct check_rng rng = check_rng(7);
    static __thread void *p[2000];
    for (int i = 0; i < 200000; i++) {
        size_t k = check_below(&rng, 2000);
        untouched(free(p[k]));
        untouched(p[k] = malloc(check_random_size(&rng, 500000)));
    }
    for (int k = 0; k < 2000; k++) untouched(free(p[k]));
    return NULL;
}

/* Through refills, flushes, growth and the exit of a thread. */
TEST_LIMIT(untouched_in_threads, 30) {
    pthread_t t[4];
    for (int i = 0; i < 4; i++) pthread_create(&t[i], NULL, churn, NULL);
    for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
    untouched(malloc_trim(0));
}

TEST_MAIN()
