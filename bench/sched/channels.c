/* Channels and select: a round trip over two unbuffered ones, a flow through a buffered one, one receiver of four. */
#include "bench/sched/cases.h"

/* ---- round trip */

static gochan *there, *back;

static void echo(void *arg) {
    for (int64_t v; gochan_recv(there, &v);) gochan_send(back, &v);
    gochan_close(back);
}

static void round_trips(int64_t n) {
    int64_t v;
    must_go(echo, NULL);
    for (int64_t i = 0; i < n; i++) {
        gochan_send(there, &i);
        gochan_recv(back, &v);
        must(v == i, "what came back");
    }
    gochan_close(there);
    must(!gochan_recv(back, &v), "the end of the echo");
}

static void unbuffered(struct bench *b) {
    there = must_make(sizeof(int64_t), 0);
    back = must_make(sizeof(int64_t), 0);
    on_goroutine(b, round_trips);
    gochan_free(there);
    gochan_free(back);
}
BENCH(unbuffered) { bench_wall_time(bench_add("unbuffered", unbuffered)); }

/* ---- flow: so many senders and as many receivers of one channel with room for 128 */

enum { ROOM = 128 };
static gochan *flow_of;
static int flow_width;
static int64_t flow_n, flow_sum;

static void produce(int64_t n) {
    for (int64_t i = 1; i <= n; i++) gochan_send(flow_of, &i);
}

static void consume(int64_t n) {
    int64_t sum = 0, v;
    for (int64_t i = 0; i < n; i++) {
        gochan_recv(flow_of, &v);
        sum += v;
    }
    __atomic_fetch_add(&flow_sum, sum, __ATOMIC_RELAXED);
}

static void flow_part(int index) {
    (index < flow_width ? produce : consume)(share(flow_n, flow_width, index % flow_width));
}

static void flow(int64_t n) {
    flow_n = n;
    in_parallel(2 * flow_width, flow_part);
}

static void buffered(struct bench *b) {
    int64_t want = 0;
    flow_width = (int)bench_arg(b, 0);
    flow_of = must_make(sizeof(int64_t), ROOM);
    flow_sum = 0;
    on_goroutine(b, flow);
    for (int i = 0; i < flow_width; i++) want += share(flow_n, flow_width, i) * (share(flow_n, flow_width, i) + 1) / 2;
    must(flow_sum == want, "the sum of what was received");
    bench_items(b, flow_n);
    gochan_free(flow_of);
}
BENCH(buffered_1) { bench_wall_time(bench_add("buffered", buffered, 1)); }
BENCH(buffered_4) { bench_wall_time(bench_add("buffered", buffered, 4)); }

/* ---- select: four senders, each on an unbuffered channel of its own, and one that takes what comes */

enum { SOURCES = 4 };
static gochan *source_of[SOURCES];
static int64_t select_n;

static void send_all(int index) {
    for (int64_t i = 0, n = share(select_n, SOURCES, index); i < n; i++) gochan_send(source_of[index], &i);
}

static void take_all(void) {
    int64_t v[SOURCES], next[SOURCES] = { 0 };
    gocase cases[SOURCES];
    for (int i = 0; i < SOURCES; i++) cases[i] = GO_RECV(source_of[i], &v[i]);
    for (int64_t i = 0; i < select_n; i++) {
        int which = goselect(cases, SOURCES);
        must(v[which] == next[which]++, "the next one of a source");
    }
}

static void select_part(int index) {
    if (index < SOURCES) send_all(index);
    else take_all();
}

static void selects(int64_t n) {
    select_n = n;
    in_parallel(SOURCES + 1, select_part);
}

static void select_4(struct bench *b) {
    for (int i = 0; i < SOURCES; i++) source_of[i] = must_make(sizeof(int64_t), 0);
    on_goroutine(b, selects);
    for (int i = 0; i < SOURCES; i++) gochan_free(source_of[i]);
}
BENCH(select_4) { bench_wall_time(bench_add("select", select_4)); }
