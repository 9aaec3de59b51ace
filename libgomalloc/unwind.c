/* See unwind.h; profile.c for who wants it.
 *
 * WHY NOT libunwind, which the command uses. In the program's own process it opens a pipe to test addresses (and goes on
 * writing to the number when a daemon has closed it), takes the loader's lock by dl_iterate_phdr, sets a key with a
 * destructor, and must be dlopened, inside a malloc, or be resident in every process. What is needed here is small:
 * return addresses of ordinary calls. So the tables of call frame information are read directly:
 *
 *   _dl_find_object   glibc 2.35: from an address to the object's table, without a lock
 *   .eh_frame_hdr     sorted; binary search finds the description of the function
 *   .eh_frame         its program is run up to the address; the result is a rule: from which register the frame is
 *                     counted, and where the callee-saved registers lie
 *
 * A rule is kept under its address, with the object's table as a witness that no other library has taken its place.
 * 10 to 15 ns a frame when it is there, about 0.3 us when it is not.
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

#include "libgomalloc/base/bits.h"

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

/* Reads others' frames, redzones and all: nothing for a sanitizer to judge. */
__attribute__((no_sanitize("address", "thread"))) static bool read_word(struct walk *w, uintptr_t at, uintptr_t *out) {
    uintptr_t page = at >> 12;
    if (at & 7) return false;
    if (page != w->known_page) {
        if (!is_readable(at)) return false;
        w->known_page = page;
    }
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

/* ---- call frame information. Registers by DWARF's numbers: 3 rbx, 6 rbp, 7 rsp, 12-15, 16 the return address. */

enum { RBX = 3, RBP = 6, RSP = 7, R12 = 12, RA = 16, REGISTERS = 17, KEPT = 6 };
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

/* The state of a frame's program while it runs. */
struct place { enum { UNCHANGED, AT_CFA, AT_RBP, LOST } kind; int64_t offset; };
struct frame { uint8_t reg, indirect; int64_t offset; struct place at[REGISTERS]; };
struct program { uint64_t code_align; int64_t data_align; uint8_t encoding; bool augmented, is_signal; };
struct bytes { const uint8_t *p, *end; };

static uint64_t take(struct bytes *b, unsigned n) {
    uint64_t v = 0;
    if ((size_t)(b->end - b->p) < n) {
        b->p = b->end;
        return 0;
    }
    memcpy(&v, b->p, n);
    b->p += n;
    return v;
}
static uint64_t take_uleb(struct bytes *b) {
    uint64_t v = 0, byte;
    unsigned shift = 0;
    do {
        byte = take(b, 1);
        v |= (byte & 127) << (shift & 63);
        shift += 7;
    } while (byte & 128);
    return v;
}
static int64_t take_sleb(struct bytes *b) {
    uint64_t v = 0, byte;
    unsigned shift = 0;
    do {
        byte = take(b, 1);
        v |= (byte & 127) << (shift & 63);
        shift += 7;
    } while (byte & 128);
    return shift < 64 && (byte & 64) ? (int64_t)(v | ~UINT64_C(0) << shift) : (int64_t)v;
}
/* A pointer in one of the encodings compilers use; *ok is cleared for any other. */
static uint64_t take_pointer(struct bytes *b, uint8_t encoding, bool *ok) {
    uint64_t here = (uint64_t)(uintptr_t)b->p, v;
    switch (encoding & 15) {
    case 0: case 4: case 12: v = take(b, 8); break;
    case 3: v = take(b, 4); break;
    case 11: v = (uint64_t)(int64_t)(int32_t)take(b, 4); break;
    default: *ok = false; return 0;
    }
    if ((encoding & 0x70) == 0x10) v += here;
    else if (encoding & 0x70) *ok = false;
    return v;
}

static bool parse_cie(const uint8_t *at, struct program *p, struct bytes *instructions) {
    uint32_t length;
    memcpy(&length, at, 4);
    struct bytes b = { at + 8, at + 4 + length };
    bool ok = length < 1 << 20;
    *p = (struct program){ 0 };
    uint8_t version = (uint8_t)take(&b, 1);
    const char *augmentation = (const char *)b.p;
    b.p += strlen(augmentation) + 1;
    p->code_align = take_uleb(&b);
    p->data_align = take_sleb(&b);
    if ((version == 1 ? take(&b, 1) : take_uleb(&b)) != RA) return false;
    if (*augmentation == 'z') {
        p->augmented = true;
        uint64_t n = take_uleb(&b);
        const uint8_t *after = b.p + n;
        for (const char *a = augmentation + 1; *a; a++) {
            if (*a == 'R') p->encoding = (uint8_t)take(&b, 1);
            else if (*a == 'L') take(&b, 1);
            else if (*a == 'P') {
                uint8_t e = (uint8_t)take(&b, 1);
                bool any = true;
                take_pointer(&b, e, &any);
                if (!any) break; /* `after` leads on, if R came before it */
            } else if (*a == 'S') p->is_signal = true;
        }
        b.p = after;
    } else if (*augmentation) return false;
    *instructions = b;
    return ok && b.p <= b.end;
}

static void save(struct frame *f, uint64_t reg, int kind, int64_t offset) {
    if (reg < REGISTERS) f->at[reg] = (struct place){ kind, offset };
}

/* "The CFA is the word at rbp + n" and "a register is at rbp + n": what gcc writes of a main whose stack is aligned. */
static bool is_from_rbp(struct bytes *b, bool *deref, int64_t *offset) {
    uint64_t n = take_uleb(b);
    struct bytes e = { b->p, b->p + n };
    if (n > (size_t)(b->end - b->p)) return false;
    b->p += n;
    if (take(&e, 1) != 0x70 + RBP) return false;
    *offset = take_sleb(&e);
    *deref = e.p < e.end && take(&e, 1) == 0x06;
    return e.p == e.end;
}

enum step { GO_ON, ARRIVED, UNKNOWN };

/* One instruction other than the three packed ones. */
static enum step extended(const struct program *p, struct bytes *b, uint8_t op, struct frame *f, const struct frame *initial, uint64_t *at) {
    uint64_t reg;
    bool deref;
    int64_t offset;
    switch (op) {
    case 0x00: return GO_ON;
    case 0x02: *at += take(b, 1) * p->code_align; return GO_ON;
    case 0x03: *at += take(b, 2) * p->code_align; return GO_ON;
    case 0x04: *at += take(b, 4) * p->code_align; return GO_ON;
    case 0x05: reg = take_uleb(b); save(f, reg, AT_CFA, (int64_t)take_uleb(b) * p->data_align); return GO_ON;
    case 0x11: reg = take_uleb(b); save(f, reg, AT_CFA, take_sleb(b) * p->data_align); return GO_ON;
    case 0x06: reg = take_uleb(b); if (reg < REGISTERS) f->at[reg] = initial->at[reg]; return GO_ON;
    case 0x07: save(f, take_uleb(b), LOST, 0); return GO_ON;
    case 0x08: save(f, take_uleb(b), UNCHANGED, 0); return GO_ON;
    case 0x09: save(f, take_uleb(b), LOST, 0); take_uleb(b); return GO_ON;
    case 0x0c: f->reg = (uint8_t)take_uleb(b); f->offset = (int64_t)take_uleb(b); f->indirect = 0; return GO_ON;
    case 0x12: f->reg = (uint8_t)take_uleb(b); f->offset = take_sleb(b) * p->data_align; f->indirect = 0; return GO_ON;
    case 0x0d: f->reg = (uint8_t)take_uleb(b); return GO_ON;
    case 0x0e: f->offset = (int64_t)take_uleb(b); return GO_ON;
    case 0x13: f->offset = take_sleb(b) * p->data_align; return GO_ON;
    case 0x0f:
        if (!is_from_rbp(b, &deref, &offset)) f->reg = REGISTERS; /* unknown until it is set anew */
        else f->reg = RBP, f->offset = offset, f->indirect = deref;
        return GO_ON;
    case 0x10:
        reg = take_uleb(b);
        if (!is_from_rbp(b, &deref, &offset) || deref) save(f, reg, LOST, 0);
        else save(f, reg, AT_RBP, offset);
        return GO_ON;
    case 0x2e: take_uleb(b); return GO_ON;
    }
    return UNKNOWN;
}

/* Runs instructions until they speak of addresses past `pc`. */
static bool run(const struct program *p, struct bytes b, uint64_t at, uint64_t pc, struct frame *f, const struct frame *initial) {
    enum { DEPTH = 4 };
    struct frame remembered[DEPTH];
    unsigned depth = 0;
    while (b.p < b.end && at <= pc) {
        uint8_t op = (uint8_t)take(&b, 1), low = op & 63;
        switch (op >> 6) {
        case 1: at += low * p->code_align; continue;
        case 2: save(f, low, AT_CFA, (int64_t)take_uleb(&b) * p->data_align); continue;
        case 3: if (low < REGISTERS) f->at[low] = initial->at[low]; continue;
        }
        if (op == 0x0a) {
            if (depth == DEPTH) return false;
            remembered[depth++] = *f;
        } else if (op == 0x0b) {
            if (depth == 0) return false;
            *f = remembered[--depth];
        } else if (extended(p, &b, op, f, initial, &at) == UNKNOWN) return false;
    }
    return true;
}

/* The description of the function that holds `pc`, by the sorted table; NULL: none. */
static const uint8_t *find_fde(const uint8_t *header, uintptr_t pc) {
    struct entry { int32_t start, fde; } const *table;
    uint32_t n;
    if (header[0] != 1 || header[1] != 0x1b || header[2] != 0x03 || header[3] != 0x3b) return NULL;
    memcpy(&n, header + 8, 4);
    table = (const void *)(header + 12);
    int64_t relative = (int64_t)(pc - (uintptr_t)header);
    uint32_t low = 0, high = n;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (table[middle].start <= relative) low = middle;
        else high = middle;
    }
    return n && table[low].start <= relative ? header + table[low].fde : NULL;
}

