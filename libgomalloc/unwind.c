/* See unwind.h; profile.c for who wants it.
 *
 * WHY NOT libunwind, which the command uses. In the program's own process it opens a pipe to test addresses (and goes on
 * writing to the number when a daemon has closed it), takes the loader's lock by dl_iterate_phdr, sets a key with a
 * destructor, and must be dlopened, inside a malloc, or be resident in every process. What is needed here is small:
 * return addresses of ordinary calls. So the tables of call frame information are read directly:
 *
 *   _dl_find_object   glibc 2.35: from an address to the object's table, without a lock
 *   .eh_frame_hdr     sorted; binary search finds the description of the function
 *   .eh_frame         its program is run up to the address (base/cfi.c); of the result a rule is made: from which register
 *                     the frame is counted, and where the callee-saved registers lie
 *
 * A rule is kept under its address, with the object's table as a witness that no other library has taken its place.
 * 10 to 15 ns a frame when it is there, about 0.2 us when it is not.
 *
 * A rule may be wrong (assembly without annotations), so no word of the stack is read before its page is known to be
 * readable: rt_sigprocmask with a bad `how` answers EFAULT for a bad address and EINVAL for a good one, changes
 * nothing, and no sandbox forbids it. One such call a page and walk.
 *
 * Where there is no _dl_find_object, or on other machines, the chain of frame pointers is followed. */
#define _GNU_SOURCE 1
#include "libgomalloc/unwind.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libgomalloc/base/cfi.h"

/* The library's own text; of a program that it is linked into, all of that, and then nothing is left out. */
extern const char __ehdr_start[] GM_HIDDEN, etext[] GM_HIDDEN;
static bool is_own(uintptr_t pc) { return pc - (uintptr_t)__ehdr_start < (uintptr_t)etext - (uintptr_t)__ehdr_start; }

static bool is_the_program(void) {
    static uint8_t known; /* 1: no, 2: yes */
    struct gm_object o;
    if (!known) known = gm_unwind_object((uintptr_t)__ehdr_start, &o) && o.name[0] == 0 ? 2 : 1;
    return known == 2;
}

/* ---- the stack's words */

static bool is_readable(uintptr_t at) {
    int saved = errno;
    bool yes = syscall(SYS_rt_sigprocmask, ~0, at, NULL, 8) < 0 && errno == EINVAL;
    errno = saved;
    return yes;
}

/* The last page that was found readable; at first none (0 is a page). */
struct walk { uintptr_t known_page; };
#define NO_PAGE UINTPTR_MAX

static GM_NOINLINE bool know_page(struct walk *w, uintptr_t at) {
    if (!is_readable(at)) return false;
    w->known_page = at >> 12;
    return true;
}

/* Reads others' frames, redzones and all: nothing for a sanitizer to judge. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
__attribute__((no_sanitize("address", "thread"))) static
#else
GM_INLINE
#endif
bool read_word(struct walk *w, uintptr_t at, uintptr_t *out) {
    if (at & 7 || (at >> 12 != w->known_page && !know_page(w, at))) return false;
    *out = *(const uintptr_t *)at;
    return true;
}

/* Drops what is the library's own, unless that is all. */
static unsigned without_own(uintptr_t *pc, unsigned n) {
    unsigned own = 0;
    if (is_the_program()) return n;
    while (own < n && is_own(pc[own] - 1)) own++;
    if (own == n) own = 0;
    memmove(pc, pc + own, (n - own) * sizeof *pc);
    return n - own;
}

#if defined(__x86_64__) && defined(DLFO_STRUCT_HAS_EH_DBASE)

extern __typeof__(_dl_find_object) _dl_find_object __attribute__((weak));

bool gm_unwind_object(uintptr_t pc, struct gm_object *o) {
    struct dl_find_object found;
    if (!_dl_find_object || _dl_find_object((void *)pc, &found) != 0) return false;
    *o = (struct gm_object){ (uintptr_t)found.dlfo_map_start, (uintptr_t)found.dlfo_map_end, found.dlfo_link_map->l_name };
    return true;
}

/* ---- rules. Registers by DWARF's numbers: 3 rbx, 6 rbp, 7 rsp, 12-15, 16 the return address. */

enum { RBX = 3, RBP = GM_CFI_FP, RSP = GM_CFI_SP, R12 = 12, RA = GM_CFI_RETURN, REGISTERS = GM_CFI_COLUMNS, KEPT = 6 };
static const uint8_t kept[KEPT] = { RBX, RBP, 12, 13, 14, 15 };

/* How a frame is left. Offsets of saved registers are in words from the frame's address (CFA), or from rbp. */
struct rule {
    uintptr_t pc;
    const void *table;       /* of the object: the witness */
    int32_t offset;          /* of the CFA from `reg` */
    uint8_t reg, indirect;   /* indirect: the CFA is what stands at reg + offset */
    uint8_t from_rbp;        /* bits: of kept[] */
    uint8_t end;             /* there is no caller */
    int16_t saved[KEPT];
};
enum { SAME = INT16_MIN, RULES = 2048 };
static struct rule rules[RULES];

/* "The CFA is the word at rbp + n" and "a register is at rbp + n": what gcc writes of a main whose stack is aligned. */
static bool is_from_rbp(const uint8_t *expression, bool *deref, int64_t *offset) {
    enum { RELATIVE_TO_RBP = 0x70 + RBP, DEREF = 0x06 };
    struct gm_reader r = gm_cfi_expression(expression);
    if (gm_read_fixed(&r, 1) != RELATIVE_TO_RBP) return false;
    *offset = gm_read_sleb(&r);
    *deref = r.at < r.end && gm_read_fixed(&r, 1) == DEREF;
    return r.at == r.end;
}

