/* base/print.c against the C library's snprintf, and base/panic.c's lines. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tests/check.h"

#include "libgomalloc/base/check.h"
#include "libgomalloc/base/panic.h"
#include "libgomalloc/base/print.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>

/* Both printers get the same arguments and must agree. */
#define same_as_libc(...)                                              \
    do {                                                               \
        struct gm_out o_;                                              \
        char want_[1024];                                              \
        snprintf(want_, sizeof want_, __VA_ARGS__);                    \
        gm_out_init(&o_, -1);                                          \
        gm_out_printf(&o_, __VA_ARGS__);                               \
        expect_eq(gm_out_flush(&o_), 0);                               \
        expect_str(o_.text, want_);                                    \
    } while (0)

TEST(integers) {
    static const long long values[] = {0,   1,       -1,      9,        10,        255,
                                       256, INT_MAX, INT_MIN, UINT_MAX, LLONG_MAX, LLONG_MIN};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        long long v = values[i];
        same_as_libc("%d %i %u %x", (int)v, (int)v, (unsigned)v, (unsigned)v);
        same_as_libc("%ld %lu %lx", (long)v, (unsigned long)v, (unsigned long)v);
        same_as_libc("%lld %llu %llx", v, (unsigned long long)v, (unsigned long long)v);
        same_as_libc("%zd %zu %zx", (ssize_t)v, (size_t)v, (size_t)v);
        same_as_libc("[%8d] [%-8d] [%08d] [%1d]", (int)v, (int)v, (int)v, (int)v);
        same_as_libc("[%30lld] [%-30lld] [%030lld]", v, v, v);
        same_as_libc("[%016llx] [%3x]", (unsigned long long)v, (unsigned)v);
    }
}

TEST(strings_and_characters) {
    same_as_libc("%s|%5s|%-5s|%2s|%s", "abc", "abc", "abc", "abc", "");
    same_as_libc("%c%3c%-3c| 100%% %s", 'a', 'b', 'c', "end");
    same_as_libc("no conversion");
    struct gm_out o;
    gm_out_init(&o, -1);
    const char *volatile none = NULL;
    gm_out_printf(&o, "%s", none);
    gm_out_flush(&o);
    expect_str(o.text, "(null)");
}

/* A format that the compiler cannot see, for what it would warn about: '-' wins over '0'. */
TEST(both_flags) {
    const char *volatile format = "[%-06d] [%0-6d] [%-09.2f]";
    same_as_libc(format, -12, 34, 5.678);
}

TEST(pointers) {
    same_as_libc("%p", (void *)0xdeadbeef);
    same_as_libc("[%20p] [%-20p]", (void *)0x7fff12345678, (void *)16);
    same_as_libc("%p", (void *)UINTPTR_MAX);
    struct gm_out o;
    gm_out_init(&o, -1);
    gm_out_printf(&o, "%p", (void *)0);
    gm_out_flush(&o);
    expect_str(o.text, "0x0");
}

TEST(doubles) {
    static const double values[] = {
        0,       -0.0,   0.5,    1.5,        2.5,    0.125,   0.375, 0.285, 0.999999, 9.995, 99.95, 0.05,
        1e-300,  5e-324, 5e-10,  1.0 / 3,    2.0 / 3, 1023.95, -17.25, 1e15, 0.9999999999,
        9.2e18,  123456789.987654321,        4503599627370495.5, 9007199254740993.0};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        double v = values[i];
        same_as_libc("%f %.0f %.1f %.2f %.3f %.9f", v, v, v, v, v, v);
        same_as_libc("[%12.2f] [%-12.2f] [%012.2f] [%3.1f]", v, v, v, v);
    }
}

TEST(random_doubles) {
    struct check_rng rng = check_rng(1);
    for (int i = 0; i < 20000; i++) {
        double v = (double)(int64_t)(check_random(&rng) >> 1);      /* up to 2^63 */
        for (uint64_t halvings = 1 + check_below(&rng, 90); halvings > 0; halvings--) v = -v / 2;
        same_as_libc("%.0f %.1f %.2f %.5f %.9f", v, v, v, v, v);
    }
}

