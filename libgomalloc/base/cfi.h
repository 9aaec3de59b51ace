/* Call frame information: how the frame of a function is left, by the tables that compilers leave in every object
 * (.eh_frame). Of the tables alone: no lock, no memory, no look at a stack. What the rules are applied to, and what is kept of
 * them, is the callers' (unwind.c, sched/frames.c). See cfi.c. */
#ifndef GM_BASE_CFI_H
#define GM_BASE_CFI_H

#include "libgomalloc/base/dwarf.h"

/* Columns of DWARF that are followed, and what is what among them. */
#if defined(__x86_64__)
enum { GM_CFI_COLUMNS = 17, GM_CFI_FP = 6, GM_CFI_SP = 7, GM_CFI_RETURN = 16 };
#else /* aarch64 */
enum { GM_CFI_COLUMNS = 32, GM_CFI_FP = 29, GM_CFI_SP = 31, GM_CFI_RETURN = 30 };
#endif

/* Where the caller's value of a column is: `value` is an offset from the frame address (CFA), another column, or an expression. */
enum gm_cfi_how { GM_CFI_SAME, GM_CFI_UNDEFINED, GM_CFI_AT_OFFSET, GM_CFI_IS_OFFSET, GM_CFI_IN_REGISTER, GM_CFI_AT_EXPRESSION, GM_CFI_IS_EXPRESSION };

struct gm_cfi_rules {
    uint8_t how[GM_CFI_COLUMNS];
    int64_t value[GM_CFI_COLUMNS];
    uint32_t cfa_column;           /* the frame address is this column's value ... */
    int64_t cfa_offset;            /* ... and this */
    const uint8_t *cfa_expression; /* or what this says; NULL: it is those two */
};

struct gm_cfi {
    struct gm_cfi_rules rules;
    uintptr_t start;               /* of the function; 0: not known */
    unsigned return_column;
    bool signal_frame;
};

/* The rules for an address by its object's .eh_frame_hdr (may be NULL). False: no table, none that is understood, or nothing
 * in it speaks of the address. */
bool gm_cfi_of(const uint8_t *header, uintptr_t pc, struct gm_cfi *out);

/* The operations of an expression, which the rules give by the address of its length. */
GM_INLINE struct gm_reader gm_cfi_expression(const uint8_t *at) {
    struct gm_reader length = { at, at + 10 };
    uint64_t n = gm_read_uleb(&length);
    return (struct gm_reader){ length.at, length.at + n };
}

#endif