/* False: not in one of the ways that a rule can say. */
static bool take_cfa(struct rule *r, const struct gm_cfi_rules *s) {
    bool deref = false;
    int64_t offset = s->cfa_offset;
    if (s->cfa_expression && !is_from_rbp(s->cfa_expression, &deref, &offset)) return false;
    r->reg = (uint8_t)(s->cfa_expression ? RBP : s->cfa_column);
    r->indirect = deref;
    r->offset = (int32_t)offset;
    return s->cfa_expression || s->cfa_column < REGISTERS;
}

static void take_saved(struct rule *r, const struct gm_cfi_rules *s) {
    for (unsigned i = 0; i < KEPT; i++) {
        int64_t at = s->value[kept[i]];
        bool deref = false, from_rbp = s->how[kept[i]] == GM_CFI_AT_EXPRESSION && is_from_rbp((const uint8_t *)(intptr_t)at, &deref, &at) && !deref;
        bool has_word = (s->how[kept[i]] == GM_CFI_AT_OFFSET || from_rbp) && at % 8 == 0 && at / 8 > INT16_MIN && at / 8 <= INT16_MAX;
        r->saved[i] = has_word ? (int16_t)(at / 8) : SAME;
        if (from_rbp) r->from_rbp |= (uint8_t)(1u << i);
    }
}

/* A frame that a signal made, or whose return address is elsewhere than calls put it, is the last. */
static void make_rule(struct rule *r, uintptr_t pc, const uint8_t *table) {
    struct gm_cfi f;
    *r = (struct rule){ .pc = pc, .table = table, .end = true };
    if (!gm_cfi_of(table, pc - 1, &f) || f.signal_frame || f.return_column != RA || !take_cfa(r, &f.rules)) return;
    if (f.rules.how[RA] != GM_CFI_AT_OFFSET || f.rules.value[RA] != -8) return;
    take_saved(r, &f.rules);
    r->end = false;
}

/* The rule for the address of a call's return; NULL: no object, or none that can be left. */
static const struct rule *rule_for(uintptr_t pc) {
    struct dl_find_object o;
    if (_dl_find_object((void *)(pc - 1), &o) != 0 || !o.dlfo_eh_frame) return NULL;
    struct rule *r = &rules[(pc * UINT64_C(0x9e3779b97f4a7c15)) >> 53];
    GM_STATIC_ASSERT(RULES == 1 << 11, "the shift above");
    if (r->pc != pc || r->table != o.dlfo_eh_frame) make_rule(r, pc, o.dlfo_eh_frame);
    return r->end ? NULL : r;
}

/* One frame up. False: there is no caller, or none that can be found. */
static bool step(struct walk *w, const struct rule *r, uintptr_t *regs) {
    enum { FRAME_MAX = 256 << 20 };
    uintptr_t cfa = regs[r->reg] + (uintptr_t)(intptr_t)r->offset, ra;
    if (r->indirect && !read_word(w, cfa, &cfa)) return false;
    if (cfa <= regs[RSP] || cfa - regs[RSP] > FRAME_MAX || !read_word(w, cfa - 8, &ra)) return false;
    uintptr_t rbp = regs[RBP];
    for (unsigned i = 0; i < KEPT; i++) {
        if (r->saved[i] == SAME) continue;
        uintptr_t from = r->from_rbp >> i & 1 ? rbp : cfa;
        if (!read_word(w, from + (uintptr_t)((intptr_t)r->saved[i] * 8), &regs[kept[i]])) return false;
    }
    regs[RSP] = cfa;
    regs[RA] = ra;
    return ra != 0;
}

GM_NOINLINE unsigned gm_unwind(uintptr_t *pc, unsigned max) {
    uintptr_t regs[REGISTERS] = { 0 };
    struct walk w = { NO_PAGE };
    unsigned n = 0;
    if (!_dl_find_object) return 0;
    __asm__ volatile("leaq 1f+1(%%rip), %%rax\n1: movq %%rax, %0\nmovq %%rsp, %1\nmovq %%rbp, %2\nmovq %%rbx, %3\nmovq %%r12, %4\nmovq %%r13, %5\nmovq %%r14, %6\nmovq %%r15, %7"
                     : "=m"(regs[RA]), "=m"(regs[RSP]), "=m"(regs[RBP]), "=m"(regs[RBX]), "=m"(regs[12]), "=m"(regs[13]), "=m"(regs[14]), "=m"(regs[15])
                     : : "rax");
    const struct rule *r;
    while (n < max) {
        pc[n++] = regs[RA];
        if ((r = rule_for(regs[RA])) == NULL || !step(&w, r, regs)) break;
    }
    return without_own(pc, n);
}

#else

bool gm_unwind_object(uintptr_t pc, struct gm_object *o) { return false; }

GM_NOINLINE unsigned gm_unwind(uintptr_t *pc, unsigned max) {
    struct walk w = { NO_PAGE };
    uintptr_t fp = (uintptr_t)__builtin_frame_address(0), up, ra;
    unsigned n = 0;
    while (n < max && read_word(&w, fp, &up) && read_word(&w, fp + 8, &ra) && ra > 4096) {
        pc[n++] = ra;
        if (up <= fp) break;
        fp = up;
    }
    return without_own(pc, n);
}

#endif
