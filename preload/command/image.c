/* See image.h. */
#include "preload/command/image.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "libgomalloc/base/bits.h"
#include "libgomalloc/guests.h"
#include "preload/command/command.h"

enum { MAX_ARENAS = 4096 };
/* In an entry of ours: which record of `large` or `pair` it is, above the bits that tell treatment from class. */
enum { INDEX_SHIFT = 6 };

/* Zeroed, and only what is touched costs. */
static void *sparse(size_t bytes) {
    void *p = mmap(NULL, bytes + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) fail(1, "out of memory");
    return p;
}
static void unsparse(void *p, size_t bytes) {
    if (p) munmap(p, bytes + 4096);
}

static size_t heap_of(const struct image_arena *a) { return gm_align_up(a->a.committed, IMAGE_PIECE); }
static size_t parents_bytes(const struct image_arena *a) { return (heap_of(a) >> GM_STATE_SHIFT) * sizeof *a->parent; }

static void add_large(struct image_arena *a, const struct gm_span *s) {
    a->large = (a->n_large & (a->n_large - 1)) ? a->large : need_more(a->large, (a->n_large ? a->n_large * 2 : 1) * sizeof *a->large);
    a->large[a->n_large++] = (struct image_large){ s->start, gm_span_bytes(s), s->state != 0 };
}

static void add_pair(const struct snapshot *sn, struct image_arena *a, const struct gm_span *s) {
    a->pair = (a->n_pairs & (a->n_pairs - 1)) ? a->pair : need_more(a->pair, (a->n_pairs ? a->n_pairs * 2 : 1) * sizeof *a->pair);
    memset(a->pair[a->n_pairs], 0, sizeof *a->pair);
    remote_read(&sn->copy, s->side, a->pair[a->n_pairs++], sizeof *a->pair);
}

/* Replaces the pointers to span records by what is needed of them. */
static void resolve(const struct snapshot *s, struct image_arena *a) {
    const uint64_t keep = GM_ENTRY_NOSCAN | GM_ENTRY_UNCOLLECTABLE | GM_ENTRY_TINY | UINT64_C(0xff) << 56 | 63;
    uint64_t before = 0, entry = 0;
    for (size_t i = 0; i < a->a.committed >> GM_PAGE_SHIFT; i++) {
        uint64_t e = a->pages[i];
        struct gm_span span;
        unsigned cls = gm_entry_class(e);
        if (e <= GM_ENTRY_FREED) {
            a->pages[i] = 0;
        } else if (cls > GM_CLASS_8) {
            a->pages[i] = (e & keep) | 1 << INDEX_SHIFT;
        } else if (e == before) {
            a->pages[i] = entry;
        } else if (!remote_read(&s->copy, gm_entry_span(e), &span, sizeof span)) {
            a->pages[i] = 0;
        } else {
            before = e;
            if (cls == 0) add_large(a, &span);
            else add_pair(s, a, &span);
            a->pages[i] = entry = (e & keep) | (cls == 0 ? a->n_large : a->n_pairs) << INDEX_SHIFT;
        }
    }
}
static size_t index_of(uint64_t e) { return ((e & UINT64_C(0xffffffffffff)) >> INDEX_SHIFT) - 1; }

