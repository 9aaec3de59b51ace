/* A line table is a program for each unit of compilation that makes rows: from this address on it is that line. Each
 * is run until a row has the address (DWARF 5, section 6.2; versions 2 to 5, as gcc and clang make them). Nobody has sorted the
 * units, so this takes a millisecond per megabyte: for last words and dumps, which keep what they were told (symbol.c). */
#include "sched/line.h"

#include "libgomalloc/base/dwarf.h"

struct unit {
    unsigned version, offset_bytes;
    unsigned least_instruction, opcode_base, line_range;
    int line_base;
    const uint8_t *lengths;    /* operands of the standard operations */
    struct gm_reader tables;   /* directories and files */
    struct gm_reader program;
};

static bool read_unit(struct gm_reader *r, struct unit *u) {
    uint64_t length = gm_read_fixed(r, 4);
    u->offset_bytes = length == 0xffffffff ? 8 : 4;
    if (u->offset_bytes == 8) length = gm_read_fixed(r, 8);
    if (length == 0 || length > (uint64_t)(r->end - r->at)) return false;
    struct gm_reader h = { r->at, r->at + length };
    r->at = h.end;
    u->version = (unsigned)gm_read_fixed(&h, 2);
    if (u->version >= 5) gm_read_fixed(&h, 2); /* sizes of addresses and segments */
    length = gm_read_fixed(&h, u->offset_bytes);
    if (length > (uint64_t)(h.end - h.at)) return false;
    u->program = (struct gm_reader){ h.at + length, h.end };
    h.end = h.at + length;
    u->least_instruction = (unsigned)gm_read_fixed(&h, 1);
    if (u->version >= 4) gm_read_fixed(&h, 1); /* operations in an instruction */
    gm_read_fixed(&h, 1);                      /* where statements begin by default */
    u->line_base = (int8_t)gm_read_fixed(&h, 1);
    u->line_range = (unsigned)gm_read_fixed(&h, 1);
    u->opcode_base = (unsigned)gm_read_fixed(&h, 1);
    u->lengths = h.at;
    if (u->opcode_base == 0 || u->opcode_base - 1 > h.end - h.at) return false;
    h.at += u->opcode_base - 1;
    u->tables = h;
    return u->version >= 2 && u->version <= 5 && u->line_range != 0;
}

/* ---- rows */

struct row {
    uint64_t address;
    uint64_t file;
    int64_t line;
};
struct machine {
    struct row now, before;
    bool any;                  /* `before` is a row of the same sequence */
};

/* A row is made: does the one before reach over the address? */
static bool emit(struct machine *m, uint64_t address, bool end) {
    bool found = m->any && m->before.address <= address && address < m->now.address;
    if (found) return true;
    m->before = m->now;
    m->any = !end;
    if (end) m->now = (struct row){ 0, 1, 1 };
    return false;
}

static bool extended(struct machine *m, struct gm_reader *r, uint64_t address) {
    enum { END_SEQUENCE = 1, SET_ADDRESS = 2 };
    uint64_t n = gm_read_uleb(r);
    if (n == 0 || n > (uint64_t)(r->end - r->at)) {
        r->at = r->end;
        return false;
    }
    struct gm_reader own = { r->at, r->at + n };
    r->at = own.end;
    unsigned op = (unsigned)gm_read_fixed(&own, 1);
    if (op == END_SEQUENCE) return emit(m, address, true);
    if (op == SET_ADDRESS) m->now.address = gm_read_fixed(&own, 8);
    return false;
}

static bool standard(struct machine *m, struct gm_reader *r, const struct unit *u, unsigned op, uint64_t address) {
    enum { COPY = 1, ADVANCE_PC, ADVANCE_LINE, SET_FILE, CONST_ADD_PC = 8, FIXED_ADVANCE_PC };
    switch (op) {
    case COPY: return emit(m, address, false);
    case ADVANCE_PC: m->now.address += gm_read_uleb(r) * u->least_instruction; break;
    case ADVANCE_LINE: m->now.line += gm_read_sleb(r); break;
    case SET_FILE: m->now.file = gm_read_uleb(r); break;
    case CONST_ADD_PC: m->now.address += (255 - u->opcode_base) / u->line_range * u->least_instruction; break;
    case FIXED_ADVANCE_PC: m->now.address += gm_read_fixed(r, 2); break;
    default:
        for (unsigned i = 0; i < u->lengths[op - 1]; i++) gm_read_uleb(r);
    }
    return false;
}

