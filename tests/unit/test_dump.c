/* What is seen of goroutines from outside: go_dump, the report on SIGQUIT, the last words of a panic. */
/* Frames are what is looked at: each function keeps its own. */
#pragma GCC optimize("no-optimize-sibling-calls")
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>

#include "libgomalloc/base/atomic.h"
#include "sched/gosched.h"
#include "sched/proc.h"
#include "sched/state.h"
#include "tests/check.h"
#include "tests/unit/parked.h"

#define KEPT __attribute__((noipa))

/* ---- a process whose stderr we read */

static char text[65536];

static struct check_child child_of(void (*body)(void)) {
    struct check_child c;
    if (check_child_begin(&c)) {
        signal(SIGQUIT, SIG_DFL); /* shells ignore it for what runs in the background */
        alarm(100);
        body();
        _exit(0);
    }
    return c;
}

/* All it writes, and its status. */
static int end_of(struct check_child c) { return check_child_text(&c, text, sizeof text); }

static bool has(const char *words) {
    if (strstr(text, words)) return true;
    static bool shown;
    diag("missing: %s", words);
    if (shown) return false;
    shown = true;
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) diag("| %.*s", (int)(end - line), line);
    return false;
}

/* The part of the text from a heading to the next empty line has the function's frame. */
static bool shows(const char *heading, const char *function) {
    char wanted[128];
    char *from = strstr(text, heading), *end = from ? strstr(from, "\n\n") : NULL;
    snprintf(wanted, sizeof wanted, "\n%s(...)\n\t", function);
    char *at = from ? strstr(from, wanted) : NULL;
    return (at && (!end || at < end)) || has(heading) ? at != NULL || has(wanted) : false;
}

/* ---- goroutines in all states */

static gochan *nobody_sends;
static int pipes[2];
static volatile int stop;
static uint32_t spins;
static KEPT void deeper(int n) {
    int v;
    if (n > 0) deeper(n - 1);
    else gochan_recv(nobody_sends, &v);
}
static void receiver(void *arg) { deeper(3); }
static KEPT void spin(void *arg) {
    gm_store_relaxed(&spins, 1);
    while (!stop) {}
}
static void sleeper(void *arg) {
    go_sleep(INT64_C(3600000000000));
}
static KEPT void waits_in_read(void) {
    char c;
    if (read(pipes[0], &c, 1) < 0) abort();
}
static void blocked(void *arg) {
    go_entersyscall();
    waits_in_read();
    go_exitsyscall();
}
static void selects(void *arg) {
    gochan *another = gochan_make(0, 0);
    gocase cases[] = { GO_RECV(nobody_sends, NULL), GO_SEND(another, NULL) };
    goselect(cases, 2);
}
static void reads_socket(void *arg) {
    char c;
    go_read(pipes[0], &c, 1);
}
static uint32_t ran;
static void never_run(void *arg) { gm_add_relaxed(&ran, 1); }
static void locked(void *arg) {
    go_lock_thread();
    receiver(NULL);
}
static void *plain(void *arg) {
    deeper(1);
    return NULL;
}

static KEPT void prepare(void) {
    nobody_sends = gochan_make(sizeof(int), 0);
    expect_eq(pipe(pipes), 0);
    go_maxprocs(3);
    go(receiver, NULL);
    go(sleeper, NULL);
    go(blocked, NULL);
    go(selects, NULL);
    go(reads_socket, NULL);
    go(locked, NULL);
    go(spin, NULL);
    while (!gm_load_relaxed(&spins)) usleep(100);
    parked_wait(5);
    while (parked_in(GS_G_SYSCALL) < 1) usleep(100);
}

static uint32_t dumped;
enum { LINE_OF_DUMP = __LINE__ + 3 };
static void dumps(void *fd) {
    go_maxprocs(0);
    go_dump((int)(intptr_t)fd);
    gm_store_release(&dumped, 1);
}

