/* gogc.h as a program sees it: finalizers with their order and resurrection, weak references, kinds of memory, roots. */
#include "tests/gc/hide.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#pragma weak gogc_malloc
#pragma weak gogc_set_percent
#pragma weak gogc_enable
#pragma weak gogc_set_finalizer
#pragma weak gogc_weak
#pragma weak gogc_weak_get
#pragma weak gogc_weak_free
#pragma weak gogc_register_stack
#pragma weak gogc_unregister_stack
#pragma weak gogc_keep_alive

struct node { struct node *next; uint64_t word[7]; };

static atomic_int order, ran[8];       /* when each finalizer ran: 1 is first */
static atomic_ulong seen[8];
static atomic_ulong finalizing_thread, finalizing_mask;

static void finalize(void *obj, void *arg) {
    struct node *n = obj;
    int k = (int)(uintptr_t)arg;
    seen[k] = n->word[0] + (n->next ? n->next->word[0] : 0);
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    finalizing_mask = (unsigned long)sigismember(&mask, SIGUSR1);
    finalizing_thread = (unsigned long)pthread_self();
    ran[k] = ++order;
}

static HIDE_NOINLINE struct node *make(int k, struct node *next) {
    struct node *n = gogc_malloc(sizeof *n);
    n->word[0] = 1000 + (uint64_t)k;
    n->next = next;
    return n;
}

/* Collects until the finalizer has run, or for a while: its thread has to get a CPU. */
static HIDE_NOINLINE void collect_for(atomic_int *flag) {
    for (int64_t last = check_now_ns() + INT64_C(20000000000); !*flag && check_now_ns() < last;) {
        hide_wash();
        gogc_collect();
        for (int k = 0; k < 20 && !*flag; k++) usleep(1000);
    }
}

static HIDE_NOINLINE void one(void) { expect_eq(gogc_set_finalizer(make(0, NULL), finalize, (void *)0), 0); }

TEST(a_finalizer_runs_once_on_a_thread_of_its_own) {
    one();
    collect_for(&ran[0]);
    expect_eq(ran[0], 1);
    expect_eq(seen[0], 1000);
    expect(finalizing_thread != (unsigned long)pthread_self());
    expect_eq(finalizing_mask, 1); /* no signal of the program's is handled there */
    for (int i = 0; i < 5; i++) gogc_collect();
    usleep(20000);
    expect_eq(order, 1);
}

static struct node *kept;
TEST(a_reachable_object_is_not_finalized) {
    kept = make(0, NULL);
    gogc_set_finalizer(kept, finalize, (void *)0);
    for (int i = 0; i < 5; i++) gogc_collect();
    usleep(20000);
    expect_eq(order, 0);
    kept = NULL;
    collect_for(&ran[0]);
    expect_eq(order, 1);
}

/* first -> second -> third: the last is whole when the first goes, and each has its turn. */
static HIDE_NOINLINE void chain(void) {
    struct node *n = NULL;
    for (int k = 3; k >= 1; k--) gogc_set_finalizer(n = make(k, n), finalize, (void *)(uintptr_t)k);
}
TEST(what_an_object_leads_to_goes_after_it) {
    chain();
    for (int k = 1; k <= 3; k++) collect_for(&ran[k]);
    for (int k = 1; k <= 3; k++) expect_eq(ran[k], k);
    expect_eq(seen[1], 1001 + 1002);
    expect_eq(seen[2], 1002 + 1003);
    expect_eq(seen[3], 1003);
}

static HIDE_NOINLINE void circle(void) {
    struct node *a = make(1, NULL), *b = make(2, a);
    a->next = b;
    gogc_set_finalizer(a, finalize, (void *)1);
    gogc_set_finalizer(b, finalize, (void *)2);
}
TEST(circles_are_not_finalized) {
    circle();
    for (int i = 0; i < 6; i++) hide_wash(), gogc_collect();
    usleep(20000);
    expect_eq(order, 0);
}

