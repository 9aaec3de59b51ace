/* Parking against making ready, in all orders (interleave.h): channels, select, mutexes, wait groups, conditions, semaphores and
 * descriptors as they are, on a park and a ready that do what proc.h says and complain where a caller does not: that one is
 * made ready exactly once a park, and not before its commit function has let wakers at it. A wake-up that is lost leaves an actor
 * that waits for nobody, which ends the order. */
#undef GM_DEBUG /* which locks a thread holds is noted there, and the two actors are one thread */
#include "tests/unit/interleave.h"

#include <errno.h>
#include <sys/stat.h>

#define gs_lock_slow model_lock_slow
#define gs_park model_park
#define gs_park_unlock model_park_unlock
#define gs_ready model_ready
#define gs_ready_list model_ready_list
#define gs_yield model_yield
#define gs_yield_to_few model_yield_to_few
#define gs_worth_spinning model_worth_spinning
#define gs_panic_text model_panic
#define gs_fatal_text model_panic
#define gs_epoll_add model_epoll_add
#define gs_timer_added model_timer_added

#include "libgomalloc/alloc.h"
#include "libgomalloc/base/list.h"
#include "libgomalloc/os/os.h"
#include "sched/chan.h"
#include "sched/context.h"
#include "sched/defer.h"
#include "sched/netpoll.h"
#include "sched/sema.h"

/* ---- the model */

static struct model {
    struct gs_g g;
    bool parks;                        /* from the call of park to its return */
    bool to_be_had;                    /* its commit function has begun */
    bool ready;
} model[2];
static bool panicked[2];
static uint64_t clock_step, clock_now;

static struct gs_g *model_self(void) { return &model[interleave_state.current].g; }
static uint64_t model_time(void) { return clock_now += clock_step; }

void model_lock_slow(struct gs_lock *l) {
    while (!gs_lock_try(l)) interleave_wait();
}

static void end_park(struct model *me) {
    while (!me->ready) interleave_wait();
    me->parks = me->to_be_had = me->ready = false;
}
void model_park(bool (*commit)(struct gs_g *g, void *arg), void *arg, enum gs_wait reason) {
    struct model *me = &model[interleave_state.current];
    me->parks = true;
    interleave_step();
    me->to_be_had = true;
    if (commit(&me->g, arg)) end_park(me);
    else me->parks = me->to_be_had = false;
}
static bool give_back(struct gs_g *g, void *l) {
    gs_lock_release(l);
    return true;
}
void model_park_unlock(struct gs_lock *l, enum gs_wait reason) { model_park(give_back, l, reason); }

void model_ready(struct gs_g *g) {
    struct model *who = (struct model *)g;
    interleave_step();
    expect(who->parks && who->to_be_had && !who->ready);
    who->ready = true;
    interleave_step();
}
void model_ready_list(struct gs_g *list) {
    for (struct gs_g *g = list, *after; g; g = after) {
        after = g->link;
        model_ready(g);
    }
}
void model_yield(void) { interleave_step(); }
bool model_yield_to_few(void) { return false; }
bool model_worth_spinning(const struct gs_g *g) { return false; }
/* Ends the actor; its locks are given back, as the real one's callers see to. */
void model_panic(const char *text) {
    int me = interleave_state.current;
    panicked[me] = true;
    interleave_state.running[me] = interleave_state.begun[me] = false;
    _longjmp(interleave_state.back, 1);
}
int model_epoll_add(struct gs_poll *d, bool verify) { return 0; }
void model_timer_added(int64_t when) {}

/* ---- the code */

#define gs_self model_self
#define gs_yield_if_asked() ((void)0)
#define gm_os_nanotime model_time
#define gosched_errno_location __errno_location

#include "sched/chan.c"
#define queue_of select_queue_of
#include "sched/select.c"
#undef queue_of
#include "sched/sema.c"
#define lock_of mutex_lock_of
#define queue_of mutex_queue_of
#include "sched/mutex.c"
#undef lock_of
#undef queue_of
#include "sched/rwmutex.c"
#define lock_of cond_lock_of
#define queue_of cond_queue_of
#include "sched/cond.c"
#undef lock_of
#undef queue_of
#define lock_of waitgroup_lock_of
#define wake_all waitgroup_wake_all
#include "sched/waitgroup.c"
#undef lock_of
#undef wake_all
#define lock_of sem_lock_of
#define queue_of sem_queue_of
#include "sched/semaphore.c"
#undef lock_of
#undef queue_of
#include "sched/netpoll.c"

/* ---- channels */

