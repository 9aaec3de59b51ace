/* Span records and their slots. See span.h for who may do what, malloc.c for the overview. */
#include "libgomalloc/span.h"

#include <string.h>

#include "libgomalloc/base/check.h"
#include "libgomalloc/meta.h"

/* Records by words of home bits: most classes need one to three (up to 192 slots), 16 bytes needs 8,
 * 8 bytes 16. Large spans use the smallest. */
enum { KINDS = 3 };
static const unsigned kind_words[KINDS] = { 1, 9, 17 };
static struct gm_fix records[KINDS] = { GM_FIX_INIT_OWN(64, 64), GM_FIX_INIT_OWN(128, 64), GM_FIX_INIT_OWN(192, 64) };
static struct gm_fix sides8 = GM_FIX_INIT_OWN(GM_SIDE_SMALL8, 64), sides_tiny = GM_FIX_INIT_OWN(GM_SIDE_TINY, 64);

const struct gm_fix *const gm_span_roots[GM_SPAN_FIXES] = { &records[0], &records[1], &records[2], &sides8, &sides_tiny };

static unsigned kind_of(unsigned nwords) {
    unsigned k = 0;
    while (kind_words[k] < nwords) k++;
    return k;
}

struct gm_span *gm_span_new(unsigned cls) {
    unsigned nslots = gm_class_slots[cls], nwords = (nslots + 63) / 64;
    struct gm_span *s = gm_fix_get(&records[kind_of(nwords)]);
    if (!s) return NULL;
    /* Word by word: a sweep may still hold this record for that of a large object which is gone (gc/sweep.c). */
    for (size_t i = 0; i < sizeof *s / 8 + nwords; i++) gm_store_relaxed((uint64_t *)s + i, 0);
    gm_list_init(&s->link);
    s->cls = (uint8_t)cls;
    s->nwords = (uint8_t)nwords;
    s->nslots = (uint16_t)nslots;
    s->nfree = nslots;
    for (unsigned w = 0; w < nwords; w++) s->home[w] = gm_mask(0, (unsigned)gm_min(64, nslots - w * 64));
    if (cls != GM_CLASS_8 || gm_span_add_side(s, GM_SIDE_SMALL8)) return s;
    gm_fix_put(&records[kind_of(nwords)], s);
    return NULL;
}

void gm_span_shorten(struct gm_span *s, unsigned nslots) {
    for (unsigned w = 0; w < s->nwords; w++) s->home[w] = nslots > w * 64 ? gm_mask(0, (unsigned)gm_min(64, nslots - w * 64)) : 0;
    s->nslots = (uint16_t)nslots;
    s->nfree = nslots;
}

bool gm_span_add_side(struct gm_span *s, size_t bytes) {
    s->side = gm_fix_get(bytes == GM_SIDE_TINY ? &sides_tiny : &sides8);
    if (s->side) memset(s->side, 0, bytes);
    return s->side != NULL;
}

void gm_span_delete(struct gm_span *s) {
    if ((s->cls == GM_CLASS_8 || s->flags & GM_SPAN_TINY) && s->side) gm_fix_put(s->flags & GM_SPAN_TINY ? &sides_tiny : &sides8, s->side);
    gm_fix_put(&records[kind_of(s->nwords)], s);
}

size_t gm_span_record_bytes(void) {
    size_t sum = gm_load_relaxed(&sides8.in_use) * sides8.size + gm_load_relaxed(&sides_tiny.in_use) * sides_tiny.size;
    for (unsigned k = 0; k < KINDS; k++) sum += gm_load_relaxed(&records[k].in_use) * records[k].size;
    return sum;
}

struct gm_span *gm_span_of(const struct gm_arena *a, uintptr_t p) {
    size_t page = gm_arena_page_of(a, p);
    /* acquire: pairs with the release in heap.c where entries are written: the record is filled in. */
    uint64_t e = gm_load_acquire(&a->pages[page]);
    if (e > GM_ENTRY_FREED) {
        struct gm_span *s = gm_entry_span(e);
        return p - s->start < gm_span_bytes(s) ? s : NULL;
    }
    /* No entry of its own: perhaps the middle of a large object, whose every chunk has one. */
    e = gm_load_acquire(&a->pages[gm_align_down(page, GM_CHUNK_PAGES)]);
    if (e <= GM_ENTRY_FREED || gm_entry_class(e) != 0) return NULL;
    struct gm_span *s = gm_entry_span(e);
    return p - s->start < gm_span_bytes(s) ? s : NULL;
}

