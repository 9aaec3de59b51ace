/* trees DEPTH THREADS: binary trees, made, counted and dropped, beside one that lives. Each thread does all of it. A step is a node. */
#include "bench/gc/garbage.h"

struct tree {
    struct tree *left, *right;
};

enum { LOOK_EVERY = 64 };
static int depth_of_all;
static __thread unsigned made;
static __thread struct gaps *mine;

static struct tree *grow(int depth) {
    struct tree *t = must_new(sizeof *t);
    if (++made % LOOK_EVERY == 0) gap_look(mine);
    t->left = depth > 0 ? grow(depth - 1) : NULL;
    t->right = depth > 0 ? grow(depth - 1) : NULL;
    return t;
}

static int64_t nodes(const struct tree *t) { return t ? 1 + nodes(t->left) + nodes(t->right) : 0; }

static void drop(struct tree *t) {
#ifdef WITH_FREE
    if (!t) return;
    drop(t->left);
    drop(t->right);
#endif
    old_memory(t);
}

static int64_t one_tree(int depth) {
    struct tree *t = grow(depth);
    int64_t n = nodes(t);
    drop(t);
    must(n == (INT64_C(2) << depth) - 1, "the nodes of a tree");
    return n;
}

static int64_t trees(int index, struct gaps *gaps) {
    mine = gaps;
    int64_t steps = one_tree(depth_of_all + 1);
    struct tree *long_lived = grow(depth_of_all);
    for (int depth = 4; depth <= depth_of_all; depth += 2)
        for (int64_t left = INT64_C(1) << (depth_of_all - depth + 4); left > 0; left--) steps += one_tree(depth);
    int64_t n = nodes(long_lived);
    must(n == (INT64_C(2) << depth_of_all) - 1, "the nodes of the tree that lives");
    return steps + n;
}

int main(int argc, char **argv) {
    must(argc == 3, "trees DEPTH THREADS");
    begin_memory();
    depth_of_all = atoi(argv[1]);
    run_threads(atoi(argv[2]), trees);
    return 0;
}
