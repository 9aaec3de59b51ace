/* Reading the numbers of DWARF: call frame information (cfi.c), line tables (sched/line.c). Beyond the end everything is 0. */
#ifndef GM_BASE_DWARF_H
#define GM_BASE_DWARF_H

#include "libgomalloc/base/compiler.h"

struct gm_reader {
    const uint8_t *at, *end;
};

GM_INLINE uint64_t gm_read_fixed(struct gm_reader *r, unsigned bytes) {
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes && r->at < r->end; i++) v |= (uint64_t)*r->at++ << 8 * i; /* little-endian, as both machines */
    return v;
}

/* Two's complement of 1 to 8 bytes. */
GM_INLINE int64_t gm_read_signed(struct gm_reader *r, unsigned bytes) {
    return (int64_t)(gm_read_fixed(r, bytes) << (64 - 8 * bytes)) >> (64 - 8 * bytes);
}

static inline uint64_t gm_read_uleb(struct gm_reader *r) {
    uint64_t v = 0;
    for (unsigned shift = 0; r->at < r->end; shift += 7) {
        uint8_t b = *r->at++;
        if (shift < 64) v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) break;
    }
    return v;
}

static inline int64_t gm_read_sleb(struct gm_reader *r) {
    uint64_t v = 0;
    unsigned shift = 0;
    uint8_t b = 0;
    do {
        if (r->at >= r->end) break;
        b = *r->at++;
        if (shift < 64) v |= (uint64_t)(b & 0x7f) << shift;
        shift += 7;
    } while (b & 0x80);
    if (shift < 64 && (b & 0x40)) v |= ~UINT64_C(0) << shift;
    return (int64_t)v;
}

/* The next n bytes, or as many as there are; the reader goes on behind them. */
static inline struct gm_reader gm_read_block(struct gm_reader *r, uint64_t n) {
    struct gm_reader b = { r->at, n < (uint64_t)(r->end - r->at) ? r->at + n : r->end };
    r->at = b.end;
    return b;
}

/* A string that ends within the data, or "". */
static inline const char *gm_read_string(struct gm_reader *r) {
    const char *s = (const char *)r->at;
    while (r->at < r->end && *r->at) r->at++;
    if (r->at >= r->end) return "";
    r->at++;
    return s;
}

#endif