static void read_arena(struct image *m, const struct gm_arena *from, bool parents) {
    m->arena = need_more(m->arena, (m->n + 1) * sizeof *m->arena);
    struct image_arena *a = &m->arena[m->n++];
    *a = (struct image_arena){ .a = *from, .own_low = gm_min(gm_arena_low(from), from->base) };
    size_t heap = heap_of(a), pages = from->committed >> GM_PAGE_SHIFT, words = from->committed >> GM_STATE_MEDIUM_SHIFT;
    a->state = sparse(heap >> GM_STATE_SHIFT);
    a->medium = sparse((heap >> GM_STATE_MEDIUM_SHIFT) * sizeof *a->medium);
    a->pages = sparse((heap >> GM_PAGE_SHIFT) * sizeof *a->pages);
    a->content = sparse(heap);
    a->have = sparse(heap / IMAGE_PIECE / 8 + 8);
    a->marks = sparse(heap >> (GM_STATE_SHIFT + 3));
    a->parent = parents ? sparse(parents_bytes(a)) : NULL;
    if (!remote_read(&m->s->copy, from->state, a->state, from->committed >> GM_STATE_SHIFT) ||
        !remote_read(&m->s->copy, from->medium - words, a->medium, words * sizeof *a->medium) ||
        !remote_read(&m->s->copy, from->pages, a->pages, pages * sizeof *a->pages))
        fail(1, "process %d: the heap's tables cannot be read", (int)m->s->pid);
    resolve(m->s, a);
}

void image_read(struct image *m, const struct snapshot *s, bool parents) {
    struct gm_space space;
    struct gm_arena *next = NULL, a;
    *m = (struct image){ .s = s };
    if (!remote_read(&s->copy, s->copy.endpoint.space, &space, sizeof space)) fail(1, "process %d: the heap cannot be read", (int)s->pid);
    if (space.primary.committed) read_arena(m, &space.primary, parents);
    remote_read(&s->copy, s->copy.endpoint.sparse, &next, sizeof next);
    for (; next && m->n < MAX_ARENAS && remote_read(&s->copy, next, &a, sizeof a); next = a.next)
        if (a.committed) read_arena(m, &a, parents);
}

void image_free(struct image *m) {
    for (size_t i = 0; i < m->n; i++) {
        struct image_arena *a = &m->arena[i];
        size_t heap = heap_of(a);
        unsparse(a->state, heap >> GM_STATE_SHIFT);
        unsparse(a->medium, (heap >> GM_STATE_MEDIUM_SHIFT) * sizeof *a->medium);
        unsparse(a->pages, (heap >> GM_PAGE_SHIFT) * sizeof *a->pages);
        unsparse(a->content, heap);
        unsparse(a->have, heap / IMAGE_PIECE / 8 + 8);
        unsparse(a->marks, heap >> (GM_STATE_SHIFT + 3));
        unsparse(a->parent, parents_bytes(a));
        free(a->large);
        free(a->pair);
    }
    free(m->arena);
    *m = (struct image){ 0 };
}

/* ---- looking up */

struct image_arena *image_arena_of(const struct image *m, uintptr_t p) {
    for (size_t i = 0; i < m->n; i++)
        if (p - m->arena[i].a.base < m->arena[i].a.committed) return &m->arena[i];
    return NULL;
}

/* The entry that speaks for p: its page's, or, of a large object, that of its chunk's first page. */
static uint64_t entry_of(const struct image_arena *a, uintptr_t p) {
    size_t page = (p - a->a.base) >> GM_PAGE_SHIFT;
    if (a->pages[page]) return a->pages[page];
    uint64_t e = a->pages[gm_align_down(page, GM_CHUNK_PAGES)];
    return e && gm_entry_class(e) == 0 ? e : 0;
}

/* What reads the tables of states by the library's own ways: an arena whose tables are the copies. */
static struct gm_arena copy_of(const struct image_arena *a) {
    return (struct gm_arena){ .base = a->a.base, .state = a->state, .medium = a->medium + (a->a.committed >> GM_STATE_MEDIUM_SHIFT) };
}

/* An object of another class than the span's (libgomalloc/guests.c). */
static void find_guest(const struct gm_arena *copy, uintptr_t p, struct heap_object *o) {
    unsigned cls;
    uintptr_t at = gm_guests_find(copy, p, &cls);
    if (at && cls > GM_CLASS_8) *o = (struct heap_object){ at, gm_class_size[cls], cls, true, o->noscan, o->root };
}