static void read_dump(int fd) {
    size_t used = 0;
    for (struct pollfd p = { .fd = fd, .events = POLLIN }; used < sizeof text - 1 && poll(&p, 1, 200) > 0;) {
        ssize_t n = read(fd, text + used, sizeof text - 1 - used);
        if (n <= 0) break;
        used += (size_t)n;
    }
    text[used] = 0;
}

TEST(a_dump_shows_every_state) {
    int ends[2];
    pthread_t thread;
    if (CHECK_SANITIZED) skip("a goroutine of the test never calls the library, which the sanitizer's scheduler starves");
    expect_eq(pipe(ends), 0);
    prepare();
    pthread_create(&thread, NULL, plain, NULL);
    parked_wait(6);
    go(dumps, (void *)(intptr_t)ends[1]);
    while (!gm_load_acquire(&dumped)) usleep(1000);
    read_dump(ends[0]);
    expect(strncmp(text, "goroutine 8 [running]:\ndumps(...)\n\t", 35) == 0);
    expect(has(check_format("tests/unit/test_dump.c:%d +0x", LINE_OF_DUMP)));
    expect(shows("goroutine 1 [chan receive]:", "deeper"));
    expect(shows("goroutine 1 [chan receive]:", "receiver"));
    expect(shows("goroutine 2 [sleep]:", "sleeper"));
    expect(shows("goroutine 3 [syscall]:", "blocked"));
    expect(shows("goroutine 4 [select]:", "selects"));
    expect(shows("goroutine 5 [IO wait]:", "reads_socket"));
    expect(shows("goroutine 6 [chan receive, locked to thread]:", "locked"));
    expect(has("goroutine 7 [running]:\n\tgoroutine running on other thread; stack unavailable\n"));
    expect(has("\ncreated by prepare\n\t"));
    expect(shows("\nthread ", "plain"));
    expect(strstr(text, "gs_") == NULL);
    stop = 1;
}

static void waits_a_while(void) {
    nobody_sends = gochan_make(sizeof(int), 0);
    go(receiver, NULL);
    parked_wait(1);
    int64_t ago = (int64_t)150000000000;
    for (struct gs_g *g = gm_load_acquire(&gs_sched.all_g); g; g = g->all_next)
        if (!(gm_load_relaxed(&g->flags) & GS_G_STANDIN)) gm_store_relaxed(&g->wait_since, gm_load_relaxed(&g->wait_since) - ago);
    go_dump(2);
}
TEST(long_waits_are_told_in_minutes) {
    expect_eq(end_of(child_of(waits_a_while)), 0);
    expect(has("goroutine 1 [chan receive, 2 minutes]:\n"));
}

static void starts_another(void *arg) {
    uint32_t before;
    do { /* whose time is over is interrupted in go(), and then it has run */
        before = gm_load_relaxed(&ran);
        go(never_run, NULL);
    } while (gm_load_relaxed(&ran) != before);
    spin(NULL); /* on the only P, never to be interrupted */
}
static void dump_of_fresh(void) {
    go_maxprocs(1);
    go(starts_another, NULL);
    while (!gm_load_relaxed(&spins)) usleep(100);
    go_dump(2);
}
TEST(one_that_never_ran_shows_its_function) {
    expect_eq(end_of(child_of(dump_of_fresh)), 0);
    expect(shows(" [runnable]:", "never_run"));
    expect(has("\ncreated by starts_another\n"));
}

