/* A frame is left by the rules of its function's entry in .eh_frame (a program for each instruction address: where the
 * caller's stack pointer was and where the registers were put). DWARF 5, section 6.4, and the Linux Standard Base's chapter on
 * exception frames describe the format; glibc's _dl_find_object (2.35, safe in signal handlers) finds the object.
 *
 * Only general registers are followed. A rule that needs what is not known ends the walk, as do a missing table, a stack
 * address out of bounds and a frame that does not lie above its callee: a damaged stack gives a short answer, not a crash. */
#include "sched/frames.h"

#include <dlfcn.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

#include "libgomalloc/os/os.h"
#include "sched/dwarf.h"
#include "sched/proc.h"
#include "sched/sanitize.h"
#include "sched/switch.h"

/* ---- objects */

/* glibc before 2.35 does not have it; what the loader's list says instead takes a lock. */
extern int _dl_find_object(void *address, struct dl_find_object *result) __attribute__((weak));

struct search {
    uintptr_t address;
    struct gs_object *out;
};

static int in_object(struct dl_phdr_info *info, size_t size, void *arg) {
    struct search *s = arg;
    bool found = false;
    struct gs_object o = { .bias = info->dlpi_addr, .path = info->dlpi_name, .start = UINTPTR_MAX };
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *h = &info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + h->p_vaddr;
        if (h->p_type == PT_GNU_EH_FRAME) o.tables = (const uint8_t *)start;
        if (h->p_type != PT_LOAD) continue;
        if (start < o.start) o.start = start;
        found |= s->address - start < h->p_memsz;
    }
    if (found) *s->out = o;
    return found;
}

bool gs_object_of(uintptr_t address, struct gs_object *out) {
    struct dl_find_object o;
    if (!_dl_find_object) {
        struct search s = { .address = address, .out = out };
        return dl_iterate_phdr(in_object, &s) != 0;
    }
    if (_dl_find_object((void *)address, &o) != 0) return false;
    *out = (struct gs_object){ (uintptr_t)o.dlfo_map_start, o.dlfo_link_map->l_addr, o.dlfo_link_map->l_name, o.dlfo_eh_frame };
    return true;
}

/* ---- reading the stack */

/* A word of the stack; other goroutines' stacks and dead parts of frames are no business of the sanitizers. */
GS_UNCHECKED static bool stack_word(const struct gs_cursor *c, uintptr_t address, uintptr_t *out) {
    if (address < c->low || address > c->high - sizeof *out || address % sizeof(uint32_t) != 0) return false;
    if (!c->foreign) {
        *out = *(const uintptr_t *)address;
        return true;
    }
    struct iovec to = { out, sizeof *out }, from = { (void *)address, sizeof *out };
    int saved = gs_errno();
    long n = syscall(SYS_process_vm_readv, (long)gm_os_getpid(), &to, 1L, &from, 1L, 0L);
    gs_set_errno(saved);
    return n == (long)sizeof *out;
}

/* ---- reading the tables */

static int64_t extended(uint64_t v, unsigned bytes) { return (int64_t)(v << (64 - 8 * bytes)) >> (64 - 8 * bytes); }

/* DW_EH_PE: the low four bits are the form, the next three what it is relative to. */
static uintptr_t encoded(struct gs_reader *r, unsigned encoding, const uint8_t *data) {
    enum { ABSOLUTE = 0, ULEB = 1, U2 = 2, U4 = 3, U8 = 4, SLEB = 9, S2 = 10, S4 = 11, S8 = 12, PCREL = 0x10, DATAREL = 0x30, OMIT = 0xff };
    uintptr_t base = (encoding & 0x70) == PCREL ? (uintptr_t)r->at : (encoding & 0x70) == DATAREL ? (uintptr_t)data : 0;
    if (encoding == OMIT) return 0;
    switch (encoding & 15) {
    case ULEB: return base + gs_read_uleb(r);
    case U2: return base + gs_read_fixed(r, 2);
    case U4: return base + gs_read_fixed(r, 4);
    case SLEB: return base + (uintptr_t)gs_read_sleb(r);
    case S2: return base + (uintptr_t)extended(gs_read_fixed(r, 2), 2);
    case S4: return base + (uintptr_t)extended(gs_read_fixed(r, 4), 4);
    default: return base + gs_read_fixed(r, 8);
    }
}

/* What the tables say of one function. */
struct entry {
    struct gs_reader common, own; /* the two programs */
    uintptr_t start;           /* of the function */
    uint64_t code_align;
    int64_t data_align;
    unsigned return_column;
    bool signal_frame;
};

