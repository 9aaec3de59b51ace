/* select: every rule of Go's, from goroutines and from plain threads. */
#include <pthread.h>

#include "sched/gosched.h"
#include "tests/unit/panic.h"
#include "tests/unit/parked.h"

static void wait_for(uint32_t *word, uint32_t value) {
    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) != value) go_yield(), usleep(50);
}
static void count_up(uint32_t *word) { __atomic_fetch_add(word, 1, __ATOMIC_RELEASE); }
static gochan *ints(size_t capacity) { return gochan_make(sizeof(long), capacity); }

TEST(default_if_nothing_can_go) {
    gochan *a = ints(0), *b = ints(1);
    long v = 1, w = 2;
    gocase none[] = {GO_DEFAULT};
    expect_eq(goselect(none, 1), 0);
    gocase single[] = {GO_DEFAULT, GO_RECV(b, &v)};
    expect_eq(goselect(single, 2), 0);
    gocase several[] = {GO_RECV(a, &v), GO_SEND(a, &w), GO_RECV(b, &v), GO_DEFAULT};
    expect_eq(goselect(several, 4), 3);
    gocase nil[] = {GO_RECV(NULL, &v), GO_SEND(NULL, &w), GO_DEFAULT};
    expect_eq(goselect(nil, 3), 2);
    expect_eq(v, 1);
    gochan_send(b, &w);
    expect_eq(goselect(single, 2), 1);
    expect(single[1].ok);
    expect_eq(v, 2);
}

TEST(what_can_go_goes_without_waiting) {
    gochan *a = ints(0), *b = ints(1);
    long v = 0, w = 5;
    gocase send[] = {GO_RECV(a, &v), GO_SEND(b, &w)};
    expect_eq(goselect(send, 2), 1);
    expect(send[1].ok);
    gocase recv[] = {GO_RECV(b, &v), GO_RECV(a, &v)};
    expect_eq(goselect(recv, 2), 0);
    expect(recv[0].ok && !recv[1].ok);
    expect_eq(v, 5);
    /* One channel alone is an ordinary send or receive; nil channels do not count. */
    gocase alone[] = {GO_SEND(NULL, &w), GO_SEND(b, &w)};
    expect_eq(goselect(alone, 2), 1);
    expect_eq(gochan_len(b), 1);
}

TEST(a_closed_channel_can_be_received_from) {
    gochan *a = ints(0), *b = ints(0);
    long v = 9;
    gochan_close(b);
    gocase cases[] = {GO_RECV(a, NULL), GO_RECV(b, &v)};
    expect_eq(goselect(cases, 2), 1);
    expect(!cases[1].ok);
    expect_eq(v, 0);
    gocase single[] = {GO_RECV(b, &v), GO_DEFAULT};
    expect_eq(goselect(single, 2), 0);
    expect(!single[0].ok);
}

static gochan *first, *second;
static void send_two(void) {
    long v = 1;
    gocase cases[] = {GO_SEND(second, &v), GO_RECV(first, &v)};
    goselect(cases, 2);
}
static void send_to_closed(void) {
    first = ints(0), second = ints(1);
    gochan_close(second);
    send_two();
}
static void waiting_sender(void *arg) { send_two(); }
static void close_under_select(void) {
    first = ints(0), second = ints(0);
    go(waiting_sender, NULL);
    parked_wait(1);
    gochan_close(second);
    pause();
}
TEST(sending_to_a_closed_channel_panics) {
    expect_panics("panic: send on closed channel", send_to_closed);
    expect_panics("panic: send on closed channel", close_under_select);
}

static uint32_t begun, ended;
static void nothing(void *arg) {
    gocase nil[] = {GO_RECV(NULL, NULL), GO_SEND(NULL, NULL)};
    count_up(&begun);
    goselect(nil, arg ? 2 : 0);
    count_up(&ended);
}
TEST(nothing_to_select_waits_for_ever) {
    expect_eq(go(nothing, NULL), 0);
    expect_eq(go(nothing, &begun), 0);
    wait_for(&begun, 2);
    usleep(20000);
    expect_eq(ended, 0);
}