unsigned gm_span_take(struct gm_span *s, void **out, unsigned want) {
    unsigned n = 0, size = gm_class_size[s->cls];
    void **to = out + want; /* filled from its end */
    for (unsigned w = 0; w < s->nwords && n < want; w++) {
        uint64_t bits = gm_load_relaxed(&s->home[w]), left = bits;
        uintptr_t first = s->start + (size_t)w * 64 * size;
        for (; left && n < want; left &= left - 1, n++) *--to = (void *)(first + (size_t)gm_low_bit(left) * size);
        /* acquire: pairs with the release in gm_span_give: whoever gave the slot is done with it.
         * Only we clear bits, so each one seen above is still set. */
        if (bits != left) gm_and_acquire(&s->home[w], ~(bits ^ left));
    }
    if (n) gm_sub_relaxed(&s->nfree, n);
    if (n < want) memmove(out, to, n * sizeof *out);
    return n;
}

unsigned gm_span_take_line(struct gm_span *s, void **out, unsigned want) {
    unsigned size = gm_class_size[s->cls], per = GM_CACHE_LINE / size;
    if (per < 2 || GM_CACHE_LINE % size != 0) return gm_span_take(s, out, want);
    unsigned n = (unsigned)gm_min(want, per);
    for (unsigned w = 0; w < s->nwords; w++) {
        uint64_t whole = gm_load_relaxed(&s->home[w]);
        for (unsigned k = 1; k < per; k *= 2) whole &= whole >> k;
        whole &= UINT64_MAX / ((UINT64_C(1) << per) - 1); /* a bit where each line begins */
        if (!whole) continue;
        unsigned b = gm_low_bit(whole);
        for (unsigned i = 0; i < n; i++) out[n - 1 - i] = (void *)(s->start + (size_t)(w * 64 + b + i) * size);
        gm_and_acquire(&s->home[w], ~(((UINT64_C(1) << n) - 1) << b)); /* as above */
        gm_sub_relaxed(&s->nfree, n);
        return n;
    }
    return gm_span_take(s, out, want);
}

static void set_home(struct gm_span *s, unsigned word, uint64_t bits) {
    /* release: our last use of the slots comes before their next owner's first (see gm_span_take). */
    uint64_t before = gm_or_release(&s->home[word], bits);
    GM_CHECK(!(before & bits)); /* a slot that comes home twice would be handed out twice */
}

unsigned gm_span_give(struct gm_span *s, void **slots, unsigned n, unsigned *given) {
    unsigned i = 0, word = 0;
    uint64_t bits = 0;
    for (; i < n; i++) {
        uintptr_t p = (uintptr_t)slots[i];
        if (!gm_span_holds(s, p)) break;
        unsigned index = gm_span_index(s, p);
        uint64_t bit = UINT64_C(1) << (index & 63);
        GM_ASSERT(gm_span_slot(s, index) == p);
        if (bits && index / 64 != word) {
            set_home(s, word, bits);
            bits = 0;
        }
        GM_CHECK(!(bits & bit)); /* twice in one batch */
        word = index / 64;
        bits |= bit;
    }
    if (bits) set_home(s, word, bits);
    *given = i;
    return gm_add_relaxed(&s->nfree, i) + i;
}

unsigned gm_span_give_one(struct gm_span *s, uintptr_t slot) {
    void *p = (void *)slot;
    unsigned given;
    return gm_span_give(s, &p, 1, &given);
}

void gm_span_verify(const struct gm_span *s) {
    unsigned bits = 0;
    for (unsigned i = 0; i < gm_class_slots[s->cls]; i++) {
        if (!(gm_load_relaxed(&s->home[i / 64]) >> (i & 63) & 1)) continue;
        bits++;
        uintptr_t slot = gm_span_slot(s, i);
        if (s->cls != GM_CLASS_8) GM_CHECK(gm_state_get(s->arena, slot, s->cls) == 0);
        else GM_CHECK(gm_load_relaxed((uint8_t *)s->side + i) == 0);
    }
    GM_CHECK(bits == gm_load_relaxed(&s->nfree));
}