/* Of many, because old words on stacks can keep some. */
enum { MANY = 40, MOST = 25 };
static struct node *back[MANY];
static void resurrect(void *obj, void *arg) {
    back[(uintptr_t)arg] = obj;
    ran[0] = ++order >= MOST;
}
static HIDE_NOINLINE void many(void (*fn)(void *obj, void *arg)) {
    for (int k = 0; k < MANY; k++) gogc_set_finalizer(make(k, make(100 + k, NULL)), fn, (void *)(uintptr_t)k);
}
TEST(a_finalizer_can_bring_its_object_back) {
    many(resurrect);
    collect_for(&ran[0]);
    int before = order;
    expect(before >= MOST);
    for (int i = 0; i < 3; i++) hide_wash(), gogc_collect(), hide_fill(0);
    usleep(20000);
    for (uint64_t k = 0; k < MANY; k++)
        if (back[k]) expect(back[k]->word[0] == 1000 + k && back[k]->next->word[0] == 1100 + k);
    expect(order <= MANY); /* they have none any more */
    ran[0] = order = 0;
    for (uintptr_t k = 0; k < MANY; k++) /* but may have one again */
        if (back[k]) gogc_set_finalizer(back[k], resurrect, (void *)k);
    memset(back, 0, sizeof back);
    collect_for(&ran[0]);
    expect(order >= MOST);
}

static HIDE_NOINLINE void freed(size_t n) {
    void *p = malloc(n);
    expect_eq(gogc_set_finalizer(p, finalize, (void *)0), 0);
    void *weak = gogc_weak(p);
    expect(gogc_weak_get(weak) == p);
    free(p);
    expect(gogc_weak_get(weak) == NULL);
    gogc_weak_free(weak);
    void *q = malloc(n); /* the same slot, mostly */
    memset(q, 0, n);
    free(q);
}
TEST(free_cancels) {
    static const size_t sizes[] = { 8, 16, 64, 200, 1000, 5000, 30000, 40000, 1 << 20 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) freed(sizes[i]);
    for (int i = 0; i < 4; i++) gogc_collect();
    usleep(20000);
    expect_eq(order, 0);
}

TEST(realloc_to_another_place_cancels) {
    void *p = malloc(100), *weak = gogc_weak(p), *q = realloc(p, 100000);
    expect(q != p && gogc_weak_get(weak) == NULL);
    gogc_weak_free(weak);
    weak = gogc_weak(q);
    void *r = realloc(q, 50 << 20);
    expect(gogc_weak_get(weak) == (r == q ? q : NULL));
    gogc_weak_free(weak);
    free(r);
}

TEST(what_can_be_watched) {
    struct node *n = make(1, NULL);
    int local;
    expect_eq(gogc_set_finalizer((char *)n + 8, finalize, NULL), -EINVAL);
    expect_eq(gogc_set_finalizer(&local, finalize, NULL), -EINVAL);
    expect_eq(gogc_set_finalizer(NULL, finalize, NULL), -EINVAL);
    expect_eq(gogc_set_finalizer(gogc_malloc_noscan(5), finalize, NULL), -EINVAL); /* tiny */
    errno = 0;
    expect(gogc_weak(&local) == NULL && errno == EINVAL);
    expect_eq(gogc_set_finalizer(n, finalize, NULL), 0);
    expect_eq(gogc_set_finalizer(n, NULL, NULL), 0);
    expect_eq(malloc_usable_size(n) >= sizeof *n, 1);
    gogc_keep_alive(n);
    n = NULL;
    for (int i = 0; i < 4; i++) hide_wash(), gogc_collect();
    usleep(20000);
    expect_eq(order, 0);
}