/* m->before is the row. */
static bool find_row(const struct unit *u, uint64_t address, struct machine *m) {
    struct gm_reader r = u->program;
    *m = (struct machine){ .now = { 0, 1, 1 } };
    while (r.at < r.end) {
        unsigned op = *r.at++;
        bool found;
        if (op >= u->opcode_base) {
            op -= u->opcode_base;
            m->now.address += op / u->line_range * u->least_instruction;
            m->now.line += u->line_base + (int)(op % u->line_range);
            found = emit(m, address, false);
        } else {
            found = op == 0 ? extended(m, &r, address) : standard(m, &r, u, op, address);
        }
        if (found) return true;
    }
    return false;
}

/* ---- names */

static const char *string_at(const struct gs_section *s, uint64_t offset) {
    struct gm_reader r = { s->data + offset, s->data + s->size };
    return offset < s->size ? gm_read_string(&r) : "";
}

/* A value in one of the forms that these tables use: a string or a number. False: another form. */
static bool value(const struct gs_line_tables *t, const struct unit *u, struct gm_reader *r, uint64_t form, const char **text, uint64_t *n) {
    switch (form) {
    case 0x08: *text = gm_read_string(r); return true;
    case 0x1f: *text = string_at(&t->line_strings, gm_read_fixed(r, u->offset_bytes)); return true;
    case 0x0e: *text = string_at(&t->strings, gm_read_fixed(r, u->offset_bytes)); return true;
    case 0x0f: *n = gm_read_uleb(r); return true;
    case 0x0b: *n = gm_read_fixed(r, 1); return true;
    case 0x05: *n = gm_read_fixed(r, 2); return true;
    case 0x06: *n = gm_read_fixed(r, 4); return true;
    case 0x1e: gm_read_fixed(r, 8), gm_read_fixed(r, 8); return true;
    default: return false;
    }
}

/* Entry `wanted` of a table of version 5: its path and directory. The reader is moved behind the table. */
static bool entry5(const struct gs_line_tables *t, const struct unit *u, struct gm_reader *r, uint64_t wanted, const char **path,
                   uint64_t *directory) {
    enum { FORMATS = 8, PATH = 1, DIRECTORY = 2 };
    uint64_t type[FORMATS], form[FORMATS];
    unsigned formats = (unsigned)gm_read_fixed(r, 1);
    if (formats > FORMATS) return false;
    for (unsigned i = 0; i < formats; i++) {
        type[i] = gm_read_uleb(r);
        form[i] = gm_read_uleb(r);
    }
    uint64_t count = gm_read_uleb(r);
    for (uint64_t k = 0; k < count && r->at < r->end; k++) {
        for (unsigned i = 0; i < formats; i++) {
            const char *text = "";
            uint64_t n = 0;
            if (!value(t, u, r, form[i], &text, &n)) return false;
            if (k == wanted && type[i] == PATH) *path = text;
            if (k == wanted && type[i] == DIRECTORY) *directory = n;
        }
    }
    return wanted < count;
}

static bool name5(const struct gs_line_tables *t, const struct unit *u, uint64_t file, struct gs_line *out) {
    struct gm_reader r = u->tables;
    uint64_t directory = 0, none;
    if (!entry5(t, u, &r, 0, &out->base, &none) || !entry5(t, u, &r, file, &out->file, &directory)) return false;
    r = u->tables;
    if (directory != 0) entry5(t, u, &r, directory, &out->directory, &none);
    return true;
}

/* Before version 5: strings until an empty one, counted from 1; directory 0 is that of the compilation, which is not here. */
static bool name4(const struct unit *u, uint64_t file, struct gs_line *out) {
    struct gm_reader r = u->tables;
    struct gm_reader directories = r;
    uint64_t directory = 0;
    while (*gm_read_string(&r)) {}
    for (uint64_t k = 1; k <= file; k++) {
        out->file = gm_read_string(&r);
        directory = gm_read_uleb(&r);
        gm_read_uleb(&r);
        gm_read_uleb(&r);
        if (!*out->file) return false;
    }
    for (uint64_t k = 1; k <= directory; k++) out->directory = gm_read_string(&directories);
    return file > 0;
}

struct gs_line gs_line_of(const struct gs_line_tables *t, uint64_t address) {
    struct gm_reader r = { t->lines.data, t->lines.data + t->lines.size };
    struct unit u;
    struct machine m;
    while (r.at < r.end) {
        const uint8_t *before = r.at;
        bool good = read_unit(&r, &u);
        if (!good && r.at - before <= 12) break; /* no length to go on by */
        if (!good || !find_row(&u, address, &m)) continue;
        struct gs_line l = { "", "", "", (unsigned)m.before.line };
        if (u.version >= 5 ? name5(t, &u, m.before.file, &l) : name4(&u, m.before.file, &l)) return l;
        break;
    }
    return (struct gs_line){ "", "", "", 0 };
}