/* Everything changes while it is looked at; nothing may crash. The traffic goes on until it has been dumped often enough. */
enum { PAIRS = 20, DUMPS_A_ROUND = 8 };
static uint32_t senders, received, left, enough;
static void sends(void *traffic) {
    for (int i = 0; !gm_load_relaxed(&enough); i++) gochan_send(traffic, &i);
    if (gm_sub_relaxed(&senders, 1) == 1) gochan_close(traffic);
    gm_add_acq_rel(&left, -1);
}
static void receives(void *traffic) {
    for (int v; gochan_recv(traffic, &v);) gm_add_relaxed(&received, 1);
    gm_add_acq_rel(&left, -1);
}
TEST_LIMIT(dumps_in_the_middle_of_traffic, 60) {
    int null = open("/dev/null", O_WRONLY);
    go_maxprocs(2);
    for (int round = 0; round < 4; round++) {
        gochan *traffic = gochan_make(sizeof(int), 2);
        uint32_t before = gm_load_relaxed(&received);
        gm_store_relaxed(&enough, 0);
        gm_store_relaxed(&senders, PAIRS);
        gm_store_relaxed(&left, 2 * PAIRS);
        for (int i = 0; i < PAIRS; i++) {
            go_stack(i & 1 ? 16 << 10 : 64 << 10, sends, traffic);
            go_stack(i & 1 ? 128 << 10 : 32 << 10, receives, traffic);
        }
        for (int n = 0; n < DUMPS_A_ROUND || gm_load_relaxed(&received) == before; n++) go_dump(null);
        gm_store_relaxed(&enough, 1);
        while (gm_load_acquire(&left) > 0) go_dump(null); /* and while they end */
        gochan_free(traffic);
    }
    diag("%u received", gm_load_relaxed(&received));
}

/* ---- SIGQUIT */

static KEPT void quits(void) {
    prepare();
    kill(getpid(), SIGQUIT);
    sleep(90);
}
TEST_LIMIT(quit_reports_all_and_ends_with_2, 30) {
    if (CHECK_SANITIZED) skip("as above");
    int status = end_of(child_of(quits));
    expect(WIFEXITED(status) && WEXITSTATUS(status) == 2);
    expect(strncmp(text, "SIGQUIT: quit\nPC=0x", 19) == 0);
    expect(shows("main thread [running]:", "quits"));
    expect(shows("goroutine 1 [chan receive]:", "deeper"));
    expect(shows("goroutine 3 [syscall]:", "blocked"));
    expect(shows("goroutine 7 [running]:", "spin"));
}

static void quits_with_core(void) {
    setenv("GOTRACEBACK", "crash", 1);
    prepare();
    kill(getpid(), SIGQUIT);
    sleep(90);
}
TEST_LIMIT(with_gotraceback_crash_the_signal_ends_it, 30) {
    if (CHECK_SANITIZED) skip("as above");
    int status = end_of(child_of(quits_with_core));
    expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGQUIT);
    expect(shows("goroutine 7 [running]:", "spin"));
}

static void no_goroutines(void) {
    gochan_make(0, 1);
    kill(getpid(), SIGQUIT);
    sleep(90);
}
static void own(int sig) { _exit(7); }
static void own_handler(void) {
    signal(SIGQUIT, own);
    prepare();
    kill(getpid(), SIGQUIT);
    sleep(90);
}
static void ignores(void) {
    signal(SIGQUIT, SIG_IGN);
    go(never_run, NULL);
    kill(getpid(), SIGQUIT);
    _exit(8);
}
TEST_LIMIT(quit_is_the_programs_own_otherwise, 30) {
    int status = end_of(child_of(no_goroutines));
    expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGQUIT);
    expect_str(text, "");
    status = end_of(child_of(ignores));
    expect(WIFEXITED(status) && WEXITSTATUS(status) == 8);
    if (CHECK_SANITIZED) return;
    status = end_of(child_of(own_handler));
    expect(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    expect_str(text, "");
}

/* ---- panics */

static KEPT void closes(void) {
    gochan_close(NULL);
}
static void closer(void *arg) { closes(); }
static KEPT void panics(void) {
    go(closer, NULL);
    sleep(90);
}
TEST_LIMIT(a_panic_shows_its_stack, 30) {
    int status = end_of(child_of(panics));
    expect(WIFEXITED(status) && WEXITSTATUS(status) == 2);
    expect(strncmp(text, "panic: close of nil channel\n\ngoroutine 1 [running]:\ngosched_chan_close", 70) == 0);
    expect(shows("goroutine 1 [running]:", "closes"));
    expect(shows("goroutine 1 [running]:", "closer"));
    expect(has("\ncreated by panics\n"));
}

TEST_MAIN()