/* The records of .eh_frame start with their length. */
static struct gs_reader record(const uint8_t *at) {
    uint32_t n = (uint32_t)gs_read_fixed(&(struct gs_reader){ at, at + 4 }, 4);
    return (struct gs_reader){ at + 4, at + 4 + (n >= 0xfffffff0 ? 0 : n) };
}

static bool read_common(const uint8_t *at, struct entry *e, unsigned *encoding, bool *augmented) {
    struct gs_reader r = record(at);
    *encoding = 0;
    if (r.end == r.at || gs_read_fixed(&r, 4) != 0) return false; /* id 0: a common record */
    unsigned version = (unsigned)gs_read_fixed(&r, 1);
    const char *how = (const char *)r.at;
    while (r.at < r.end && *r.at) r.at++;
    r.at++;
    e->code_align = gs_read_uleb(&r);
    e->data_align = gs_read_sleb(&r);
    e->return_column = version == 1 ? (unsigned)gs_read_fixed(&r, 1) : (unsigned)gs_read_uleb(&r);
    *augmented = *how == 'z';
    if (!*augmented) {
        e->common = r;
        return *how == 0;
    }
    uint64_t n = gs_read_uleb(&r);
    e->common = (struct gs_reader){ r.at + n, r.end };
    for (how++; *how; how++) {
        if (*how == 'R') *encoding = (unsigned)gs_read_fixed(&r, 1);
        else if (*how == 'P') encoded(&r, (unsigned)gs_read_fixed(&r, 1), NULL);
        else if (*how == 'L') gs_read_fixed(&r, 1);
        else if (*how == 'S') e->signal_frame = true;
    }
    return true;
}

/* The function's record, given where it lies. */
static bool read_entry(const uint8_t *at, uintptr_t pc, struct entry *e) {
    unsigned encoding;
    bool augmented;
    struct gs_reader r = record(at);
    const uint8_t *id = r.at;
    uint32_t back = (uint32_t)gs_read_fixed(&r, 4);
    *e = (struct entry){ .signal_frame = false };
    if (r.end == id || back == 0 || !read_common(id - back, e, &encoding, &augmented)) return false;
    e->start = encoded(&r, encoding, NULL);
    uintptr_t length = encoded(&r, encoding & 15, NULL);
    if (augmented) {
        uint64_t n = gs_read_uleb(&r);
        r.at += n;
    }
    e->own = r;
    return pc - e->start < length;
}

/* .eh_frame_hdr has a sorted table of pairs: start of a function, its record; both relative to the table's section. */
static bool find_entry(const uint8_t *tables, uintptr_t pc, struct entry *e) {
    enum { SORTED = 0x3b /* datarel, sdata4 */, PAIR = 8 };
    struct gs_reader r = { tables + 4, tables + 64 };
    if (!tables || tables[0] != 1 || tables[3] != SORTED) return false;
    encoded(&r, tables[1], tables);
    size_t n = encoded(&r, tables[2], tables), low = 0;
    const uint8_t *table = r.at;
    if (n == 0) return false;
    for (size_t high = n; high - low > 1;) {
        size_t middle = low + (high - low) / 2;
        r = (struct gs_reader){ table + middle * PAIR, table + middle * PAIR + 4 };
        if (encoded(&r, SORTED, tables) <= pc) low = middle;
        else high = middle;
    }
    r = (struct gs_reader){ table + low * PAIR + 4, table + low * PAIR + 8 };
    return read_entry((const uint8_t *)encoded(&r, SORTED, tables), pc, e);
}

/* ---- the program: rules for one address */

enum how { SAME, UNDEFINED, AT_OFFSET, IS_OFFSET, IN_REGISTER, AT_EXPRESSION, IS_EXPRESSION };
struct rules {
    uint8_t how[GS_COLUMNS];
    int64_t value[GS_COLUMNS]; /* offset from the frame address, column, or address of an expression */
    uint32_t cfa_column;
    int64_t cfa_offset;
    const uint8_t *cfa_expression; /* instead of the two; NULL: none */
};
enum { REMEMBERED = 3 };
struct machine {
    struct rules now, initial, kept[REMEMBERED];
    unsigned depth;
    uintptr_t place;           /* address that the rules hold from on */
};

static void set(struct rules *s, uint64_t column, enum how how, int64_t value) {
    if (column >= GS_COLUMNS) return;
    s->how[column] = (uint8_t)how;
    s->value[column] = value;
}