static bool frame_of(const uint8_t *header, uintptr_t pc, struct frame *f) {
    const uint8_t *fde = find_fde(header, pc);
    uint32_t length, back;
    struct program p;
    struct bytes first;
    bool ok = true;
    if (!fde) return false;
    memcpy(&length, fde, 4);
    memcpy(&back, fde + 4, 4);
    if (length < 8 || length > 1 << 20 || !parse_cie(fde + 4 - back, &p, &first) || p.is_signal) return false;
    struct bytes b = { fde + 8, fde + 4 + length };
    uint64_t start = take_pointer(&b, p.encoding, &ok), range = take_pointer(&b, p.encoding & 15, &ok);
    if (!ok || pc - start >= range) return false;
    if (p.augmented) {
        uint64_t n = take_uleb(&b);
        b.p += n;
    }
    *f = (struct frame){ .reg = REGISTERS };
    f->at[RA] = (struct place){ AT_CFA, -8 };
    if (!run(&p, first, 0, 0, f, f)) return false;
    struct frame initial = *f;
    return run(&p, b, start, pc, f, &initial);
}

static void make_rule(struct rule *r, const struct frame *f) {
    r->reg = f->reg;
    r->indirect = f->indirect;
    r->offset = (int32_t)f->offset;
    r->end = f->reg >= REGISTERS || f->at[RA].kind != AT_CFA || f->at[RA].offset != -8;
    r->from_rbp = 0;
    for (unsigned i = 0; i < KEPT; i++) {
        const struct place *at = &f->at[kept[i]];
        bool has_word = (at->kind == AT_CFA || at->kind == AT_RBP) && at->offset % 8 == 0 && at->offset / 8 > INT16_MIN && at->offset / 8 <= INT16_MAX;
        r->saved[i] = has_word ? (int16_t)(at->offset / 8) : SAME;
        if (at->kind == AT_RBP) r->from_rbp |= (uint8_t)(1u << i);
    }
}

/* The rule for the address of a call's return; NULL: no object, or none that can be left. */
static const struct rule *rule_for(uintptr_t pc) {
    struct dl_find_object o;
    struct frame f;
    if (_dl_find_object((void *)(pc - 1), &o) != 0 || !o.dlfo_eh_frame) return NULL;
    struct rule *r = &rules[(pc * UINT64_C(0x9e3779b97f4a7c15)) >> 53];
    GM_STATIC_ASSERT(RULES == 1 << 11, "the shift above");
    if (r->pc == pc && r->table == o.dlfo_eh_frame) return r->end ? NULL : r;
    if (!frame_of(o.dlfo_eh_frame, pc - 1, &f)) f = (struct frame){ .reg = REGISTERS };
    make_rule(r, &f);
    r->pc = pc;
    r->table = o.dlfo_eh_frame;
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
