/* See work.h.
 *
 * Buffers come from mappings of their own, are never unmapped, and lie on two lock-free stacks: empty ones
 * and published ones. A stack's head is the buffer's address in the low 48 bits and above it a number that
 * grows with each push, so that a head seen twice is not taken for one that stood still; reading `next` of a
 * buffer that somebody else has just taken is safe, because it stays a buffer, and then the exchange fails.
 *
 * THE END. A worker that has nothing and finds nothing published counts itself idle; it leaves that count
 * before it takes a buffer again. Only a worker that is not idle publishes. So when the count reaches the
 * number of workers, nobody has anything, and nothing is published either: each publication came before
 * its publisher's own last look, and whoever took it was not idle then. That is the end for all. */
#include "gc/work.h"

#include <sched.h>

#include "gc/roots.h"
#include "libgomalloc/base/atomic.h"
#include "libgomalloc/base/bits.h"
#include "libgomalloc/os/os.h"

enum { FIRST = 16, ADDRESS_BITS = 48, SPINS = 200 };

struct stack {
    uint64_t head GM_ALIGNED(64);
};
static struct stack empty, published;
static uint32_t mappings; /* atomic */
static struct {
    uint32_t idle, workers;   /* atomic */
    uint32_t over;            /* atomic: the end was seen */
    uint32_t news;            /* atomic, futex word: moves when something is published or it is over */
} state GM_ALIGNED(64);

static struct gc_buffer *address_of(uint64_t head) {
    return (struct gc_buffer *)(uintptr_t)(head & gm_mask(0, ADDRESS_BITS));
}

static void push(struct stack *s, struct gc_buffer *b) {
    uint64_t head = gm_load_relaxed(&s->head), next;
    do {
        gm_store_relaxed(&b->next, address_of(head));
        next = (uintptr_t)b | ((head >> ADDRESS_BITS) + 1) << ADDRESS_BITS;
        /* release: pairs with the acquire in pop: the entries are seen. */
    } while (!gm_cas_release(&s->head, &head, next));
}

static struct gc_buffer *pop(struct stack *s) {
    uint64_t head = gm_load_acquire(&s->head), next;
    struct gc_buffer *b;
    do {
        b = address_of(head);
        if (!b) return NULL;
        next = (uintptr_t)gm_load_relaxed(&b->next) | (head & ~gm_mask(0, ADDRESS_BITS));
    } while (!gm_cas_acquire(&s->head, &head, next));
    return b;
}

void gc_work_begin(void) {
    struct gc_buffer *b;
    while ((b = pop(&published)) != NULL) push(&empty, b);
}

void gc_work_set_workers(unsigned workers) {
    gm_store_relaxed(&state.idle, 0);
    gm_store_relaxed(&state.over, 0);
    gm_store_relaxed(&state.workers, workers);
}

struct gc_buffer *gc_work_empty(void) {
    struct gc_buffer *b = pop(&empty);
    if (!b) {
        /* Each time twice as many: few mappings, however large the heap. */
        unsigned n = (unsigned)FIRST << gm_min(gm_add_relaxed(&mappings, 1), 12u);
        b = gm_os_map(n * sizeof *b);
        if (!b) return NULL;
        gm_os_name(b, n * sizeof *b, "gomalloc grey");
        gc_roots_exclude((uintptr_t)b, (uintptr_t)(b + n));
        for (unsigned i = 1; i < n; i++) push(&empty, b + i);
    }
    b->n = 0;
    return b;
}

void gc_work_release(struct gc_buffer *b) { push(&empty, b); }

static void wake_all(void) {
    gm_add_relaxed(&state.news, 1);
    gm_os_futex_wake(&state.news, INT32_MAX);
}

void gc_work_publish(struct gc_buffer *b) {
    push(&published, b);
    if (gm_load_relaxed(&state.idle)) wake_all();
}

struct gc_buffer *gc_work_try(void) { return pop(&published); }

bool gc_work_wanted(void) { return gm_load_relaxed(&state.idle) != 0 && gm_load_relaxed(&published.head) << (64 - ADDRESS_BITS) == 0; }

static bool something_published(void) { return address_of(gm_load_relaxed(&published.head)) != NULL; }

struct gc_buffer *gc_work_wait(void) {
    for (;;) {
        struct gc_buffer *b = pop(&published);
        if (b) return b;
        /* acq_rel: the look above comes before, in whatever order others see it (see THE END). */
        if (gm_add_acq_rel(&state.idle, 1) + 1 == gm_load_relaxed(&state.workers)) {
            gm_store_release(&state.over, 1);
            wake_all();
            return NULL;
        }
        for (unsigned i = 0;; i++) {
            uint32_t seen = gm_load_acquire(&state.news);
            if (gm_load_acquire(&state.over)) return NULL;
            if (something_published()) break;
            if (i < SPINS) gm_cpu_relax();
            else gm_os_futex_wait(&state.news, seen, 1000000); /* a millisecond: a wake may slip past the look */
        }
        gm_add_acq_rel(&state.idle, (uint32_t)-1);
    }
}

/* ---- a worker's own */

struct gc_buffer *gc_grey_next(struct gc_grey *g) {
    struct gc_buffer *full = g->at;
    if (g->other && g->other->n == 0) {
        g->at = g->other;
    } else {
        if (g->other) gc_work_publish(g->other);
        g->at = gc_work_empty();
    }
    g->other = full;
    return g->at;
}

bool gc_grey_other(struct gc_grey *g) {
    struct gc_buffer *other = g->other;
    if (!other || other->n == 0) return false;
    g->other = g->at;
    g->at = other;
    return true;
}

void gc_grey_share(struct gc_grey *g) {
    struct gc_buffer *mine = g->at, *theirs = g->other;
    if (!gc_work_wanted()) return;
    if (theirs && theirs->n) {
        g->other = NULL;
        gc_work_publish(theirs);
        return;
    }
    if (!mine || mine->n < 2 || !(theirs = gc_work_empty())) return;
    size_t n = mine->n / 2;
    for (size_t i = 0; i < n; i++) theirs->entry[i] = mine->entry[i];
    for (size_t i = n; i < mine->n; i++) mine->entry[i - n] = mine->entry[i];
    theirs->n = n;
    mine->n -= n;
    gc_work_publish(theirs);
}

bool gc_grey_refill(struct gc_grey *g, struct gc_buffer *b) {
    if (!b) return false;
    if (g->at) gc_work_release(g->at);
    g->at = b;
    return true;
}

void gc_grey_forget(struct gc_grey *g) {
    if (g->at) g->at->n = 0;
    if (g->other) g->other->n = 0;
}
