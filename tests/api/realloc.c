/* realloc and reallocarray: content kept from bytes to hundreds of MB, growing, shrinking, moving
 * and in place; what zero does; failure leaves the block as it was; growth by doubling does not
 * hold two copies. */
#include "tests/check.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>

static void *volatile sink;
static volatile size_t size_max = SIZE_MAX, zero = 0;

static void *hide(void *p) {
    void *volatile hidden = p;
    return hidden;
}

TEST(null_is_malloc) {
    char *p = realloc(NULL, 100);
    if (!expect(p)) return;
    memset(p, 1, malloc_usable_size(p));
    p = reallocarray(p, 10, 20);
    expect(p && p[99] == 1);
    free(p);
    p = realloc(NULL, zero);
    expect(p);
    free(p);
    p = reallocarray(NULL, zero, 5);
    expect(p);
    free(p);
}

/* As the C library: the block is freed and the answer is NULL. */
TEST(zero_frees) {
    for (size_t n = 1; n < 1000000; n *= 3) {
        errno = 1234;
        void *p = realloc(malloc(n), zero);
        expect(p == NULL);
        p = reallocarray(malloc(n), zero, 8);
        expect(p == NULL);
        p = reallocarray(malloc(n), 8, zero);
        expect(p == NULL);
        expect_eq(errno, 1234);
    }
    long before = 0;
    for (int i = 0; i < 3000; i++) {
        sink = malloc(200000);
        memset(sink, 1, 200000);
        sink = realloc(sink, zero);
        if (i == 500) before = check_rss_kib();
    }
    expect_at_most(check_rss_kib(), before + 4096);
}

TEST_LIMIT(content_through_random_sizes, 60) {
    enum { SLOTS = 500, ROUNDS = 200000 };
    static struct { unsigned char *p; size_t n; uint64_t key; } slot[SLOTS];
    struct check_rng rng = check_rng(0);
    for (int i = 0; i < ROUNDS; i++) {
        size_t k = check_below(&rng, SLOTS), n = 1 + check_random_size(&rng, 300000);
        size_t kept = slot[k].n < n ? slot[k].n : n;
        slot[k].p = realloc(slot[k].p, n);
        if (!expect(slot[k].p) || !expect(check_filled(slot[k].p, kept, slot[k].key))) {
            diag("round %d: %zu to %zu", i, slot[k].n, n);
            return;
        }
        slot[k].n = n;
        slot[k].key = check_random(&rng);
        check_fill(slot[k].p, n, slot[k].key);
    }
    for (int k = 0; k < SLOTS; k++) free(slot[k].p);
}

/* Every class to every other would be a lot: neighbours, and jumps by factors. */
TEST(content_between_all_classes) {
    for (size_t from = 1; from < 100000; from += from / 9 + 1)
        for (size_t to = 1; to < 400000; to += to / 2 + 1) {
            unsigned char *p = malloc(from);
            check_fill(p, from, from);
            p = realloc(p, to);
            if (!expect(p && check_filled(p, from < to ? from : to, from))) return;
            expect(malloc_usable_size(p) >= to);
            free(p);
        }
}

/* Large blocks: a word a page, other blocks between so that growing in place is not always possible. */
static void stamp_pages(char *p, size_t from, size_t n) {
    for (size_t i = (from + 4095) & ~(size_t)4095; i + 8 <= n; i += 4096) *(size_t *)(p + i) = i ^ 0x5555;
}

static bool stamped(char *p, size_t n) {
    for (size_t i = 0; i + 8 <= n; i += 4096)
        if (*(size_t *)(p + i) != (i ^ 0x5555)) return false;
    return true;
}

