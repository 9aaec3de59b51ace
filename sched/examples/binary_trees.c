/* Tour of Go, "Equivalent Binary Trees": do two trees of different shape hold the same values? */
#include <gosched.h>
#include <stdio.h>
#include <stdlib.h>

struct tree {
    struct tree *left, *right;
    int value;
};

static struct tree *insert(struct tree *t, int v) {
    if (!t) {
        t = calloc(1, sizeof *t);
        t->value = v;
    } else if (v < t->value) {
        t->left = insert(t->left, v);
    } else {
        t->right = insert(t->right, v);
    }
    return t;
}

/* k, 2k, ..., 10k in random order. */
static struct tree *new_tree(int k) {
    int order[10];
    struct tree *t = NULL;
    for (int i = 0; i < 10; i++) {
        int j = rand() % (i + 1);
        order[i] = order[j];
        order[j] = (i + 1) * k;
    }
    for (int i = 0; i < 10; i++) t = insert(t, order[i]);
    return t;
}

static void free_tree(struct tree *t) {
    if (!t) return;
    free_tree(t->left);
    free_tree(t->right);
    free(t);
}

struct walk {
    struct tree *t;
    gochan *values;
};

static void send_all(const struct tree *t, gochan *values) {
    if (!t) return;
    send_all(t->left, values);
    gochan_send(values, &t->value);
    send_all(t->right, values);
}

static void walk(void *arg) {
    struct walk *w = arg;
    send_all(w->t, w->values);
    gochan_close(w->values);
}

static bool same(struct tree *a, struct tree *b) {
    struct walk wa = {a, gochan_make(sizeof(int), 0)}, wb = {b, gochan_make(sizeof(int), 0)};
    bool equal = true, more_a, more_b;
    go(walk, &wa);
    go(walk, &wb);
    do { /* both to the end: a walk that nobody listens to would wait for ever */
        int va = 0, vb = 0;
        more_a = gochan_recv(wa.values, &va);
        more_b = gochan_recv(wb.values, &vb);
        equal = equal && more_a == more_b && va == vb;
    } while (more_a || more_b);
    gochan_free(wa.values);
    gochan_free(wb.values);
    return equal;
}

int main(void) {
    struct tree *a = new_tree(1), *b = new_tree(1), *c = new_tree(2);
    printf("%s\n%s\n", same(a, b) ? "true" : "false", same(a, c) ? "true" : "false");
    free_tree(a);
    free_tree(b);
    free_tree(c);
    return 0;
}
