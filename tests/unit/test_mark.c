/* Marking and sweeping without a world to hold: the test stands still itself, and says what the roots are. */
#include "tests/unit/allocator.h"

#include <pthread.h>

#include "gc/mark.h"
#include "gc/sweep.h"
#include "libgomalloc/cache.h"
#include "libgomalloc/gcview.h"
#include "libgomalloc/nested.h"
#include "libgomalloc/noscan.h"

static void *worker_main(void *arg) {
    void (*fn)(void *, unsigned) = ((void **)arg)[0];
    fn(((void **)arg)[1], (unsigned)(uintptr_t)((void **)arg)[2]);
    return NULL;
}

static void run_threads(void (*fn)(void *arg, unsigned worker), void *arg, unsigned workers) {
    pthread_t t[8];
    void *args[8][3];
    for (unsigned i = 0; i < workers; i++) {
        args[i][0] = (void *)fn, args[i][1] = arg, args[i][2] = (void *)(uintptr_t)i;
        pthread_create(&t[i], NULL, worker_main, args[i]);
    }
    for (unsigned i = 0; i < workers; i++) pthread_join(t[i], NULL);
}

static unsigned marking_workers = 1;

/* A whole cycle whose only roots are n words, as if they lay in global variables or on a stack. */
static void collect(const void *roots, size_t n, bool stack) {
    expect(gc_mark_begin(false));
    gc_mark_at_stop();
    gc_mark_root_range((uintptr_t)roots, (uintptr_t)roots + n * 8, 8, stack);
    gc_mark_drain(marking_workers, run_threads);
    gc_mark_verify();
    gm_gc_flip();
    gc_sweep_begin();
    gc_sweep_finish();
    expect(gc_sweep_done());
}

static struct gc_sweep_totals swept(void) {
    struct gc_sweep_totals t;
    gc_sweep_totals(&t);
    return t;
}

TEST(what_is_reachable_stays_and_the_rest_goes_home) {
    for (size_t size = 1; size <= 200000; size = size * 3 / 2 + 8) {
        void *root = gm_alloc_zeroed(size < 16 ? 16 : size), *lost = gm_alloc(size), *held = gm_alloc(size);
        *(void **)root = held;
        if (size >= 8) *(void **)held = NULL;
        collect(&root, 1, false);
        expect(gm_owns(root) && gm_owns(held));
        if (size > 8 && !expect(!gm_owns(lost))) diag("size %zu", size);
        gm_free(held);
        gm_free(root);
        collect(NULL, 0, false);
    }
}

TEST(small_pairs_live_and_die_together) {
    void *a[64];
    for (int i = 0; i < 64; i++) *(void **)(a[i] = gm_alloc(8)) = NULL;
    for (int i = 0; i < 64; i++) memset(a[i], 0, 8);
    void *root = a[7], *target = gm_alloc(40);
    memset(target, 0, 40);
    *(void **)a[7] = target;
    collect(&root, 1, false);
    unsigned left = 0;
    for (int i = 0; i < 64; i++) left += gm_owns(a[i]);
    expect(left == 1 || left == 2);
    expect(gm_owns(a[7]) && gm_owns(target));
}

TEST(interior_pointers_and_ends) {
    char *p = gm_alloc_zeroed(100), *big = gm_alloc_zeroed(10 << 20), *end = gm_alloc_zeroed(64);
    size_t usable = gm_usable_size(end);
    void *roots[] = { p + 57, big + (9 << 20) + 3, end + usable };
    collect(roots, 3, false);
    expect(gm_owns(p) && gm_owns(big) && !gm_owns(end)); /* one past the end: on stacks only */
    end = gm_alloc_zeroed(64);
    roots[2] = end + usable;
    collect(roots, 3, true);
    expect(gm_owns(end));
    roots[0] = p - 1;
    roots[1] = roots[2] = NULL;
    collect(roots, 3, false);
    expect(!gm_owns(p) && !gm_owns(big));
}

/* From another object, into every 16 bytes of objects of each size, with neighbours that nothing points to. */
TEST(interior_pointers_of_every_size) {
    struct check_rng rng = check_rng(2);
    enum { COPIES = 3 };
    for (unsigned c = GM_CLASS_16; c < GM_CLASSES; c++) {
        size_t size = gm_class_size[c], offset = check_below(&rng, size);
        char *kept[COPIES], *lost[COPIES];
        void **holder = gm_alloc_zeroed(64), *root = holder;
        for (unsigned i = 0; i < COPIES; i++) kept[i] = gm_alloc_zeroed(size - 1), lost[i] = gm_alloc_zeroed(size - 1);
        for (size_t o = 0; o < size; o += size > 1024 ? 512 : 16) {
            holder[0] = kept[0] + o, holder[1] = kept[1] + offset, holder[2] = kept[2] + size - 1;
            collect(&root, 1, false);
            for (unsigned i = 0; i < COPIES; i++)
                if (!expect(gm_owns(kept[i]) && (o > 0 || !gm_owns(lost[i])))) diag("size %zu, offsets %zu, %zu", size, o, offset);
        }
        collect(NULL, 0, false);
        for (unsigned i = 0; i < COPIES; i++) expect(!gm_owns(kept[i]));
    }
}