/* Where an expression begins (at its length); the reader is moved behind it. */
static const uint8_t *block(struct gs_reader *r) {
    const uint8_t *at = r->at;
    uint64_t n = gs_read_uleb(r);
    r->at += n;
    return at;
}

/* DW_CFA: the operations beyond the three that have their operand in the byte. False: unknown. */
static bool operation(struct machine *m, struct gs_reader *r, unsigned op, const struct entry *e, const uint8_t *data) {
    struct rules *s = &m->now;
    uint64_t column = 0;
    if ((op >= 0x05 && op <= 0x09) || op == 0x10 || op == 0x11 || (op >= 0x14 && op <= 0x16) || op == 0x2f) column = gs_read_uleb(r);
    switch (op) {
    case 0x00: break;                                                              /* nop */
    case 0x01: m->place = encoded(r, 0x1b, data); break;                           /* set_loc */
    case 0x02: m->place += gs_read_fixed(r, 1) * e->code_align; break;                     /* advance_loc1, 2, 4 */
    case 0x03: m->place += gs_read_fixed(r, 2) * e->code_align; break;
    case 0x04: m->place += gs_read_fixed(r, 4) * e->code_align; break;
    case 0x05: set(s, column, AT_OFFSET, (int64_t)gs_read_uleb(r) * e->data_align); break; /* offset_extended */
    case 0x06:                                                                     /* restore_extended */
        if (column < GS_COLUMNS) set(s, column, m->initial.how[column], m->initial.value[column]);
        break;
    case 0x07: set(s, column, UNDEFINED, 0); break;
    case 0x08: set(s, column, SAME, 0); break;
    case 0x09: set(s, column, IN_REGISTER, (int64_t)gs_read_uleb(r)); break;
    case 0x0a:                                                                     /* remember_state */
        if (m->depth == REMEMBERED) return false;
        m->kept[m->depth++] = *s;
        break;
    case 0x0b:                                                                     /* restore_state */
        if (m->depth == 0) return false;
        *s = m->kept[--m->depth];
        break;
    case 0x0c: s->cfa_expression = NULL, s->cfa_column = (uint32_t)gs_read_uleb(r), s->cfa_offset = (int64_t)gs_read_uleb(r); break;
    case 0x0d: s->cfa_expression = NULL, s->cfa_column = (uint32_t)gs_read_uleb(r); break;
    case 0x0e: s->cfa_offset = (int64_t)gs_read_uleb(r); break;
    case 0x0f: s->cfa_expression = block(r); break;
    case 0x10: set(s, column, AT_EXPRESSION, (int64_t)(intptr_t)block(r)); break;
    case 0x11: set(s, column, AT_OFFSET, gs_read_sleb(r) * e->data_align); break;          /* offset_extended_sf */
    case 0x12: s->cfa_expression = NULL, s->cfa_column = (uint32_t)gs_read_uleb(r), s->cfa_offset = gs_read_sleb(r) * e->data_align; break;
    case 0x13: s->cfa_offset = gs_read_sleb(r) * e->data_align; break;
    case 0x14: set(s, column, IS_OFFSET, (int64_t)gs_read_uleb(r) * e->data_align); break;
    case 0x15: set(s, column, IS_OFFSET, gs_read_sleb(r) * e->data_align); break;
    case 0x16: set(s, column, IS_EXPRESSION, (int64_t)(intptr_t)block(r)); break;
    case 0x2d: break;                                                              /* aarch64: return addresses are signed from here */
    case 0x2e: gs_read_uleb(r); break;                                                     /* GNU_args_size */
    case 0x2f: set(s, column, AT_OFFSET, -(int64_t)gs_read_uleb(r) * e->data_align); break;
    default: return false;
    }
    return true;
}

static bool execute(struct machine *m, struct gs_reader r, uintptr_t pc, const struct entry *e, const uint8_t *data) {
    while (r.at < r.end && m->place <= pc) {
        uint8_t op = *r.at++, low = op & 0x3f;
        switch (op >> 6) {
        case 1: m->place += low * e->code_align; break;
        case 2: set(&m->now, low, AT_OFFSET, (int64_t)gs_read_uleb(&r) * e->data_align); break;
        case 3:
            if (low < GS_COLUMNS) set(&m->now, low, m->initial.how[low], m->initial.value[low]);
            break;
        default:
            if (!operation(m, &r, op, e, data)) return false;
        }
    }
    return true;
}

/* ---- expressions: a stack machine, of which tables use little (procedure linkage, signal frames, realigned stacks) */

