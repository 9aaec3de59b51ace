/* defer, panic, recover: every rule of Go's that C can have. */
#include <stdio.h>

#include "sched/defer.h"
#include "sched/gosched.h"
#include "tests/unit/panic.h"

static char trace[64];
static void note(void *arg) { strcat(trace, (const char *)arg); }
static void *caught;
static void catch_it(void *arg) {
    if (arg) note(arg);
    caught = go_recover();
}
static int value;
#define VALUE ((void *)&value)

static void three(void) {
    GO_DEFER(note, "1");
    GO_DEFER(note, "2");
    {
        GO_DEFER(note, "b");
        note("(");
    }
    GO_DEFER(note, "3");
    note(")");
}
TEST(deferred_calls_run_last_first_at_the_end_of_their_block) {
    three();
    expect_str(trace, "(b)321");
}

static void write_arg(void *arg) { snprintf(trace, sizeof trace, "%d", (int)(intptr_t)arg); }
static void argument(void) {
    intptr_t i = 1;
    GO_DEFER(write_arg, (void *)i);
    i = 2;
    (void)i;
}
TEST(arguments_are_evaluated_at_the_statement) {
    argument();
    expect_str(trace, "1");
}

static volatile bool calm;
static void panics(void) {
    note("p");
    if (!calm) go_panic(VALUE);
}
static int guarded(int in) {
    GO_DEFER(note, "1");
    GO_DEFER(catch_it, "c");
    GO_DEFER(note, "2");
    if (in) panics();
    note("-");
    return 5;
}
TEST(recovered_the_deferring_function_returns_zero) {
    expect_eq(guarded(0), 5);
    expect_str(trace, "-2c1");
    expect(caught == NULL);
    trace[0] = 0;
    expect_eq(guarded(1), 0);
    expect_str(trace, "p2c1");
    expect(caught == VALUE);
}

static void *pointer(void) {
    GO_DEFER(catch_it, NULL);
    go_panic(VALUE);
    return VALUE;
}
static double number(void) {
    GO_DEFER(catch_it, NULL);
    go_panic(VALUE);
    return 1.5;
}
TEST(zero_of_other_types) {
    expect(pointer() == NULL && caught == VALUE);
    expect(number() == 0.0);
}

/* The caller's registers are as at an ordinary return: many values live across the call. */
static uint64_t live(uint64_t a) {
    uint64_t b = a * 3, c = a ^ 77, d = a + 5, e = a << 3, f = ~a, g = a >> 1, h = a * a;
    double x = (double)a;
    for (int i = 0; i < 100; i++) {
        guarded(i & 1);
        trace[0] = 0;
        b += c, c ^= d, d += e, e ^= f, f += g, g ^= h, h += b, x += 1.0;
    }
    return b ^ c ^ d ^ e ^ f ^ g ^ h ^ (uint64_t)x;
}
static uint64_t plain(uint64_t a) {
    uint64_t b = a * 3, c = a ^ 77, d = a + 5, e = a << 3, f = ~a, g = a >> 1, h = a * a;
    double x = (double)a;
    for (int i = 0; i < 100; i++) b += c, c ^= d, d += e, e ^= f, f += g, g ^= h, h += b, x += 1.0;
    return b ^ c ^ d ^ e ^ f ^ g ^ h ^ (uint64_t)x;
}
TEST(what_the_caller_holds_in_registers_survives) {
    for (uint64_t a = 1; a < 10; a++) expect_eq(live(a), plain(a));
}

static void deeper(int n) {
    GO_DEFER(note, ".");
    if (n) deeper(n - 1);
    else panics();
    note("!");
}
static void far_above(void) {
    GO_DEFER(catch_it, "c");
    deeper(5);
    note("!");
}
TEST(frames_between_run_what_they_deferred) {
    far_above();
    expect_str(trace, "p......c");
    expect(caught == VALUE);
}

static void *not_direct;
static __attribute__((noinline)) void helper(void) {
    not_direct = go_recover();
    note("h");
}
static void asks_helper(void *arg) {
    helper();
    note((char *)arg);
}
static void indirect(void) {
    GO_DEFER(catch_it, "c");
    GO_DEFER(asks_helper, "a");
    go_panic(VALUE);
}
static void nested_clean(void) { GO_DEFER(catch_it, "n"); }
static void calls_clean(void *arg) {
    nested_clean(); /* its deferred call is not called by the panic */
    not_direct = caught;
}
static void indirect_defer(void) {
    GO_DEFER(catch_it, "c");
    GO_DEFER(calls_clean, NULL);
    go_panic(VALUE);
}
TEST(only_the_deferred_call_itself_may_recover) {
    expect(go_recover() == NULL);
    not_direct = VALUE;
    indirect();
    expect(not_direct == NULL);
    expect_str(trace, "hac");
    expect(caught == VALUE);
    trace[0] = 0;
    not_direct = VALUE;
    indirect_defer();
    expect(not_direct == NULL);
    expect(caught == VALUE);
    expect_str(trace, "nc");
}

