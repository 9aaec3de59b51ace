/* When collections come, what is told of them, and what becomes of one whose snapshot is lost. */
#include "tests/gc/hide.h"

#include "libgomalloc/gomalloc.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <regex.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>

#pragma weak gogc_set_percent
#pragma weak gogc_enable
#pragma weak gogc_set_finalizer
#pragma weak gomalloc_read_stats
#pragma weak gomalloc_set_memory_limit

#define MIB ((size_t)1 << 20)

/* The library looks at this clock for what happens every so many minutes. */
static _Atomic(time_t) ahead;
int clock_gettime(clockid_t clock, struct timespec *t) {
    int r = (int)syscall(SYS_clock_gettime, clock, t);
    if (clock == CLOCK_MONOTONIC_COARSE) t->tv_sec += ahead;
    return r;
}

static struct gomalloc_stats stats(void) {
    struct gomalloc_stats s;
    gomalloc_read_stats(&s, sizeof s);
    return s;
}
static uint64_t cycles(void) { return stats().num_gc; }
static bool marks_on_a_snapshot(void) { return strstr(getenv("GOMALLOC") ?: "", "fork") != NULL; }

struct node { struct node *next; uint64_t key, fill[6]; };

static HIDE_NOINLINE struct node *chain(size_t bytes) {
    struct node *head = NULL;
    for (size_t i = 0; i < bytes / sizeof *head; i++) {
        struct node *n = malloc(sizeof *n);
        *n = (struct node){ .next = head, .key = i * 0x9e3779b97f4a7c15, .fill = { i } };
        head = n;
    }
    return head;
}
static HIDE_NOINLINE bool is_whole(const struct node *n, size_t bytes) {
    size_t i = bytes / sizeof *n;
    for (; n && i-- > 0; n = n->next)
        if (n->key != i * 0x9e3779b97f4a7c15 || n->fill[0] != i) return false;
    return !n && i == 0;
}
/* Makes and forgets. */
static HIDE_NOINLINE void waste(size_t bytes) {
    for (size_t n = 0; n < bytes; n += 256) {
        void *volatile p = malloc(256);
        memset(p, 0x11, 256);
    }
}

/* ---- when */

static struct node *volatile kept;
/* Objects that are left when nothing keeps the chain, or if it goes on, after some cycles. */
static HIDE_NOINLINE uint64_t objects_without_kept(uint64_t enough) {
    kept = NULL;
    for (int i = 0; i < 16 && stats().heap_objects > enough; i++) {
        hide_wash();
        waste(64 * 1024);
        hide_wash();
        gogc_collect();
    }
    return stats().heap_objects;
}
/* Nothing of it is left in registers: a thread begins with those of its maker. */
static HIDE_NOINLINE void keep(size_t bytes) {
    kept = chain(bytes);
    hide_wash();
}

/* Makes and forgets until one cycle more is over: a child that marks may be long in getting a CPU. */
static void waste_until_a_cycle(uint64_t before) {
    while (cycles() == before) waste(MIB);
}
static uint64_t cycles_of(int percent, size_t bytes) {
    gogc_set_percent(percent);
    gogc_collect();
    uint64_t before = cycles();
    waste(bytes);
    if (percent >= 0) waste_until_a_cycle(before);
    return cycles() - before;
}
TEST_LIMIT(the_more_percent_the_later, 60) {
    keep(12 * MIB);
    uint64_t off = cycles_of(-1, 50 * MIB), often = cycles_of(50, 200 * MIB), near = stats().next_gc, seldom = cycles_of(400, 200 * MIB), far = stats().next_gc;
    diag("%lu at 50 %%, %lu at 400 %%", often, seldom);
    expect_eq(off, 0);
    expect(near > 0 && far > near); /* a small heap gets room where cycles are dear, up to 32 MiB */
    expect_at_most(often, 4 * 200 / 6 + 10); /* of 6 MiB each; or at a quarter of the way, where the program is slow and time passes */
    expect(is_whole(kept, 12 * MIB));
}

TEST_LIMIT(none_while_disabled, 30) {
    gogc_enable(0);
    uint64_t before = cycles();
    waste(100 * MIB);
    expect_eq(cycles(), before);
    gogc_enable(1);
    waste_until_a_cycle(before);
}

