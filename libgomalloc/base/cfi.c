/* See cfi.h. DWARF 5, section 6.4, and the Linux Standard Base's chapter on exception frames describe the format:
 *
 *   .eh_frame_hdr   a sorted table of pairs, start of a function and where its record is
 *   .eh_frame       records of functions (FDE), each with a reference to one that many share (CIE); both have programs
 *
 * The common program, then the function's own is run up to the address; what they have said by then are the rules. A table
 * that is not understood gives no rules. */
#include "libgomalloc/base/cfi.h"

#include <string.h>

/* What the records say of one function. */
struct record {
    struct gm_reader common, own;  /* the two programs */
    uint64_t code_align;
    int64_t data_align;
    unsigned encoding;             /* of addresses */
    bool augmented;
};

/* DW_EH_PE: the low four bits are the form, the next three what it is relative to. False: one that no compiler uses here. */
static bool encoded(struct gm_reader *r, unsigned encoding, const uint8_t *header, uintptr_t *out) {
    enum { ULEB = 1, U2 = 2, U4 = 3, U8 = 4, SLEB = 9, S2 = 10, S4 = 11, S8 = 12, PCREL = 0x10, DATAREL = 0x30, OMIT = 0xff };
    unsigned relative = encoding & 0x70;
    uintptr_t base = relative == PCREL ? (uintptr_t)r->at : relative == DATAREL ? (uintptr_t)header : 0;
    *out = 0;
    if (encoding == OMIT) return true;
    switch (encoding & 15) {
    case ULEB: *out = base + gm_read_uleb(r); break;
    case SLEB: *out = base + (uintptr_t)gm_read_sleb(r); break;
    case U2: *out = base + gm_read_fixed(r, 2); break;
    case U4: *out = base + gm_read_fixed(r, 4); break;
    case S2: *out = base + (uintptr_t)gm_read_signed(r, 2); break;
    case S4: *out = base + (uintptr_t)gm_read_signed(r, 4); break;
    case 0: case U8: case S8: *out = base + gm_read_fixed(r, 8); break;
    default: return false;
    }
    return relative == 0 || relative == PCREL || relative == DATAREL;
}

/* ---- finding and reading the records */

/* Records start with their length, and none is as long as this allows; empty: the end of all, or nothing of the kind. */
static struct gm_reader contents(const uint8_t *at) {
    uint32_t n;
    memcpy(&n, at, sizeof n);
    return (struct gm_reader){ at + 4, at + 4 + (n < 1 << 20 ? n : 0) };
}

static bool read_common(const uint8_t *at, struct record *e, struct gm_cfi *out) {
    struct gm_reader r = contents(at);
    uintptr_t personality;
    if (r.end == r.at || gm_read_fixed(&r, 4) != 0) return false; /* id 0: a common record */
    unsigned version = (unsigned)gm_read_fixed(&r, 1);
    const char *how = gm_read_string(&r);
    e->code_align = gm_read_uleb(&r);
    e->data_align = gm_read_sleb(&r);
    out->return_column = version == 1 ? (unsigned)gm_read_fixed(&r, 1) : (unsigned)gm_read_uleb(&r);
    e->augmented = *how == 'z';
    if (!e->augmented) {
        e->common = r;
        return *how == 0;
    }
    uint64_t n = gm_read_uleb(&r);
    struct gm_reader data = gm_read_block(&r, n);
    e->common = r;
    for (how++; *how; how++) {
        if (*how == 'R') e->encoding = (unsigned)gm_read_fixed(&data, 1);
        else if (*how == 'L') gm_read_fixed(&data, 1);
        else if (*how == 'S') out->signal_frame = true;
        else if (*how == 'P' && !encoded(&data, (unsigned)gm_read_fixed(&data, 1) & 15, NULL, &personality)) return false;
    }
    return true;
}

/* The function's record, given where it lies. */
static bool read_record(const uint8_t *at, uintptr_t pc, struct record *e, struct gm_cfi *out) {
    struct gm_reader r = contents(at);
    const uint8_t *id = r.at;
    uint32_t back = (uint32_t)gm_read_fixed(&r, 4);
    uintptr_t start, length;
    if (r.end == id || back == 0 || !read_common(id - back, e, out)) return false;
    if (!encoded(&r, e->encoding, NULL, &start) || !encoded(&r, e->encoding & 15, NULL, &length)) return false;
    if (e->augmented) gm_read_block(&r, gm_read_uleb(&r));
    e->own = r;
    out->start = start;
    return pc - start < length;
}

/* The record that may have the address, by the sorted table; NULL: none. */
static const uint8_t *find(const uint8_t *header, uintptr_t pc) {
    enum { VERSION = 1, SORTED = 0x3b /* datarel, sdata4 */ };
    struct pair { int32_t start, record; } pair;
    struct gm_reader r = { header + 4, header + 64 };
    uintptr_t frames, n;
    if (!header || header[0] != VERSION || header[3] != SORTED) return NULL;
    if (!encoded(&r, header[1], header, &frames) || !encoded(&r, header[2], header, &n) || n == 0) return NULL;
    int64_t wanted = (int64_t)(pc - (uintptr_t)header);
    uintptr_t low = 0;
    for (uintptr_t high = n; high - low > 1;) {
        uintptr_t middle = low + (high - low) / 2;
        memcpy(&pair, r.at + middle * sizeof pair, sizeof pair);
        if (pair.start <= wanted) low = middle;
        else high = middle;
    }
    memcpy(&pair, r.at + low * sizeof pair, sizeof pair);
    return pair.start <= wanted ? header + pair.record : NULL;
}

/* ---- the programs */

