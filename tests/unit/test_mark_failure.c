/* Marking on the fake os, which refuses memory for what is grey: nothing that can be reached is lost, and nothing else kept. */
#include "tests/unit/allocator.h"

#include "gc/mark.h"
#include "gc/sweep.h"
#include "gc/work.h"
#include "libgomalloc/gcview.h"
#include "tests/fake/os_fake.h"

enum { NODES = 40000, EDGES = 3, ROOTS = 3, STEPS = 50 };
struct node {
    char *to[EDGES];
    uint64_t key;
};
static struct node *node[NODES];
static int edge[NODES][EDGES];
static bool reached[NODES];
static int stack[NODES * EDGES + ROOTS];

static bool marking;
static unsigned allowed; /* mappings for grey, still */
static bool refuse_grey(enum fake_kind kind, const void *p, size_t size) {
    if (!marking || kind != FAKE_MAP || size < sizeof(struct gc_buffer)) return false;
    return allowed == 0 || allowed-- == 0;
}

/* Most edges lead to a node made before: below, where a walk over the heap has been. Every third into the midst of it. */
static void make(struct check_rng *rng, void **roots) {
    for (int i = 0; i < NODES; i++) {
        node[i] = gm_alloc_zeroed(sizeof(struct node) + check_below(rng, 10) * 16);
        node[i]->key = (uint64_t)i * 77;
        reached[i] = false;
    }
    for (int i = 0; i < NODES; i++) {
        for (int e = 0; e < EDGES; e++) {
            int to = edge[i][e] = check_below(rng, 8) ? i - 1 - (int)check_below(rng, STEPS) : (int)check_below(rng, NODES);
            if (to < 0) edge[i][e] = -1;
            else node[i]->to[e] = (char *)node[to] + (e == 2 ? 24 : 0);
        }
    }
    int n = 0;
    for (int i = 0; i < ROOTS; i++) roots[i] = node[stack[n++] = NODES - 1 - (int)check_below(rng, 100)];
    while (n) {
        int i = stack[--n];
        if (i < 0 || reached[i]) continue;
        reached[i] = true;
        for (int e = 0; e < EDGES; e++) stack[n++] = edge[i][e];
    }
}

/* A cycle from n roots, with so many mappings for grey, which are not enough. How many objects were marked. */
static uint64_t collect(void **roots, size_t n, unsigned mappings) {
    fake.refuse = refuse_grey;
    expect(gc_mark_begin(false));
    gc_mark_at_stop();
    size_t failures = fake.failures;
    marking = true;
    allowed = mappings;
    gc_mark_root_range((uintptr_t)roots, (uintptr_t)(roots + n), 8, false);
    gc_mark_drain(1, NULL);
    marking = false;
    expect(fake.failures > failures);
    gc_mark_verify();
    struct gc_mark_totals t;
    gc_mark_totals(&t);
    gm_gc_flip();
    gc_sweep_begin();
    gc_sweep_finish();
    return t.objects;
}

TEST_LIMIT(without_any_buffer, 60) {
    struct check_rng rng = check_rng(1);
    void *roots[ROOTS];
    make(&rng, roots);
    uint64_t marked = collect(roots, ROOTS, 0);
    unsigned lost = 0, left = 0, live = 0;
    for (int i = 0; i < NODES; i++) {
        bool there = gm_owns(node[i]);
        live += reached[i];
        lost += reached[i] && !(there && node[i]->key == (uint64_t)i * 77);
        left += !reached[i] && there;
    }
    expect_eq(lost, 0u);
    expect_eq(left, 0u);
    expect(live > NODES / 2);
    expect_eq(marked, live);
}

/* More trees at once than there are places for grey. What lies below a root whose entry was dropped is looked at when all else is done,
 * and is more than a worker keeps to itself. Children lie below their parents, half of them are pointed into. */
enum { TREES = 12000, DEPTH = 6, IN_A_TREE = (2 << DEPTH) - 1 };
static struct node *tree[TREES * IN_A_TREE];
static struct node *make_tree(struct node ***next, int depth) {
    char *left = depth ? (char *)make_tree(next, depth - 1) : NULL, *right = depth ? (char *)make_tree(next, depth - 1) : NULL;
    struct node *n = gm_alloc_zeroed(sizeof *n);
    *n = (struct node){ .to = { left, right ? right + 24 : NULL }, .key = (uint64_t)(*next - tree) };
    return *(*next)++ = n;
}
TEST_LIMIT(with_a_few_buffers, 60) {
    struct node **next = tree, **holder = gm_alloc_zeroed(sizeof *holder * TREES);
    for (int i = 0; i < TREES; i++) holder[i] = make_tree(&next, DEPTH);
    void *lost = gm_alloc_zeroed(100), *root = holder;
    expect_eq(collect(&root, 1, 1), TREES * IN_A_TREE + 1);
    unsigned gone = 0;
    for (size_t i = 0; i < TREES * IN_A_TREE; i++) gone += !(gm_owns(tree[i]) && tree[i]->key == i);
    expect_eq(gone, 0u);
    expect(!gm_owns(lost));
}

TEST_MAIN()
