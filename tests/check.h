/* The test harness: each TEST runs in a process of its own, with a time limit, and prints TAP.
 *
 *     #include "tests/check.h"
 *
 *     TEST(adds) {
 *         expect_eq(1 + 1, 2);
 *     }
 *     TEST_LIMIT(slow_one, 60) { ... }
 *     TEST_MAIN()
 *
 * The program under test may be the very malloc that the test program runs on, broken or hanging. So
 * the harness itself allocates nothing, uses no stdio streams and takes no lock: what it prints is
 * formatted on the stack and written with write(2), and the parent, which only forks and waits, says
 * how a child ended. Results live in a page shared with the child, so an expectation that fails in a
 * thread, in a grandchild or just before a crash counts as well.
 *
 * A failed expectation prints `# file:line: ...` and the test goes on; expectations are expressions
 * with the value "it held", so `if (!expect(p)) return;` ends a test early.
 *
 * The program takes names (parts of names will do) of the tests to run; --nofork runs them in this
 * process, for a debugger; --list names them. Environment: GM_SEED repeats a random run,
 * GM_TIME_SCALE multiplies all limits (valgrind, campaigns), STRESS=1 asks for the
 * long form of scaled tests. Works from C and C++. */
#ifndef TESTS_CHECK_H
#define TESTS_CHECK_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#endif

/* On a machine that has nothing else to do; a busy one is given CHECK_BUSY times as long. Limits are for what hangs. */
#define CHECK_LIMIT_SECONDS 20
#define CHECK_BUSY 4

/* Built with AddressSanitizer or ThreadSanitizer: they have handlers of their own, do not know every stack, allow no threads
 * after a fork. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define CHECK_SANITIZED 1
#else
#define CHECK_SANITIZED 0
#endif

#define TEST(name) TEST_LIMIT(name, CHECK_LIMIT_SECONDS)

#define TEST_LIMIT(name, seconds)                                                                  \
    static void test_##name(void);                                                                 \
    static struct check_test check_test_##name = {#name, test_##name, seconds, NULL};              \
    __attribute__((constructor)) static void check_register_##name(void) {                         \
        check_register(&check_test_##name);                                                        \
    }                                                                                              \
    static void test_##name(void)

#define TEST_MAIN()                                                                                \
    int main(int argc, char **argv) { return check_main(argc, argv); }

/* The condition holds. */
#define expect(...) check_expect(!!(__VA_ARGS__), __FILE__, __LINE__, #__VA_ARGS__)
/* Two integers (or pointers) are equal; prints both if not. */
#define expect_eq(a, b)                                                                            \
    check_expect_eq((long long)(a), (long long)(b), __FILE__, __LINE__, #a, #b)
/* Two strings are equal; NULL equals only NULL. */
#define expect_str(a, b) check_expect_str((a), (b), __FILE__, __LINE__, #a)
/* An unsigned quantity is at most a bound; prints both if not. */
#define expect_at_most(a, bound)                                                                   \
    check_expect_at_most((long long)(a), (long long)(bound), __FILE__, __LINE__, #a, #bound)

/* The statements, run in a child, end it by the signal, with exactly this line on stderr (given
 * without the newline; NULL: stderr is not looked at). */
#define expect_dies(signal, line, ...)                                                             \
    do {                                                                                           \
        struct check_child check_child_;                                                           \
        if (check_child_begin(&check_child_)) {                                                    \
            __VA_ARGS__;                                                                           \
            _exit(0);                                                                              \
        }                                                                                          \
        check_child_end(&check_child_, (signal), (line), __FILE__, __LINE__);                      \
    } while (0)

/* Ends the test here, not failed; the reason stands in the TAP line. */
void check_skip(const char *reason) __attribute__((noreturn));
#define skip(reason) check_skip(reason)

/* A `# ...` line of TAP. */
void diag(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Formats into one of a few static buffers, for the line of expect_dies. */
const char *check_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- random numbers: same seed, same stream, same numbers. Stream: a number a thread, say. */
struct check_rng {
    uint64_t state;
};
uint64_t check_seed(void);
struct check_rng check_rng(unsigned stream);
uint64_t check_random(struct check_rng *rng);
/* 0 <= result < n */
static inline uint64_t check_below(struct check_rng *rng, uint64_t n) {
    return n ? check_random(rng) % n : 0;
}
/* A size as programs ask for them: mostly small, sometimes up to max. */
size_t check_random_size(struct check_rng *rng, size_t max);

/* ---- about the process and its machine */
long check_rss_kib(void);       /* resident set */
long check_smaps_kib(const char *key);   /* sum of one key of /proc/self/smaps_rollup, "Pss:" for one */
int64_t check_now_ns(void);     /* monotonic */
int check_threads(void);        /* entries of /proc/self/task */
bool check_stress(void);        /* STRESS=1 */
bool check_in_valgrind(void);
/* Fills and tests a block's content by a key. */
void check_fill(void *p, size_t n, uint64_t key);
bool check_filled(const void *p, size_t n, uint64_t key);
/* Runs fn in a child, which ends with status 0 if fn returns; what it writes on stderr is put into text, cut to its size. Its
 * status, as waitpid has it. */
int check_in_child(void (*fn)(void), char *text, size_t size);
/* Waits for a child at most so many seconds (of a machine that is not busy); -1 if it did not end (it is killed), else its status. */
int check_wait(pid_t child, double seconds);

/* ---- behind the macros */
struct check_test {
    const char *name;
    void (*run)(void);
    int seconds;
    struct check_test *next;
};
struct check_child {
    pid_t pid;
    int err; /* what the child writes on stderr */
};
void check_register(struct check_test *test);
int check_main(int argc, char **argv);
bool check_expect(bool held, const char *file, int line, const char *text);
bool check_expect_eq(long long a, long long b, const char *file, int line, const char *text_a,
                     const char *text_b);
bool check_expect_str(const char *a, const char *b, const char *file, int line, const char *text);
bool check_expect_at_most(long long a, long long bound, const char *file, int line,
                          const char *text_a, const char *text_bound);
/* A child whose stderr comes to us: true in it. check_child_text: all of that until it ends, and its status. */
bool check_child_begin(struct check_child *child);
int check_child_text(struct check_child *child, char *text, size_t size);
void check_child_end(struct check_child *child, int signal, const char *stderr_line,
                     const char *file, int line);

#ifdef __cplusplus
}
#endif

#endif
