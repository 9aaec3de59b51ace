/* The calls that report and tune: figures that follow the heap, output that parses, settings that
 * are taken without harm, and a trim that gives memory back. */
#include "tests/check.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>

static void *volatile sink;

TEST(mallinfo2_follows_the_heap) {
    struct mallinfo2 before = mallinfo2();
    static void *p[1000];
    for (int i = 0; i < 1000; i++) p[i] = memset(malloc(10000), 1, 10000);
    struct mallinfo2 during = mallinfo2();
    for (int i = 0; i < 1000; i++) free(p[i]);
    struct mallinfo2 after = mallinfo2();
    expect(during.uordblks + during.hblkhd >= before.uordblks + before.hblkhd + 10000000);
    expect(after.uordblks + after.hblkhd < before.uordblks + before.hblkhd + 1000000);
    expect(during.arena + during.hblkhd >= 10000000);
}

TEST(mallinfo_answers) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    sink = malloc(5000000);
    struct mallinfo info = mallinfo();
#pragma GCC diagnostic pop
    expect(info.uordblks + info.hblkhd >= 5000000);
    free(sink);
}

TEST(malloc_info_is_xml) {
    char *text = NULL;
    size_t length = 0;
    FILE *f = open_memstream(&text, &length);
    expect_eq(malloc_info(0, f), 0);
    fclose(f);
    if (!expect(length > 20)) return;
    expect(strncmp(text, "<malloc", 7) == 0);
    expect(strstr(text, "</malloc>") != NULL);
    free(text);
    f = fopen("/dev/null", "w");
    expect_eq(malloc_info(1, f), EINVAL);
    fclose(f);
}

TEST(malloc_stats_writes_to_stderr) {
    int ends[2];
    char text[4000];
    expect(pipe(ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 2);
        sink = malloc(100000);
        malloc_stats();
        fflush(stderr);
        _exit(0);
    }
    close(ends[1]);
    ssize_t n, total = 0;
    while ((n = read(ends[0], text, sizeof text)) > 0) total += n;
    expect_eq(check_wait(child, 5), 0);
    expect(total > 20);
}

TEST(mallopt_is_harmless) {
    expect_eq(mallopt(M_MMAP_THRESHOLD, 1 << 20), 1);
    expect_eq(mallopt(M_TRIM_THRESHOLD, 1 << 20), 1);
    expect_eq(mallopt(M_TOP_PAD, 1 << 16), 1);
    expect_eq(mallopt(M_MMAP_MAX, 1000), 1);
    expect_eq(mallopt(M_ARENA_MAX, 2), 1);
    expect_eq(mallopt(M_ARENA_TEST, 2), 1);
    expect_eq(mallopt(M_PERTURB, 0), 1);
    mallopt(12345, 6);
    for (size_t n = 1; n < 10000000; n *= 2) {
        sink = malloc(n);
        expect(sink);
        free(sink);
    }
}

TEST(trim_gives_memory_back) {
    enum { COUNT = 50000 };
    static void *p[COUNT];
    for (int i = 0; i < COUNT; i++) p[i] = memset(malloc(2000), 1, 2000);
    long full = check_rss_kib();
    for (int i = 0; i < COUNT; i++) free(p[i]);
    errno = 1234;
    int gave = malloc_trim(0);
    expect_eq(errno, 1234);
    expect(gave == 0 || gave == 1);
    expect_at_most(check_rss_kib(), full - 80000);
    for (int i = 0; i < COUNT; i++) p[i] = memset(malloc(2000), 1, 2000);
    expect(check_rss_kib() >= full - 5000);
    expect(malloc_trim(1 << 20) >= 0);
}

TEST(trim_with_live_blocks_between) {
    enum { COUNT = 20000 };
    static unsigned char *p[COUNT];
    for (int i = 0; i < COUNT; i++) check_fill(p[i] = malloc(3000), 3000, (uint64_t)i);
    for (int i = 0; i < COUNT; i++)
        if (i % 16) free(p[i]);
    malloc_trim(0);
    for (int i = 0; i < COUNT; i += 16) {
        if (!expect(check_filled(p[i], 3000, (uint64_t)i))) return;
        free(p[i]);
    }
}

TEST_MAIN()
