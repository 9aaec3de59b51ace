/* Channels: every rule of Go's, from goroutines and from plain threads. */
#include <pthread.h>

#include "sched/gosched.h"
#include "tests/unit/panic.h"
#include "tests/unit/parked.h"

static void wait_for(uint32_t *word, uint32_t value) {
    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) != value) go_yield(), usleep(50);
}
static void count_up(uint32_t *word) { __atomic_fetch_add(word, 1, __ATOMIC_RELEASE); }

TEST(make_says_what_it_refuses) {
    gochan *c = gochan_make(8, 3);
    expect_eq(gochan_cap(c), 3);
    expect_eq(gochan_len(c), 0);
    gochan_free(c);
    gochan_free(NULL);
    errno = 0;
    expect(gochan_make(1 << 16, 1) == NULL && errno == EINVAL);
    errno = 0;
    expect(gochan_make(1 << 10, SIZE_MAX >> 5) == NULL && errno == EINVAL);
    errno = 0;
    expect(gochan_make(1, SIZE_MAX >> 2) == NULL && errno == ENOMEM);
    expect((c = gochan_make((1 << 16) - 1, 1)) != NULL);
    gochan_free(c);
}

TEST(buffer_keeps_order_and_bounds) {
    for (size_t capacity = 1; capacity < 6; capacity++) {
        gochan *c = gochan_make(sizeof(int), capacity);
        int sent = 0, got = 0, value = 0;
        for (int round = 0; round < 20; round++) {
            while (gochan_try_send(c, &sent)) sent++;
            expect_eq(gochan_len(c), capacity);
            expect_eq(sent - got, capacity);
            for (int i = 0; i <= round % (int)capacity; i++) {
                expect_eq(gochan_try_recv(c, &value), 1);
                expect_eq(value, got++);
            }
        }
        while (gochan_try_recv(c, &value) == 1) expect_eq(value, got++);
        expect_eq(got, sent);
        gochan_free(c);
    }
}

TEST(elements_of_every_size) {
    static const size_t sizes[] = {0, 1, 2, 3, 4, 7, 8, 9, 16, 24, 100, 4096, 65535};
    static char in[65536], out[65536];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        gochan *c = gochan_make(sizes[i], 3);
        for (int k = 0; k < 7; k++) {
            check_fill(in, sizes[i], (uint64_t)k);
            memset(out, 0x5a, sizeof out);
            gochan_send(c, in);
            expect(gochan_recv(c, out));
            expect(check_filled(out, sizes[i], (uint64_t)k));
            expect_eq(out[sizes[i]], 0x5a);
        }
        gochan_free(c);
    }
}

TEST(elements_of_no_size_are_counted) {
    gochan *c = gochan_make(0, 2);
    expect(gochan_try_send(c, NULL) && gochan_try_send(c, NULL) && !gochan_try_send(c, NULL));
    expect_eq(gochan_len(c), 2);
    expect(gochan_recv(c, NULL) && gochan_recv(c, NULL));
    expect_eq(gochan_try_recv(c, NULL), 0);
    gochan_free(c);
}

TEST(closed_gives_the_rest_then_zeros) {
    gochan *c = gochan_make(sizeof(long), 4);
    for (long i = 1; i <= 3; i++) gochan_send(c, &i);
    gochan_close(c);
    for (long i = 1; i <= 3; i++) {
        long v = -1;
        expect(gochan_recv(c, &v));
        expect_eq(v, i);
    }
    long v = -1;
    expect(!gochan_recv(c, &v));
    expect_eq(v, 0);
    v = -1;
    expect_eq(gochan_try_recv(c, &v), -1);
    expect_eq(v, 0);
    expect(!gochan_recv(c, NULL));
    gochan_free(c);
}

TEST(receiving_into_nothing_discards) {
    gochan *c = gochan_make(sizeof(int), 1);
    int v = 1;
    gochan_send(c, &v);
    expect(gochan_recv(c, NULL));
    expect_eq(gochan_len(c), 0);
    gochan_free(c);
}

TEST(nil_never_goes) {
    int v = 0;
    expect(!gochan_try_send(NULL, &v));
    expect_eq(gochan_try_recv(NULL, &v), 0);
    expect_eq(gochan_len(NULL) + gochan_cap(NULL), 0);
}

static uint32_t begun, ended;
static void send_nil(void *arg) {
    count_up(&begun);
    gochan_send(NULL, arg);
    count_up(&ended);
}
static void recv_nil(void *arg) {
    count_up(&begun);
    gochan_recv(NULL, arg);
    count_up(&ended);
}
static void *thread_recv_nil(void *arg) { return recv_nil(arg), NULL; }