static gochan *a, *b;
static long got[2][4];
static int n_got[2];

static void begin(size_t capacity) {
    gochan_free(a);
    gochan_free(b);
    memset(model, 0, sizeof model);
    memset(panicked, 0, sizeof panicked);
    memset(n_got, 0, sizeof n_got);
    a = gochan_make(sizeof(long), capacity);
    b = gochan_make(sizeof(long), capacity);
}
static void unbuffered(void) { begin(0); }
static void room_for_one(void) { begin(1); }
static void note(long v) { got[interleave_state.current][n_got[interleave_state.current]++] = v; }
static void send_to(gochan *c, long v) { gochan_send(c, &v); }
static void receive_from(gochan *c) {
    long v = -1;
    note(gochan_recv(c, &v) ? v : 0);
}
static bool actor_got(int i, int n, const long *want) {
    bool good = expect_eq(n_got[i], n);
    for (int k = 0; good && k < n; k++) good = expect_eq(got[i][k], want[k]);
    return good && expect(!panicked[i]);
}
#define actor_got(i, ...) (actor_got)(i, sizeof((long[]){ __VA_ARGS__ }) / sizeof(long), (long[]){ __VA_ARGS__ })

static void in_orders(int bound, void (*before)(void), void (*one)(void), void (*other)(void), bool (*good)(void)) {
    interleave_state.bound = bound;
    clock_step = 0;
    interleave(before, one, other, good);
}

static void sends_two(void) { send_to(a, 1), send_to(a, 2); }
static void receives_two(void) { receive_from(a), receive_from(a); }
static bool one_and_two(void) { return actor_got(1, 1, 2); }
TEST_LIMIT(sender_and_receiver, 60) { in_orders(4, unbuffered, sends_two, receives_two, one_and_two); }

static void sends_three(void) { send_to(a, 1), send_to(a, 2), send_to(a, 3); }
static void receives_three(void) { receive_from(a), receive_from(a), receive_from(a); }
static bool one_to_three(void) { return actor_got(1, 1, 2, 3); }
TEST_LIMIT(sender_and_receiver_of_a_buffer, 60) { in_orders(4, room_for_one, sends_three, receives_three, one_to_three); }

static void sends_and_closes(void) { send_to(a, 1), gochan_close(a); }
static bool one_and_the_end(void) { return actor_got(1, 1, 0); }
TEST_LIMIT(the_end_reaches_the_receiver, 60) { in_orders(5, unbuffered, sends_and_closes, receives_two, one_and_the_end); }
TEST_LIMIT(the_end_of_a_buffer_reaches_the_receiver, 60) { in_orders(5, room_for_one, sends_and_closes, receives_two, one_and_the_end); }

static void closes(void) { gochan_close(a); }
static void sends_one(void) { send_to(a, 1); }
static bool sender_panics(void) { return expect(panicked[1] && !panicked[0]); }
TEST_LIMIT(close_against_a_sender, 60) { in_orders(0, unbuffered, closes, sends_one, sender_panics); }

static void tries_until_sent(void) {
    long v = 7;
    while (!gochan_try_send(a, &v)) interleave_wait();
}
static void receives_one(void) { receive_from(a); }
static bool seven(void) { return actor_got(1, 7); }
TEST_LIMIT(trying_to_send, 60) { in_orders(5, unbuffered, tries_until_sent, receives_one, seven); }
static void tries_until_received(void) {
    long v = 0;
    int r;
    while ((r = gochan_try_recv(a, &v)) == 0) interleave_wait();
    note(r * 10 + v);
}
static bool eleven(void) { return actor_got(1, 11); }
TEST_LIMIT(trying_to_receive, 60) { in_orders(5, unbuffered, sends_one, tries_until_received, eleven); }
static bool eleven_or_the_end(void) { return expect_eq(n_got[1], 1) && expect(got[1][0] == 11 || got[1][0] == 7); }
TEST_LIMIT(trying_to_receive_what_is_sent_before_the_end, 60) { in_orders(5, room_for_one, sends_and_closes, tries_until_received, eleven_or_the_end); }

/* ---- select */

static void selects_both(void) {
    for (int i = 0; i < 2; i++) {
        long v[2] = { 0, 0 };
        gocase k[] = { GO_RECV(a, &v[0]), GO_RECV(b, &v[1]) };
        int which = goselect(k, 2);
        note(k[which].ok ? v[which] : -1);
    }
}
static void sends_to_both(void) { send_to(a, 1), send_to(b, 2); }
TEST_LIMIT(select_between_two_senders, 60) { in_orders(3, unbuffered, sends_to_both, selects_both, one_and_two); }