/* Four can always go: each a quarter of the times, within 6 standard deviations. */
TEST(each_is_as_likely) {
    enum { ROUNDS = 40000 };
    gochan *c[4];
    long v = 0, count[4] = {0};
    for (int i = 0; i < 4; i++) c[i] = ints(1), gochan_send(c[i], &v);
    for (int i = 0; i < ROUNDS; i++) {
        gocase cases[] = {GO_RECV(c[0], &v), GO_RECV(c[1], &v), GO_RECV(c[2], &v), GO_RECV(c[3], &v)};
        int k = goselect(cases, 4);
        count[k]++;
        gochan_send(c[k], &v);
    }
    for (int i = 0; i < 4; i++) expect(count[i] > ROUNDS / 4 - 520 && count[i] < ROUNDS / 4 + 520);
    /* Two of four, neighbours: a random start alone would give 3 : 1. */
    memset(count, 0, sizeof count);
    gochan_recv(c[2], &v), gochan_recv(c[3], &v);
    for (int i = 0; i < ROUNDS; i++) {
        gocase cases[] = {GO_RECV(c[0], &v), GO_RECV(c[1], &v), GO_RECV(c[2], &v), GO_RECV(c[3], &v)};
        int k = goselect(cases, 4);
        count[k]++;
        gochan_send(c[k], &v);
    }
    expect(count[0] > ROUNDS / 2 - 600 && count[0] < ROUNDS / 2 + 600);
    expect_eq(count[0] + count[1], ROUNDS);
}

static long received;
static void select_waits(void *arg) {
    gocase cases[] = {GO_RECV(first, &received), GO_RECV(second, &received)};
    count_up(&begun);
    int k = goselect(cases, 2);
    expect_eq(k, (long)arg);
    expect(cases[k].ok);
    count_up(&ended);
}
static void *thread_waits(void *arg) { return select_waits(arg), NULL; }
TEST(a_waiting_select_is_served_directly_and_leaves_no_trace) {
    first = ints(0), second = ints(0);
    for (long side = 0; side < 2; side++) {
        begun = ended = 0;
        expect_eq(go(select_waits, (void *)side), 0);
        wait_for(&begun, 1);
        parked_wait(1);
        expect(gochan_try_send(side ? second : first, &(long){40 + side}));
        wait_for(&ended, 1);
        expect_eq(received, 40 + side);
        expect(!gochan_try_send(first, &side) && !gochan_try_send(second, &side));
        gochan *c = side ? first : second;
        gocase both[] = {GO_SEND(c, &side), GO_DEFAULT};
        expect_eq(goselect(both, 2), 1);
    }
    gochan_free(first); /* fatal if a waiter were left */
    gochan_free(second);
}
TEST(a_plain_thread_may_wait_in_a_select) {
    pthread_t t;
    first = ints(0), second = ints(0);
    expect_eq(pthread_create(&t, NULL, thread_waits, (void *)1), 0);
    wait_for(&begun, 1);
    gochan_send(second, &(long){3});
    pthread_join(t, NULL);
    expect_eq(received, 3);
}

static void close_seen(void *arg) {
    long v = 5;
    gocase cases[] = {GO_RECV(first, &v), GO_RECV(second, &v)};
    count_up(&begun);
    if (goselect(cases, 2) == 1 && !cases[1].ok && v == 0) count_up(&ended);
}
TEST(close_wakes_waiting_selects) {
    first = ints(0), second = ints(0);
    for (int i = 0; i < 10; i++) expect_eq(go(close_seen, NULL), 0);
    wait_for(&begun, 10);
    usleep(20000);
    gochan_close(second);
    wait_for(&ended, 10);
}

static void same_twice(void *arg) {
    long v = 0;
    gocase cases[] = {GO_RECV(first, &v), GO_RECV(second, NULL), GO_RECV(first, &v), GO_SEND(second, &v)};
    for (int i = 0; i < 100; i++) {
        int k = goselect(cases, 4);
        expect(k == 0 || k == 2);
        expect_eq(v, i);
    }
    count_up(&ended);
}
TEST(a_channel_may_come_several_times) {
    first = ints(0), second = ints(0);
    expect_eq(go(same_twice, NULL), 0);
    for (long i = 0; i < 100; i++) {
        if (i % 10 == 0) usleep(1000);
        gochan_send(first, &i);
    }
    wait_for(&ended, 1);
}

