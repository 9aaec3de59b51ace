/* errno across every call of gosched.h: kept, and the goroutine's own although it moves between threads. Compiled with
 * optimization in the release variant, where a compiler that cached the address would read another thread's. */
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#include "libgomalloc/base/atomic.h"
#include "sched/gosched.h"
#include "tests/check.h"

enum { GOROUTINES = 12 };

static gochan *pair[GOROUTINES / 2], *buffered, *closed;
static gomutex mutex;
static gorwmutex rwmutex;
static goonce once;
static uint32_t ended, moves;
static int ready[2], zero, clock_fd, sockets[2];

static void nothing(void *arg) { errno = 5; }
static void deferred(void *arg) { errno = 6; }
static void defers(void) {
    GO_DEFER(deferred, NULL);
    go_yield();
}

/* A wrong errno is reported with the line of the call. */
#define keeps(call)                                           \
    do {                                                      \
        errno = mine;                                         \
        call;                                                 \
        int now_ = errno;                                     \
        if (now_ != mine) return check_line(__LINE__, now_);  \
    } while (0)

static void check_line(int line, int now) {
    diag("line %d: errno is %d", line, now);
    expect(!"errno is kept");
}

static void all_calls(int mine, bool first, gochan *c) {
    uint64_t v = 0;
    char byte;
    gotimer *t;
    gochan *made, *tick;
    gowaitgroup group = { 0 };
    gocase cases[2] = { GO_RECV(NULL, NULL), first ? GO_SEND(c, &v) : GO_RECV(c, &v) };
    gocase either[2] = { GO_RECV(buffered, &v), GO_DEFAULT };
    keeps(go_yield());
    keeps(go(nothing, NULL));
    keeps(go_stack(32 << 10, nothing, NULL));
    keeps((void)go_id());
    keeps((void)go_count());
    keeps((void)go_maxprocs(0));
    keeps(go_sleep(1000));
    keeps(first ? gochan_send(c, &v) : (void)gochan_recv(c, &v));
    keeps((void)goselect(cases, 2));
    keeps((void)goselect(either, 2));
    keeps((void)gochan_try_send(buffered, &v));
    keeps((void)gochan_try_recv(buffered, &v));
    keeps((void)gochan_recv(closed, &v));
    keeps((void)gochan_len(c));
    keeps((void)gochan_cap(c));
    keeps(gomutex_lock(&mutex));
    keeps(go_yield());
    keeps((void)gomutex_trylock(&mutex));
    keeps(gomutex_unlock(&mutex));
    keeps(gorwmutex_rlock(&rwmutex));
    keeps(go_yield());
    keeps(gorwmutex_runlock(&rwmutex));
    keeps(gorwmutex_lock(&rwmutex));
    keeps(gorwmutex_unlock(&rwmutex));
    keeps(gowaitgroup_add(&group, 1));
    keeps(gowaitgroup_done(&group));
    keeps(gowaitgroup_wait(&group));
    goonce_do(&once, nothing, NULL);
    keeps(goonce_do(&once, nothing, NULL));
    keeps(go_entersyscall());
    keeps(go_exitsyscall());
    keeps(go_lock_thread());
    keeps(go_yield());
    keeps(go_unlock_thread());
    keeps(t = gotimer_after(1000000000, nothing, NULL));
    keeps((void)gotimer_reset(t, 2000000000));
    keeps((void)gotimer_stop(t));
    keeps(gotimer_free(t));
    keeps(made = gochan_make(8, 1));
    keeps(gochan_close(made));
    keeps(gochan_free(made));
    keeps(tick = go_after(1000));
    keeps((void)gochan_recv(tick, &v));
    keeps(gochan_free(tick));
    keeps((void)go_poll(ready[0], POLLIN, 1000));
    keeps((void)go_poll(sockets[0], POLLIN, 1000));
    keeps((void)go_read(zero, &byte, 1));
    keeps((void)go_read(clock_fd, &v, 8)); /* cannot be tried without waiting: EOPNOTSUPP on the way */
    keeps((void)go_write(zero, &byte, 1));
    keeps((void)go_send(sockets[0], &byte, 1, 0));
    keeps((void)go_recv(sockets[1], &byte, 1, 0));
    keeps((void)go_set_deadline(sockets[0], 0));
    defers();
}

static void all_rounds(void *number) {
    int mine = 100 + (int)(intptr_t)number;
    for (int i = 0; i < 60; i++) {
        int *before = gosched_errno_location();
        all_calls(mine, (intptr_t)number % 2, pair[(intptr_t)number / 2]);
        gm_add_relaxed(&moves, before != gosched_errno_location());
    }
    gm_add_acq_rel(&ended, 1);
}

TEST_LIMIT(errno_is_kept_by_every_call, 60) {
    uint64_t v = 1;
    go_maxprocs(4);
    for (int i = 0; i < GOROUTINES / 2; i++) pair[i] = gochan_make(8, 0);
    buffered = gochan_make(8, 4);
    closed = gochan_make(8, 0);
    gochan_close(closed);
    expect_eq(pipe(ready), 0);
    expect_eq(write(ready[1], "x", 1), 1);
    expect_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
    clock_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    timerfd_settime(clock_fd, 0, &(struct itimerspec){ { 0, 1000 }, { 0, 1000 } }, NULL);
    zero = open("/dev/zero", O_RDWR);
    gochan_send(buffered, &v);
    for (uint32_t all = GOROUTINES; gm_load_acquire(&moves) <= 10; all += GOROUTINES) { /* else nothing was shown */
        for (intptr_t i = 0; i < GOROUTINES; i++) expect_eq(go(all_rounds, (void *)i), 0);
        while (gm_load_acquire(&ended) < all) usleep(200);
    }
}

/* The compiler's view: one function, no call but ours between the two uses. */
static void stays_ours(void *number) {
    for (int i = 0; i < 20000; i++) {
        errno = (int)(intptr_t)number;
        go_yield();
        if (errno != (int)(intptr_t)number) {
            expect(!"errno is the goroutine's own");
            break;
        }
    }
    gm_add_acq_rel(&ended, 1);
}
TEST_LIMIT(errno_moves_with_the_goroutine, 60) {
    go_maxprocs(4);
    for (intptr_t i = 1; i <= 8; i++) go(stays_ours, (void *)i);
    while (gm_load_acquire(&ended) < 8) usleep(200);
}

TEST_MAIN()
