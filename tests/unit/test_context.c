/* Contexts: trees, deadlines, values, references. */
#include "libgomalloc/gomalloc.h"
#include "tests/unit/crew.h"

static void (*cancel)(gocontext *);
static int64_t now(void) { return check_now_ns(); }
static bool is_done(gocontext *ctx) { return gochan_try_recv(goctx_done(ctx), NULL) == -1; }
static uint32_t step;

TEST(background_is_never_cancelled) {
    gocontext *b = goctx_background();
    int64_t when;
    expect(b == goctx_background());
    expect(goctx_done(b) == NULL);
    expect_eq(goctx_err(b), 0);
    expect_eq(goctx_cause(b), 0);
    expect(!goctx_deadline(b, &when));
    expect(goctx_value(b, &step) == NULL);
    goctx_cancel(b);
    goctx_release(b);
    goctx_release(NULL);
    expect(goctx_retain(b) == b);
    expect_eq(goctx_err(b), 0);
}

TEST(cancel_closes_done_and_sets_err_once) {
    gocontext *c = goctx_with_cancel(goctx_background(), &cancel);
    expect(goctx_done(c) == goctx_done(c) && goctx_done(c) != NULL);
    expect_eq(gochan_try_recv(goctx_done(c), NULL), 0);
    expect_eq(goctx_err(c), 0);
    cancel(c);
    expect(is_done(c));
    expect_eq(goctx_err(c), -ECANCELED);
    expect_eq(goctx_cause(c), -ECANCELED);
    goctx_cancel_cause(c, 7); /* the first counts */
    expect_eq(goctx_cause(c), -ECANCELED);
    goctx_release(c);
}

TEST(cause) {
    gocontext *a = goctx_with_cancel(goctx_background(), NULL);
    gocontext *b = goctx_with_cancel(a, NULL), *v = goctx_with_value(b, &step, NULL);
    goctx_cancel_cause(a, 42);
    expect_eq(goctx_err(b), -ECANCELED);
    expect_eq(goctx_cause(b), 42);
    expect_eq(goctx_cause(v), 42);
    goctx_release(a);
    goctx_release(b);
    goctx_release(v);
}

/* Cancelling goes down and never up or sideways; a child of a cancelled one is born cancelled. */
TEST(trees) {
    gocontext *root = goctx_with_cancel(goctx_background(), NULL);
    gocontext *left = goctx_with_cancel(root, NULL), *right = goctx_with_cancel(root, NULL);
    gocontext *value = goctx_with_value(left, &step, &step), *below = goctx_with_cancel(value, NULL);
    expect(goctx_done(value) == goctx_done(left));
    goctx_cancel(left);
    expect(is_done(left) && is_done(value) && is_done(below));
    expect(!is_done(root) && !is_done(right));
    expect_eq(goctx_err(below), -ECANCELED);
    gocontext *late = goctx_with_timeout(below, 1000000000, NULL);
    expect(is_done(late));
    expect_eq(goctx_err(late), -ECANCELED);
    goctx_cancel(value); /* cannot be cancelled itself */
    goctx_release(late);
    goctx_release(left); /* children hold their parents */
    goctx_release(value);
    expect(goctx_value(below, &step) == &step);
    goctx_release(below);
    goctx_cancel(root);
    expect(is_done(right));
    goctx_release(right);
    goctx_release(root);
}

enum { WIDE = 5, DEEP = 5 };
static unsigned build(gocontext *parent, int depth, gocontext **all, unsigned n) {
    for (int i = 0; depth > 0 && i < WIDE; i++) {
        gocontext *c = all[n++] = i % 2 ? goctx_with_cancel(parent, NULL) : goctx_with_timeout(parent, 1000000000000, NULL);
        n = build(c, depth - 1, all, n);
    }
    return n;
}
TEST(large_tree) {
    static gocontext *all[8000];
    gocontext *root = goctx_with_cancel(goctx_background(), NULL);
    unsigned n = build(root, DEEP, all, 0), wrong = 0;
    expect_eq(n, 5 + 25 + 125 + 625 + 3125);
    goctx_cancel(root);
    for (unsigned i = 0; i < n; i++) wrong += !is_done(all[i]) || goctx_err(all[i]) != -ECANCELED;
    expect_eq(wrong, 0);
    for (unsigned i = 0; i < n; i += 2) goctx_release(all[i]);
    for (unsigned i = 1; i < n; i += 2) goctx_release(all[i]);
    goctx_release(root);
}

