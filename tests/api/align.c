/* The five functions that take or imply an alignment, over a table of alignments (powers of two up
 * to 1 GiB, others, zero) and sizes (zero to SIZE_MAX): alignment, distinct blocks, EINVAL against
 * ENOMEM, and nothing touched on failure. */
#include "tests/check.h"

#include <errno.h>
#include <malloc.h>

#define MARK ((void *)0x55)

static void *volatile sink;
static volatile size_t size_max = SIZE_MAX;

static const size_t sizes[] = {0,       1,      7,    8,     16,    17,    100,    1000,   4095,
                               4096,    4097,   8192, 32767, 32768, 32769, 100000, 300000, (1 << 20) - 1,
                               1 << 20, 5 << 20};
#define SIZES (sizeof sizes / sizeof *sizes)

static void use(void *p, size_t align, size_t n, const char *who) {
    if (!p || (uintptr_t)p % align) {
        expect(!"an aligned block");
        diag("%s(%zu, %zu) = %p", who, align, n, p);
        return;
    }
    expect(malloc_usable_size(p) >= n);
    if (n) {
        ((char *)p)[0] = 1;
        ((char *)p)[n - 1] = 2;
    }
}

TEST_LIMIT(powers_of_two, 30) {
    for (size_t align = 1; align <= (size_t)1 << 30; align *= 2) {
        for (size_t i = 0; i < SIZES; i++) {
            size_t n = sizes[i];
            void *p = MARK, *q, *r;
            errno = 1234;
            if (align >= sizeof(void *)) {
                expect_eq(posix_memalign(&p, align, n), 0);
                use(p, align, n, "posix_memalign");
            } else {
                expect_eq(posix_memalign(&p, align, n), EINVAL);
                expect_eq(p, MARK);
                p = NULL;
            }
            sink = q = memalign(align, n);
            use(q, align, n, "memalign");
            sink = r = aligned_alloc(align, n);
            use(r, align, n, "aligned_alloc");
            expect(p != q && q != r && p != r);
            expect_eq(errno, 1234);
            free(p);
            free(q);
            free(r);
            expect_eq(errno, 1234);
        }
    }
}

TEST(posix_memalign_refuses) {
    static const size_t wrong[] = {0,  1,  2,   3,    4,    5,    6,     7,       9,        12,          24,
                                   40, 48, 100, 1000, 4095, 4097, 12288, 3 << 20, SIZE_MAX, SIZE_MAX - 7};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        for (size_t k = 0; k < 4; k++) {
            size_t n = k == 0 ? 0 : k == 1 ? 100 : k == 2 ? 100000 : size_max;
            void *p = MARK;
            errno = 1234;
            expect_eq(posix_memalign(&p, wrong[i], n), EINVAL);
            expect_eq(p, MARK);
            expect_eq(errno, 1234);
        }
}

TEST(posix_memalign_without_memory) {
    for (size_t align = sizeof(void *); align <= (size_t)1 << 30; align *= 2)
        for (size_t k = 0; k < 6; k++) {
            const size_t n[] = {size_max,     size_max - 15,    size_max - align,
                                size_max / 2, size_max / 2 + 1, (size_t)1 << 47};
            void *p = MARK;
            errno = 1234;
            expect_eq(posix_memalign(&p, align, n[k]), ENOMEM);
            expect_eq(p, MARK);
            expect_eq(errno, 1234);
        }
}

static void expect_no_memory(void *p) {
    expect(p == NULL);
    expect_eq(errno, ENOMEM);
    free(p);
    errno = 0;
}

TEST(others_without_memory) {
    errno = 0;
    for (size_t align = 1; align <= (size_t)1 << 30; align *= 2) {
        expect_no_memory(memalign(align, size_max));
        expect_no_memory(memalign(align, size_max - align + 1));
        expect_no_memory(memalign(align, size_max / 2 + 1));
        expect_no_memory(aligned_alloc(align, size_max - align + 1));
        expect_no_memory(aligned_alloc(align, size_max / 2));
    }
    for (size_t k = 0; k < 5000; k = k * 2 + 1) {
        expect_no_memory(valloc(size_max - k));
        expect_no_memory(pvalloc(size_max - k));
        expect_no_memory(valloc(size_max / 2 - k + 1));
        expect_no_memory(pvalloc(size_max / 2 - k + 1));
    }
}

