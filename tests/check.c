/* See check.h. The parent forks a child for each test, waits with sigtimedwait (SIGCHLD is blocked
 * meanwhile) and kills the child's whole process group when it ends or when its time is up, so
 * nothing of a test outlives it. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tests/check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define MAX_FAILURES_SHOWN 20
#define EXIT_SKIPPED 77

/* Shared by the parent and all descendants of the running test. */
struct result {
    int failures;
    int in_process; /* --nofork */
    char skipped[200];
};

static struct check_test *first_test, **last_test = &first_test;
static struct result *result;
static uint64_t seed;

/* ---- output */

static void put(const char *text, size_t length) {
    while (length) {
        ssize_t done = write(STDOUT_FILENO, text, length);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return;
        text += done;
        length -= (size_t)done;
    }
}

__attribute__((format(printf, 1, 0))) static void put_formatted(const char *format, va_list list) {
    char line[2000];
    int n = vsnprintf(line, sizeof line, format, list);
    if (n < 0) return;
    put(line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
}

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...) {
    va_list list;
    va_start(list, format);
    put_formatted(format, list);
    va_end(list);
}

void diag(const char *format, ...) {
    char with_frame[500];
    snprintf(with_frame, sizeof with_frame, "# %s\n", format);
    int saved = errno;
    va_list list;
    va_start(list, format);
    put_formatted(with_frame, list);
    va_end(list);
    errno = saved;
}

const char *check_format(const char *format, ...) {
    static char lines[4][500];
    static unsigned next;
    char *line = lines[next++ % 4];
    va_list list;
    va_start(list, format);
    vsnprintf(line, sizeof lines[0], format, list);
    va_end(list);
    return line;
}

/* ---- expectations */

static bool count_failure(void) {
    int before = result ? __atomic_fetch_add(&result->failures, 1, __ATOMIC_RELAXED) : 0;
    if (before == MAX_FAILURES_SHOWN) say("# further failures are not shown\n");
    return before < MAX_FAILURES_SHOWN;
}

bool check_expect(bool held, const char *file, int line, const char *text) {
    int saved = errno;
    if (!held && count_failure()) say("# %s:%d: not %s\n", file, line, text);
    errno = saved;
    return held;
}

bool check_expect_eq(long long a, long long b, const char *file, int line, const char *text_a,
                     const char *text_b) {
    int saved = errno;
    if (a != b && count_failure())
        say("# %s:%d: %s is %lld (%#llx), not %s = %lld (%#llx)\n", file, line, text_a, a, a, text_b,
            b, b);
    errno = saved;
    return a == b;
}

bool check_expect_at_most(long long a, long long bound, const char *file, int line,
                          const char *text_a, const char *text_bound) {
    if (a > bound && count_failure())
        say("# %s:%d: %s is %lld, more than %s = %lld\n", file, line, text_a, a, text_bound, bound);
    return a <= bound;
}

bool check_expect_str(const char *a, const char *b, const char *file, int line, const char *text) {
    bool same = a && b ? strcmp(a, b) == 0 : a == b;
    if (!same && count_failure())
        say("# %s:%d: %s is \"%s\", not \"%s\"\n", file, line, text, a ? a : "(null)",
            b ? b : "(null)");
    return same;
}

void check_skip(const char *reason) {
    snprintf(result->skipped, sizeof result->skipped, "%s", reason);
    if (result->in_process) {
        say("# skipped: %s\n", reason);
        exit(0);
    }
    _exit(EXIT_SKIPPED);
}

static const char *signal_name(int signal) {
    const char *name = sigabbrev_np(signal);
    return name ? name : "?";
}

static void describe(int status, char *out, size_t size) {
    if (WIFSIGNALED(status))
        snprintf(out, size, "killed by SIG%s", signal_name(WTERMSIG(status)));
    else
        snprintf(out, size, "exit status %d", WEXITSTATUS(status));
}

bool check_child_begin(struct check_child *child) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return check_skip("no pipe"), false;
    child->pid = fork();
    if (child->pid == 0) {
        struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        return true;
    }
    close(ends[1]);
    child->err = ends[0];
    return false;
}

