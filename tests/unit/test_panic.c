/* Panics where they meet: in deferred calls, in go_exit, in each other, across goroutines. What defer, panic and recover do one
 * at a time is in test_defer.c. */
#include <stdio.h>

#include "sched/defer.h"
#include "tests/unit/crew.h"

static char trace[64];
static void note(void *arg) { strcat(trace, arg); }
static void *caught;
static void catch_it(void *arg) {
    if (arg) note(arg);
    caught = go_recover();
}
static int first, second, third;
static uint32_t ended;
static void end(void *arg) { crew_up(&ended); }
static void on_goroutine(void (*fn)(void *)) {
    expect_eq(go(fn, NULL), 0);
    crew_wait(&ended, 1);
}

/* ---- every way out of a block */

static int leaves(int how) {
    for (int i = 0; i < 3; i++) {
        GO_DEFER(note, "d");
        if (how == 0 && i == 1) break;
        if (how == 1 && i == 1) continue;
        if (how == 2 && i == 1) return 1;
        if (how == 3 && i == 1) goto out;
        note("b");
    }
    note("e");
out:
    return 0;
}
TEST(every_way_out_of_a_block_runs_what_it_deferred) {
    static const char *const want[] = {"bdde", "bddbde", "bdd", "bdd"};
    for (int how = 0; how < 4; how++) {
        trace[0] = 0;
        leaves(how);
        expect_str(trace, want[how]);
    }
}

/* ---- recover */

static void *again;
static void recover_twice(void *arg) {
    caught = go_recover();
    again = go_recover();
}
static void one_panic(void) {
    GO_DEFER(recover_twice, NULL);
    go_panic(&first);
}
TEST(a_panic_is_recovered_once) {
    again = &second;
    one_panic();
    expect(caught == &first && again == NULL);
}
static void calm(void) { GO_DEFER(catch_it, "c"); }
TEST(nothing_to_recover_at_an_ordinary_end) {
    caught = &first;
    calm();
    expect(caught == NULL);
}
static void recover_nothing(void *arg) { caught = go_recover(); }
static void panics_null(void) {
    GO_DEFER(note, "1");
    GO_DEFER(recover_nothing, NULL);
    go_panic(NULL);
}
TEST(a_value_of_null_is_recovered_too) {
    caught = &first;
    panics_null();
    expect(caught == NULL);
    expect_str(trace, "1");
}
static void recovers_for_another(void *arg) {
    caught = go_recover();
    crew_up(&ended);
}
static void starts_a_recoverer(void *arg) {
    go(recovers_for_another, NULL);
    crew_wait(&ended, 1);
    note("s");
}
static void asks_a_goroutine(void) {
    GO_DEFER(catch_it, "c");
    GO_DEFER(starts_a_recoverer, NULL);
    go_panic(&first);
}
TEST(another_goroutine_cannot_recover_it) {
    asks_a_goroutine();
    expect_str(trace, "sc");
    expect(caught == &first);
}
/* The deferred call was called by the panic, its own deferred call by its end: that one is not the panic's. */
static void defers_a_recover(void *arg) {
    GO_DEFER(recover_nothing, NULL);
    note("d");
}
static void second_hand(void) {
    GO_DEFER(catch_it, "c");
    GO_DEFER(defers_a_recover, NULL);
    go_panic(&first);
}
TEST(what_a_deferred_call_defers_cannot_recover) {
    second_hand();
    expect_str(trace, "dc");
    expect(caught == &first);
}
static void later_frame(void) {
    GO_DEFER(note, "3");
    GO_DEFER(note, "2");
    GO_DEFER(catch_it, "1");
    go_panic(&first);
}
TEST(after_recovering_the_rest_of_the_frame_runs) {
    later_frame();
    expect_str(trace, "123");
    GO_DEFER(note, "x"); /* and what its caller defers is as ever */
    expect_str(trace, "123");
}

/* ---- panics in deferred calls */

static void panic_second(void *arg) { go_panic(&second); }
static void panic_third(void *arg) { go_panic(&third); }
static void catch_second(void *arg) {
    caught = go_recover();
    note(caught == &second ? "2" : "?");
}
static void guarded_second(void *arg) {
    GO_DEFER(catch_second, NULL);
    go_panic(&second);
}
static void first_goes_on(void) {
    GO_DEFER(catch_it, "1");
    GO_DEFER(guarded_second, NULL);
    GO_DEFER(guarded_second, NULL);
    go_panic(&first);
}
TEST(a_recovered_inner_panic_leaves_the_outer) {
    first_goes_on();
    expect_str(trace, "221");
    expect(caught == &first);
}
static void three_panics(void) {
    GO_DEFER(catch_it, "c");
    GO_DEFER(panic_third, NULL);
    GO_DEFER(panic_second, NULL);
    go_panic(&first);
}
TEST(the_last_of_several_is_the_one) {
    three_panics();
    expect_str(trace, "c");
    expect(caught == &third);
    one_panic(); /* and all others are forgotten */
    expect(caught == &first);
}
/* The panic passes the frame of a deferred call that an older panic called, and is recovered beyond it. */
static void inner_frames(void *arg) {
    GO_DEFER(note, "i");
    panic_second(NULL);
}
static void middle(void) {
    GO_DEFER(note, "m");
    GO_DEFER(inner_frames, NULL);
    go_panic(&first);
}
static int outermost(void) {
    GO_DEFER(catch_it, "o");
    middle();
    note("!");
    return 1;
}
TEST(a_newer_panic_leaves_through_the_older) {
    expect_eq(outermost(), 0);
    expect_str(trace, "imo");
    expect(caught == &second);
    caught = &third;
    calm();
    expect(caught == NULL);
}

