/* Sizes: what zero gives, that blocks are apart and aligned, and that the usable size holds what it
 * promises: at least the request, the same for the whole life of the block, and writable to the
 * last byte (programs use it as a capacity). */
#include "tests/check.h"

#include <dlfcn.h>
#include <malloc.h>

static void *volatile sink;

/* Hides from the compiler where a block comes from and how large it is. */
static void *opaque(void *p) {
    sink = p;
    return sink;
}

TEST(zero_size_gives_a_block_of_its_own) {
    void *p = opaque(malloc(0)), *q = opaque(malloc(0)), *r = opaque(calloc(0, 8)), *s = opaque(calloc(8, 0));
    expect(p && q && r && s);
    expect(p != q && p != r && p != s && q != r && q != s && r != s);
    free(p);
    free(q);
    free(r);
    free(s);
    free(NULL);
    expect_eq(malloc_usable_size(NULL), 0);
}

TEST(alignment_of_plain_blocks) {
    for (size_t n = 0; n <= 40000; n++) {
        void *p = opaque(malloc(n));
        if (!expect(p)) return;
        if (n <= 8 ? !expect_eq((uintptr_t)p % 8, 0) : !expect_eq((uintptr_t)p % 16, 0)) return;
        free(p);
    }
}

TEST(small_sizes_do_not_overlap) {
    enum { COUNT = 3000 };
    static unsigned char *block[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        block[i] = opaque(malloc(i));
        if (!expect(block[i])) return;
        check_fill(block[i], malloc_usable_size(block[i]), i);
    }
    for (size_t i = 0; i < COUNT; i++) {
        if (!expect(check_filled(block[i], malloc_usable_size(block[i]), i))) return;
        free(block[i]);
    }
}

struct block {
    unsigned char *p;
    size_t asked, usable;
    uint64_t key;
};

static bool check_and_free(struct block *b) {
    if (!b->p) return true;
    bool ok = expect_eq(malloc_usable_size(b->p), b->usable) && expect(check_filled(b->p, b->usable, b->key));
    free(b->p);
    b->p = NULL;
    return ok;
}

TEST_LIMIT(usable_size_is_constant_and_writable, 60) {
    enum { SLOTS = 1000, ROUNDS = 100000 };
    static struct block slot[SLOTS];
    struct check_rng rng = check_rng(0);
    for (int i = 0; i < ROUNDS; i++) {
        struct block *b = &slot[check_below(&rng, SLOTS)];
        if (!check_and_free(b)) return;
        b->asked = check_random_size(&rng, check_below(&rng, 20) ? 60000 : 1000000);
        switch (check_below(&rng, 4)) {
        case 0: b->p = opaque(calloc(1, b->asked)); break;
        case 1: b->p = opaque(realloc(NULL, b->asked)); break;
        case 2: b->p = opaque(memalign((size_t)16 << check_below(&rng, 8), b->asked)); break;
        default: b->p = opaque(malloc(b->asked));
        }
        if (!expect(b->p)) return;
        b->usable = malloc_usable_size(b->p);
        b->key = check_random(&rng);
        if (!expect(b->usable >= b->asked)) return;
        check_fill(b->p, b->usable, b->key);
    }
    for (int i = 0; i < SLOTS; i++) check_and_free(&slot[i]);
}

TEST(usable_size_wastes_little) {
    for (size_t n = 129; n <= 32768; n++) {
        void *p = opaque(malloc(n));
        if (!expect_at_most(malloc_usable_size(p), n + n / 7 + 16)) return;
        free(p);
    }
    for (size_t n = 32769; n <= (64 << 20); n += n / 3) {
        void *p = opaque(malloc(n));
        if (!expect_at_most(malloc_usable_size(p), n + 8192 + 64)) return;
        free(p);
    }
}

TEST(large_blocks_are_writable_to_the_end) {
    for (size_t n = 30000; n <= ((size_t)300 << 20); n += n / 2) {
        char *p = opaque(malloc(n));
        if (!expect(p)) return;
        size_t usable = malloc_usable_size(p);
        p[0] = 1;
        p[n - 1] = 2;
        p[usable - 1] = 3;
        expect(usable >= n && p[0] == 1);
        free(p);
    }
}

TEST(free_with_sizes) {
    void (*free_sized)(void *, size_t) = NULL;
    void (*free_aligned_sized)(void *, size_t, size_t) = NULL;

    *(void **)&free_sized = dlsym(RTLD_DEFAULT, "free_sized");
    *(void **)&free_aligned_sized = dlsym(RTLD_DEFAULT, "free_aligned_sized");
    if (!expect(free_sized) || !expect(free_aligned_sized)) return;
    free_sized(NULL, 0);
    free_aligned_sized(NULL, 64, 0);
    for (size_t n = 0; n < 100000; n = n + n / 10 + 1) {
        free_sized(opaque(malloc(n)), n);
        free_sized(opaque(calloc(1, n)), n);
        free_aligned_sized(opaque(aligned_alloc(256, n)), 256, n);
    }
}

TEST_MAIN()