static gochan *many[300];
static void select_many(void *arg) {
    gocase cases[300];
    long v[300];
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 300; i++) cases[i] = GO_RECV(many[i], &v[i]);
        int k = goselect(cases, 300);
        expect(k >= 0 && cases[k].ok);
        expect_eq(v[k], k);
    }
    count_up(&ended);
}
TEST(hundreds_of_cases) {
    for (int i = 0; i < 300; i++) many[i] = ints(0);
    expect_eq(go(select_many, NULL), 0);
    for (long i = 0; i < 20; i++) gochan_send(many[i * 13], &(long){i * 13});
    wait_for(&ended, 1);
    expect_eq(goselect(NULL, 70000), -EINVAL);
}

/* Selects over the same channels in opposite order, sends and receives mixed, threads among them: they must
 * not lock each other out, and every value sent is received once. */
enum { PARTIES = 8, ROUNDS = 3000, CHANS = 5 };
static gochan *ring[CHANS];
static uint64_t sent_sum, got_sum, sent_count, got_count;
/* Those who are done first would leave the others without a partner. */
static void call_it_a_day(void) {
    static uint32_t called;
    if (__atomic_exchange_n(&called, 1, __ATOMIC_ACQ_REL) == 0) gochan_close(first);
}
static void party(void *arg) {
    struct check_rng rng = check_rng((unsigned)(long)arg);
    for (int i = 0; i < ROUNDS; i++) {
        long out = (long)check_below(&rng, 1000), in[CHANS];
        gocase cases[2 * CHANS];
        size_t n = 0;
        for (int k = 0; k < CHANS; k++) {
            gochan *c = ring[(long)arg & 1 ? k : CHANS - 1 - k];
            uint64_t what = check_below(&rng, 3);
            if (what == 0) continue;
            cases[n++] = what == 1 ? GO_SEND(c, &out) : GO_RECV(c, &in[k]);
        }
        cases[n++] = GO_RECV(first, NULL);
        if (check_below(&rng, 4) == 0) cases[n++] = GO_DEFAULT;
        int index = goselect(cases, n);
        if (index < 0 || cases[index].chan == first) break;
        if (cases[index].kind == 2) {
            __atomic_fetch_add(&sent_sum, (uint64_t)out, __ATOMIC_RELAXED);
            __atomic_fetch_add(&sent_count, 1, __ATOMIC_RELAXED);
        } else if (cases[index].kind == 1) {
            __atomic_fetch_add(&got_sum, (uint64_t)*(long *)cases[index].elem, __ATOMIC_RELAXED);
            __atomic_fetch_add(&got_count, 1, __ATOMIC_RELAXED);
        }
    }
    count_up(&ended);
    if (__atomic_load_n(&ended, __ATOMIC_ACQUIRE) >= PARTIES / 2) call_it_a_day();
}
static void *thread_party(void *arg) { return party(arg), NULL; }
TEST_LIMIT(crowd_of_selects, 90) {
    pthread_t t[2];
    long v;
    first = ints(0);
    for (int i = 0; i < CHANS; i++) ring[i] = ints((size_t)i % 3);
    diag("seed %llu", (unsigned long long)check_seed());
    for (long i = 2; i < PARTIES; i++) expect_eq(go(party, (void *)i), 0);
    for (long i = 0; i < 2; i++) expect_eq(pthread_create(&t[i], NULL, thread_party, (void *)i), 0);
    uint64_t last = 0, quiet = 0; /* a second, or on a machine that has not let them begin yet twenty */
    while (__atomic_load_n(&ended, __ATOMIC_ACQUIRE) < PARTIES && quiet < (last > 100 ? 200 : 4000)) {
        usleep(5000);
        uint64_t now = __atomic_load_n(&sent_count, __ATOMIC_RELAXED);
        quiet = now == last ? quiet + 1 : 0;
        last = now;
    }
    call_it_a_day(); /* all wait for the same side */
    wait_for(&ended, PARTIES);
    for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
    for (int i = 0; i < CHANS; i++) {
        while (gochan_try_recv(ring[i], &v) == 1) got_sum += (uint64_t)v, got_count++;
        gochan_free(ring[i]);
    }
    expect(sent_count > 100);
    expect_eq(sent_count, got_count);
    expect_eq(sent_sum, got_sum);
}

TEST_MAIN()