/* ---- go_exit */

static void exits(void *arg) {
    note("x");
    go_exit();
}
static void exit_in_panic(void *arg) {
    GO_DEFER(end, NULL);
    GO_DEFER(catch_it, "c");
    GO_DEFER(exits, NULL);
    go_panic(&first);
}
TEST(go_exit_in_a_deferred_call_ends_the_panic) {
    caught = &second;
    on_goroutine(exit_in_panic);
    expect_str(trace, "xc");
    expect(caught == NULL);
}
static void catches_and_returns(void) {
    GO_DEFER(catch_it, "c");
    GO_DEFER(panic_second, NULL);
    go_exit();
}
static void recovered_in_exit(void *arg) {
    GO_DEFER(end, NULL);
    GO_DEFER(note, "o");
    catches_and_returns();
    note("!"); /* go_exit goes on where the frame would have returned to */
}
TEST(go_exit_goes_on_after_a_recovered_panic) {
    on_goroutine(recovered_in_exit);
    expect_str(trace, "co");
    expect(caught == &second);
}
static void exit_again(void *arg) {
    GO_DEFER(end, NULL);
    GO_DEFER(note, "2");
    GO_DEFER(exits, NULL);
    GO_DEFER(note, "1");
    go_exit();
}
TEST(go_exit_within_go_exit) {
    on_goroutine(exit_again);
    expect_str(trace, "1x2");
}
static void *exits_thread(void *arg) {
    GO_DEFER(note, "t");
    exits(NULL);
    note("!");
    return NULL;
}
TEST(on_a_plain_thread_the_thread_ends) {
    pthread_t t;
    pthread_create(&t, NULL, exits_thread, NULL);
    pthread_join(t, NULL);
    expect_str(trace, "xt");
}
static void next_one(void *arg) {
    GO_DEFER(end, NULL);
    if (go_recover()) note("!");
    caught = &first;
    calm();
}
TEST(a_new_goroutine_on_the_same_record_knows_nothing_of_it) {
    go_maxprocs(1);
    on_goroutine(exit_in_panic);
    trace[0] = 0;
    ended = 0;
    on_goroutine(next_one);
    expect_str(trace, "c");
    expect(caught == NULL);
}

/* ---- many at once */

static void yield_and_recover(void *arg) {
    void *value = go_recover();
    go_yield();
    if (value != arg) expect(!"somebody else's panic");
}
static void yields(void *arg) { go_yield(); }
static void panic_with(void *value) {
    GO_DEFER(yield_and_recover, value);
    GO_DEFER(yields, NULL);
    go_yield();
    go_panic(value);
}
static void many(unsigned who) {
    for (int i = 0; i < 30; i++) panic_with((void *)(uintptr_t)(who * 100 + (unsigned)i + 1));
}
TEST(each_goroutine_has_its_own_panics) {
    go_maxprocs(4);
    crew(20, 3, many);
}

static gomutex m;
static void unlock(void *arg) { gomutex_unlock(arg); }
static void panics_locked(void) {
    GO_DEFER(catch_it, NULL);
    gomutex_lock(&m);
    GO_DEFER(unlock, &m);
    gochan *c = gochan_make(0, 0);
    gochan_close(c);
    gochan_send(c, NULL);
}
TEST(what_was_locked_is_unlocked) {
    panics_locked();
    expect_str((const char *)caught, "send on closed channel");
    expect(gomutex_trylock(&m));
}

/* ---- nobody recovers */

static void print_three(void) {
    GO_DEFER(panic_third, NULL);
    GO_DEFER(panic_second, NULL);
    go_panic(&first);
}
static void text_second(void *arg) { gs_panic_text("second"); }
static void text_in_exit_(void *arg) {
    GO_DEFER(text_second, NULL);
    go_exit();
}
static void text_in_exit(void) {
    go(text_in_exit_, NULL);
    pause();
}
static void inner_recovered(void) {
    GO_DEFER(text_second, NULL);
    GO_DEFER(guarded_second, NULL);
    gs_panic_text("first");
}
static void close_twice(void) {
    gochan *c = gochan_make(0, 0);
    gochan_close(c);
    gochan_close(c);
}
static void *panicking_thread(void *arg) {
    text_second(NULL);
    return NULL;
}
static void in_a_thread(void) {
    pthread_t t;
    pthread_create(&t, NULL, panicking_thread, NULL);
    pause();
}
TEST(the_last_words_name_all_that_were_not_recovered) {
    char words[256];
    snprintf(words, sizeof words, "panic: (void *) %p\n\tpanic: (void *) %p\n\tpanic: (void *) %p", (void *)&first, (void *)&second, (void *)&third);
    expect_panics(words, print_three);
    expect_panics("panic: second", text_in_exit);
    expect_panics("panic: first\n\tpanic: second", inner_recovered);
    expect_panics("panic: close of closed channel", close_twice);
    expect_panics("panic: second", in_a_thread);
}

TEST_MAIN()
