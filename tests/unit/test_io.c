/* Descriptors: reading, writing, connecting and waiting, from goroutines and plain threads. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <stdio.h>

#include "libgomalloc/base/atomic.h"
#include "sched/gosched.h"
#include "sched/netpoll.h"
#include "tests/check.h"
#include "tests/unit/parked.h"

enum { MS = 1000000 };

static uint32_t ended;
static void wait_for(uint32_t *word, uint32_t value) {
    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) < value) usleep(200);
}

struct job {
    int fd;
    ssize_t result;
    int error;
    char buf[64];
};
static void read_some(void *arg) {
    struct job *j = arg;
    errno = 0;
    j->result = go_read(j->fd, j->buf, sizeof j->buf);
    j->error = errno;
    __atomic_fetch_add(&ended, 1, __ATOMIC_ACQ_REL);
}
static void start_read(struct job *j, int fd) {
    *j = (struct job){ .fd = fd };
    expect_eq(go(read_some, j), 0);
}
static void closes_what_others_use(void) {
#ifdef __SANITIZE_THREAD__
    skip("for ThreadSanitizer closing a descriptor that others use is a race");
#endif
}

TEST(a_pipe_wakes_its_reader) {
    int p[2];
    struct job j;
    expect_eq(pipe(p), 0);
    start_read(&j, p[0]);
    parked_wait(1);
    expect_eq(gm_load_acquire(&ended), 0);
    expect_eq(write(p[1], "hello", 5), 5);
    wait_for(&ended, 1);
    expect_eq(j.result, 5);
    expect(memcmp(j.buf, "hello", 5) == 0);
    expect_eq(fcntl(p[0], F_GETFL) & O_NONBLOCK, 0);
}

TEST(end_of_file_reaches_all_readers) {
    enum { N = 5 };
    int p[2];
    struct job j[N];
    expect_eq(pipe(p), 0);
    for (int i = 0; i < N; i++) start_read(&j[i], p[0]);
    parked_wait(N);
    close(p[1]);
    wait_for(&ended, N);
    for (int i = 0; i < N; i++) expect_eq(j[i].result, 0);
}

TEST(readers_of_one_descriptor_are_served_in_turn) {
    enum { N = 6 };
    int s[2];
    struct job j[N];
    expect_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s), 0);
    for (int i = 0; i < N; i++) start_read(&j[i], s[0]);
    parked_wait(N);
    for (int i = 0; i < N; i++) expect_eq(write(s[1], "x", 1), 1); /* perhaps fewer edges than packets */
    wait_for(&ended, N);
    for (int i = 0; i < N; i++) expect_eq(j[i].result, 1);
}

static char big[1 << 20];
static uint32_t sum;
static void drain(void *arg) {
    static char part[10000];
    for (ssize_t n; (n = go_read(*(int *)arg, part, sizeof part)) > 0;) sum += (uint32_t)n;
    __atomic_fetch_add(&ended, 1, __ATOMIC_ACQ_REL);
}
static void pump(int type) {
    int s[2];
    if (type) expect_eq(socketpair(AF_UNIX, type, 0, s), 0);
    else {
        expect_eq(pipe(s), 0);
        int swap = s[0];
        s[0] = s[1], s[1] = swap;
    }
    expect_eq(go(drain, &s[1]), 0);
    expect_eq(go_write(s[0], big, sizeof big), sizeof big); /* a plain thread, in poll(2) */
    close(s[0]);
    wait_for(&ended, 1);
    expect_eq(gm_load_acquire(&sum), sizeof big);
}
TEST(a_large_write_goes_through_a_pipe) { pump(0); }
TEST(a_large_write_goes_through_a_socket) { pump(SOCK_STREAM); }

TEST(errors_come_as_errno) {
    struct job j;
    int null = open("/dev/null", O_RDONLY);
    start_read(&j, 12345);
    wait_for(&ended, 1);
    expect_eq(j.result, -1);
    expect_eq(j.error, EBADF);
    start_read(&j, null);
    wait_for(&ended, 2);
    expect_eq(j.result, 0);
    expect_eq(go_read(-1, &j, 1), -1);
    expect_eq(errno, EBADF);
    expect_eq(go_recv(null, &j, 1, 0), -1);
    expect_eq(errno, ENOTSOCK);
}