TEST(nil_waits_for_ever) {
    pthread_t t;
    expect_eq(go(send_nil, NULL), 0);
    expect_eq(go(recv_nil, NULL), 0);
    expect_eq(pthread_create(&t, NULL, thread_recv_nil, NULL), 0);
    wait_for(&begun, 3);
    usleep(20000);
    expect_eq(ended, 0);
}

static void close_nil(void) { gochan_close(NULL); }
static void close_closed(void) {
    gochan *c = gochan_make(0, 0);
    gochan_close(c);
    gochan_close(c);
}
static void send_closed(void) {
    gochan *c = gochan_make(0, 1);
    gochan_close(c);
    gochan_send(c, NULL);
}
static void try_send_closed(void) {
    gochan *c = gochan_make(0, 0);
    gochan_close(c);
    gochan_try_send(c, NULL);
}
static void send_it(void *c) { gochan_send((gochan *)c, &(int){7}); }
static void close_under_sender(void) {
    gochan *c = gochan_make(sizeof(int), 0);
    go(send_it, c);
    parked_wait(1);
    gochan_close(c);
    pause();
}
TEST(misuse_panics_with_the_words_of_go) {
    expect_panics("panic: close of nil channel", close_nil);
    expect_panics("panic: close of closed channel", close_closed);
    expect_panics("panic: send on closed channel", send_closed);
    expect_panics("panic: send on closed channel", try_send_closed);
    expect_panics("panic: send on closed channel", close_under_sender);
}

static gochan *one, *two;
static void echo(void *arg) {
    for (long v; gochan_recv(one, &v);) gochan_send(two, &v);
    gochan_close(two);
}
static void *thread_echo(void *arg) { return echo(arg), NULL; }

static void ping(size_t capacity, bool thread) {
    pthread_t t;
    one = gochan_make(sizeof(long), capacity);
    two = gochan_make(sizeof(long), capacity);
    if (thread) expect_eq(pthread_create(&t, NULL, thread_echo, NULL), 0);
    else expect_eq(go(echo, NULL), 0);
    for (long i = 0; i < 1000; i++) {
        long v = -1;
        gochan_send(one, &i);
        expect(gochan_recv(two, &v));
        expect_eq(v, i);
    }
    gochan_close(one);
    expect(!gochan_recv(two, NULL));
    if (thread) pthread_join(t, NULL);
}
TEST(unbuffered_between_goroutine_and_thread) { ping(0, false); }
TEST(unbuffered_between_threads) { ping(0, true); }
TEST(buffered_between_goroutine_and_thread) { ping(3, false); }

/* Waiters are served in the order of their coming: the next one comes when the one before waits. */
enum { WAITERS = 50 };
static gochan *line;
static long order[WAITERS];
static void want(void *arg) {
    count_up(&begun);
    expect(gochan_recv(line, &order[(long)arg]));
    count_up(&ended);
}
static void offer(void *arg) {
    long v = (long)arg;
    count_up(&begun);
    gochan_send(line, &v);
    count_up(&ended);
}
TEST(waiting_receivers_are_served_in_order) {
    line = gochan_make(sizeof(long), 0);
    go_maxprocs(1);
    for (long i = 0; i < WAITERS; i++) {
        expect_eq(go(want, (void *)i), 0);
        parked_wait((unsigned)i + 1);
    }
    for (long i = 0; i < WAITERS; i++) gochan_send(line, &i);
    wait_for(&ended, WAITERS);
    for (long i = 0; i < WAITERS; i++) expect_eq(order[i], i);
}
static void senders_in_order(size_t capacity) {
    line = gochan_make(sizeof(long), capacity);
    go_maxprocs(1);
    for (long i = 0; i < WAITERS; i++) {
        expect_eq(go(offer, (void *)i), 0);
        if (i < (long)capacity) wait_for(&ended, (uint32_t)i + 1);
        else parked_wait((unsigned)i + 1 - (unsigned)capacity);
    }
    for (long i = 0; i < WAITERS; i++) {
        long v = -1;
        expect(gochan_recv(line, &v));
        expect_eq(v, i);
    }
    wait_for(&ended, WAITERS);
}
TEST(waiting_senders_are_served_in_order) { senders_in_order(0); }
TEST(waiting_senders_of_a_full_buffer_too) { senders_in_order(4); }

