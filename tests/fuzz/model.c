/* See model.h. */
#include "tests/fuzz/model.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the calls, in two variants */

#ifdef FUZZ_LIBC
extern void gomalloc_read_stats(struct gomalloc_stats *out, size_t size) __attribute__((weak));

static void *call_alloc(size_t n) { return malloc(n); }
static void *call_zeroed(size_t n) { return n % 3 == 0 ? calloc(n / 3, 3) : calloc(1, n); }
static void *call_aligned(size_t align, size_t n) {
    void *p = NULL;
    if (align < sizeof(void *) || n % 2) return memalign(align, n);
    int saved = errno, failed = posix_memalign(&p, align, n);
    errno = failed ? failed : saved;
    return p;
}
static void *call_tiny(size_t n) { return malloc(n); }
static void *call_realloc(void *p, size_t n) { return realloc(p, n); }
static void call_free(void *p) { free(p); }
static size_t call_usable(void *p) { return malloc_usable_size(p); }
static void call_trim(void) { malloc_trim(0); }
static bool call_owns(void *p, bool otherwise) { return otherwise; }
static bool tiny_is_plain(void) { return true; }
static bool has_stats(void) { return gomalloc_read_stats != NULL; }
static bool is_exact(void) { return false; }
void world_walk(void) {}
static void start_library(void) {}

#else
#include "libgomalloc/alloc.h"
#include "libgomalloc/cache.h"
#include "libgomalloc/central.h"
#include "libgomalloc/conf.h"
#include "libgomalloc/heap.h"

extern char **environ;

static void *call_alloc(size_t n) { return gm_alloc(n); }
static void *call_zeroed(size_t n) { return gm_alloc_zeroed(n); }
static void *call_aligned(size_t align, size_t n) { return gm_alloc_aligned(align, n); }
static void *call_tiny(size_t n) { return gm_alloc_tiny(n); }
static void *call_realloc(void *p, size_t n) { return gm_realloc(p, n); }
static void call_free(void *p) { gm_free(p); }
static size_t call_usable(void *p) { return gm_usable_size(p); }
static void call_trim(void) { gm_trim(); }
static bool call_owns(void *p, bool otherwise) { return gm_owns(p); }
static bool tiny_is_plain(void) { return gm_conf.stats == GM_STATS_EXACT; }
static bool has_stats(void) { return true; }
static bool is_exact(void) { return gm_conf.stats == GM_STATS_EXACT; }
void world_walk(void) {
    gm_heap_verify();
    gm_central_verify();
    gm_cache_verify(gm_tc);
}
static void start_library(void) { gm_constructor(environ); }
#endif

/* ---- contradictions */

static const uint8_t *input;
static size_t input_size;

void model_input(const uint8_t *data, size_t size) {
    input = data;
    input_size = size;
}

void contradiction(const char *format, ...) {
    char text[400];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    dprintf(STDOUT_FILENO, "# fuzz: %.*s\n# input of %zu bytes (xxd -r -p makes a file of it): ", n, text, input_size);
    for (size_t i = 0; i < input_size; i++) dprintf(STDOUT_FILENO, "%02x", input[i]);
    dprintf(STDOUT_FILENO, "\n");
    abort();
}

/* ---- content: word i of a block is a mix of its key and i */

static uint64_t word_at(uint64_t key, size_t i) {
    uint64_t x = key * 0x9e3779b97f4a7c15 + i;
    x = (x ^ x >> 32) * 0xd6e8feb86659fd93;
    return x ^ x >> 32;
}

static void fill(unsigned char *p, size_t from, size_t to, uint64_t key) {
    for (size_t i = from; i < to; i += 8) {
        uint64_t word = word_at(key, i);
        if (to - i >= 8) memcpy(p + i, &word, 8);
        else memcpy(p + i, &word, to - i);
    }
}

static bool filled(const unsigned char *p, size_t from, size_t to, uint64_t key) {
    for (size_t i = from; i < to; i += 8) {
        uint64_t word = word_at(key, i), found = word;
        if (to - i >= 8) memcpy(&found, p + i, 8);
        else memcpy(&found, p + i, to - i);
        if (found != word) return false;
    }
    return true;
}

/* Large blocks are sampled: their ends, and a line every 64 KiB between. Piece k of a block of n bytes;
 * false: there is none. */
