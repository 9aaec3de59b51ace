/* Calls before main: from constructors of every priority, preinit functions and ifunc resolvers'
 * neighbours; and after it, from atexit handlers and destructors. */
#include "tests/check.h"

#include <malloc.h>
#include <sys/wait.h>

static unsigned char *early[4];
static int threads_at_constructor;

static void allocate_early(int i) {
    early[i] = malloc(5000);
    if (early[i]) check_fill(early[i], 5000, (uint64_t)i);
    for (size_t n = 1; n < 3000000; n = n * 2 + 1) {
        void *volatile p = calloc(1, n);
        p = realloc(p, n * 2);
        free(p);
    }
}

static void preinit(void) {
    allocate_early(0);
}
__attribute__((section(".preinit_array"), used)) static void (*const preinit_entry)(void) = preinit;

__attribute__((constructor(101))) static void first(void) {
    allocate_early(1);
}

__attribute__((constructor)) static void second(void) {
    allocate_early(2);
    threads_at_constructor = check_threads();
}

TEST(blocks_from_before_main) {
    for (int i = 0; i < 3; i++) {
        if (!expect(early[i] != NULL)) continue;
        expect(check_filled(early[i], 5000, (uint64_t)i));
        expect(malloc_usable_size(early[i]) >= 5000);
        early[i] = realloc(early[i], 500000);
        expect(check_filled(early[i], 5000, (uint64_t)i));
        free(early[i]);
    }
}

TEST(no_thread_but_main) {
    expect_eq(threads_at_constructor, 1);
    expect_eq(check_threads(), 1);
}

static void at_exit(void) {
    void *volatile p = malloc(100);
    free(p);
    free(early[0]);
    early[0] = malloc(100000);
}

__attribute__((destructor)) static void last(void) {
    void *volatile p = malloc(300);
    free(p);
    free(early[1]);
    free(early[2]);
}

TEST(allocation_during_exit) {
    pid_t child = fork();
    if (child == 0) {
        atexit(at_exit);
        exit(0);
    }
    expect_eq(check_wait(child, 5), 0);
    early[0] = early[1] = early[2] = NULL;
}

TEST_MAIN()
