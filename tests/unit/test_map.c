/* gomap: every call against a plain model, and many at once. */
#include <stdio.h>

#include "tests/unit/crew.h"

static gomap m;
#define K(i) ((const void *)(uintptr_t)(i))
#define V(i) ((void *)(uintptr_t)(i))

TEST(zero_value_is_empty) {
    void *v = &v;
    expect(!gomap_load(&m, K(1), &v) && v == NULL);
    expect(!gomap_load_and_delete(&m, K(1), &v));
    gomap_delete(&m, K(0));
    expect(!gomap_compare_and_swap(&m, K(0), NULL, V(1)));
    expect(!gomap_compare_and_delete(&m, K(0), NULL));
    gomap_range(&m, NULL, NULL);
    gomap_clear(&m);
}
TEST(null_is_a_key_and_a_value) {
    void *v = &v;
    expect_eq(gomap_store(&m, NULL, NULL), 0);
    expect(gomap_load(&m, NULL, &v) && v == NULL);
    expect(gomap_load(&m, NULL, NULL));
    expect_eq(gomap_load_or_store(&m, NULL, &m, &v), 1);
    expect(v == NULL);
    expect(gomap_compare_and_swap(&m, NULL, NULL, &m));
    expect(!gomap_compare_and_swap(&m, NULL, NULL, &v));
    expect(gomap_load_and_delete(&m, NULL, &v) && v == &m);
    expect(!gomap_load(&m, NULL, &v) && v == NULL);
    gomap_clear(&m);
}

enum { KEYS = 200 };
struct model {
    bool there[KEYS];
    uintptr_t value[KEYS];
    unsigned seen[KEYS];
};
static bool see(const void *key, void *value, void *arg) {
    struct model *model = arg;
    uintptr_t k = (uintptr_t)key;
    if (!expect(k < KEYS && model->there[k] && model->value[k] == (uintptr_t)value)) return false;
    model->seen[k]++;
    return true;
}
static void compare(struct model *model) {
    void *v;
    memset(model->seen, 0, sizeof model->seen);
    gomap_range(&m, see, model);
    for (unsigned k = 0; k < KEYS; k++) {
        expect_eq(model->seen[k], model->there[k]);
        expect_eq(gomap_load(&m, K(k), &v), model->there[k]);
        if (model->there[k]) expect_eq((uintptr_t)v, model->value[k]);
    }
}
static void like_a_model(void) {
    static struct model model;
    struct check_rng rng = check_rng(1);
    for (unsigned i = 0; i < 60000; i++) {
        uintptr_t k = check_below(&rng, i < 30000 ? KEYS : 5), v = check_below(&rng, 4);
        bool there = model.there[k];
        void *got = V(9);
        switch (check_below(&rng, 7)) {
        case 0: expect_eq(gomap_store(&m, K(k), V(v)), 0); model.there[k] = true; model.value[k] = v; break;
        case 1:
            expect_eq(gomap_load_or_store(&m, K(k), V(v), &got), there);
            if (!there) model.there[k] = true, model.value[k] = v;
            expect_eq((uintptr_t)got, model.value[k]);
            break;
        case 2:
            expect_eq(gomap_swap(&m, K(k), V(v), &got), there);
            expect_eq((uintptr_t)got, there ? model.value[k] : 0);
            model.there[k] = true;
            model.value[k] = v;
            break;
        case 3:
            expect_eq(gomap_load_and_delete(&m, K(k), &got), there);
            expect_eq((uintptr_t)got, there ? model.value[k] : 0);
            model.there[k] = false;
            break;
        case 4:
            expect_eq(gomap_compare_and_swap(&m, K(k), V(v), V(3 - v)), there && model.value[k] == v);
            if (there && model.value[k] == v) model.value[k] = 3 - v;
            break;
        case 5:
            expect_eq(gomap_compare_and_delete(&m, K(k), V(v)), there && model.value[k] == v);
            if (there && model.value[k] == v) model.there[k] = false;
            break;
        default: gomap_delete(&m, K(k)); model.there[k] = false;
        }
        if (i % 3000 == 0) compare(&model);
    }
    compare(&model);
    gomap_clear(&m);
    expect(m.table == NULL && m.retired == NULL && m.live == 0);
}
TEST(words) { like_a_model(); }
static size_t bad_hash(const void *key) { return (uintptr_t)key % 3; }
static bool equal_words(const void *a, const void *b) { return a == b; }
TEST(with_functions) {
    m.hash = bad_hash;
    m.equal = equal_words;
    like_a_model();
}
static size_t hash_text(const void *key) {
    size_t h = 5381;
    for (const char *c = key; *c; c++) h = h * 33 + (unsigned char)*c;
    return h;
}
static bool same_text(const void *a, const void *b) { return strcmp(a, b) == 0; }
TEST(texts) {
    void *v;
    m.hash = hash_text;
    m.equal = same_text;
    char one[] = "key", two[] = "key", *long_lived[100];
    expect_eq(gomap_store(&m, one, V(1)), 0);
    expect(gomap_load(&m, two, &v) && v == V(1));
    for (int i = 0; i < 100; i++) {
        long_lived[i] = malloc(16);
        sprintf(long_lived[i], "%d", i);
        gomap_store(&m, long_lived[i], V(i));
    }
    for (int i = 0; i < 100; i++) {
        char text[16];
        sprintf(text, "%d", i);
        expect(gomap_load_and_delete(&m, text, &v) && v == V(i));
        memset(long_lived[i], 'x', 15); /* deleted: the key may go */
        free(long_lived[i]);
        expect(!gomap_load(&m, text, &v));
    }
    gomap_clear(&m);
}