static HIDE_NOINLINE void *weak_of_new(size_t n) { return gogc_weak(memset(malloc(n), 0, n)); }
TEST(weak_references_do_not_keep) {
    static const size_t sizes[] = { 8, 32, 300, 40000 };
    static void *weak[4];
    kept = make(5, NULL);
    void *of_kept = gogc_weak(kept);
    for (int i = 0; i < 4; i++) weak[i] = weak_of_new(sizes[i]);
    for (int i = 0; i < 6; i++) hide_wash(), gogc_collect();
    for (int i = 0; i < 4; i++) {
        if (!expect(gogc_weak_get(weak[i]) == NULL)) diag("%zu bytes", sizes[i]);
        gogc_weak_free(weak[i]);
    }
    expect(gogc_weak_get(of_kept) == kept);
    gogc_weak_free(of_kept);
}

/* A reference read while a snapshot is marked, of an object nothing else leads to: whole, or gone. */
static HIDE_NOINLINE bool read_weak(void *weak) {
    struct node *n = gogc_weak_get(weak);
    if (!n) return false;
    for (int i = 0; i < 50; i++) { /* let the cycle end meanwhile, and its slots be used */
        if (!expect_eq(n->word[0], 1003)) break;
        memset(malloc(sizeof *n), 0x55, sizeof *n);
    }
    gogc_keep_alive(n);
    return true;
}
static atomic_int stop;
static void *collect_all_the_time(void *arg) {
    while (!stop) gogc_collect();
    return NULL;
}
TEST_LIMIT(weak_references_read_during_a_cycle, 60) {
    pthread_t t;
    pthread_create(&t, NULL, collect_all_the_time, NULL);
    unsigned alive = 0;
    for (int i = 0; i < 200; i++) {
        void *weak = gogc_weak(make(3, NULL));
        hide_wash();
        for (int k = 0; k < 20 && read_weak(weak); k++) alive++, hide_wash();
        gogc_weak_free(weak);
    }
    stop = 1;
    pthread_join(t, NULL);
    diag("%u times alive", alive);
}

/* ---- a reference read between the end of a marking and its settling. The line of the trace is written in between: a pipe that
 * is full holds the collector there. Whoever allocates may be the one who ends the cycle and is held: while the pipe is full, the
 * thread that has to empty it allocates nothing. The options are read at the start: this program again. */
enum { READ_LATE = 50 };
static void *late[READ_LATE];
static bool was_there[READ_LATE];
static atomic_int collector, reader, through;
static atomic_bool collect_now, read_now;

static void *collect_once(void *arg) {
    collector = gettid();
    while (!collect_now) usleep(100);
    gogc_collect();
    through++;
    return arg;
}
static void *read_late(void *arg) {
    reader = gettid();
    while (!read_now) usleep(100);
    for (int i = 0; i < READ_LATE; i++) was_there[i] = gogc_weak_get(late[i]) != NULL;
    through++;
    return arg;
}
static HIDE_NOINLINE void make_late(void) {
    for (int i = 0; i < READ_LATE; i++) late[i] = gogc_weak(make(4, NULL));
}
/* Whether the thread sleeps in that call, with that first argument or any. */
static bool sleeps_in(int tid, long number, long first) {
    char line[256];
    long call, argument;
    return tid && hide_call_of(tid, line) && sscanf(line, "%ld %lx", &call, (unsigned long *)&argument) == 2 && call == number &&
           (first < 0 || argument == first);
}
static void fill(int pipe[2]) {
    static const char zeros[4096];
    fcntl(pipe[1], F_SETFL, O_NONBLOCK);
    for (size_t n = sizeof zeros; n; n /= 2)
        while (write(pipe[1], zeros, n) > 0) {}
    fcntl(pipe[1], F_SETFL, 0);
}
static void drain(int pipe[2]) {
    static char text[4096];
    fcntl(pipe[0], F_SETFL, O_NONBLOCK);
    while (through < 2)
        if (read(pipe[0], text, sizeof text) < 0) usleep(1000);
}
static bool soon(bool (*holds)(void)) {
    for (int i = 0; i < 30000 && !holds(); i++) usleep(1000);
    return holds();
}
static bool both_run(void) { return collector && reader; }
static bool is_held(void) { return sleeps_in(collector, SYS_write, 2); }
static bool reader_has_shown(void) { return through || sleeps_in(reader, SYS_futex, -1); }

