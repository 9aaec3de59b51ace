/* Reading the numbers of DWARF: unwind tables (frames.c) and line tables (line.c). Beyond the end everything is 0. */
#ifndef GS_DWARF_H
#define GS_DWARF_H

#include "libgomalloc/base/compiler.h"

struct gs_reader {
    const uint8_t *at, *end;
};

GM_INLINE uint64_t gs_read_fixed(struct gs_reader *r, unsigned bytes) {
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes && r->at < r->end; i++) v |= (uint64_t)*r->at++ << 8 * i; /* little-endian, as both machines */
    return v;
}

static inline uint64_t gs_read_uleb(struct gs_reader *r) {
    uint64_t v = 0;
    for (unsigned shift = 0; r->at < r->end; shift += 7) {
        uint8_t b = *r->at++;
        if (shift < 64) v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) break;
    }
    return v;
}

static inline int64_t gs_read_sleb(struct gs_reader *r) {
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

/* A string that ends within the data, or "". */
static inline const char *gs_read_string(struct gs_reader *r) {
    const char *s = (const char *)r->at;
    while (r->at < r->end && *r->at) r->at++;
    if (r->at >= r->end) return "";
    r->at++;
    return s;
}

#endif