TEST(regular_files_are_read_whole) {
    struct job j;
    char name[] = "/tmp/gosched-io-XXXXXX";
    int fd = mkstemp(name);
    unlink(name);
    expect_eq(go_write(fd, "0123456789", 10), 10);
    lseek(fd, 0, SEEK_SET);
    start_read(&j, fd);
    wait_for(&ended, 1);
    expect_eq(j.result, 10);
    expect_eq(go_read(fd, j.buf, 1), 0);
    expect_eq(go_poll(fd, POLLIN, -1), POLLIN);
}

TEST(dontwait_does_not_wait) {
    int s[2];
    char c;
    expect_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    expect_eq(go_recv(s[0], &c, 1, MSG_DONTWAIT), -1);
    expect_eq(errno, EAGAIN);
}

TEST(a_deadline_ends_waiting_and_can_be_lifted) {
    int p[2];
    struct job j;
    char c;
    expect_eq(pipe(p), 0);
    int64_t start = check_now_ns();
    expect_eq(go_set_deadline(p[0], 30 * MS), 0);
    start_read(&j, p[0]);
    wait_for(&ended, 1);
    expect(check_now_ns() - start >= 30 * MS);
    expect_eq(j.result, -1);
    expect_eq(j.error, ETIMEDOUT);
    expect_eq(write(p[1], "abc", 3), 3);
    expect_eq(go_read(p[0], &c, 1), -1); /* although there is something to read, as in Go */
    expect_eq(errno, ETIMEDOUT);
    expect_eq(go_set_deadline(p[0], 0), 0);
    expect_eq(go_read(p[0], &c, 1), 1);
    start_read(&j, p[0]);
    wait_for(&ended, 2);
    start_read(&j, p[0]);
    parked_wait(1);
    expect_eq(go_set_deadline(p[0], -1), 0); /* those who wait already */
    wait_for(&ended, 3);
    expect_eq(j.error, ETIMEDOUT);
    expect_eq(go_set_deadline(p[0], 20 * MS), 0);
    expect_eq(go_read(p[0], &c, 1), -1); /* a plain thread */
    expect_eq(errno, ETIMEDOUT);
    expect_eq(go_set_deadline(54321, MS), -1);
    expect_eq(errno, EBADF);
}

TEST(a_deadline_does_not_outlive_its_file) {
    int p[2], q[2];
    char c;
    expect_eq(pipe(p), 0);
    expect_eq(go_set_deadline(p[0], -1), 0);
    close(p[0]);
    expect_eq(pipe(q), 0);
    expect_eq(dup2(q[0], p[0]), p[0]);
    expect_eq(write(q[1], "a", 1), 1);
    expect_eq(go_read(p[0], &c, 1), 1);
}

TEST(close_wakes_those_who_wait) {
    closes_what_others_use();
    int p[2];
    struct job j[2];
    expect_eq(pipe(p), 0);
    for (int i = 0; i < 2; i++) start_read(&j[i], p[0]);
    parked_wait(2);
    expect_eq(go_close(p[0]), 0);
    wait_for(&ended, 2);
    for (int i = 0; i < 2; i++) expect_eq(j[i].error, EBADF);
    expect_eq(go_close(p[0]), -1);
    expect_eq(errno, EBADF);
}

TEST(a_close_that_nobody_told_of_is_found_out) {
    closes_what_others_use();
    int p[2], q[2];
    struct job j, k;
    expect_eq(pipe(p), 0);
    expect_eq(pipe(q), 0);
    start_read(&j, p[0]);
    parked_wait(1);
    expect_eq(dup2(q[0], p[0]), p[0]); /* the kernel drops the registration and tells nobody */
    start_read(&k, p[0]); /* the record believes that it is registered */
    parked_wait(2);
    expect_eq(write(q[1], "yz", 2), 2);
    close(q[1]);
    wait_for(&ended, 2);
    expect_eq(j.result + k.result, 2);
}

static void *wait_plain(void *arg) {
    read_some(arg);
    return NULL;
}
TEST(plain_threads_and_goroutines_share_a_descriptor) {
    int s[2];
    struct job a = {0}, b;
    pthread_t t;
    expect_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s), 0);
    a.fd = s[0];
    pthread_create(&t, NULL, wait_plain, &a);
    start_read(&b, s[0]);
    parked_wait(1);
    for (int i = 0; i < 2; i++) expect_eq(write(s[1], "x", 1), 1);
    wait_for(&ended, 2);
    pthread_join(t, NULL);
    expect_eq(a.result + b.result, 2);
}