TEST(memalign_rounds_other_alignments_up) {
    static const size_t other[][2] = {{0, 8},     {3, 8},       {12, 16},     {24, 32},      {33, 64},
                                      {100, 128}, {1000, 1024}, {4097, 8192}, {12288, 16384}};
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        for (size_t k = 0; k < SIZES; k++) {
            void *p = memalign(other[i][0], sizes[k]);
            use(p, other[i][1], sizes[k], "memalign");
            free(p);
        }
}

/* C11 says power of two; the C library rounded up until 2.37 and answers EINVAL since. */
TEST(aligned_alloc_of_other_alignments) {
    static const size_t other[] = {3, 12, 24, 100, 4097};
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        errno = 0;
        void *p = aligned_alloc(other[i], 1000);
        if (p)
            use(p, 8, 1000, "aligned_alloc");
        else
            expect_eq(errno, EINVAL);
        free(p);
    }
}

TEST(impossible_alignments) {
    const size_t wrong[] = {SIZE_MAX / 2 + 2, SIZE_MAX, SIZE_MAX - 4095};
    for (size_t i = 0; i < 3; i++) {
        errno = 0;
        void *p = memalign(wrong[i], 10);
        expect(p == NULL);
        expect_eq(errno, EINVAL);
        errno = 0;
        p = aligned_alloc(wrong[i], 10);
        expect(p == NULL);
        expect_eq(errno, EINVAL);
    }
    errno = 0;
    void *p = memalign(SIZE_MAX / 2 + 1, 10);
    expect(p == NULL);
    expect(errno == ENOMEM || errno == EINVAL);
}

TEST(valloc_and_pvalloc_are_whole_pages) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < SIZES; i++) {
        void *p = valloc(sizes[i]), *q = pvalloc(sizes[i]);
        use(p, page, sizes[i], "valloc");
        use(q, page, sizes[i], "pvalloc");
        size_t whole = (sizes[i] + page - 1) / page * page;
        expect(malloc_usable_size(q) >= whole);
        if (q) memset(q, 1, whole);
        free(p);
        free(q);
    }
}

/* Aligned blocks live among others, take part in realloc, and keep what is written. */
TEST_LIMIT(content_of_random_alignments, 20) {
    enum { SLOTS = 300, ROUNDS = 20000 };
    static struct {
        unsigned char *p;
        size_t n;
        uint64_t key;
    } slot[SLOTS];
    struct check_rng rng = check_rng(1);
    for (int i = 0; i < ROUNDS; i++) {
        size_t k = check_below(&rng, SLOTS), align = (size_t)1 << check_below(&rng, 17);
        size_t n = check_random_size(&rng, 200000);
        if (slot[k].p) {
            if (!expect(check_filled(slot[k].p, slot[k].n, slot[k].key))) return;
            if (check_below(&rng, 2)) {
                slot[k].p = realloc(slot[k].p, n + 1);
                if (!expect(slot[k].p)) return;
                if (!expect(check_filled(slot[k].p, n < slot[k].n ? n : slot[k].n, slot[k].key))) return;
            }
            free(slot[k].p);
        }
        slot[k].p = memalign(align, n);
        if (!expect(slot[k].p && (uintptr_t)slot[k].p % align == 0)) return;
        slot[k].n = n;
        slot[k].key = check_random(&rng);
        check_fill(slot[k].p, n, slot[k].key);
    }
    for (int k = 0; k < SLOTS; k++) free(slot[k].p);
}

/* Alignment must not eat memory for good: the same requests again and again. */
TEST_LIMIT(aligned_blocks_are_reused, 20) {
    long before = 0;
    for (int round = 0; round < 400; round++) {
        void *p[16];
        for (int i = 0; i < 16; i++) {
            p[i] = memalign((size_t)1 << (4 + i), 50000);
            if (!expect(p[i])) return;
            memset(p[i], 1, 50000);
        }
        for (int i = 0; i < 16; i++) free(p[i]);
        if (round == 100) before = check_rss_kib();
    }
    expect_at_most(check_rss_kib(), before + 4096);
}

TEST_MAIN()