enum { REMEMBERED = 4 };
struct machine {
    const struct record *record;
    const uint8_t *header;
    struct gm_cfi_rules *now, initial, kept[REMEMBERED];
    unsigned depth;
    uintptr_t place;               /* address that the rules hold from on */
};

static void set(struct gm_cfi_rules *s, uint64_t column, enum gm_cfi_how how, int64_t value) {
    if (column >= GM_CFI_COLUMNS) return;
    s->how[column] = (uint8_t)how;
    s->value[column] = value;
}

static void restore(struct machine *m, uint64_t column) {
    if (column < GM_CFI_COLUMNS) set(m->now, column, m->initial.how[column], m->initial.value[column]);
}

/* Where an expression begins (at its length); the reader is moved behind it. */
static const uint8_t *block(struct gm_reader *r) {
    const uint8_t *at = r->at;
    gm_read_block(r, gm_read_uleb(r));
    return at;
}

/* DW_CFA: the operations beyond the three that have their operand in the byte. False: unknown. */
static bool operation(struct machine *m, struct gm_reader *r, unsigned op) {
    struct gm_cfi_rules *s = m->now;
    const uint64_t code = m->record->code_align;
    const int64_t data = m->record->data_align;
    uint64_t column = 0;
    if ((op >= 0x05 && op <= 0x09) || op == 0x10 || op == 0x11 || (op >= 0x14 && op <= 0x16) || op == 0x2f) column = gm_read_uleb(r);
    switch (op) {
    case 0x00: break;                                                                   /* nop */
    case 0x01: return encoded(r, m->record->encoding, m->header, &m->place);            /* set_loc */
    case 0x02: m->place += gm_read_fixed(r, 1) * code; break;                           /* advance_loc1, 2, 4 */
    case 0x03: m->place += gm_read_fixed(r, 2) * code; break;
    case 0x04: m->place += gm_read_fixed(r, 4) * code; break;
    case 0x05: set(s, column, GM_CFI_AT_OFFSET, (int64_t)gm_read_uleb(r) * data); break; /* offset_extended */
    case 0x06: restore(m, column); break;                                               /* restore_extended */
    case 0x07: set(s, column, GM_CFI_UNDEFINED, 0); break;
    case 0x08: set(s, column, GM_CFI_SAME, 0); break;
    case 0x09: set(s, column, GM_CFI_IN_REGISTER, (int64_t)gm_read_uleb(r)); break;
    case 0x0a:                                                                          /* remember_state */
        if (m->depth == REMEMBERED) return false;
        m->kept[m->depth++] = *s;
        break;
    case 0x0b:                                                                          /* restore_state */
        if (m->depth == 0) return false;
        *s = m->kept[--m->depth];
        break;
    case 0x0c: s->cfa_expression = NULL, s->cfa_column = (uint32_t)gm_read_uleb(r), s->cfa_offset = (int64_t)gm_read_uleb(r); break;
    case 0x0d: s->cfa_expression = NULL, s->cfa_column = (uint32_t)gm_read_uleb(r); break;
    case 0x0e: s->cfa_offset = (int64_t)gm_read_uleb(r); break;
    case 0x0f: s->cfa_expression = block(r); break;
    case 0x10: set(s, column, GM_CFI_AT_EXPRESSION, (int64_t)(intptr_t)block(r)); break;
    case 0x11: set(s, column, GM_CFI_AT_OFFSET, gm_read_sleb(r) * data); break;         /* offset_extended_sf */
    case 0x12: s->cfa_expression = NULL, s->cfa_column = (uint32_t)gm_read_uleb(r), s->cfa_offset = gm_read_sleb(r) * data; break;
    case 0x13: s->cfa_offset = gm_read_sleb(r) * data; break;
    case 0x14: set(s, column, GM_CFI_IS_OFFSET, (int64_t)gm_read_uleb(r) * data); break;
    case 0x15: set(s, column, GM_CFI_IS_OFFSET, gm_read_sleb(r) * data); break;
    case 0x16: set(s, column, GM_CFI_IS_EXPRESSION, (int64_t)(intptr_t)block(r)); break;
    case 0x2d: break;                                                                   /* aarch64: return addresses are signed from here */
    case 0x2e: gm_read_uleb(r); break;                                                  /* GNU_args_size */
    case 0x2f: set(s, column, GM_CFI_AT_OFFSET, -(int64_t)gm_read_uleb(r) * data); break;
    default: return false;
    }
    return true;
}

/* Runs a program until it speaks of addresses past `pc`. */
static bool run(struct machine *m, struct gm_reader r, uintptr_t pc) {
    while (r.at < r.end && m->place <= pc) {
        uint8_t op = *r.at++, low = op & 0x3f;
        switch (op >> 6) {
        case 1: m->place += low * m->record->code_align; break;
        case 2: set(m->now, low, GM_CFI_AT_OFFSET, (int64_t)gm_read_uleb(&r) * m->record->data_align); break;
        case 3: restore(m, low); break;
        default:
            if (!operation(m, &r, op)) return false;
        }
    }
    return true;
}

bool gm_cfi_of(const uint8_t *header, uintptr_t pc, struct gm_cfi *out) {
    const uint8_t *at = find(header, pc);
    struct record e = { .encoding = 0 };
    *out = (struct gm_cfi){ .start = 0 };
    if (!at || !read_record(at, pc, &e, out)) return false;
    struct machine m; /* most of it is never used */
    m.record = &e;
    m.header = header;
    m.now = &out->rules;
    m.initial = out->rules;
    m.depth = 0;
    m.place = out->start;
    if (!run(&m, e.common, UINTPTR_MAX)) return false;
    m.initial = out->rules;
    m.place = out->start;
    return run(&m, e.own, pc);
}