static int other;
static void panics_anew(void *arg) { go_panic(&other); }
static void replaced(void) {
    GO_DEFER(catch_it, "c");
    GO_DEFER(panics_anew, NULL);
    go_panic(VALUE);
}
TEST(a_panic_in_a_deferred_call_replaces_the_old) {
    replaced();
    expect(caught == &other);
    GO_DEFER(catch_it, NULL);
    caught = VALUE;
    three(); /* nothing is left of either */
    expect(go_recover() == NULL);
}

static void *inner;
static void catch_inner(void *arg) { inner = go_recover(); }
static void small_panic(void) {
    GO_DEFER(catch_inner, NULL);
    go_panic(&other);
}
static void recovers_another(void *arg) {
    small_panic();
    note("s");
}
static void panic_within_panic(void) {
    GO_DEFER(catch_it, "c");
    GO_DEFER(recovers_another, NULL);
    go_panic(VALUE);
}
TEST(a_deferred_call_may_panic_and_recover_by_itself) {
    panic_within_panic();
    expect_str(trace, "sc");
    expect(inner == &other);
    expect(caught == VALUE);
}

static void recovers_then_panics(void *arg) {
    caught = go_recover();
    go_panic(&other);
}
static void twice(void) {
    GO_DEFER(catch_inner, NULL);
    GO_DEFER(recovers_then_panics, NULL);
    go_panic(VALUE);
}
TEST(panicking_after_recovering) {
    twice();
    expect(caught == VALUE && inner == &other);
}

static void close_nil(void) {
    GO_DEFER(catch_it, NULL);
    gochan_close(NULL);
}
TEST(the_librarys_own_panics_can_be_recovered) {
    close_nil();
    expect_str((const char *)caught, "close of nil channel");
}

static uint32_t done;
static int counted;
static void keep_value(void *arg) {
    if (go_recover() == arg) counted++;
}
static void once(long i) {
    GO_DEFER(keep_value, (void *)i);
    go_yield();
    go_panic((void *)i);
}
static void many(void *arg) {
    for (long i = 1; i <= 50; i++) once(i);
    __atomic_store_n(&done, 1, __ATOMIC_RELEASE);
}
TEST(in_goroutines) {
    expect_eq(go(many, NULL), 0);
    while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE)) usleep(100);
    expect_eq(counted, 50);
}

static void exits(void *arg) {
    GO_DEFER(note, "1");
    GO_DEFER(catch_it, "2");
    go_exit();
}
static void last(void *arg) { __atomic_store_n(&done, 1, __ATOMIC_RELEASE); }
static void exits_deep(void *arg) {
    GO_DEFER(last, NULL);
    exits(arg);
    note("!");
}
static void panic_in_exit(void *arg) {
    GO_DEFER(last, NULL);
    GO_DEFER(note, "3");
    {
        GO_DEFER(catch_it, "2");
        GO_DEFER(panics_anew, NULL);
        go_exit();
    }
}
TEST(exit_runs_deferred_calls_and_nothing_recovers_it) {
    caught = VALUE;
    expect_eq(go(exits_deep, NULL), 0);
    while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE)) usleep(100);
    expect_str(trace, "21");
    expect(caught == NULL);
    trace[0] = 0;
    done = 0;
    expect_eq(go(panic_in_exit, NULL), 0);
    while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE)) usleep(100);
    expect_str(trace, "23");
    expect(caught == &other);
}

static void with_text(void) { gs_panic_text("some words"); }
static void fatal(void) {
    GO_DEFER(catch_it, NULL);
    gs_fatal_text("some words");
}
static void text_anew(void *arg) { gs_panic_text("other words"); }
static void words_in_words(void) {
    GO_DEFER(text_anew, NULL);
    gs_panic_text("some words");
}
static void recovers_and_panics_text(void *arg) {
    go_recover();
    gs_panic_text("other words");
}
static void recovered_words(void) {
    GO_DEFER(recovers_and_panics_text, NULL);
    gs_panic_text("some words");
}
static void a_pointer(void) { go_panic((void *)0x1234); }
static void goroutine_panics(void *arg) { with_text(); }
static void in_a_goroutine(void) {
    go(goroutine_panics, NULL);
    pause();
}
TEST(what_nobody_recovers_ends_the_process) {
    expect_panics("panic: some words", with_text);
    expect_panics("panic: some words", in_a_goroutine);
    expect_panics("panic: (void *) 0x1234", a_pointer);
    expect_panics("fatal error: some words", fatal);
    expect_panics("panic: some words\n\tpanic: other words", words_in_words);
    expect_panics("panic: some words [recovered]\n\tpanic: other words", recovered_words);
}

TEST_MAIN()
