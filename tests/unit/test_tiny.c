/* The tiny allocator against a model: objects share blocks of 16 bytes, keep their bytes to themselves,
 * know their sizes, and each free is told right from wrong. */
#include "tests/unit/allocator.h"

#include <pthread.h>

#include "libgomalloc/base/bits.h"

static size_t alignment(size_t n) { return n % 8 == 0 ? 8 : n % 4 == 0 ? 4 : n % 2 == 0 ? 2 : 1; }

TEST(objects_share_blocks) {
    char *p[16];
    for (int i = 0; i < 16; i++) p[i] = gm_alloc_tiny(1);
    for (int i = 1; i < 16; i++) expect(p[i] == p[0] + i);
    expect((uintptr_t)p[0] % 16 == 0);
    char *next = gm_alloc_tiny(1);
    expect(next < p[0] || next >= p[0] + 16);
    for (int i = 0; i < 16; i++) expect(what_is(p[i]) == GM_TINY && gm_usable_size(p[i]) == 1);
}

TEST(alignment_is_natural) {
    for (size_t a = 1; a < 16; a++) {
        for (size_t b = 0; b < 16; b++) {
            size_t nb = b ? b : 1;
            char *p = gm_alloc_tiny(a), *q = gm_alloc_tiny(b);
            expect(gm_is_aligned((uintptr_t)p, alignment(a)) && gm_is_aligned((uintptr_t)q, alignment(nb)));
            expect(gm_usable_size(p) == a && gm_usable_size(q) == nb);
            expect(p + a <= q || q + nb <= p);
        }
    }
}

enum { N = 4000 };
static struct { unsigned char *p; size_t n; } model[N];

static void random_run(unsigned stream, int steps) {
    struct check_rng rng = check_rng(stream);
    for (int step = 0; step < steps; step++) {
        unsigned k = (unsigned)check_below(&rng, N);
        if (model[k].p) {
            for (size_t i = 0; i < model[k].n; i++) expect_eq(model[k].p[i], (unsigned char)(k + i));
            expect_eq(gm_usable_size(model[k].p), model[k].n);
            gm_free(model[k].p);
            expect(what_is(model[k].p) == GM_FREED || what_is(model[k].p) == GM_UNKNOWN);
            model[k].p = NULL;
            continue;
        }
        size_t n = check_below(&rng, 16);
        model[k].p = gm_alloc_tiny(n);
        model[k].n = n = n ? n : 1;
        if (!expect(model[k].p && gm_is_aligned((uintptr_t)model[k].p, alignment(n)))) return;
        expect(what_is(model[k].p) == GM_TINY);
        for (size_t i = 0; i < n; i++) model[k].p[i] = (unsigned char)(k + i);
        if (step % 5000 == 0) verify_all();
    }
}

TEST(random_operations_against_a_model) {
    random_run(1, 100000);
    gm_cache_flush(gm_tc);
    random_run(2, 30000);
    /* What is interior, freed or never allocated is told apart from a live start, byte by byte. */
    for (unsigned k = 0; k < N; k++)
        for (size_t i = 1; model[k].p && i < model[k].n; i++) expect(what_is(model[k].p + i) != GM_TINY);
    for (unsigned k = 0; k < N; k++) gm_free(model[k].p);
    gm_reclaim(1);
    verify_all();
    /* At most the span that blocks are taken from is left. */
    expect_at_most(gm_central_span_bytes(GM_CLASS_16), GM_PAGE_SIZE);
    struct gm_heap_stats h;
    gm_heap_read_stats(&h);
    expect_at_most(h.committed - h.idle, GM_PAGE_SIZE);
}

TEST(double_frees_are_told) {
    char *a = gm_alloc_tiny(5), *b = gm_alloc_tiny(5);
    gm_free(a);
    expect_dies(SIGABRT, check_format("gomalloc: double free: %p", a), gm_free(a));
    expect_dies(SIGABRT, NULL, gm_free(b + 1));
    expect_dies(SIGABRT, NULL, gm_free(b + 5)); /* where the next object will begin */
    gm_free(b);
    expect_dies(SIGABRT, check_format("gomalloc: double free: %p", b), gm_free(b));
    /* The open block is not given away while it is open, whatever is freed. */
    char *c = gm_alloc_tiny(3);
    expect(c == b + 5);
    gm_free(c);
}

TEST(a_block_goes_home_with_its_last_object) {
    char *p[16], *last;
    for (int i = 0; i < 16; i++) p[i] = gm_alloc_tiny(1);
    last = gm_alloc_tiny(8); /* opens another block */
    struct gm_span *s = span_at(p[0]);
    expect(s == span_at(last) && (s->flags & GM_SPAN_TINY));
    unsigned home = s->nfree;
    for (int i = 0; i < 15; i++) gm_free(p[(i * 7) % 16]);
    expect_eq(s->nfree, home);
    gm_free(p[(15 * 7) % 16]);
    expect_eq(s->nfree, home + 1);
    gm_free(last);
    expect_eq(s->nfree, home + 1); /* open */
    gm_cache_flush(gm_tc);
    expect_eq(s->nfree, s->nslots);
}

/* Objects are freed by others while their block is still being filled. */
enum { TURNS = 60000, BOXES = 64 };
static void *box[BOXES];
static void *swapper(void *arg) {
    struct check_rng rng = check_rng((unsigned)(uintptr_t)arg);
    for (int i = 0; i < TURNS; i++) {
        size_t n = 1 + check_below(&rng, 15);
        unsigned char *p = gm_alloc_tiny(n);
        memset(p, (int)n, n);
        p = gm_exchange_acq_rel(&box[check_below(&rng, BOXES)], p);
        if (!p) continue;
        size_t size = p[0];
        for (size_t k = 0; k < size; k++) expect_eq(p[k], size);
        expect_eq(gm_usable_size(p), size);
        gm_free(p);
    }
    return NULL;
}

TEST(threads_free_each_others) {
    pthread_t t[4];
    gm_constructor(NULL);
    for (uintptr_t i = 0; i < 4; i++) pthread_create(&t[i], NULL, swapper, (void *)(i + 1));
    for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
    for (int i = 0; i < BOXES; i++) gm_free(box[i]);
    gm_reclaim(1);
    verify_all();
    expect_at_most(gm_central_span_bytes(GM_CLASS_16), GM_PAGE_SIZE);
}

TEST_MAIN()