/* Set while the program runs, and with no other reason to collect. */
TEST_LIMIT(the_memory_limit, 60) {
    size_t limit = 96 * MIB, most = 0;
    gogc_set_percent(-1);
    gomalloc_set_memory_limit((int64_t)limit);
    keep(16 * MIB);
    for (int i = 0; i < 40; i++) {
        waste(10 * MIB);
        struct gomalloc_stats s = stats();
        if (s.heap_sys - s.heap_released > most) most = s.heap_sys - s.heap_released;
    }
    diag("%zu MiB at the most, %lu cycles", most / MIB, cycles());
    expect(cycles() > 0);
    expect_at_most(most, 2 * limit);
    expect(is_whole(kept, 16 * MIB));
    gomalloc_set_memory_limit(INT64_MAX);
    uint64_t before = cycles();
    waste(300 * MIB);
    expect_at_most(cycles() - before, 1); /* one may have been under way */
}

/* Both by an allocation and, where there is the library's thread, while nobody allocates. */
TEST_LIMIT(two_minutes, 30) {
    gogc_set_percent(1000000); /* for no other reason, however long it takes */
    gogc_collect();
    uint64_t before = cycles();
    ahead = 100;
    waste(64 * 1024);
    expect_eq(cycles(), before);
    ahead = 121;
    while (cycles() == before) waste(16 * 1024), usleep(1000);
    expect_eq(cycles(), before + 1);
    waste(64 * 1024);
    expect_eq(cycles(), before + 1);
}
static void *nothing(void *arg) { return NULL; }
TEST_LIMIT(two_minutes_of_sleep, 30) {
    pthread_t t;
    pthread_create(&t, NULL, nothing, NULL);
    pthread_join(t, NULL);
    gogc_collect();
    uint64_t before = cycles();
    ahead = 121;
    for (int i = 0; i < 60000 && cycles() == before; i++) usleep(1000); /* less than two minutes of the machine's */
    expect_eq(cycles(), before + 1);
}

/* ---- what is told */

TEST(pauses_are_counted_by_length) {
    gogc_enable(0);
    keep(MIB);
    gogc_collect();
    for (int i = 0; i < 10; i++) gogc_collect();
    struct gomalloc_stats s = stats();
    uint64_t n = 0, longest = 0;
    for (unsigned i = 0; i < GOMALLOC_PAUSE_BUCKETS; i++) {
        n += s.pauses[i];
        if (s.pauses[i]) longest = i;
    }
    expect_eq(s.num_gc, 11);
    expect_eq(s.num_forced_gc, 11);
    expect(n >= 11);
    expect(longest == GOMALLOC_PAUSE_BUCKETS - 1 || s.pause_max_ns < (uint64_t)GOMALLOC_PAUSE_NS << longest);
    expect(longest == 0 || s.pause_max_ns >= (uint64_t)GOMALLOC_PAUSE_NS << (longest - 1));
    expect(s.pause_total_ns >= s.pause_max_ns);
    expect(s.last_gc_ns > 0 && s.next_gc > 0);
    expect(s.gc_sys > 0);
}

/* The options are read at the start: this program again. */
__attribute__((constructor)) static void traced(void) {
    if (!getenv("GM_TRACED")) return;
    keep(MIB);
    while (cycles() < 4) waste(MIB); /* what the heap grows by between two depends on what a cycle costs */
    gogc_collect();
    _exit(is_whole(kept, MIB) ? 0 : 1);
}
static void trace(void) {
    setenv("GM_TRACED", "1", 1);
    setenv("GODEBUG", "gctrace=1", 1);
    execl("/proc/self/exe", "traced", NULL);
    _exit(99);
}
/* As Go's own tools take them apart, and the barrier's name. */
TEST_LIMIT(a_line_in_gos_form, 30) {
    static char text[1 << 18];
    regex_t form;
    unsigned lines = 0, forced = 0;
    char want[32], *rest;
    expect_eq(regcomp(&form, "^gc [0-9]+ @[0-9]+\\.[0-9]{3}s [0-9]+%: [0-9.]+\\+[0-9.]+\\+[0-9.]+ ms clock, [0-9.]+\\+[0-9.]+/[0-9.]+/[0-9.]+\\+[0-9.]+ ms cpu, "
                             "[0-9]+->[0-9]+->[0-9]+ MB, [0-9]+ MB goal, [0-9]+ MB stacks, [0-9]+ MB globals, [0-9]+ P, (fork|stop)( \\(forced\\))?$",
                      REG_EXTENDED | REG_NOSUB), 0);
    expect_eq(check_in_child(trace, text, sizeof text), 0);
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        snprintf(want, sizeof want, "gc %u @", ++lines);
        if (!expect(regexec(&form, line, 0, NULL, 0) == 0 && strncmp(line, want, strlen(want)) == 0)) diag("%s", line);
        forced += strstr(line, "(forced)") != NULL;
        if (!marks_on_a_snapshot()) expect(strstr(line, "P, stop") != NULL);
    }
    expect(lines > 3);
    expect_eq(forced, 1);
}