/* The next double above or below a positive one. */
static double neighbour(double v, int direction) {
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    bits += (uint64_t)(int64_t)direction;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* Values next to where the ninth, third and first decimal changes, one bit up and down. */
TEST(doubles_next_to_a_tie) {
    struct check_rng rng = check_rng(2);
    for (int i = 0; i < 20000; i++) {
        double tie = ((double)check_below(&rng, 1000) + 0.5) / (i % 3 == 0 ? 1e9 : i % 3 == 1 ? 1e3 : 10);
        double up = neighbour(tie, 1), down = neighbour(tie, -1);
        same_as_libc("%.9f %.9f %.9f", tie, up, down);
        same_as_libc("%.3f %.3f %.3f", tie, up, down);
        same_as_libc("%.1f %.1f %.1f %.0f %.0f %.0f", tie, up, down, tie, up, down);
    }
}

/* What print.c does not do is a failed assertion in the debug build and a '?' otherwise. */
static void print_with(const char *volatile format, double v) {
    struct gm_out o;
    gm_out_init(&o, -1);
    gm_out_printf(&o, format, v);
    gm_out_flush(&o);
    expect_str(o.text, "<?>");
}

TEST(what_it_does_not_print) {
#ifdef GM_DEBUG
    expect_dies(SIGABRT, NULL, print_with("<%q>", 1));
    expect_dies(SIGABRT, NULL, print_with("<%f>", 0x1p63));
    expect_dies(SIGABRT, NULL, print_with("<%f>", NAN));
    expect_dies(SIGABRT, NULL, print_with("<%.10f>", 1));
    expect_dies(SIGABRT, NULL, print_with("<%", 1));
#else
    print_with("<%q>", 1);
    print_with("<%f>", 0x1p63);
    print_with("<%f>", -INFINITY);
    print_with("<%f>", NAN);
#endif
}

TEST(without_descriptor_the_rest_is_dropped) {
    struct gm_out o;
    gm_out_init(&o, -1);
    for (int i = 0; i < 3000; i++) gm_out_char(&o, (char)('a' + i % 26));
    expect_eq(gm_out_flush(&o), 0);
    expect_eq(strlen(o.text), sizeof o.text - 1);
    expect_eq(o.text[sizeof o.text - 2], 'a' + (int)(sizeof o.text - 2) % 26);
}

TEST(long_text_reaches_the_descriptor_whole) {
    int fd = memfd_create("text", 0);
    struct gm_out o;
    gm_out_init(&o, fd);
    for (int i = 0; i < 5000; i++) gm_out_printf(&o, "%06d\n", i);
    expect_eq(gm_out_flush(&o), 0);
    expect_eq(gm_out_flush(&o), 0);      /* nothing left to write */
    expect_eq(lseek(fd, 0, SEEK_END), 5000 * 7);
    lseek(fd, 0, SEEK_SET);
    int wrong = 0;
    for (int i = 0; i < 5000; i++) {
        char line[8] = {0}, want[8];
        snprintf(want, sizeof want, "%06d\n", i);
        if (read(fd, line, 7) != 7 || strcmp(line, want) != 0) wrong++;
    }
    expect_eq(wrong, 0);
}

TEST(first_error_is_kept_and_ends_the_writing) {
    int fd = memfd_create("text", 0), closed = dup(fd);
    close(closed);
    struct gm_out o;
    gm_out_init(&o, closed);
    for (int i = 0; i < 2000; i++) gm_out_char(&o, 'x');
    expect_eq(o.error, -EBADF);
    o.fd = fd;
    for (int i = 0; i < 2000; i++) gm_out_char(&o, 'y');
    expect_eq(gm_out_flush(&o), -EBADF);
    expect_eq(lseek(fd, 0, SEEK_END), 0);
}

TEST(errno_survives) {
    struct gm_out o;
    gm_out_init(&o, 1234567);
    errno = 4711;
    gm_out_printf(&o, "%d %s %f", 1, "two", 3.0);
    expect_eq(gm_out_flush(&o), -EBADF);
    expect_eq(errno, 4711);
}

/* A socket of packets keeps writes apart: one line must arrive as one packet. */
static void packet_of_eprintf(const char *text, size_t size, char *packet) {
    int pair[2], saved = dup(2);
    expect_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    dup2(pair[1], 2);
    gm_eprintf("line %s", text);
    dup2(saved, 2);
    ssize_t n = recv(pair[0], packet, size - 1, MSG_DONTWAIT);
    expect(n > 0);
    packet[n > 0 ? n : 0] = 0;
    expect_eq(recv(pair[0], packet + size - 1, 1, MSG_DONTWAIT), -1);
    close(pair[0]);
    close(pair[1]);
    close(saved);
}

TEST(eprintf_is_one_write_and_one_line) {
    char packet[4096], text[3000];
    packet_of_eprintf("with newline\n", sizeof packet, packet);
    expect_str(packet, "line with newline\n");
    packet_of_eprintf("without", sizeof packet, packet);
    expect_str(packet, "line without\n");
    memset(text, 'z', sizeof text - 1);
    text[sizeof text - 1] = 0;
    packet_of_eprintf(text, sizeof packet, packet);
    expect_eq(strlen(packet), 1023);
    expect_eq(packet[1021], 'z');
    expect_eq(packet[1022], '\n');
}

TEST(panics) {
    expect_dies(SIGABRT, "gomalloc: double free: 0x7f12345678",
                gm_misuse(GM_CRIME_DOUBLE_FREE, (void *)0x7f12345678));
    expect_dies(SIGABRT, "gomalloc: free of memory never allocated: 0x0",
                gm_misuse(GM_CRIME_FREE_UNKNOWN, NULL));
    expect_dies(SIGABRT, "gomalloc: check failed: a > b (file.c:17)",
                gm_check_failed("a > b", "file.c", 17));
    expect_dies(SIGABRT, "gomalloc: the end", gm_fatal("the end"));
    const char *here = check_format("gomalloc: check failed: 1 + 1 == 3 (%s:%d)", __FILE__, __LINE__ + 1);
    expect_dies(SIGABRT, here, GM_CHECK(1 + 1 == 3));
}

TEST_MAIN()