enum { DEPTH = 16 };
static bool known(const struct gs_cursor *c, uint64_t column) { return column < GS_COLUMNS && (c->known >> column & 1); }

static bool binary(unsigned op, uintptr_t a, uintptr_t b, uintptr_t *out) {
    switch (op) {
    case 0x1a: *out = a & b; break;
    case 0x1c: *out = a - b; break;
    case 0x1e: *out = a * b; break;
    case 0x21: *out = a | b; break;
    case 0x22: *out = a + b; break;
    case 0x24: *out = b < 64 ? a << b : 0; break;
    case 0x25: *out = b < 64 ? a >> b : 0; break;
    case 0x29: *out = a == b; break;
    case 0x2a: *out = (intptr_t)a >= (intptr_t)b; break;
    case 0x2b: *out = (intptr_t)a > (intptr_t)b; break;
    case 0x2c: *out = (intptr_t)a <= (intptr_t)b; break;
    case 0x2d: *out = (intptr_t)a < (intptr_t)b; break;
    case 0x2e: *out = a != b; break;
    default: return false;
    }
    return true;
}

/* Operations that push something. False: it is none of them. */
static bool pushes(const struct gs_cursor *c, struct gs_reader *r, unsigned op, uintptr_t *out) {
    uint64_t column = op - 0x70;
    if (op >= 0x30 && op <= 0x4f) { /* literals */
        *out = op - 0x30;
        return true;
    }
    if ((op >= 0x70 && op <= 0x8f) || op == 0x92) { /* register plus offset */
        if (op == 0x92) column = gs_read_uleb(r);
        int64_t offset = gs_read_sleb(r);
        if (!known(c, column)) return false;
        *out = c->reg[column] + (uintptr_t)offset;
        return true;
    }
    if (op < 0x08 || op > 0x11) return op == 0x03 && (*out = gs_read_fixed(r, 8), true);
    unsigned bytes = 1u << ((op - 0x08) / 2 & 3);
    if (op == 0x10) *out = gs_read_uleb(r);
    else if (op == 0x11) *out = (uintptr_t)gs_read_sleb(r);
    else *out = op & 1 ? (uintptr_t)extended(gs_read_fixed(r, bytes), bytes) : gs_read_fixed(r, bytes);
    return true;
}

/* `first`: the frame address, which is on the stack when a register's expression starts; NULL: nothing is. */
static bool evaluate(const struct gs_cursor *c, const uint8_t *expression, const uintptr_t *first, uintptr_t *result) {
    uintptr_t stack[DEPTH];
    unsigned n = 0;
    struct gs_reader length = { expression, expression + 10 };
    uint64_t bytes = gs_read_uleb(&length);
    struct gs_reader r = { length.at, length.at + bytes };
    if (first) stack[n++] = *first;
    while (r.at < r.end) {
        unsigned op = *r.at++;
        if (op == 0x06) { /* deref */
            if (n < 1 || !stack_word(c, stack[n - 1], &stack[n - 1])) return false;
        } else if (op == 0x23) { /* plus_uconst */
            if (n < 1) return false;
            stack[n - 1] += gs_read_uleb(&r);
        } else if (op >= 0x1a && op <= 0x2e) {
            if (n < 2 || !binary(op, stack[n - 2], stack[n - 1], &stack[n - 2])) return false;
            n--;
        } else if (n == DEPTH || !pushes(c, &r, op, &stack[n++])) {
            return false;
        }
    }
    if (n == 0) return false;
    *result = stack[n - 1];
    return true;
}

/* ---- one frame up */

static bool frame_address(const struct gs_cursor *c, const struct rules *s, uintptr_t *cfa) {
    if (s->cfa_expression) return evaluate(c, s->cfa_expression, NULL, cfa);
    if (!known(c, s->cfa_column)) return false;
    *cfa = c->reg[s->cfa_column] + (uintptr_t)s->cfa_offset;
    return true;
}

/* The caller's value of a column; false: not known. */
static bool recover(const struct gs_cursor *c, const struct rules *s, unsigned column, uintptr_t cfa, uintptr_t *out) {
    int64_t v = s->value[column];
    uintptr_t at;
    switch ((enum how)s->how[column]) {
    case SAME: *out = c->reg[column]; return known(c, column);
    case UNDEFINED: return false;
    case AT_OFFSET: return stack_word(c, cfa + (uintptr_t)v, out);
    case IS_OFFSET: *out = cfa + (uintptr_t)v; return true;
    case IN_REGISTER: *out = known(c, (uint64_t)v) ? c->reg[v] : 0; return known(c, (uint64_t)v);
    case AT_EXPRESSION: return evaluate(c, (const uint8_t *)(intptr_t)v, &cfa, &at) && stack_word(c, at, out);
    case IS_EXPRESSION: return evaluate(c, (const uint8_t *)(intptr_t)v, &cfa, out);
    }
    return false;
}

