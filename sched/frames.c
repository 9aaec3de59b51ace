/* A frame is left by the rules of its function's entry in .eh_frame (base/cfi.c): where the caller's stack pointer was and where
 * the registers were put. glibc's _dl_find_object (2.35, safe in signal handlers) finds the object.
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

/* ---- expressions: a stack machine, of which tables use little (procedure linkage, signal frames, realigned stacks) */

enum { DEPTH = 16 };
static bool known(const struct gs_cursor *c, uint64_t column) { return column < GM_CFI_COLUMNS && (c->known >> column & 1); }

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
static bool pushes(const struct gs_cursor *c, struct gm_reader *r, unsigned op, uintptr_t *out) {
    uint64_t column = op - 0x70;
    if (op >= 0x30 && op <= 0x4f) { /* literals */
        *out = op - 0x30;
        return true;
    }
    if ((op >= 0x70 && op <= 0x8f) || op == 0x92) { /* register plus offset */
        if (op == 0x92) column = gm_read_uleb(r);
        int64_t offset = gm_read_sleb(r);
        if (!known(c, column)) return false;
        *out = c->reg[column] + (uintptr_t)offset;
        return true;
    }
    if (op < 0x08 || op > 0x11) return op == 0x03 && (*out = gm_read_fixed(r, 8), true);
    unsigned bytes = 1u << ((op - 0x08) / 2 & 3);
    if (op == 0x10) *out = gm_read_uleb(r);
    else if (op == 0x11) *out = (uintptr_t)gm_read_sleb(r);
    else *out = op & 1 ? (uintptr_t)gm_read_signed(r, bytes) : gm_read_fixed(r, bytes);
    return true;
}

/* `first`: the frame address, which is on the stack when a register's expression starts; NULL: nothing is. */
static bool evaluate(const struct gs_cursor *c, const uint8_t *expression, const uintptr_t *first, uintptr_t *result) {
    uintptr_t stack[DEPTH];
    unsigned n = 0;
    struct gm_reader r = gm_cfi_expression(expression);
    if (first) stack[n++] = *first;
    while (r.at < r.end) {
        unsigned op = *r.at++;
        if (op == 0x06) { /* deref */
            if (n < 1 || !stack_word(c, stack[n - 1], &stack[n - 1])) return false;
        } else if (op == 0x23) { /* plus_uconst */
            if (n < 1) return false;
            stack[n - 1] += gm_read_uleb(&r);
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

static bool frame_address(const struct gs_cursor *c, const struct gm_cfi_rules *s, uintptr_t *cfa) {
    if (s->cfa_expression) return evaluate(c, s->cfa_expression, NULL, cfa);
    if (!known(c, s->cfa_column)) return false;
    *cfa = c->reg[s->cfa_column] + (uintptr_t)s->cfa_offset;
    return true;
}

/* The caller's value of a column; false: not known. */
static bool recover(const struct gs_cursor *c, const struct gm_cfi_rules *s, unsigned column, uintptr_t cfa, uintptr_t *out) {
    int64_t v = s->value[column];
    uintptr_t at;
    switch ((enum gm_cfi_how)s->how[column]) {
    case GM_CFI_SAME: *out = c->reg[column]; return known(c, column);
    case GM_CFI_UNDEFINED: return false;
    case GM_CFI_AT_OFFSET: return stack_word(c, cfa + (uintptr_t)v, out);
    case GM_CFI_IS_OFFSET: *out = cfa + (uintptr_t)v; return true;
    case GM_CFI_IN_REGISTER: *out = known(c, (uint64_t)v) ? c->reg[v] : 0; return known(c, (uint64_t)v);
    case GM_CFI_AT_EXPRESSION: return evaluate(c, (const uint8_t *)(intptr_t)v, &cfa, &at) && stack_word(c, at, out);
    case GM_CFI_IS_EXPRESSION: return evaluate(c, (const uint8_t *)(intptr_t)v, &cfa, out);
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
    struct gm_cfi f;
    uintptr_t pc = c->exact ? c->pc : c->pc - 1, cfa, sp = c->reg[GM_CFI_SP];
    c->function = 0;
    if (!gs_object_of(pc, &o)) return false;
    bool found = gm_cfi_of(o.tables, pc, &f);
    c->function = f.start;
    if (!found || !frame_address(c, &f.rules, &cfa)) return false;
    struct gs_cursor up = { .low = c->low, .high = c->high, .foreign = c->foreign, .exact = f.signal_frame, .function = f.start };
    for (unsigned i = 0; i < GM_CFI_COLUMNS; i++)
        if (recover(c, &f.rules, i, cfa, &up.reg[i])) up.known |= 1u << i;
    if (!known(&up, f.return_column) || (cfa < sp && !f.signal_frame)) return false;
    if (f.rules.how[GM_CFI_SP] == GM_CFI_SAME) up.reg[GM_CFI_SP] = cfa;
    up.known |= 1u << GM_CFI_SP;
    up.pc = plain(up.reg[f.return_column]);
    if (up.pc == 0 || (up.pc == c->pc && up.reg[GM_CFI_SP] == sp)) return false;
    *c = up;
    return true;
}

/* ---- beginnings */

GS_UNCHECKED void gs_cursor_saved(struct gs_cursor *c, const struct gs_g *g) {
    uintptr_t sp = (uintptr_t)g->sp;
    *c = (struct gs_cursor){ .low = sp, .high = (uintptr_t)g->stack_high, .exact = true, .known = 1u << GM_CFI_SP };
    if (stack_word(c, sp + GS_FRAME_FP * sizeof(void *), &c->reg[GM_CFI_FP])) c->known |= 1u << GM_CFI_FP;
    if (!stack_word(c, sp + GS_FRAME_PC * sizeof(void *), &c->pc)) c->pc = 0;
    c->reg[GM_CFI_SP] = sp + GS_FRAME_WORDS * sizeof(void *);
}

GS_UNCHECKED void gs_cursor_caller(struct gs_cursor *c, const struct gs_caller *from, uintptr_t low, uintptr_t high) {
    *c = (struct gs_cursor){ .pc = from->pc, .low = low, .high = high };
    c->reg[GM_CFI_SP] = from->sp;
    c->reg[GM_CFI_FP] = from->fp;
    c->known = 1u << GM_CFI_SP | 1u << GM_CFI_FP;
}

void gs_cursor_context(struct gs_cursor *c, const void *context, uintptr_t low, uintptr_t high) {
    const mcontext_t *at = &((const ucontext_t *)context)->uc_mcontext;
    *c = (struct gs_cursor){ .low = low, .high = high, .exact = true, .known = (uint32_t)((UINT64_C(1) << GM_CFI_COLUMNS) - 1) };
#if defined(__x86_64__)
    static const uint8_t order[GM_CFI_RETURN] = { REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP,
                                                     REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };
    for (unsigned i = 0; i < GM_CFI_RETURN; i++) c->reg[i] = (uintptr_t)at->gregs[order[i]];
    c->pc = (uintptr_t)at->gregs[REG_RIP];
    c->known &= ~(1u << GM_CFI_RETURN);
#elif defined(__aarch64__)
    for (unsigned i = 0; i < GM_CFI_SP; i++) c->reg[i] = at->regs[i];
    c->reg[GM_CFI_SP] = at->sp;
    c->pc = at->pc;
#endif
}