static bool piece(size_t n, unsigned k, size_t *from, size_t *to) {
    enum { END = 4096, STEP = 65536 };
    *from = k == 1 ? n - END : (size_t)(k - 1) * STEP;
    if (k == 0) *from = 0;
    if (n <= 4 * END) *to = n;
    else *to = k == 1 ? n : k == 0 ? END : *from + 64;
    *from &= ~(size_t)7;
    return n <= 4 * END ? k == 0 : *to <= n;
}

static void fill_block(const struct block *b) {
    size_t from, to;
    for (unsigned k = 0; piece(b->usable, k, &from, &to); k++) fill(b->p, from, to, b->key);
}

/* The first n bytes of what the block b, once filled, left at p. */
static bool block_is_at(const struct block *b, const unsigned char *p, size_t n) {
    size_t from, to;
    for (unsigned k = 0; piece(b->usable, k, &from, &to); k++)
        if (!filled(p, from, to < n ? to : n, b->key)) return false;
    return true;
}

static bool zeroed(const unsigned char *p, size_t n) { return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0); }

/* The ends, and a line of every page of the allocator's between, where samples of earlier blocks lay:
 * reading all of some megabytes would be all that we do. */
static bool all_zero(const unsigned char *p, size_t n) {
    enum { END = 8192, PAGE = 8192, LINE = 64 };
    if (n <= 2 * END) return zeroed(p, n);
    for (size_t i = END; i + LINE <= n - END; i += PAGE)
        if (!zeroed(p + i, LINE)) return false;
    return zeroed(p, END) && zeroed(p + n - END, END);
}

/* ---- counting */

static struct gomalloc_stats classes; /* for their sizes */

void model_start(void) {
    start_library();
    stats_read(&classes);
}

static int class_of(size_t usable) {
    for (unsigned i = 0; i < classes.by_size_count; i++)
        if (classes.by_size[i].size == usable) return (int)i;
    if (has_stats()) contradiction("%zu usable bytes are no size class", usable);
    return 0;
}

static void count_new(struct counts *c, const struct block *b) {
    if (b->kind == TINY) return; /* they are not counted one by one */
    c->mallocs++;
    c->objects++;
    c->requested += b->n;
    c->live_requested += b->n;
    c->total += b->usable;
    c->bytes += b->usable;
    if (b->kind == LARGE) {
        c->large_mallocs++;
        c->large_requested += b->n;
    } else {
        int i = class_of(b->usable);
        c->by_size[i].mallocs++;
        c->by_size[i].requested += b->n;
    }
}

static void count_free(struct counts *c, const struct block *b) {
    if (b->kind == TINY) return;
    c->frees++;
    c->objects--;
    c->bytes -= b->usable;
    c->live_requested -= b->n;
    if (b->kind == LARGE) c->large_frees++;
    else c->by_size[class_of(b->usable)].frees++;
}

void counts_add(struct counts *sum, const struct counts *more) {
    uint64_t *to = (uint64_t *)sum;
    const uint64_t *from = (const uint64_t *)more;
    for (size_t i = 0; i < sizeof *sum / sizeof *to; i++) to[i] += from[i];
}

void stats_read(struct gomalloc_stats *out) {
    memset(out, 0, sizeof *out);
    if (has_stats()) gomalloc_read_stats(out, sizeof *out);
}

static void same(const char *what, uint64_t before, uint64_t now, uint64_t want) {
    if (now - before != want)
        contradiction("statistics: %s grew by %lld, should have by %lld", what, (long long)(now - before), (long long)want);
}

void stats_compare(const struct gomalloc_stats *before, const struct counts *want) {
    struct gomalloc_stats now;
    if (!has_stats()) return;
    stats_read(&now);
    same("mallocs", before->mallocs, now.mallocs, want->mallocs);
    same("frees", before->frees, now.frees, want->frees);
    same("heap_objects", before->heap_objects, now.heap_objects, want->objects);
    same("heap_alloc", before->heap_alloc, now.heap_alloc, want->bytes);
    same("total_alloc", before->total_alloc, now.total_alloc, want->total);
    same("total_requested", before->total_requested, now.total_requested, want->requested);
    same("large_mallocs", before->large_mallocs, now.large_mallocs, want->large_mallocs);
    same("large_frees", before->large_frees, now.large_frees, want->large_frees);
    same("large_requested", before->large_requested, now.large_requested, want->large_requested);
    if (is_exact())
        same("heap_requested_estimate", before->heap_requested_estimate, now.heap_requested_estimate, want->live_requested);
    for (unsigned i = 0; i < now.by_size_count; i++) {
        same("by_size.mallocs", before->by_size[i].mallocs, now.by_size[i].mallocs, want->by_size[i].mallocs);
        same("by_size.frees", before->by_size[i].frees, now.by_size[i].frees, want->by_size[i].frees);
        same("by_size.requested", before->by_size[i].requested, now.by_size[i].requested, want->by_size[i].requested);
    }
    if (now.heap_inuse + now.heap_idle != now.heap_sys || now.heap_released > now.heap_idle || now.heap_alloc > now.heap_inuse)
        contradiction("statistics: the heap's parts do not add up");
}