/* Of every size: what a freed object pointed to goes, although something still points to its slot, from wherever. */
TEST(what_freed_slots_say_is_not_believed) {
    for (unsigned c = GM_CLASS_16; c < GM_CLASSES; c++) {
        enum { MANY = 40 };
        size_t size = gm_class_size[c];
        void **holder = gm_alloc_zeroed(8 * MANY), *roots[MANY + 1] = { holder };
        void **freed[MANY], *lost[MANY], *kept[MANY];
        for (int i = 0; i < MANY; i++) {
            freed[i] = gm_alloc_zeroed(size - 1), lost[i] = gm_alloc_zeroed(size < 200 ? 200 : size - 1), kept[i] = gm_alloc_zeroed(size - 1);
            *(void **)freed[i] = lost[i];
            *(void **)kept[i] = NULL;
        }
        for (int i = 0; i < MANY; i++) {
            gm_free(freed[i]);
            *(i % 2 ? &roots[i] : &holder[i]) = (char *)freed[i] + (i % 4 / 2 ? size / 2 : 0);
        }
        roots[MANY] = kept[MANY / 2];
        holder[MANY - 2] = kept[0];
        collect(roots, MANY + 1, false);
        for (int i = 0; i < MANY; i++)
            if (!expect(!gm_owns(lost[i]))) diag("size %zu, %d", size, i);
        expect(gm_owns(kept[MANY / 2]) && gm_owns(kept[0]) && !gm_owns(kept[1]));
        collect(NULL, 0, false);
    }
}

TEST(a_root_holds_a_slot_that_is_not_yet_live) {
    void *p = gm_alloc_zeroed(64), *root = p;
    uint8_t *state = gm_arena_state_of(&gm_space.primary, (uintptr_t)p), born = *state;
    *state = 0; /* as if the thread were held before it stored the state */
    expect(gc_mark_begin(false));
    gc_mark_at_stop();
    gc_mark_root_range((uintptr_t)&root, (uintptr_t)(&root + 1), 8, true);
    gc_mark_drain(1, NULL);
    gm_gc_flip();
    *state = born; /* with the old colour */
    gc_sweep_begin();
    gc_sweep_finish();
    expect(gm_owns(p));
    expect_eq(*state & GM_STATE_COLOUR, gm_colour);
}

TEST(objects_born_after_the_flip_are_black) {
    for (int cycle = 0; cycle < 4; cycle++) {
        void *p[4];
        expect(gc_mark_begin(false));
        gc_mark_at_stop();
        gc_mark_drain(1, NULL);
        gm_gc_flip();
        p[0] = gm_alloc(8), p[1] = gm_alloc(100), p[2] = gm_alloc(5000), p[3] = gm_alloc(100000);
        void *tiny = gm_alloc_tiny(5), *noscan = gm_alloc_noscan(50, true);
        gc_sweep_begin();
        gc_sweep_finish();
        for (int i = 0; i < 4; i++) expect(gm_owns(p[i]));
        expect(gm_owns(tiny) && gm_owns(noscan));
        for (int i = 0; i < 4; i++) gm_free(p[i]);
        gm_free(tiny);
        gm_free(noscan);
    }
}

TEST(free_works_whatever_the_colour) {
    for (int cycle = 0; cycle < 3; cycle++) {
        for (size_t size = 1; size <= 100000; size = size * 2 + 1) {
            void *p = gm_alloc(size);
            if (cycle == 1) gm_gc_flip();
            expect_eq(gm_usable_size(p) >= size, 1);
            p = gm_realloc(p, size + 1);
            gm_free(p);
            expect(!gm_owns(p));
        }
    }
    void *p = gm_alloc(100);
    gm_gc_flip();
    gm_free(p);
    expect_dies(SIGABRT, check_format("gomalloc: double free: %p", p), gm_free(p));
}

TEST(pointer_free_objects_are_not_scanned_and_uncollectable_ones_are_roots) {
    for (size_t size = 16; size < 200000; size *= 7) {
        void **noscan = gm_alloc_noscan(size, true), **kept = gm_alloc_uncollectable(size, false), **kept_noscan = gm_alloc_uncollectable(size, true);
        void *a = gm_alloc_zeroed(64), *b = gm_alloc_zeroed(64), *c = gm_alloc_zeroed(64), *root = noscan;
        *noscan = a, *kept = b, *kept_noscan = c;
        collect(&root, 1, false);
        expect(gm_owns(noscan) && gm_owns(kept) && gm_owns(kept_noscan));
        expect(!gm_owns(a) && gm_owns(b) && !gm_owns(c));
        kept = gm_realloc(kept, size * 3); /* stays what it is */
        expect(*kept == b && *(void **)((char *)kept + size * 2) == NULL);
        collect(NULL, 0, false);
        expect(!gm_owns(noscan) && gm_owns(b));
        gm_free(kept);
        gm_free(kept_noscan);
        collect(NULL, 0, false);
        expect(!gm_owns(b));
    }
}