int check_child_text(struct check_child *child, char *text, size_t size) {
    size_t length = 0;
    while (length < size - 1) {
        ssize_t n = read(child->err, text + length, size - 1 - length);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        length += (size_t)n;
    }
    text[length] = 0;
    close(child->err);
    int status = 0;
    while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR) {}
    return status;
}

int check_in_child(void (*fn)(void), char *text, size_t size) {
    struct check_child child;
    if (check_child_begin(&child)) {
        fn();
        _exit(0);
    }
    return check_child_text(&child, text, size);
}

void check_child_end(struct check_child *child, int signal, const char *stderr_line,
                     const char *file, int line) {
    char text[2000], how[100], want[600];
    int status = check_child_text(child, text, sizeof text);
    size_t length = strlen(text);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != signal) {
        describe(status, how, sizeof how);
        if (count_failure())
            say("# %s:%d: the child: %s, not killed by SIG%s\n", file, line, how,
                signal_name(signal));
    }
    if (!stderr_line) return;
    snprintf(want, sizeof want, "%s\n", stderr_line);
    if (strcmp(text, want) != 0 && count_failure()) {
        if (length && text[length - 1] == '\n') text[length - 1] = 0;
        say("# %s:%d: stderr is \"%s\", not \"%s\"\n", file, line, text, stderr_line);
    }
}

/* ---- random numbers (splitmix64) */

uint64_t check_random(struct check_rng *rng) {
    uint64_t x = rng->state += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

uint64_t check_seed(void) {
    if (seed) return seed;
    const char *given = getenv("GM_SEED");
    if (given && *given) seed = strtoull(given, NULL, 0);
    while (!seed)
        if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != sizeof seed)
            seed = (uint64_t)check_now_ns() ^ (uint64_t)getpid() << 32;
    return seed;
}

struct check_rng check_rng(unsigned stream) {
    struct check_rng rng = {check_seed() ^ (uint64_t)stream * 0xd1342543de82ef95};
    check_random(&rng);
    return rng;
}

size_t check_random_size(struct check_rng *rng, size_t max) {
    uint64_t kind = check_below(rng, 100);
    size_t bound = kind < 60 ? 128 : kind < 85 ? 1024 : kind < 97 ? 33000 : max;
    return check_below(rng, bound < max ? bound + 1 : max + 1);
}

/* ---- the process and its machine */

int64_t check_now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static size_t read_file(const char *path, char *out, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t length = 0;
    if (fd >= 0) {
        ssize_t n;
        while (length < size - 1 && (n = read(fd, out + length, size - 1 - length)) > 0)
            length += (size_t)n;
        close(fd);
    }
    out[length] = 0;
    return length;
}

long check_rss_kib(void) {
    char text[200];
    read_file("/proc/self/statm", text, sizeof text);
    char *second = strchr(text, ' ');
    return second ? strtol(second, NULL, 10) * (sysconf(_SC_PAGESIZE) / 1024) : -1;
}

long check_smaps_kib(const char *key) {
    char text[4000];
    read_file("/proc/self/smaps_rollup", text, sizeof text);
    char *found = strstr(text, key);
    return found ? strtol(found + strlen(key), NULL, 10) : -1;
}

int check_threads(void) {
    char text[4000];
    read_file("/proc/self/status", text, sizeof text);
    char *found = strstr(text, "\nThreads:");
    return found ? (int)strtol(found + 9, NULL, 10) : -1;
}

bool check_stress(void) {
    const char *s = getenv("STRESS");
    return s && *s && strcmp(s, "0") != 0;
}

bool check_in_valgrind(void) {
    const char *s = getenv("LD_PRELOAD");
    return s && strstr(s, "vgpreload") != NULL;
}

void check_fill(void *p, size_t n, uint64_t key) {
    unsigned char *b = (unsigned char *)p;
    for (size_t i = 0; i < n; i++) b[i] = (unsigned char)(key * 37 + i * 11 + (i >> 8));
}

bool check_filled(const void *p, size_t n, uint64_t key) {
    const unsigned char *b = (const unsigned char *)p;
    for (size_t i = 0; i < n; i++)
        if (b[i] != (unsigned char)(key * 37 + i * 11 + (i >> 8))) return false;
    return true;
}

static double allowed(double seconds) {
    const char *s = getenv("GM_TIME_SCALE");
    double scale = s ? strtod(s, NULL) : 1;
    return seconds * CHECK_BUSY * (scale > 0 ? scale : 1);
}