TEST(deadlines) {
    int64_t begin = now(), when = 0, early;
    gocontext *c = goctx_with_timeout(goctx_background(), 300000000, &cancel);
    expect(goctx_deadline(c, &when) && when >= begin + 300000000 && when <= now() + 300000000);
    gocontext *later = goctx_with_timeout(c, 10000000000, NULL);
    expect(goctx_deadline(later, &early) && early == when); /* the parent's is earlier */
    gocontext *plain = goctx_with_cancel(later, NULL);
    expect(goctx_deadline(plain, &early) && early == when);
    int err = goctx_err(c);
    if (now() < when) expect_eq(err, 0);
    gochan_recv(goctx_done(plain), NULL);
    expect(now() >= when);
    expect_at_most(now() - when, 30000000000);
    expect_eq(goctx_err(c), -ETIMEDOUT);
    expect_eq(goctx_err(plain), -ETIMEDOUT);
    cancel(c);
    expect_eq(goctx_err(c), -ETIMEDOUT);
    goctx_release(c);
    goctx_release(later);
    goctx_release(plain);
}
TEST(passed_deadlines_cancel_at_once) {
    gocontext *c = goctx_with_deadline(goctx_background(), now() - 1, NULL);
    expect(is_done(c));
    expect_eq(goctx_err(c), -ETIMEDOUT);
    goctx_release(c);
    c = goctx_with_timeout(goctx_background(), 0, NULL);
    expect_eq(goctx_err(c), -ETIMEDOUT);
    goctx_release(c);
    c = goctx_with_timeout(goctx_background(), -5, NULL);
    expect_eq(goctx_err(c), -ETIMEDOUT);
    goctx_release(c);
}
/* False: its time had come before. */
static bool cancel_in_time(void) {
    int64_t when = 0;
    gocontext *c = goctx_with_timeout(goctx_background(), 300000000, &cancel);
    cancel(c);
    bool in_time = goctx_deadline(c, &when) && now() < when;
    while (now() < when + 10000000) usleep(10000);
    if (in_time) expect_eq(goctx_err(c), -ECANCELED);
    goctx_release(c);
    return in_time;
}
TEST(cancelled_before_its_time) {
    while (!cancel_in_time()) {}
    gocontext *c = goctx_with_timeout(goctx_background(), 2000000, NULL);
    goctx_release(c); /* with its timer set */
    usleep(5000);
}

TEST(values_are_found_upwards) {
    static int a, b;
    gocontext *one = goctx_with_value(goctx_background(), &a, "1");
    gocontext *c = goctx_with_cancel(one, NULL);
    gocontext *two = goctx_with_value(c, &b, "2"), *three = goctx_with_value(two, &a, "3");
    expect_str((char *)goctx_value(three, &a), "3");
    expect_str((char *)goctx_value(three, &b), "2");
    expect_str((char *)goctx_value(two, &a), "1");
    expect_str((char *)goctx_value(c, &a), "1");
    expect(goctx_value(c, &b) == NULL && goctx_value(three, &cancel) == NULL);
    goctx_release(one);
    goctx_release(c);
    goctx_release(two);
    expect_str((char *)goctx_value(three, &b), "2");
    goctx_release(three);
}

static void waits(void *arg) {
    gocase cases[] = {GO_RECV(goctx_done(arg), NULL), GO_RECV(NULL, NULL)};
    expect_eq(goselect(cases, 2), 0);
    expect_eq(goctx_err(arg), -ECANCELED);
    goctx_release(arg);
    crew_up(&step);
}
TEST(done_in_a_select) {
    gocontext *c = goctx_with_cancel(goctx_background(), &cancel);
    for (int i = 0; i < 20; i++) go(waits, goctx_retain(c));
    crew_pause();
    expect_eq(crew_get(&step), 0);
    cancel(c);
    goctx_release(c);
    crew_wait(&step, 20);
}

/* Everything at once on one tree. Who sees `done` closed sees err, and the other way round. */
static gocontext *root;
static void mix(unsigned who) {
    struct check_rng rng = check_rng(who);
    for (unsigned i = 0; i < crew_times(300); i++) {
        gocontext *a = check_below(&rng, 2) ? goctx_with_cancel(root, NULL) : goctx_with_timeout(root, (int64_t)check_below(&rng, 100000), NULL);
        gocontext *b = goctx_with_value(a, &step, a), *c = goctx_with_cancel(b, NULL);
        if (check_below(&rng, 4) == 0) goctx_release(goctx_retain(a));
        if (check_below(&rng, 2)) goctx_cancel(a);
        else go_yield();
        if (is_done(c) && !goctx_err(c)) expect(!"done without err");
        if (goctx_err(c) && !is_done(c)) expect(!"err without done");
        expect(goctx_value(c, &step) == a);
        if (who == 0 && i == 250) goctx_cancel_cause(root, 5);
        goctx_release(a);
        goctx_release(b);
        goctx_cancel(c);
        goctx_release(c);
    }
}
TEST_LIMIT(stress, 60) {
    go_maxprocs(4);
    root = goctx_with_cancel(goctx_background(), NULL);
    crew(12, 4, mix);
    expect_eq(goctx_cause(root), 5);
    goctx_release(root);
}

static uint64_t blocks(void) {
    struct gomalloc_stats s;
    gomalloc_read_stats(&s, sizeof s);
    return s.heap_objects;
}
/* No more blocks than before: all of 20 000 trees are gone. */
TEST(released_is_freed) {
    uint64_t before = 0;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 20000; i++) {
            gocontext *a = goctx_with_timeout(goctx_background(), 1000000000, NULL), *b = goctx_with_cancel(a, NULL);
            goctx_release(a);
            if (i & 1) goctx_cancel(b);
            goctx_release(b);
        }
        if (round == 0) before = blocks();
    }
    expect_at_most(blocks(), before + 100);
}

static void from_nil(void) { goctx_with_cancel(NULL, NULL); }
static void nil_key(void) { goctx_with_value(goctx_background(), NULL, NULL); }
TEST(misuse) {
    expect_panics("panic: cannot create context from nil parent", from_nil);
    expect_panics("panic: nil key", nil_key);
}

TEST_MAIN()
