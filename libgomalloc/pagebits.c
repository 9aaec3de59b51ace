/* Bit work on the 256 pages of one chunk.
 *
 * Everything here looks at four words and never at single bits. Two tricks carry it:
 *
 *   Carry. A run that crosses words consists of the high ones of one word, perhaps some full words,
 *   and the low ones of the next. So one number carried from word to word is enough to see it.
 *
 *   Doubling. w & (w >> 1) has a bit wherever two set bits begin, and doing the same to the result
 *   with a shift of 2 finds four. Runs of n inside a word take log2(n) steps that way, however
 *   fragmented the word is. Walking from run to run instead would cost most in exactly the chunks
 *   that are searched most: old ones, full of small holes. */
#include "libgomalloc/pagebits.h"
#include "libgomalloc/base/check.h"

GM_STATIC_ASSERT(sizeof(struct gm_pagebits) == GM_CACHE_LINE, "a chunk's bitmaps are one cache line");
GM_STATIC_ASSERT(GM_CHUNK_PAGES == 256, "the summary of a chunk counts to 256");

#define FULL (~UINT64_C(0))

/* Ones at the low and at the high end of a word: 0..64. */
GM_INLINE unsigned low_ones(uint64_t w) { return w == FULL ? 64 : gm_low_bit(~w); }
GM_INLINE unsigned high_ones(uint64_t w) { return w == FULL ? 64 : 63 - gm_high_bit(~w); }

/* The bits of w at which n set bits begin, all of them inside w. n in 1..64. */
GM_INLINE uint64_t run_starts(uint64_t w, unsigned n) {
    for (unsigned have = 1; have < n;) {
        unsigned step = have < n - have ? have : n - have;
        w &= w >> step;
        have += step;
    }
    return w;
}

/* Length of the longest run in w: 1..63; w is neither empty nor full. Doubles while it can, then
 * tries to append each of the smaller powers once. */
static unsigned longest_run(uint64_t w) {
    uint64_t starts[6] = {w}; /* [k]: where runs of 2^k begin */
    unsigned k = 0;
    for (uint64_t next; k < 5 && (next = starts[k] & (starts[k] >> (1u << k))) != 0;)
        starts[++k] = next;
    uint64_t best = starts[k];
    unsigned length = 1u << k;
    while (k-- > 0) {
        uint64_t longer = best & (starts[k] >> length);
        if (longer != 0) {
            best = longer;
            length += 1u << k;
        }
    }
    return length;
}

/* The part of bits [from, from + n) that lies in from's word, as a mask; stores how many bits it has. */
GM_INLINE uint64_t first_piece(unsigned from, unsigned n, unsigned *bits) {
    unsigned room = 64 - from % 64;
    *bits = n < room ? n : room;
    return gm_mask(from % 64, *bits);
}

void gm_pagebits_set(uint64_t *words, unsigned from, unsigned n) {
    GM_ASSERT(from + n <= GM_CHUNK_PAGES);
    for (unsigned bits; n > 0; from += bits, n -= bits)
        words[from / 64] |= first_piece(from, n, &bits);
}

void gm_pagebits_clear(uint64_t *words, unsigned from, unsigned n) {
    GM_ASSERT(from + n <= GM_CHUNK_PAGES);
    for (unsigned bits; n > 0; from += bits, n -= bits)
        words[from / 64] &= ~first_piece(from, n, &bits);
}

unsigned gm_pagebits_count(const uint64_t *words, unsigned from, unsigned n) {
    GM_ASSERT(from + n <= GM_CHUNK_PAGES);
    unsigned count = 0;
    for (unsigned bits; n > 0; from += bits, n -= bits) {
        uint64_t part = words[from / 64] & first_piece(from, n, &bits);
        if (part != 0) /* worth a test: without a machine instruction a population count is a call */
            count += gm_popcount(part);
    }
    return count;
}

bool gm_pagebits_all(const uint64_t *words, unsigned from, unsigned n) {
    GM_ASSERT(from + n <= GM_CHUNK_PAGES);
    uint64_t missing = 0;
    for (unsigned bits; n > 0; from += bits, n -= bits)
        missing |= first_piece(from, n, &bits) & ~words[from / 64];
    return missing == 0;
}

bool gm_pagebits_none(const uint64_t *words, unsigned from, unsigned n) {
    GM_ASSERT(from + n <= GM_CHUNK_PAGES);
    uint64_t found = 0;
    for (unsigned bits; n > 0; from += bits, n -= bits)
        found |= first_piece(from, n, &bits) & words[from / 64];
    return found == 0;
}

unsigned gm_pagebits_run(const uint64_t *words, unsigned from) {
    unsigned at = from;
    while (at < GM_CHUNK_PAGES) {
        unsigned room = 64 - at % 64;
        unsigned ones = low_ones(words[at / 64] >> (at % 64)); /* the shift brings in zeros */
        at += ones;
        if (ones < room)
            break;
    }
    return at - from;
}

unsigned gm_pagebits_find(const uint64_t *words, unsigned from, unsigned n) {
    GM_ASSERT(n > 0);
    unsigned run = 0; /* set bits just below the current word */
    uint64_t keep = FULL << (from % 64);
    for (unsigned i = from / 64; i < GM_CHUNK_WORDS; i++, keep = FULL) {
        uint64_t w = words[i] & keep;
        if (run + low_ones(w) >= n)
            return i * 64 - run;
        if (w == FULL) {
            run += 64;
            continue;
        }
        if (n < 64) { /* 64 would be the full word */
            uint64_t starts = run_starts(w, n);
            if (starts != 0)
                return i * 64 + gm_low_bit(starts);
        }
        run = high_ones(w);
    }
    return GM_CHUNK_PAGES;
}

void gm_pagebits_summary(const struct gm_pagebits *b, unsigned *start, unsigned *max, unsigned *end) {
    unsigned run = 0, longest = 0;
    for (unsigned i = 0; i < GM_CHUNK_WORDS; i++) {
        uint64_t w = b->free[i];
        unsigned crossing = run + low_ones(w);
        longest = crossing > longest ? crossing : longest;
        if (w == FULL) {
            run += 64;
            continue;
        }
        run = high_ones(w);
        uint64_t inside = w & (w + 1) & (FULL >> run); /* without the ones at either end */
        if (inside != 0) {
            unsigned length = longest_run(inside);
            longest = length > longest ? length : longest;
        }
    }
    *start = gm_pagebits_run(b->free, 0);
    *max = run > longest ? run : longest;
    *end = run;
}

unsigned gm_pagebits_last_dirty(const struct gm_pagebits *b, unsigned below, unsigned *first) {
    GM_ASSERT(below <= GM_CHUNK_PAGES);
    unsigned run = 0;
    for (unsigned end = below; end > 0;) { /* pages [end, end + run) are the run so far */
        unsigned i = (end - 1) / 64;
        uint64_t dirty = b->free[i] & ~b->zero[i] & gm_mask(0, end - i * 64);
        if (run == 0) {
            if (dirty == 0) {
                end = i * 64;
                continue;
            }
            end = i * 64 + gm_high_bit(dirty) + 1;
        }
        unsigned room = end - i * 64;
        unsigned ones = high_ones(dirty << (64 - room)); /* the shift brings in zeros */
        run += ones;
        end -= ones;
        *first = end;
        if (ones < room)
            break;
    }
    return run;
}