/* ---- go_poll */
static int polled;
static int64_t poll_time;
static int poll_pipe[2];
static void poll_it(void *arg) {
    polled = go_poll(poll_pipe[0], POLLIN, poll_time);
    __atomic_fetch_add(&ended, 1, __ATOMIC_ACQ_REL);
}
TEST(poll_waits_for_events_or_time) {
    expect_eq(pipe(poll_pipe), 0);
    poll_time = 20 * MS;
    go(poll_it, NULL);
    wait_for(&ended, 1);
    expect_eq(gm_load_acquire(&polled), 0);
    poll_time = -1;
    go(poll_it, NULL);
    parked_wait(1);
    expect_eq(write(poll_pipe[1], "x", 1), 1);
    wait_for(&ended, 2);
    expect_eq(gm_load_acquire(&polled), POLLIN);
    expect_eq(go_poll(poll_pipe[1], POLLIN | POLLOUT, 0), POLLOUT);
    expect_eq(go_poll(12345, POLLIN, 0), -1);
    expect_eq(errno, EBADF);
}

/* ---- connections */
static int listener;
enum { CLIENTS = 16, ROUNDS = 50 };
static void serve(void *arg) {
    char c;
    int fd = (int)(intptr_t)arg;
    while (go_read(fd, &c, 1) == 1) go_write(fd, &c, 1);
    go_close(fd);
}
static void accept_all(void *arg) {
    for (int fd; (fd = go_accept(listener, NULL, NULL)) >= 0;) go(serve, (void *)(intptr_t)fd);
    __atomic_fetch_add(&ended, 1, __ATOMIC_ACQ_REL);
}
static uint32_t good, clients;
static void client(void *arg) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    bool ok = go_connect(fd, arg, sizeof(struct sockaddr_in)) == 0 && (fcntl(fd, F_GETFL) & O_NONBLOCK) == 0;
    for (int i = 0; ok && i < ROUNDS; i++) {
        char c = (char)i, d = 0;
        ok = go_send(fd, &c, 1, 0) == 1 && go_recv(fd, &d, 1, 0) == 1 && c == d;
    }
    if (ok) gm_add_relaxed(&good, 1);
    go_close(fd);
    __atomic_fetch_add(&clients, 1, __ATOMIC_ACQ_REL);
}
TEST_LIMIT(clients_connect_and_are_served, 30) {
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof a;
    go_maxprocs(2);
    listener = socket(AF_INET, SOCK_STREAM, 0);
    expect_eq(bind(listener, (struct sockaddr *)&a, sizeof a), 0);
    expect_eq(listen(listener, 64), 0);
    getsockname(listener, (struct sockaddr *)&a, &size);
    for (int i = 0; i < 3; i++) go(accept_all, NULL);
    for (int i = 0; i < CLIENTS; i++) go(client, &a);
    wait_for(&clients, CLIENTS);
    expect_eq(gm_load_acquire(&good), CLIENTS);
    expect_eq(fcntl(listener, F_GETFL) & O_NONBLOCK, 0);
    go_close(listener);
    wait_for(&ended, 3);
}

/* The port is somebody's, who does not listen, so that nobody else does. */
TEST(where_nobody_listens_is_refused) {
    struct sockaddr_in nobody = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof nobody;
    int holder = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0);
    expect_eq(bind(holder, (struct sockaddr *)&nobody, sizeof nobody), 0);
    getsockname(holder, (struct sockaddr *)&nobody, &size);
    expect_eq(go_connect(fd, (struct sockaddr *)&nobody, sizeof nobody), -1);
    expect_eq(errno, ECONNREFUSED);
}

/* ---- the keeper: one M that sleeps in the poller, claimed and called by the bell when somebody needs an M */
static uint32_t noops;
static void noop(void *arg) { __atomic_fetch_add(&noops, 1, __ATOMIC_ACQ_REL); }
/* False: they have waited for 50 s. Who looks all the time would leave a single CPU to nobody else. */
static bool all_ran(uint32_t started) {
    int64_t start = check_now_ns();
    for (uint32_t looks = 1; gm_load_acquire(&noops) < started; looks++) {
        if (looks % 1000 == 0) sched_yield();
        if (check_now_ns() - start > 50 * 1000 * (int64_t)MS) return expect_eq(gm_load_acquire(&noops), started);
    }
    return true;
}
/* Whoever goes idle while the claimed one is still on its way out of the poller must not hear the bell in its place. */
TEST_LIMIT(the_bell_is_heard_by_the_one_it_was_rung_for, 60) {
    int p[2];
    struct job j;
    uint32_t rounds = check_stress() ? 1000000 : 3000, started = 0;
    int64_t until = check_now_ns() + (check_stress() ? 150000 : 30000) * (int64_t)MS; /* on a busy machine not all rounds */
    go_maxprocs(2);
    expect_eq(pipe(p), 0);
    start_read(&j, p[0]); /* so that the poller is wanted */
    for (uint32_t i = 0; i < rounds && check_now_ns() < until; i++) {
        uint32_t n = 1 + i % 3;
        for (uint32_t k = 0; k < n; k++) expect_eq(go(noop, NULL), 0);
        started += n;
        if (!all_ran(started)) return;
    }
    expect_eq(write(p[1], "x", 1), 1);
    wait_for(&ended, 1);
}