/* Each can do what the other wants in two ways: one of them, once. */
static void selects_out_or_in(void) {
    long v = 5, w = 0;
    gocase k[] = { GO_SEND(a, &v), GO_RECV(b, &w) };
    note(goselect(k, 2) == 0 ? 50 : w);
}
static void selects_in_or_out(void) {
    long v = 0, w = 6;
    gocase k[] = { GO_RECV(a, &v), GO_SEND(b, &w) };
    note(goselect(k, 2) == 0 ? v : 60);
}
static bool met_once(void) {
    bool both = expect_eq(n_got[0], 1) && expect_eq(n_got[1], 1);
    return both && expect((got[0][0] == 50 && got[1][0] == 5) || (got[0][0] == 6 && got[1][0] == 60));
}
TEST_LIMIT(two_selects_meet, 60) { in_orders(3, unbuffered, selects_out_or_in, selects_in_or_out, met_once); }

static void closes_both(void) { gochan_close(a), gochan_close(b); }
static bool two_ends(void) { return actor_got(1, -1, -1); }
TEST_LIMIT(select_while_both_are_closed, 60) { in_orders(3, unbuffered, closes_both, selects_both, two_ends); }

static void sends_then_looks(void) {
    long v = 0;
    send_to(a, 1);
    note(gochan_try_recv(b, &v)); /* nobody stands in b's queue any more who sends */
}
static void selects_in_or_to_b(void) {
    long v = 0, w = 6;
    gocase k[] = { GO_RECV(a, &v), GO_SEND(b, &w) };
    note(goselect(k, 2) == 0 ? v : -1);
}
static bool only_one(void) { return actor_got(0, 0) && actor_got(1, 1) && expect(!b->sendq.first && !a->recvq.first); }
TEST_LIMIT(a_select_leaves_no_trace, 60) { in_orders(3, unbuffered, sends_then_looks, selects_in_or_to_b, only_one); }

/* ---- mutex, read-write mutex, condition */

static gomutex mutex;
static gorwmutex rw;
static gocond cond;
static int inside, most_inside, rounds_done;
static bool flag;

static void begin_locks(void) {
    begin(0);
    mutex = (gomutex){0};
    rw = (gorwmutex){0};
    gocond_init(&cond, &mutex);
    inside = most_inside = rounds_done = 0;
    flag = false;
}
static void in_and_out(void) {
    if (++inside > most_inside) most_inside = inside;
    interleave_step();
    inside--;
    rounds_done++;
}
static void locks_twice(void) {
    for (int i = 0; i < 2; i++) {
        gomutex_lock(&mutex);
        in_and_out();
        gomutex_unlock(&mutex);
    }
}
static bool one_at_a_time(void) {
    return expect_eq(most_inside, 1) && expect_eq(rounds_done, 4) && expect_eq(mutex.state, 0) && expect(!mutex.first);
}
TEST_LIMIT(mutex_in_normal_mode, 60) { in_orders(4, begin_locks, locks_twice, locks_twice, one_at_a_time); }
static void each_starves(void) {
    begin_locks();
    clock_step = 2000000; /* two looks at the clock are 2 ms apart: whoever waited has starved */
}
TEST_LIMIT(mutex_in_starvation_mode, 60) { in_orders(4, each_starves, locks_twice, locks_twice, one_at_a_time); }

static void reads_twice(void) {
    for (int i = 0; i < 2; i++) {
        gorwmutex_rlock(&rw);
        in_and_out();
        gorwmutex_runlock(&rw);
    }
}
static void writes_twice(void) {
    for (int i = 0; i < 2; i++) {
        gorwmutex_lock(&rw);
        in_and_out();
        gorwmutex_unlock(&rw);
    }
}
static bool never_both(void) { return expect_eq(most_inside, 1) && expect_eq(rounds_done, 4) && expect_eq(rw.readers, 0) && expect_eq(rw.departing, 0); }
TEST_LIMIT(reader_and_writer, 60) { in_orders(4, begin_locks, reads_twice, writes_twice, never_both); }
TEST_LIMIT(two_writers, 60) { in_orders(3, begin_locks, writes_twice, writes_twice, never_both); }