__attribute__((constructor)) static void held(void) {
    if (!getenv("GM_HELD")) return;
    pthread_t a, b;
    int p[2], dead = 0, back_again = 0;
    make_late();
    hide_wash();
    if (pipe(p) != 0) _exit(5);
    pthread_create(&a, NULL, collect_once, NULL);
    pthread_create(&b, NULL, read_late, NULL);
    if (!soon(both_run)) _exit(6);
    fill(p);
    dup2(p[1], 2);
    collect_now = true;
    if (!soon(is_held)) _exit(4);
    read_now = true;
    bool shown = soon(reader_has_shown);
    drain(p);
    pthread_join(a, NULL);
    pthread_join(b, NULL);
    for (int i = 0; i < READ_LATE; i++) {
        if (gogc_weak_get(late[i])) continue;
        dead++;
        back_again += was_there[i];
    }
    _exit(back_again ? 1 : dead == 0 ? 2 : !shown ? 3 : 0);
}
TEST_LIMIT(weak_references_read_before_they_are_settled, 60) {
    pid_t child = fork();
    if (child == 0) {
        setenv("GM_HELD", "1", 1);
        setenv("GODEBUG", "gctrace=1", 1);
        execl("/proc/self/exe", "held", NULL);
        _exit(99);
    }
    int status = check_wait(child, 50);
    expect(WIFEXITED(status));
    expect_eq(WEXITSTATUS(status), 0);
}

TEST(kinds_of_memory) {
    char *p = gogc_malloc(100), *q = gogc_malloc_noscan(100), *r = gogc_malloc_uncollectable(100), *s = gogc_malloc_noscan(3);
    for (int i = 0; i < 100; i++) expect(p[i] == 0 && q[i] == 0 && r[i] == 0);
    expect(s[0] == 0 && s[1] == 0 && s[2] == 0);
    free(p), free(q), free(r), free(s);
}

TEST(percent_and_enable) {
    int percent = gogc_set_percent(50);
    expect_eq(gogc_set_percent(-1), 50);
    expect_eq(gogc_set_percent(percent), -1);
    expect_eq(gogc_enable(0), 1);
    expect_eq(gogc_enable(1), 0);
}

/* The dead part of a registered stack keeps nothing while a thread stands above it. */
static char *stack;
static void on_stack_hide(void *p) { *(void **)(stack + 4096) = p; }
static void on_stack_erase(void) { *(void **)(stack + 4096) = NULL; }
static void *map_stack(void) {
    if (!stack) {
        stack = gogc_malloc_uncollectable(65536);
        expect_eq(gogc_register_stack(stack, stack + 65536), 0);
    }
    return stack;
}
TEST_LIMIT(a_registered_stack, 30) {
    map_stack();
    hide_test(on_stack_hide, on_stack_erase);
    expect_eq(gogc_unregister_stack(stack), 0);
    expect_eq(gogc_unregister_stack(stack), -ENOENT);
    expect_eq(gogc_register_stack(stack, stack), -EINVAL);
}

TEST_LIMIT(a_child_finalizes_for_itself, 30) {
    many(resurrect);
    pid_t child = fork();
    if (child == 0) {
        gogc_set_finalizer(make(1, NULL), finalize, (void *)1); /* and a thread for it */
        collect_for(&ran[0]);
        _exit(ran[0] ? 0 : 1);
    }
    int status = check_wait(child, 25);
    expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    collect_for(&ran[0]);
    expect_eq(ran[0], 1);
}

TEST_MAIN()