/* ---- what a program does to us */
static void closes_all(unsigned wait_ms) {
    closes_what_others_use();
    int p[2];
    struct job j;
    expect_eq(pipe(p), 0);
    start_read(&j, p[0]);
    parked_wait(1);
    usleep(wait_ms * 1000);
    for (int fd = 3; fd < 2000; fd++)
        if (fd != p[0] && fd != p[1] && fcntl(fd, F_GETFD) >= 0) {
            char path[64], to[64] = "";
            snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
            if (readlink(path, to, sizeof to - 1) > 0 && strstr(to, "anon_inode:[event")) close(fd);
        }
    struct job k;
    int q[2];
    expect_eq(pipe(q), 0);
    start_read(&k, q[0]);
    while (parked_in(GS_G_WAITING) < 2 && gm_load_acquire(&ended) == 0) usleep(200);
    expect_eq(write(q[1], "k", 1), 1);
    wait_for(&ended, 1);
    expect_eq(write(p[1], "j", 1), 1);
    wait_for(&ended, 2);
    expect_eq(j.result, 1);
    expect_eq(k.result, 1);
}
TEST(a_daemon_that_closes_everything_loses_nobody) { closes_all(0); }
/* By then nobody asks any more whether the registration is still there: whoever sleeps in the poller does so for ever. */
TEST(nor_does_one_that_does_it_later) { closes_all(100); }

TEST(our_descriptors_are_high_and_closed_by_exec) {
    static bool theirs[2000];
    int p[2], n = 0;
    struct job j;
    struct rlimit l;
    getrlimit(RLIMIT_NOFILE, &l);
    l.rlim_cur = l.rlim_max;
    setrlimit(RLIMIT_NOFILE, &l);
    if (l.rlim_max < 1000) skip("the limit of descriptors leaves no room up there");
    expect_eq(pipe(p), 0);
    for (int fd = 0; fd < 2000; fd++) theirs[fd] = fcntl(fd, F_GETFD) >= 0;
    start_read(&j, p[0]);
    parked_wait(1);
    for (int fd = 0; fd < 2000; fd++) {
        int flags = fcntl(fd, F_GETFD);
        if (flags < 0 || theirs[fd]) continue;
        expect(fd >= 900);
        expect(flags & FD_CLOEXEC);
        n++;
    }
    expect_eq(n, 2);
}

/* ---- many, several to each descriptor */
static uint32_t got;
static void read_one(void *arg) {
    char c;
    if (go_read((int)(intptr_t)arg, &c, 1) == 1) gm_add_relaxed(&got, 1);
    __atomic_fetch_add(&ended, 1, __ATOMIC_ACQ_REL);
}
TEST_LIMIT(many_blocked_readers_each_get_their_byte, 120) {
    struct rlimit l;
    getrlimit(RLIMIT_NOFILE, &l);
    l.rlim_cur = l.rlim_max;
    setrlimit(RLIMIT_NOFILE, &l);
    uint32_t readers = check_stress() ? 100000 : 2000, fds = check_stress() ? (uint32_t)l.rlim_cur - 64 : 200, pairs = fds / 2;
    int (*s)[2] = malloc(pairs * sizeof *s);
    go_maxprocs(2);
    for (uint32_t i = 0; i < pairs; i++)
        if (!expect_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, s[i]), 0)) return;
    for (uint32_t i = 0; i < readers; i++) expect_eq(go(read_one, (void *)(intptr_t)s[i / 2 % pairs][i % 2]), 0);
    parked_wait(readers);
    expect_eq(gm_load_acquire(&ended), 0);
    for (uint32_t i = 0; i < readers; i++) expect_eq(write(s[i / 2 % pairs][!(i % 2)], "b", 1), 1);
    wait_for(&ended, readers);
    expect_eq(gm_load_acquire(&got), readers);
    diag("%u readers on %u descriptors", readers, pairs * 2);
}

TEST_MAIN()