/* ---- overlap */

static bool overlap(const struct block *a, const struct block *b) {
    return a->p && b->p && a->p < b->p + b->usable && b->p < a->p + a->usable;
}

static void check_alone(const struct world *w, const struct block *b) {
    for (unsigned i = 0; i < PLACES; i++)
        if (&w->at[i] != b && overlap(&w->at[i], b))
            contradiction("block of %zu at %p overlaps block of %zu at %p", b->usable, (void *)b->p, w->at[i].usable,
                          (void *)w->at[i].p);
}

void worlds_disjoint(struct world *w, unsigned n) {
    for (unsigned i = 0; i < n; i++)
        for (unsigned k = 0; k < PLACES; k++)
            for (unsigned j = i + 1; w[i].at[k].p && j < n; j++) check_alone(&w[j], &w[i].at[k]);
}

/* ---- calls */

enum { UNTOUCHED = 4321 }; /* an errno that nobody sets */

static void check_errno(const char *call, int want) {
    if (errno != want) contradiction("%s left errno %d, not %d", call, errno, want);
}

/* A block that a call has just returned comes into the table. */
static void enter(struct world *w, unsigned place, const char *call, void *p, size_t n, size_t align, enum kind kind) {
    struct block *b = &w->at[place];
    if (!p) contradiction("%s of %zu bytes, aligned to %zu, failed with errno %d", call, n, align, errno);
    check_errno(call, UNTOUCHED);
    if ((uintptr_t)p % align) contradiction("%s of %zu bytes: %p is not aligned to %zu", call, n, p, align);
    *b = (struct block){ .p = p, .n = n, .align = align, .key = w->next_key++ << 8 | (uintptr_t)w >> 4, .kind = kind };
    b->usable = call_usable(p);
    if (b->usable < n || b->usable == 0) contradiction("%s of %zu bytes has %zu usable", call, n, b->usable);
    if (!call_owns(p, true)) contradiction("%s: %p is not the allocator's", call, p);
    check_alone(w, b);
    w->live += b->usable;
    fill_block(b);
}

static enum kind kind_of(size_t n, size_t align) { return n > 32768 || align > 8192 ? LARGE : SMALL; }
static size_t natural(size_t n) { return n <= 8 ? 8 : 16; }

static void alloc(struct world *w, unsigned place, const char *call, void *p, size_t n, size_t align) {
    enter(w, place, call, p, n, align, kind_of(n, align));
    count_new(&w->count, &w->at[place]);
}

void world_alloc(struct world *w, unsigned place, size_t n) {
    errno = UNTOUCHED;
    alloc(w, place, "malloc", call_alloc(n), n, natural(n));
}

void world_zeroed(struct world *w, unsigned place, size_t n) {
    errno = UNTOUCHED;
    unsigned char *p = call_zeroed(n);
    if (p && !all_zero(p, n)) contradiction("calloc of %zu bytes at %p is not zero", n, (void *)p);
    alloc(w, place, "calloc", p, n, natural(n));
}

void world_aligned(struct world *w, unsigned place, size_t align, size_t n) {
    errno = UNTOUCHED;
    alloc(w, place, "memalign", call_aligned(align, n), n, align > natural(n) ? align : natural(n));
}

void world_tiny(struct world *w, unsigned place, size_t n) {
    size_t align = n == 0 ? 1 : n % 8 == 0 ? 8 : n % 4 == 0 ? 4 : n % 2 == 0 ? 2 : 1;
    errno = UNTOUCHED;
    enter(w, place, "tiny", call_tiny(n), n, align, tiny_is_plain() ? SMALL : TINY);
    count_new(&w->count, &w->at[place]);
}