TEST_LIMIT(large_growth_keeps_content, 60) {
    size_t n = 40000;
    char *p = malloc(n), *obstacle[40];
    int obstacles = 0;
    stamp_pages(p, 0, n);
    for (int i = 0; n < ((size_t)400 << 20); i++) {
        size_t old = n;
        n += n / 3 + 100;
        if (i % 2 && obstacles < 40) obstacle[obstacles++] = memset(malloc(50000), 7, 50000);
        p = realloc(p, n);
        if (!expect(p && stamped(p, old))) return;
        expect(malloc_usable_size(p) >= n);
        stamp_pages(p, old, n);
        p[n - 1] = 1;
        p[n - 1] = 0;
        if (n % 4096 == 1) stamp_pages(p, n - 4097, n);
    }
    while (n > 50000) {
        n /= 2;
        p = realloc(p, n);
        if (!expect(p && stamped(p, n))) return;
    }
    p = realloc(p, 100);
    expect(p && *(size_t *)p == 0x5555);
    free(p);
    for (int i = 0; i < obstacles; i++) {
        expect(obstacle[i][49999] == 7);
        free(obstacle[i]);
    }
}

/* Two blocks growing side by side, as two strings that a program builds. */
TEST_LIMIT(two_growing_side_by_side, 30) {
    char *p = NULL, *q = NULL;
    size_t old = 0;
    for (size_t n = 1000; n < (100 << 20); n += n / 4) {
        p = realloc(p, n);
        q = realloc(q, n);
        if (!expect(p && q && p != q)) return;
        expect(stamped(p, old) && stamped(q, old));
        stamp_pages(p, 0, n);
        stamp_pages(q, 0, n);
        old = n;
    }
    free(p);
    free(q);
}

TEST(shrinking_gives_memory_back) {
    size_t n = (size_t)200 << 20;
    char *p = malloc(n);
    memset(p, 1, n);
    p = realloc(p, 1 << 20);
    expect(p && p[0] == 1 && p[(1 << 20) - 1] == 1);
    char *q = malloc(n - (16 << 20));
    memset(q, 2, n - (16 << 20));
    expect_at_most(check_rss_kib(), (220 << 10));
    free(p);
    free(q);
}

static long peak_kib(void) {
    static char text[4000];
    int fd = open("/proc/self/status", O_RDONLY);
    ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    text[got > 0 ? got : 0] = 0;
    char *found = strstr(text, "VmHWM:");
    return found ? strtol(found + 6, NULL, 10) : -1;
}

/* Growth by doubling moves pages, not bytes: the peak is the final size, not one and a half of it. */
TEST_LIMIT(doubling_holds_one_copy, 60) {
    if (check_in_valgrind()) skip("valgrind");
    long before = check_rss_kib();
    size_t n = 1 << 20, end = (size_t)512 << 20;
    char *p = malloc(n);
    memset(p, 1, n);
    while (n < end) {
        free(memset(malloc(100000), 3, 100000));
        p = realloc(p, n * 2);
        if (!expect(p)) return;
        expect(p[0] == 1 && p[n - 1] == 1);
        memset(p + n, 1, n);
        n *= 2;
    }
    expect_at_most(peak_kib() - before, (long)(end >> 10) / 100 * 105 + 4096);
    free(p);
}

TEST(failure_leaves_the_block) {
    for (size_t n = 10; n < (8 << 20); n *= 3) {
        unsigned char *p = malloc(n);
        check_fill(p, n, n);
        errno = 0;
        sink = realloc(hide(p), size_max / 2);
        expect(sink == NULL && errno == ENOMEM);
        errno = 0;
        sink = realloc(hide(p), (size_t)1 << 47);
        expect(sink == NULL && errno == ENOMEM);
        errno = 0;
        sink = reallocarray(hide(p), size_max / 4, 8);
        expect(sink == NULL && errno == ENOMEM);
        expect(check_filled(p, n, n));
        free(p);
    }
}

/* A realloc inside the block's own usable size may not move it for nothing. */
TEST(within_usable_size_stays) {
    for (size_t n = 1; n < 200000; n += n / 10 + 1) {
        char *p = malloc(n), *q = realloc(hide(p), malloc_usable_size(p));
        expect(p == q);
        q = realloc(hide(q), n);
        expect(p == q);
        free(q);
    }
}

TEST_MAIN()
