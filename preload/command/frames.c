/* See frames.h. libunwind unwinds a process it does not know: it asks for words and registers, and finds the tables in the
 * files by its own ptrace part, of which nothing else is used. */
#include "preload/command/frames.h"

#include <libunwind-ptrace.h>
#include <stdlib.h>
#include <string.h>

#include "preload/command/command.h"

#if defined(__x86_64__)

/* The call-backs' argument is the ptrace part's, so what they work on stands here. */
static const struct snapshot *snapshot;
static const struct user_regs_struct *registers;

static int access_mem(unw_addr_space_t as, unw_word_t at, unw_word_t *value, int write, void *arg) {
    return !write && snapshot_read(snapshot, at, value, sizeof *value) == sizeof *value ? 0 : -UNW_EINVAL;
}

static int access_reg(unw_addr_space_t as, unw_regnum_t reg, unw_word_t *value, int write, void *arg) {
    const struct user_regs_struct *r = registers;
    const unsigned long long all[] = { r->rax, r->rdx, r->rcx, r->rbx, r->rsi, r->rdi, r->rbp, r->rsp, r->r8, r->r9, r->r10, r->r11, r->r12, r->r13, r->r14, r->r15, r->rip };
    if (write || reg < 0 || (size_t)reg >= sizeof all / sizeof all[0]) return -UNW_EREADONLYREG;
    *value = all[reg]; /* the numbers are DWARF's */
    return 0;
}

static int no_fpreg(unw_addr_space_t as, unw_regnum_t reg, unw_fpreg_t *value, int write, void *arg) { return -UNW_EBADREG; }
static int no_dyn_info(unw_addr_space_t as, unw_word_t *list, void *arg) { return -UNW_ENOINFO; }
static int no_resume(unw_addr_space_t as, unw_cursor_t *c, void *arg) { return -UNW_EINVAL; }
static int no_name(unw_addr_space_t as, unw_word_t at, char *name, size_t n, unw_word_t *offset, void *arg) { return -UNW_ENOINFO; }

unsigned frames_of(const struct snapshot *s, size_t thread, struct frame *out, unsigned max) {
    static unw_accessors_t accessors = { .find_proc_info = _UPT_find_proc_info, .put_unwind_info = _UPT_put_unwind_info, .get_dyn_info_list_addr = no_dyn_info,
                                         .access_mem = access_mem, .access_reg = access_reg, .access_fpreg = no_fpreg, .resume = no_resume, .get_proc_name = no_name };
    static unw_addr_space_t space;
    unw_cursor_t cursor;
    unsigned n = 0;
    snapshot = s;
    registers = &s->thread[thread].regs;
    if (!space) space = unw_create_addr_space(&accessors, 0);
    void *upt = _UPT_create(s->child);
    if (space && upt && unw_init_remote(&cursor, space, upt) == 0) {
        do {
            unw_word_t pc, sp;
            if (unw_get_reg(&cursor, UNW_REG_IP, &pc) != 0 || unw_get_reg(&cursor, UNW_REG_SP, &sp) != 0 || pc == 0) break;
            out[n++] = (struct frame){ pc, sp };
        } while (n < max && unw_step(&cursor) > 0);
    }
    if (upt) _UPT_destroy(upt);
    return n;
}

#else

unsigned frames_of(const struct snapshot *s, size_t thread, struct frame *out, unsigned max) { return 0; }

#endif