TEST(tiny_blocks_die_as_wholes_and_open_ones_stay) {
    char *t[100];
    for (int i = 0; i < 100; i++) t[i] = gm_alloc_tiny(4);
    void *root = t[10] + 2;
    collect(&root, 1, false);
    expect(gm_owns(t[10]) && gm_owns(t[99])); /* the last block is open */
    expect(!gm_owns(t[40]));
    gm_free(t[10]);
    expect_dies(SIGABRT, check_format("gomalloc: double free: %p", (void *)t[10]), gm_free(t[10]));
    char *again = gm_alloc_tiny(4);
    expect(gm_owns(again));
}

TEST_LIMIT(large_objects_in_pieces, 60) {
    enum { MANY = 300000 };
    void **array = gm_alloc_zeroed(MANY * sizeof *array);
    for (int i = 0; i < MANY; i++) array[i] = gm_alloc_zeroed(16);
    for (marking_workers = 1; marking_workers <= 4; marking_workers++) {
        void *root = &array[5];
        collect(&root, 1, false);
        expect_eq(swept().live_objects, MANY + 1);
        unsigned lost = 0;
        for (int i = 0; i < MANY; i++) lost += !gm_owns(array[i]);
        expect_eq(lost, 0);
    }
    marking_workers = 1;
    collect(NULL, 0, false);
    expect_eq(swept().freed_objects, MANY + 1);
}

/* Each is reached by one pointer, which is the last word of all that a worker has left to look at. */
TEST_LIMIT(a_chain_of_large_objects_linked_at_their_ends, 60) {
    enum { CHAIN = 6 };
    void *root = NULL, *last = NULL;
    for (size_t i = 0, words; i < CHAIN; i++, root = last) {
        words = 20000 + 4000 * i; /* from two pieces up */
        last = gm_alloc_zeroed(words * sizeof(void *));
        ((void **)last)[words - 1] = root ? (char *)root + 1000 * i : NULL;
    }
    for (marking_workers = 1; marking_workers <= 3; marking_workers++) {
        collect(&root, 1, false);
        expect_eq(swept().live_objects, CHAIN);
    }
    marking_workers = 1;
    collect(NULL, 0, false);
    expect_eq(swept().freed_objects, CHAIN);
}

/* ---- random graphs against a plain model */

enum { NODES = 20000, EDGES = 3, GRAPH_ROOTS = 20 };
struct node {
    struct node *to[EDGES];
    uint64_t key;
};
static struct node *node[NODES];
static bool reached[NODES];
static int stack[NODES * EDGES + NODES], target[NODES][EDGES];

static void reach(const int *roots) {
    int n = 0;
    memset(reached, 0, sizeof reached);
    for (int i = 0; i < GRAPH_ROOTS; i++) stack[n++] = roots[i];
    while (n) {
        int i = stack[--n];
        if (i < 0 || reached[i]) continue;
        reached[i] = true;
        for (int e = 0; e < EDGES; e++) stack[n++] = target[i][e];
    }
}

static void make_nodes(struct check_rng *rng) {
    for (int i = 0; i < NODES; i++) {
        size_t size = sizeof(struct node) + (check_below(rng, 50) ? check_below(rng, 200) : check_below(rng, 60000));
        if (!node[i]) node[i] = gm_alloc(size);
        memset(node[i], 0, gm_usable_size(node[i])); /* what a slot held before would count as well */
        node[i]->key = (uint64_t)i * 77;
    }
}

static void link_nodes(struct check_rng *rng) {
    for (int i = 0; i < NODES; i++)
        for (int e = 0; e < EDGES; e++) {
            target[i][e] = check_below(rng, 100) < 36 ? (int)check_below(rng, NODES) : -1;
            node[i]->to[e] = target[i][e] < 0 ? NULL : node[target[i][e]];
        }
}

TEST_LIMIT(random_graphs_keep_exactly_what_is_reachable, 60) {
    struct check_rng rng = check_rng(1);
    for (int cycle = 0; cycle < (check_stress() ? 200 : 12); cycle++) {
        struct node *roots[GRAPH_ROOTS];
        int which[GRAPH_ROOTS];
        marking_workers = 1 + (unsigned)cycle % 3;
        make_nodes(&rng);
        link_nodes(&rng);
        for (int i = 0; i < GRAPH_ROOTS; i++) roots[i] = node[which[i] = (int)check_below(&rng, NODES)];
        reach(which);
        collect(roots, GRAPH_ROOTS, false);
        unsigned lost = 0, left = 0, wrong = 0;
        for (int i = 0; i < NODES; i++) {
            bool there = gm_owns(node[i]);
            lost += reached[i] && !there;
            left += !reached[i] && there;
            wrong += reached[i] && there && node[i]->key != (uint64_t)i * 77;
            if (!there) node[i] = NULL;
        }
        expect_eq(lost, 0);
        expect_eq(left, 0);
        expect_eq(wrong, 0);
    }
    gm_trim();
    gm_heap_verify();
    gm_central_verify();
}

TEST_MAIN()