static uint32_t closed_seen;
static void until_closed(void *arg) {
    long v = -1;
    count_up(&begun);
    if (!gochan_recv(line, &v) && v == 0) count_up(&closed_seen);
}
static void *thread_until_closed(void *arg) { return until_closed(arg), NULL; }
TEST(close_wakes_everybody) {
    pthread_t t[3];
    line = gochan_make(sizeof(long), 0);
    for (int i = 0; i < 20; i++) expect_eq(go(until_closed, NULL), 0);
    for (int i = 0; i < 3; i++) expect_eq(pthread_create(&t[i], NULL, thread_until_closed, NULL), 0);
    wait_for(&begun, 23);
    usleep(20000);
    expect_eq(closed_seen, 0);
    gochan_close(line);
    wait_for(&closed_seen, 23);
    for (int i = 0; i < 3; i++) pthread_join(t[i], NULL);
}

/* Direct hand-off: what a waiting receiver gets never lies in the buffer. */
TEST(a_waiting_receiver_is_served_past_the_buffer) {
    line = gochan_make(sizeof(long), 1);
    expect_eq(go(want, (void *)0), 0);
    wait_for(&begun, 1);
    parked_wait(1);
    expect(gochan_try_send(line, &(long){5}));
    expect_eq(gochan_len(line), 0);
    expect(gochan_try_send(line, &(long){6}));
    expect_eq(gochan_len(line), 1);
    wait_for(&ended, 1);
    expect_eq(order[0], 5);
}

TEST(errno_is_kept) {
    gochan *c = gochan_make(sizeof(int), 0);
    expect_eq(go(send_it, c), 0);
    errno = 77;
    int v = 0;
    expect(gochan_recv(c, &v));
    expect_eq(errno, 77);
    expect_eq(v, 7);
}

/* Many to many: nothing is lost or doubled, each receiver sees each sender's numbers rising. */
enum { PARTIES = 8, EACH = 2000 };
static uint32_t senders_left, seen[PARTIES * EACH];
static void pour(void *arg) {
    for (long i = 0; i < EACH; i++) {
        long v = (long)arg * EACH + i;
        if (i % 7 == 0) while (!gochan_try_send(line, &v)) go_yield();
        else gochan_send(line, &v);
    }
    if (__atomic_sub_fetch(&senders_left, 1, __ATOMIC_ACQ_REL) == 0) gochan_close(line);
}
static void drink(void *arg) {
    long last[PARTIES], v;
    for (int i = 0; i < PARTIES; i++) last[i] = -1;
    while (gochan_recv(line, &v)) {
        expect(v % EACH > last[v / EACH]);
        last[v / EACH] = v % EACH;
        count_up(&seen[v]);
    }
    count_up(&ended);
}
static void *thread_pour(void *arg) { return pour(arg), NULL; }
static void *thread_drink(void *arg) { return drink(arg), NULL; }
static void crowd(size_t capacity) {
    pthread_t t[2];
    line = gochan_make(sizeof(long), capacity);
    senders_left = PARTIES;
    for (long i = 1; i < PARTIES; i++) expect_eq(go(pour, (void *)i), 0);
    for (long i = 1; i < PARTIES; i++) expect_eq(go(drink, NULL), 0);
    expect_eq(pthread_create(&t[0], NULL, thread_pour, (void *)0), 0);
    expect_eq(pthread_create(&t[1], NULL, thread_drink, NULL), 0);
    pthread_join(t[0], NULL);
    pthread_join(t[1], NULL);
    wait_for(&ended, PARTIES);
    for (int i = 0; i < PARTIES * EACH; i++) {
        if (!expect_eq(seen[i], 1)) break;
    }
}
TEST_LIMIT(crowd_unbuffered, 60) { crowd(0); }
TEST_LIMIT(crowd_of_one, 60) { crowd(1); }
TEST_LIMIT(crowd_buffered, 60) { crowd(64); }

/* None of these parks, and there is one P. */
static uint32_t asked;
static void asks_by_recv(void *c) {
    while (gochan_try_recv(c, NULL) != -1) {}
    count_up(&asked);
}
static void asks_by_send(void *c) {
    while (!gochan_try_send(c, NULL)) {}
    count_up(&asked);
}
static void asks_by_select(void *c) {
    gocase cases[] = {GO_RECV(c, NULL), GO_RECV(c, NULL), GO_DEFAULT};
    while (goselect(cases, 3) == 2) {}
    count_up(&asked);
}
static void answers(void *c) { gochan_recv(c, NULL); }
static void closes(void *c) { gochan_close(c); }
TEST(asking_in_a_loop_lets_others_run) {
    gochan *c = gochan_make(0, 0);
    go_maxprocs(1);
    go(asks_by_send, c);
    go(answers, c);
    wait_for(&asked, 1);
    go(asks_by_recv, c);
    go(asks_by_select, c);
    go(closes, c);
    wait_for(&asked, 3);
    gochan_free(c);
}

TEST_MAIN()