/* Bits of a return address that are none: aarch64 may keep a signature there. */
static uintptr_t plain(uintptr_t pc) {
#if defined(__aarch64__)
    return pc & ((UINT64_C(1) << 48) - 1);
#else
    return pc;
#endif
}

bool gs_cursor_up(struct gs_cursor *c) {
    struct gs_object o;
    struct entry e;
    struct machine m = { .depth = 0 };
    uintptr_t pc = c->exact ? c->pc : c->pc - 1, cfa, sp = c->reg[GS_COLUMN_SP];
    c->function = 0;
    if (!gs_object_of(pc, &o) || !find_entry(o.tables, pc, &e)) return false;
    m.place = c->function = e.start;
    if (!execute(&m, e.common, UINTPTR_MAX, &e, o.tables)) return false;
    m.initial = m.now;
    m.place = e.start;
    if (!execute(&m, e.own, pc, &e, o.tables) || !frame_address(c, &m.now, &cfa)) return false;
    struct gs_cursor up = { .low = c->low, .high = c->high, .foreign = c->foreign, .exact = e.signal_frame, .function = e.start };
    for (unsigned i = 0; i < GS_COLUMNS; i++)
        if (recover(c, &m.now, i, cfa, &up.reg[i])) up.known |= 1u << i;
    if (!known(&up, e.return_column) || (cfa < sp && !e.signal_frame)) return false;
    if (m.now.how[GS_COLUMN_SP] == SAME) up.reg[GS_COLUMN_SP] = cfa;
    up.known |= 1u << GS_COLUMN_SP;
    up.pc = plain(up.reg[e.return_column]);
    if (up.pc == 0 || (up.pc == c->pc && up.reg[GS_COLUMN_SP] == sp)) return false;
    *c = up;
    return true;
}

/* ---- beginnings */

GS_UNCHECKED void gs_cursor_saved(struct gs_cursor *c, const struct gs_g *g) {
    uintptr_t sp = (uintptr_t)g->sp;
    *c = (struct gs_cursor){ .low = sp, .high = (uintptr_t)g->stack_high, .exact = true, .known = 1u << GS_COLUMN_SP };
    if (stack_word(c, sp + GS_FRAME_FP * sizeof(void *), &c->reg[GS_COLUMN_FP])) c->known |= 1u << GS_COLUMN_FP;
    if (!stack_word(c, sp + GS_FRAME_PC * sizeof(void *), &c->pc)) c->pc = 0;
    c->reg[GS_COLUMN_SP] = sp + GS_FRAME_WORDS * sizeof(void *);
}

GS_UNCHECKED void gs_cursor_caller(struct gs_cursor *c, const struct gs_caller *from, uintptr_t low, uintptr_t high) {
    *c = (struct gs_cursor){ .pc = from->pc, .low = low, .high = high };
    c->reg[GS_COLUMN_SP] = from->sp;
    c->reg[GS_COLUMN_FP] = from->fp;
    c->known = 1u << GS_COLUMN_SP | 1u << GS_COLUMN_FP;
}

void gs_cursor_context(struct gs_cursor *c, const void *context, uintptr_t low, uintptr_t high) {
    const mcontext_t *at = &((const ucontext_t *)context)->uc_mcontext;
    *c = (struct gs_cursor){ .low = low, .high = high, .exact = true, .known = (uint32_t)((UINT64_C(1) << GS_COLUMNS) - 1) };
#if defined(__x86_64__)
    static const uint8_t order[GS_COLUMN_RETURN] = { REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP,
                                                     REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };
    for (unsigned i = 0; i < GS_COLUMN_RETURN; i++) c->reg[i] = (uintptr_t)at->gregs[order[i]];
    c->pc = (uintptr_t)at->gregs[REG_RIP];
    c->known &= ~(1u << GS_COLUMN_RETURN);
#elif defined(__aarch64__)
    for (unsigned i = 0; i < GS_COLUMN_SP; i++) c->reg[i] = at->regs[i];
    c->reg[GS_COLUMN_SP] = at->sp;
    c->pc = at->pc;
#endif
}
