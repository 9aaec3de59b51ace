/* Goroutine-local keys: as pthread keys, for goroutines and plain threads. */
#include "tests/unit/crew.h"

static golocal_key key, other;
static uint32_t destroyed, step;
static void count_destroyed(void *value) {
    expect(golocal_get(key) == NULL);
    __atomic_fetch_add(&destroyed, (uint32_t)(uintptr_t)value, __ATOMIC_ACQ_REL);
}

static void own_value(unsigned who) {
    expect(golocal_get(key) == NULL);
    expect_eq(golocal_set(key, (void *)(uintptr_t)(who + 1)), 0);
    for (int i = 0; i < 50; i++) {
        go_yield();
        expect_eq((uintptr_t)golocal_get(key), who + 1);
    }
    expect(golocal_get(other) == NULL);
}
TEST(each_has_its_own) {
    go_maxprocs(4);
    expect_eq(golocal_create(&key, NULL), 0);
    expect_eq(golocal_create(&other, NULL), 0);
    expect(key != other && key != 0);
    crew(30, 4, own_value);
    expect(golocal_get(key) == NULL);
}

static void sets(unsigned who) { golocal_set(key, (void *)1); }
TEST(destructors_run_at_the_end) {
    golocal_create(&key, count_destroyed);
    crew(30, 4, sets);
    crew_wait(&destroyed, 34);
    expect_eq(destroyed, 34);
}
static char trace[16];
static void note(void *arg) { strcat(trace, arg); }
static void note_value(void *value) {
    note(value);
    crew_up(&step);
}
static void exits(void *arg) {
    GO_DEFER(note, "d");
    golocal_set(key, "k");
    go_exit();
}
TEST(after_the_deferred_calls) {
    golocal_create(&key, note_value);
    go(exits, NULL);
    crew_wait(&step, 1);
    expect_str(trace, "dk");
}
static void set_null(void *arg) {
    golocal_set(key, (void *)1);
    golocal_set(key, NULL);
    crew_up(&step);
}
TEST(not_for_null) {
    golocal_create(&key, count_destroyed);
    go(set_null, NULL);
    crew_wait(&step, 1);
    crew_pause();
    expect_eq(crew_get(&destroyed), 0);
}

/* It may set values again, and may use the scheduler; an end comes all the same. */
static void sets_again(void *value) {
    crew_up(&destroyed);
    go_yield();
    golocal_set(key, value);
    golocal_set(other, value);
}
static void once(unsigned who) { golocal_set(key, (void *)1); }
TEST(four_rounds) {
    golocal_create(&key, sets_again);
    golocal_create(&other, NULL);
    crew(1, 0, once);
    crew_wait(&destroyed, 4);
    crew_pause();
    expect_eq(crew_get(&destroyed), 4);
    crew(0, 1, once);
    crew_pause();
    expect_eq(crew_get(&destroyed), 8);
}

static void fresh(void *arg) {
    expect(golocal_get(key) == NULL);
    crew_up(&step);
}
TEST(a_new_goroutine_begins_without_values) {
    go_maxprocs(1);
    golocal_create(&key, NULL);
    for (uint32_t i = 0; i < 20; i++) {
        crew(1, 0, once);
        go(fresh, NULL);
        crew_wait(&step, i + 1);
    }
}

TEST(deleted_keys_are_forgotten) {
    golocal_create(&key, NULL);
    golocal_set(key, &key);
    golocal_key old = key;
    expect_eq(golocal_delete(key), 0);
    expect_eq(golocal_delete(key), -EINVAL);
    expect(golocal_get(old) == NULL);
    expect_eq(golocal_set(old, &key), -EINVAL);
    golocal_create(&key, NULL);
    expect(key != old);
    expect(golocal_get(key) == NULL && golocal_get(old) == NULL);
    expect_eq(golocal_set(0, &key), -EINVAL);
    expect(golocal_get(0) == NULL);
}
TEST(many_keys) {
    static golocal_key keys[1024];
    for (int i = 0; i < 1024; i++) expect_eq(golocal_create(&keys[i], NULL), 0);
    expect_eq(golocal_create(&key, NULL), -EAGAIN);
    for (int i = 0; i < 1024; i++) expect_eq(golocal_set(keys[i], &keys[i]), 0);
    for (int i = 0; i < 1024; i++) expect(golocal_get(keys[i]) == &keys[i]);
    expect_eq(golocal_delete(keys[500]), 0);
    expect_eq(golocal_create(&key, NULL), 0);
    expect(golocal_get(key) == NULL);
}

static void create_and_delete(void) {
    golocal_key k;
    if (golocal_create(&k, NULL) == 0) golocal_delete(k);
}
static bool keys_work(void) {
    golocal_key k;
    return golocal_create(&k, NULL) == 0 && golocal_set(k, &k) == 0 && golocal_get(k) == &k && golocal_get(key) == &key;
}
TEST_LIMIT(in_the_child_of_a_fork, 30) {
    golocal_create(&key, NULL);
    golocal_set(key, &key);
    crew_forks(crew_rounds(200), create_and_delete, keys_work);
}

TEST_MAIN()
