/* The earliest calls there are: from an IFUNC resolver of the executable, which runs while the loader
 * relocates, before any constructor and before thread-local variables have their initial values. */
#include "tests/check.h"

#include <malloc.h>

enum { SMALL = 40, MEDIUM = 5000, LARGE = 300000 };
static unsigned char *small, *medium, *large, *aligned;

static int seven(void) {
    return 7;
}

static unsigned char *filled(void *p, size_t n) {
    if (p) check_fill(p, n, n);
    return p;
}

static int (*resolve(void))(void) {
    small = filled(malloc(SMALL), SMALL);
    medium = filled(calloc(1, MEDIUM), MEDIUM);
    large = filled(realloc(malloc(1000), LARGE), LARGE);
    aligned = memalign(4096, 100);
    free(malloc(200));
    return seven;
}

static int resolved(void) __attribute__((ifunc("resolve")));

TEST(malloc_in_a_resolver) {
    expect_eq(resolved(), 7);
    if (!expect(small && medium && large && aligned)) return;
    expect_eq((uintptr_t)aligned % 4096, 0);
    expect(check_filled(small, SMALL, SMALL));
    expect(check_filled(medium, MEDIUM, MEDIUM));
    expect(check_filled(large, LARGE, LARGE));
}

/* The cache of that time is lost with the thread-local variables; its blocks are not. */
TEST(blocks_of_a_resolver_are_ordinary) {
    if (!expect(small && medium && large && aligned)) return;
    expect(malloc_usable_size(small) >= SMALL);
    for (int i = 0; i < 1000; i++) {
        void *p = malloc(SMALL);
        if (!expect(p && p != small)) return;
        memset(p, 0, SMALL);
    }
    expect(check_filled(small, SMALL, SMALL));
    small = realloc(small, 2000);
    expect(small && check_filled(small, SMALL, SMALL));
    free(small);
    free(medium);
    free(large);
    free(aligned);
}

TEST_MAIN()
