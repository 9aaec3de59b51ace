/* Limits on memory that are set while the program runs: what was reserved must not count against
 * it, malloc answers NULL with ENOMEM instead of crashing, and memory freed can be had again. */
#include "tests/check.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define MIB ((size_t)1 << 20)

struct node {
    struct node *next;
};

static bool limit(int resource, size_t bytes) {
    struct rlimit r;
    getrlimit(resource, &r);
    r.rlim_cur = bytes;
    return setrlimit(resource, &r) == 0;
}

static size_t fill(size_t size, struct node **list) {
    size_t got = 0;
    struct node *n;
    errno = 0;
    while ((n = malloc(size))) {
        memset(n, 1, size < 4096 ? size : 4096);
        n->next = *list;
        *list = n;
        got += size;
    }
    expect_eq(errno, ENOMEM);
    return got;
}

static void drain(struct node **list) {
    while (*list) {
        struct node *next = (*list)->next;
        free(*list);
        *list = next;
    }
}

static void *allocate_a_bit(void *arg) {
    (void)arg;
    void *volatile p = malloc(1000);
    free(p);
    return p;
}

/* Most of a 512 MiB limit can be had, in blocks of every kind, again and again. */
static void most_can_be_had(int resource) {
    void *volatile warm = malloc(100);
    free(warm);
    if (!limit(resource, 512 * MIB)) skip("no such limit");
    static const size_t sizes[] = {64, 1000, 5000, 40000, 200000, 3 << 20, 30 << 20};
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            struct node *list = NULL;
            size_t got = fill(sizes[i], &list);
            errno = 0;
            void *volatile too_much = calloc(1, 400 * MIB);
            expect(too_much == NULL && errno == ENOMEM);
            drain(&list);
            if (!expect(got >= 256 * MIB))
                diag("only %zu MiB in blocks of %zu, round %d", got / MIB, sizes[i], round);
        }
    /* After all that the rest of the process has room as well. */
    pthread_t t;
    if (expect_eq(pthread_create(&t, NULL, allocate_a_bit, NULL), 0)) pthread_join(t, NULL);
    void *p = mmap(NULL, 64 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    expect(p != MAP_FAILED);
}

TEST_LIMIT(address_space_limited_at_run_time, 60) {
    most_can_be_had(RLIMIT_AS);
}

TEST_LIMIT(data_limited_at_run_time, 60) {
    most_can_be_had(RLIMIT_DATA);
}

TEST(limits_by_prlimit) {
    void *volatile warm = malloc(100);
    free(warm);
    struct rlimit r;
    getrlimit(RLIMIT_AS, &r);
    r.rlim_cur = 512 * MIB;
    if (prlimit(0, RLIMIT_AS, &r, NULL) != 0) skip("no prlimit");
    void *p = mmap(NULL, 128 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    expect(p != MAP_FAILED);
    void *volatile q = malloc(128 * MIB);
    expect(q);
}

/* Half of what was freed while the limit is reached can be had again at once. */
TEST_LIMIT(freed_memory_can_be_had_again, 60) {
    limit(RLIMIT_AS, 512 * MIB);
    static const size_t sizes[] = {64, 1000, 5000, 40000, 200000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct node *list = NULL;
        fill(sizes[i], &list);
        size_t freed = 0, again = 0;
        for (struct node *n = list; n && n->next; n = n->next) {
            struct node *second = n->next;
            n->next = second->next;
            free(second);
            freed += sizes[i];
        }
        struct node *n;
        while (again < freed / 2 && (n = malloc(sizes[i]))) {
            n->next = list;
            list = n;
            again += sizes[i];
        }
        if (!expect(again >= freed / 2))
            diag("%zu freed, %zu again, in blocks of %zu", freed, again, sizes[i]);
        drain(&list);
    }
}

/* A limit that is reached and lifted again leaves nothing behind. */
TEST(lifting_a_limit) {
    struct rlimit before;
    getrlimit(RLIMIT_AS, &before);
    limit(RLIMIT_AS, 300 * MIB);
    struct node *list = NULL;
    fill(MIB, &list);
    setrlimit(RLIMIT_AS, &before);
    for (int i = 0; i < 10; i++) {
        struct node *n = malloc(100 * MIB);
        if (!expect(n)) break;
        n->next = list;
        list = n;
    }
    drain(&list);
}

static void *fill_in_thread(void *arg) {
    struct node *list = NULL;
    size_t got = fill((size_t)arg, &list);
    drain(&list);
    return (void *)got;
}

TEST_LIMIT(threads_at_the_limit, 60) {
    limit(RLIMIT_AS, 512 * MIB);
    for (int round = 0; round < 5; round++) {
        pthread_t t[4];
        for (size_t i = 0; i < 4; i++)
            if (!expect_eq(pthread_create(&t[i], NULL, fill_in_thread, (void *)(i * 4000 + 500)), 0)) return;
        for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
    }
    void *volatile p = malloc(100 * MIB);
    expect(p);
}

/* Memory runs out inside realloc and in aligned requests. */
TEST(realloc_at_the_limit) {
    limit(RLIMIT_AS, 512 * MIB);
    size_t n = 1000;
    unsigned char *volatile p = malloc(n), *volatile q;
    check_fill(p, n, 1);
    while ((q = realloc(p, n * 2))) {
        expect(check_filled(q, n, 1));
        p = q;
        n *= 2;
        check_fill(p, n, 1);
    }
    expect_eq(errno, ENOMEM);
    expect(n >= 64 * MIB);
    free(p);
    void *block = (void *)0x55;
    expect_eq(posix_memalign(&block, 1 << 20, 600 * MIB), ENOMEM);
    expect_eq(block, 0x55);
}

TEST_MAIN()
