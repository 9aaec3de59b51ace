/* The heap of another process page by page: what the pages are used for, and how full the spans are. From the page
 * tables and the span records; the objects themselves are not read. See remote.h. */
#include "preload/command/remote.h"

#include <stdlib.h>
#include <string.h>

#include "libgomalloc/span.h"

enum { MAX_ARENAS = 4096, MAX_PAGES = 1 << 24 /* 128 GiB */ };

struct arena_copy {
    struct gm_arena a;
    struct gm_pagebits *bits;
    uint64_t *entries;
    size_t pages;
};

static bool copy_arena(const struct remote *r, struct arena_copy *c) {
    c->pages = c->a.committed >> GM_PAGE_SHIFT;
    if (c->pages > MAX_PAGES) return false;
    size_t chunks = (c->pages + GM_CHUNK_PAGES - 1) / GM_CHUNK_PAGES;
    c->bits = aligned_alloc(64, (chunks + 1) * sizeof *c->bits);
    c->entries = malloc((c->pages + 1) * sizeof *c->entries);
    return c->bits && c->entries && remote_read(r, c->a.index.bits, c->bits, chunks * sizeof *c->bits) &&
           remote_read(r, c->a.pages, c->entries, c->pages * sizeof *c->entries);
}

static bool bit(const uint64_t *words, size_t i) { return words[i / 64] >> (i & 63) & 1; }

/* A page of a small span; with its first own one the span counts in its class's row. */
static void add_small(struct heap_map *m, struct map_page *at, const struct gm_span *s, unsigned page) {
    unsigned cls = s->cls, nslots = s->nslots && s->nslots <= gm_class_slots[cls] ? s->nslots : gm_class_slots[cls];
    unsigned nfree = s->nfree <= nslots ? s->nfree : nslots, out = nslots - nfree, ceded = gm_span_ceded(s);
    *at = (struct map_page){ MAP_SMALL, (uint8_t)cls, (uint8_t)(out * 100 / nslots) };
    if (page != gm_low_bit(~(uint64_t)ceded)) return;
    struct map_class *c = &m->cls[cls];
    c->spans[out * 10 / nslots]++;
    c->slots += nslots;
    c->out += out;
    if (out * 4 <= nslots) {
        m->pinned_bytes += (uint64_t)(s->npages - gm_popcount(ceded)) << GM_PAGE_SHIFT;
        m->pinning_bytes += (uint64_t)out * gm_class_size[cls];
    }
}

static void fill(const struct remote *r, struct heap_map *m, const struct arena_copy *c, struct map_page *at) {
    struct gm_span s = { 0 };
    const struct gm_span *have = NULL;
    for (size_t i = 0; i < c->pages;) {
        const struct gm_pagebits *b = &c->bits[i / GM_CHUNK_PAGES];
        uint64_t e = c->entries[i];
        if (bit(b->free, i % GM_CHUNK_PAGES)) {
            at[i].kind = bit(b->zero, i % GM_CHUNK_PAGES) ? MAP_RELEASED : MAP_IDLE;
            i++;
            continue;
        }
        if (e > GM_ENTRY_FREED && gm_entry_span(e) != have) have = remote_read(r, gm_entry_span(e), &s, sizeof s) ? gm_entry_span(e) : NULL;
        bool known = e > GM_ENTRY_FREED && have && s.npages != 0 && s.cls < GM_CLASSES;
        uintptr_t p = c->a.base + (i << GM_PAGE_SHIFT);
        if (known && s.cls != 0 && p - s.start < gm_span_bytes(&s)) {
            add_small(m, &at[i], &s, (unsigned)((p - s.start) >> GM_PAGE_SHIFT));
            i++;
        } else if (known && s.cls == 0 && s.start == p) {
            size_t n = s.npages < c->pages - i ? s.npages : c->pages - i;
            for (size_t k = 0; k < n; k++) at[i + k].kind = MAP_LARGE;
            m->large_spans++;
            m->large_bytes += gm_span_bytes(&s);
            i += n;
        } else {
            at[i++].kind = MAP_LARGE; /* in motion */
        }
    }
}

static enum remote_result add_arena(const struct remote *r, struct heap_map *m, const struct gm_arena *a) {
    struct arena_copy c = { .a = *a };
    enum remote_result result = REMOTE_UNSTEADY;
    if (copy_arena(r, &c)) {
        struct map_page *more = realloc(m->page, (m->pages + c.pages + 1) * sizeof *more);
        if (more) {
            m->page = more;
            memset(more + m->pages, 0, c.pages * sizeof *more);
            fill(r, m, &c, more + m->pages);
            m->pages += c.pages;
            m->arenas++;
            result = REMOTE_OK;
        }
    }
    free(c.bits);
    free(c.entries);
    return result;
}

enum remote_result remote_map(const struct remote *r, struct heap_map *m) {
    struct gm_space space;
    struct gm_arena *next = NULL, a;
    memset(m, 0, sizeof *m);
    if (!remote_read(r, r->endpoint.space, &space, sizeof space)) return REMOTE_NO_PROCESS;
    enum remote_result result = add_arena(r, m, &space.primary);
    remote_read(r, r->endpoint.sparse, &next, sizeof next);
    for (unsigned n = 0; n < MAX_ARENAS && next && result == REMOTE_OK; n++, next = a.next) {
        if (!remote_read(r, next, &a, sizeof a)) break;
        if (a.size) result = add_arena(r, m, &a);
    }
    return result;
}

void heap_map_free(struct heap_map *m) {
    free(m->page);
    memset(m, 0, sizeof *m);
}