bool image_find(const struct image *m, uintptr_t p, struct heap_object *o) {
    const struct image_arena *a = image_arena_of(m, p);
    uint64_t e = a ? entry_of(a, p) : 0;
    if (!e) return false;
    unsigned cls = gm_entry_class(e);
    *o = (struct heap_object){ .cls = cls, .noscan = (e & (GM_ENTRY_NOSCAN | GM_ENTRY_TINY)) != 0, .root = (e & GM_ENTRY_UNCOLLECTABLE) != 0 };
    if (cls == 0) {
        const struct image_large *l = &a->large[index_of(e)];
        *o = (struct heap_object){ l->start, l->size, 0, l->live, o->noscan, o->root };
        return p - l->start < l->size;
    }
    if (cls == GM_CLASS_8) {
        const uint8_t *side = a->pair[index_of(e)];
        size_t i = (p & (GM_PAGE_SIZE - 1)) >> 3 & ~(size_t)1;
        o->start = gm_align_down(p, 16);
        o->size = 16;
        o->live = side[i] || side[i + 1];
        return true;
    }
    uintptr_t start = gm_align_down(p, GM_PAGE_SIZE) - ((uintptr_t)gm_entry_page(e) << GM_PAGE_SHIFT);
    size_t i = ((p - start) * gm_class_reciprocal[cls]) >> 32;
    if (i >= gm_class_slots[cls]) return false;
    o->size = gm_class_size[cls];
    o->start = start + i * o->size;
    struct gm_arena copy = copy_of(a);
    uint8_t state = gm_state_get(&copy, o->start, cls) & GM_STATE_CLASS;
    o->live = state != 0;
    if (state != cls && state != GM_CLASS_8) find_guest(&copy, p, o);
    return true;
}

const uintptr_t *image_words(const struct image *m, uintptr_t p, size_t n) {
    struct image_arena *a = image_arena_of(m, p);
    size_t from = (p - a->a.base) / IMAGE_PIECE, to = (p + n - 1 - a->a.base) / IMAGE_PIECE;
    for (size_t i = from; i <= to; i++) {
        if (a->have[i / 64] >> (i & 63) & 1) continue;
        size_t at = i * IMAGE_PIECE, bytes = gm_min(IMAGE_PIECE, a->a.committed - at);
        for (size_t k = 0, got; k < bytes; k += got ? got : 4096) /* a hole stays zero */
            got = snapshot_read(m->s, a->a.base + at + k, a->content + at + k, bytes - k);
        a->have[i / 64] |= UINT64_C(1) << (i & 63);
    }
    return (const uintptr_t *)(a->content + (p - a->a.base));
}

/* ---- walking */

/* The live objects that start on a page of slots. */
static void each_on_page(const struct image *m, const struct image_arena *a, uintptr_t page, bool pairs, void (*fn)(void *arg, const struct heap_object *o), void *arg) {
    struct gm_arena copy = copy_of(a);
    struct heap_object o;
    for (uintptr_t p = page; p < page + GM_PAGE_SIZE; p += 16) {
        bool starts = pairs || gm_state_get(&copy, p, GM_CLASS_16) || gm_state_get(&copy, p, GM_FIRST_MEDIUM);
        if (starts && image_find(m, p, &o) && o.live && o.start == p) fn(arg, &o);
    }
}

void image_each(const struct image *m, void (*fn)(void *arg, const struct heap_object *o), void *arg) {
    for (size_t k = 0; k < m->n; k++) {
        const struct image_arena *a = &m->arena[k];
        for (size_t i = 0; i < a->a.committed >> GM_PAGE_SHIFT; i++) {
            uint64_t e = a->pages[i];
            uintptr_t p = a->a.base + (i << GM_PAGE_SHIFT);
            struct heap_object o;
            if (!e) continue;
            if (gm_entry_class(e) == 0) {
                if (image_find(m, p, &o) && o.start == p && o.live) fn(arg, &o);
            } else each_on_page(m, a, p, gm_entry_class(e) == GM_CLASS_8, fn, arg);
        }
    }
}