static void waits_for_flag(void) {
    gomutex_lock(&mutex);
    while (!flag) gocond_wait(&cond);
    gomutex_unlock(&mutex);
    rounds_done++;
}
static void sets_and_signals(void) {
    gomutex_lock(&mutex);
    flag = true;
    gomutex_unlock(&mutex);
    gocond_signal(&cond);
}
static void sets_and_broadcasts(void) {
    gomutex_lock(&mutex);
    flag = true;
    gocond_broadcast(&cond);
    gomutex_unlock(&mutex);
}
static bool saw_it(void) { return expect_eq(rounds_done, 1) && expect(!cond.first); }
TEST_LIMIT(signal_after_unlocking, 60) { in_orders(4, begin_locks, waits_for_flag, sets_and_signals, saw_it); }
TEST_LIMIT(broadcast_while_locked, 60) { in_orders(4, begin_locks, waits_for_flag, sets_and_broadcasts, saw_it); }

/* ---- wait groups, semaphores */

static gowaitgroup group;
static gosem sem;
static int done_before;

static void two_to_come(void) {
    begin(0);
    group = (gowaitgroup){0};
    gowaitgroup_add(&group, 2);
    gosem_init(&sem, 3);
    done_before = rounds_done = inside = most_inside = 0;
}
static void waits_for_two(void) {
    gowaitgroup_wait(&group);
    note(done_before);
    memset(&group, 0xee, sizeof group); /* its memory may go as soon as the wait has returned */
}
static void two_are_done(void) {
    for (int i = 0; i < 2; i++) {
        done_before++;
        gowaitgroup_done(&group);
    }
}
static bool both_before(void) { return actor_got(0, 2); }
TEST_LIMIT(wait_group, 60) { in_orders(0, two_to_come, waits_for_two, two_are_done, both_before); }

static void done_and_waits(void) {
    done_before++;
    gowaitgroup_done(&group);
    gowaitgroup_wait(&group);
    note(done_before);
}
static bool both_saw_both(void) { return actor_got(0, 2) && actor_got(1, 2) && expect_eq(group.state, 0); }
TEST_LIMIT(done_and_waiting_at_the_same_time, 60) { in_orders(6, two_to_come, done_and_waits, done_and_waits, both_saw_both); }

static void two_units(void) {
    for (int i = 0; i < 2; i++) {
        gosem_acquire(&sem, 2);
        in_and_out();
        gosem_release(&sem, 2);
    }
}
static bool sem_is_whole(void) { return expect_eq(most_inside, 1) && expect_eq(rounds_done, 4) && expect_eq(sem.used, 0) && expect(!sem.first); }
TEST_LIMIT(semaphore_of_three_for_two_at_a_time, 60) { in_orders(4, two_to_come, two_units, two_units, sem_is_whole); }

/* ---- descriptors: what the kernel has, and the events that tell */

static struct gs_poll file;
static int bytes;

static void empty_file(void) {
    begin(0);
    file = (struct gs_poll){ .fd = 5 };
    young = NULL;
    waiting = 0;
    bytes = 0;
}
/* As run in io.c. */
static void reads_three(void) {
    for (int left = 3; left > 0;) {
        uint32_t seen = gm_load_acquire(&file.edges[GS_POLL_READ]);
        interleave_step();
        if (bytes > 0) left--, bytes--, rounds_done++;
        else expect_eq(gs_poll_wait(&file, GS_POLL_READ, seen, false), 0);
    }
}
static void tells(void) {
    struct gs_g *list = NULL;
    gs_poll_event(&file, true, false, &list);
    if (list) gs_ready_list(list);
}
/* One event for two bytes, as where the second comes before somebody has looked. */
static void three_come(void) {
    rounds_done = 0;
    interleave_step();
    bytes++;
    interleave_step();
    tells();
    bytes++;
    interleave_step();
    bytes++;
    interleave_step();
    tells();
}
static bool all_read(void) { return expect_eq(bytes, 0) && expect_eq(waiting, 0); }
TEST_LIMIT(reader_and_its_events, 60) { in_orders(4, empty_file, reads_three, three_come, all_read); }

static void reads_until_closed(void) {
    uint32_t seen = gm_load_acquire(&file.edges[GS_POLL_READ]);
    interleave_step();
    if (flag) return;
    int r = gs_poll_wait(&file, GS_POLL_READ, seen, false);
    expect(r == -EBADF || r == 0);
}
/* As go_close. */
static void forgets_and_closes(void) {
    gs_poll_forget(&file);
    flag = true;
    interleave_step();
    gs_poll_all_retry(&file);
}
static void open_file(void) {
    empty_file();
    flag = false;
}
TEST_LIMIT(reader_and_close, 60) { in_orders(6, open_file, reads_until_closed, forgets_and_closes, all_read); }

TEST_MAIN()