/* ---- threads of the library's own */

TEST(a_program_of_one_thread_stays_one) {
    keep(8 * MIB);
    waste(64 * MIB);
    gogc_collect();
    expect_eq(check_threads(), 1);
    expect(cycles() > 0);
}

static atomic_int finalized;
static void finalizer(void *object, void *arg) { finalized++; }
/* The C library has every thread it knows change its user or group, by a signal. */
TEST_LIMIT(users_can_be_changed_beside_the_librarys_threads, 30) {
    pthread_t t;
    pthread_create(&t, NULL, nothing, NULL);
    pthread_join(t, NULL);
    expect_eq(gogc_set_finalizer(malloc(40), finalizer, NULL), 0);
    for (int i = 0; i < 60000 && check_threads() < 3; i++) usleep(1000);
    expect(check_threads() >= 3);
    expect_eq(setegid(getegid()), 0);
    expect_eq(setresuid((uid_t)-1, geteuid(), (uid_t)-1), 0);
    gogc_collect();
}

/* ---- snapshots that come to nothing */

static atomic_int stop;
static atomic_ulong killed;
static int collector;

/* Children of the thread that collects: they are the snapshots' alone. */
static void *kill_snapshots(void *arg) {
    char path[64], text[256];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", collector);
    while (!stop) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
        if (fd >= 0) close(fd);
        text[n > 0 ? n : 0] = 0;
        for (char *p = text, *end; strtol(p, &end, 10) > 0 && end != p; p = end)
            killed += kill((pid_t)strtol(p, NULL, 10), SIGKILL) == 0;
        usleep(200);
    }
    return NULL;
}
TEST_LIMIT(a_snapshot_that_is_killed, 60) {
    pthread_t t;
    if (!marks_on_a_snapshot()) skip("no snapshots are made");
    if (access(check_format("/proc/self/task/%d/children", getpid()), R_OK) != 0) skip("the kernel does not list children");
    collector = (int)syscall(SYS_gettid);
    keep(24 * MIB);
    pthread_create(&t, NULL, kill_snapshots, NULL);
    while (killed < 4) { /* in the end: one may be over before the other thread gets to look */
        waste(MIB);
        gogc_collect();
    }
    stop = 1;
    pthread_join(t, NULL);
    diag("%lu killed in %lu cycles", killed, cycles());
    expect(is_whole(kept, 24 * MIB));
    uint64_t objects = stats().heap_objects;
    expect_at_most(objects_without_kept(objects / 4), objects / 4);
}

/* A process ends while its snapshot is marked: who adopts its orphans gets none. */
static void exit_in_a_cycle(void) {
    char path[64], text[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
    for (;;) { /* until one is seen: it may be over before we get to look */
        waste(64 * 1024);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text);
        if (fd >= 0) close(fd);
        if (n > 0) exit(0);
    }
}
TEST_LIMIT(a_snapshot_does_not_outlive_its_process, 60) {
    if (!marks_on_a_snapshot()) skip("no snapshots are made");
    if (access(check_format("/proc/self/task/%d/children", getpid()), R_OK) != 0) skip("the kernel does not list children");
    expect_eq(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
    keep(24 * MIB);
    for (int i = 0; i < 3; i++) {
        pid_t child = fork();
        if (child == 0) exit_in_a_cycle();
        expect_eq(check_wait(child, 20), 0);
        int status, orphan = waitpid(-1, &status, 0); /* not our own snapshots, which have no exit signal */
        expect(orphan == -1 && errno == ECHILD);
    }
}

static void refuse_forks(void) {
#if defined(__x86_64__)
    static struct sock_filter code[] = { /* clone without CLONE_VM: EAGAIN */
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_VM, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAGAIN),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof code / sizeof *code, code };
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0) return;
#endif
    skip("forks cannot be refused here");
}
TEST_LIMIT(a_snapshot_that_cannot_be_made, 60) {
    refuse_forks();
    expect(fork() < 0 && errno == EAGAIN);
    keep(16 * MIB);
    uint64_t objects = stats().heap_objects;
    waste(32 * MIB);
    gogc_collect();
    expect(is_whole(kept, 16 * MIB));
    expect(cycles() > 0);
    expect_at_most(objects_without_kept(objects / 4), objects / 4);
}

TEST_MAIN()