void world_verify(struct world *w, unsigned place) {
    const struct block *b = &w->at[place];
    if (!b->p) {
        if (call_usable(NULL) != 0) contradiction("usable size of NULL");
        return;
    }
    size_t usable = call_usable(b->p);
    if (usable != b->usable) contradiction("usable size of %p went from %zu to %zu", (void *)b->p, b->usable, usable);
    if (!block_is_at(b, b->p, b->usable)) contradiction("content of %zu bytes at %p changed", b->usable, (void *)b->p);
}

void world_realloc(struct world *w, unsigned place, size_t n) {
    struct block old = w->at[place];
#ifdef FUZZ_LIBC
    n = n ? n : 1; /* 0 would free */
#endif
    if (!old.p) {
        errno = UNTOUCHED;
        alloc(w, place, "realloc(NULL)", call_realloc(NULL, n), n, natural(n));
        return;
    }
    world_verify(w, place);
    errno = UNTOUCHED;
    unsigned char *q = call_realloc(old.p, n);
    size_t kept = n < old.usable ? n : old.usable;
    if (q && !block_is_at(&old, q, kept)) contradiction("realloc from %zu to %zu bytes lost content", old.n, n);
    bool moved = q != old.p;
    if (moved) count_free(&w->count, &old);
    w->live -= old.usable;
    w->at[place].p = NULL;
    enum kind kind = moved ? kind_of(n, 1) : old.kind;
    size_t align = moved || old.kind != TINY ? natural(n) : 1;
    enter(w, place, "realloc", q, n, old.align < align && !moved ? old.align : align, kind);
    if (moved) {
        count_new(&w->count, &w->at[place]);
    } else {
        w->count.bytes += w->at[place].usable - old.usable;
        if (kind != TINY) w->count.live_requested += n - old.n;
        if (has_stats() && kind != LARGE && w->at[place].usable != old.usable)
            contradiction("realloc in place changed the usable size");
    }
}

void world_free(struct world *w, unsigned place) {
    struct block b = w->at[place];
    if (b.p) world_verify(w, place);
    errno = UNTOUCHED;
    call_free(b.p);
    check_errno("free", UNTOUCHED);
    if (!b.p) return;
    if (w->alone && call_owns(b.p, false)) contradiction("%p is still the allocator's after free", (void *)b.p);
    count_free(&w->count, &b);
    w->live -= b.usable;
    w->at[place].p = NULL;
}

/* Above it no machine has memory, whatever its kernel promises. */
#define POSSIBLE ((size_t)1 << 45)

/* Address space of the process, in pages. */
static unsigned long mapped_pages(void) {
    char text[64];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    return strtoul(text, NULL, 10);
}

void world_impossible(struct world *w, unsigned place, size_t n, size_t align) {
    unsigned long before = mapped_pages();
    struct block *b = &w->at[place], made = { .n = n, .kind = LARGE };
    const char *call = b->p ? "realloc" : align > 16 ? "memalign" : "malloc";
    errno = UNTOUCHED;
    made.p = b->p ? call_realloc(b->p, n) : align > 16 ? call_aligned(align, n) : call_alloc(n);
    if (made.p && n > POSSIBLE) contradiction("%s of %zu bytes, aligned to %zu, gave %p", call, n, align, (void *)made.p);
    check_errno(call, made.p ? UNTOUCHED : ENOMEM);
    if (made.p) { /* the machine promises more than it has: so be it */
        if (b->p) count_free(&w->count, b);
        if (b->p) w->live -= b->usable;
        b->p = NULL;
        made.usable = call_usable(made.p);
        count_new(&w->count, &made);
        call_free(made.p);
        count_free(&w->count, &made);
        return;
    }
    world_verify(w, place);
    unsigned long after = mapped_pages();
    if (w->alone && after > before + (1ul << 18))
        contradiction("%s of %zu bytes was refused and left %lu MiB mapped", call, n, (after - before) >> 8);
}

void world_trim(struct world *w) {
    struct gomalloc_stats s;
    call_trim();
    stats_read(&s);
    if (w->alone && s.heap_idle != s.heap_released)
        contradiction("trim left %llu idle bytes backed", (unsigned long long)(s.heap_idle - s.heap_released));
}

/* ---- blocks that change hands */

void world_adopt(struct world *w, unsigned place, const struct block *b) {
    w->at[place] = *b;
    w->live += b->usable;
    check_alone(w, &w->at[place]);
    world_verify(w, place);
}

struct block world_abandon(struct world *w, unsigned place) {
    struct block b = w->at[place];
    w->live -= b.usable;
    w->at[place].p = NULL;
    return b;
}