int check_wait(pid_t child, double seconds) {
    int64_t end = check_now_ns() + (int64_t)(allowed(seconds) * 1e9);
    int status, pause_us = 200;
    for (;;) {
        pid_t got = waitpid(child, &status, WNOHANG);
        if (got == child) return status;
        if ((got < 0 && errno != EINTR) || check_now_ns() > end) break;
        usleep((useconds_t)pause_us);
        if (pause_us < 10000) pause_us *= 2;
    }
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    return -1;
}

/* ---- running */

void check_register(struct check_test *test) {
    *last_test = test;
    last_test = &test->next;
}

static bool is_wanted(const struct check_test *test, int argc, char **argv) {
    bool named = false;
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] == '-') continue;
        named = true;
        if (strstr(test->name, argv[i])) return true;
    }
    return !named;
}

static void wait_limited(pid_t child, double seconds, int *status, bool *late) {
    sigset_t chld;
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    int64_t end = check_now_ns() + (int64_t)(seconds * 1e9);
    *late = false;
    while (waitpid(child, status, *late ? 0 : WNOHANG) != child) {
        int64_t left = end - check_now_ns();
        if (left <= 0) {
            *late = true;
            kill(-child, SIGKILL);
            kill(child, SIGKILL);
            continue;
        }
        struct timespec t = {left / 1000000000, left % 1000000000};
        sigtimedwait(&chld, NULL, &t);
    }
    kill(-child, SIGKILL);
}

static void run_child(struct check_test *test, const sigset_t *mask) {
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigprocmask(SIG_SETMASK, mask, NULL);
    test->run();
    fflush(NULL);
    _exit(0);
}

static bool run_one(struct check_test *test, int number, const sigset_t *mask) {
    double limit = allowed(test->seconds);
    int status = 0;
    bool late;
    memset(result, 0, sizeof *result);
    pid_t child = fork();
    if (child == 0) run_child(test, mask);
    if (child < 0) {
        say("not ok %d - %s\n# fork: %s\n", number, test->name, strerrorname_np(errno));
        return false;
    }
    setpgid(child, child);
    wait_limited(child, limit, &status, &late);

    if (result->skipped[0] && WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED &&
        !result->failures) {
        say("ok %d - %s # SKIP %s\n", number, test->name, result->skipped);
        return true;
    }
    bool passed = !late && status == 0 && result->failures == 0;
    if (late) {
        say("# not done within %g s: killed\n", limit);
    } else if (status != 0) {
        char how[100];
        describe(status, how, sizeof how);
        say("# %s\n", how);
    }
    say("%s %d - %s\n", passed ? "ok" : "not ok", number, test->name);
    return passed;
}

int check_main(int argc, char **argv) {
    result = (struct result *)mmap(NULL, sizeof *result, PROT_READ | PROT_WRITE,
                                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (result == MAP_FAILED) return 2;
    sigset_t chld, before;
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    sigprocmask(SIG_BLOCK, &chld, &before);
    signal(SIGCHLD, SIG_DFL);

    bool in_process = false, list = false;
    for (int i = 1; i < argc; i++) {
        in_process |= strcmp(argv[i], "--nofork") == 0;
        list |= strcmp(argv[i], "--list") == 0;
    }
    int number = 0, failed = 0;
    say("# seed %llu\n", (unsigned long long)check_seed());
    for (struct check_test *test = first_test; test; test = test->next) {
        if (!is_wanted(test, argc, argv)) continue;
        if (list) {
            say("%s\n", test->name);
        } else if (in_process) {
            result->in_process = 1;
            sigprocmask(SIG_SETMASK, &before, NULL);
            say("# %s\n", test->name);
            test->run();
            failed = result->failures;
        } else {
            failed += !run_one(test, ++number, &before);
        }
    }
    if (!list && !in_process) say("1..%d\n", number);
    if (number == 0 && !list && !in_process) {
        say("# no such test\n");
        return 2;
    }
    return failed != 0;
}

#ifdef __SANITIZE_THREAD__
/* ThreadSanitizer waits a second at the end of a process for races that come late: too long for one process a test. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) { return "atexit_sleep_ms=20"; }
#endif