/* Tables are used again: distinct keys without end take no memory without end. */
TEST_LIMIT(churn_takes_no_memory, 60) {
    for (uintptr_t i = 0; i < 20; i++) gomap_store(&m, K(i), V(i));
    long before = 0;
    for (uintptr_t i = 20; i < 100000; i++) {
        if (i == 1000) before = check_rss_kib();
        gomap_store(&m, K(i), V(i));
        gomap_delete(&m, K(i - 20));
    }
    expect_at_most(check_rss_kib() - before, CHECK_SANITIZED ? 2048 : 1024); /* else 3900; the sanitizers keep shadows, the kernel counts roughly */
    expect_eq(m.live, 20);
    gomap_clear(&m);
}

static unsigned visits;
static bool changes(const void *key, void *value, void *arg) {
    uintptr_t k = (uintptr_t)key;
    if (!expect(value == V(k))) return false;
    if (k >= 1000) return true; /* new, and may come or not */
    visits++;
    gomap_delete(&m, K(k ^ 1)); /* of each pair only one is visited */
    for (uintptr_t i = 0; i < 50; i++) gomap_store(&m, K(1000 + 100 * k + i), V(1000 + 100 * k + i));
    return true;
}
/* The same key again and again, while it is walked. */
static bool again(const void *key, void *value, void *arg) {
    gomap_delete(&m, key);
    gomap_store(&m, key, value);
    return ++visits < 1000;
}
static void store_again(void) {
    for (uintptr_t i = 0; i < 10; i++) gomap_store(&m, K(i), V(i));
    visits = 0;
    gomap_range(&m, again, NULL);
    expect_eq(visits, 10);
    gomap_clear(&m);
}
TEST(no_key_comes_twice) {
    store_again();
    m.hash = bad_hash;
    m.equal = equal_words;
    store_again();
}
static bool stops(const void *key, void *value, void *arg) { return ++visits < 3; }
static bool panics(const void *key, void *value, void *arg) { go_panic(&m); return true; }
static void catch_it(void *arg) { go_recover(); }
static void panic_in_range(void) {
    GO_DEFER(catch_it, NULL);
    gomap_range(&m, panics, NULL);
}
TEST(range_while_the_map_changes) {
    for (uintptr_t i = 0; i < 100; i++) gomap_store(&m, K(i), V(i));
    gomap_range(&m, changes, NULL);
    expect_eq(visits, 50);
    visits = 0;
    gomap_range(&m, stops, NULL);
    expect_eq(visits, 3);
    panic_in_range();
    gomap_store(&m, K(7), V(7));
    gomap_clear(&m);
}

/* Values say which key they are of. Writers keep to their own keys, so each knows what it must find. */
enum { OWN = 64 };
static uint32_t stop_reading;
static void *reads(void *arg) {
    struct check_rng rng = check_rng(100);
    while (!crew_get(&stop_reading)) {
        uintptr_t k = check_below(&rng, 12 * OWN);
        void *v;
        if (gomap_load(&m, K(k), &v) && (uintptr_t)v % (12 * OWN) != k) expect(!"a value of another key");
    }
    return NULL;
}
static bool check_pair(const void *key, void *value, void *arg) {
    if ((uintptr_t)value % (12 * OWN) != (uintptr_t)key) expect(!"a value of another key");
    return true;
}
static void writes(unsigned who) {
    struct check_rng rng = check_rng(who);
    uintptr_t mine[OWN] = {0};
    for (unsigned i = 0; i < crew_times(4000); i++) {
        unsigned slot = (unsigned)check_below(&rng, OWN);
        uintptr_t k = who * OWN + slot, v = k + 12 * OWN * (1 + check_below(&rng, 1000));
        void *got;
        if (gomap_load(&m, K(k), &got) != (mine[slot] != 0) || (uintptr_t)got != mine[slot]) expect(!"not what was stored");
        if (check_below(&rng, 3) == 0) {
            expect_eq(gomap_load_and_delete(&m, K(k), &got), mine[slot] != 0);
            mine[slot] = 0;
        } else {
            expect_eq(gomap_store(&m, K(k), V(v)), 0);
            mine[slot] = v;
        }
        if (i % 1000 == 0) gomap_range(&m, check_pair, NULL);
    }
}
static void stress(void) {
    pthread_t t[2];
    go_maxprocs(4);
    for (int i = 0; i < 2; i++) pthread_create(&t[i], NULL, reads, NULL);
    crew(9, 3, writes);
    crew_up(&stop_reading);
    for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
    gomap_clear(&m);
}
TEST_LIMIT(stress_words, 60) { stress(); }
static size_t some_collide(const void *key) { return (uintptr_t)key / 4; }
TEST_LIMIT(stress_with_functions, 60) {
    m.hash = some_collide;
    m.equal = equal_words;
    stress();
}

TEST_MAIN()
