/* Walks the frames of a stack, its own or another's, by the unwind tables that compilers leave in every object (.eh_frame).
 * Nothing is allocated, no lock is taken, nothing outside the given stack and the tables is read: fit for signal handlers
 * and for a process in ruins. See frames.c. */
#ifndef GS_FRAMES_H
#define GS_FRAMES_H

#include <link.h>

#include "libgomalloc/base/cfi.h"
#include "sched/gmp.h"

struct gs_cursor {
    uintptr_t reg[GM_CFI_COLUMNS]; /* by DWARF's numbers */
    uint32_t known;            /* columns whose value is: a bit each */
    uintptr_t pc;
    uintptr_t function;        /* gs_cursor_up: where the function of the frame that was left begins; 0: not known */
    bool exact;                /* pc is where the frame stands (interrupted there); else where a call returns to */
    bool foreign;              /* the stack is another's with unknown ends: read through the kernel */
    uintptr_t low, high;       /* stack memory that may be read */
};

/* A parked goroutine, by what gs_switch saved. */
void gs_cursor_saved(struct gs_cursor *c, const struct gs_g *g);
/* Whoever called a function that recorded its caller (gs_caller_here). */
void gs_cursor_caller(struct gs_cursor *c, const struct gs_caller *from, uintptr_t low, uintptr_t high);
/* A thread that a signal interrupted: the handler's third argument. */
void gs_cursor_context(struct gs_cursor *c, const void *context, uintptr_t low, uintptr_t high);
/* On to the caller of the frame; false, and only `function` is set: that was the outermost, or there is no table for it. */
bool gs_cursor_up(struct gs_cursor *c);

/* The loaded object that an address lies in. */
struct gs_object {
    uintptr_t start;           /* lowest mapped address */
    uintptr_t bias;            /* added to the addresses in the file */
    const char *path;          /* "" is the program itself */
    const uint8_t *tables;     /* .eh_frame_hdr; NULL: none */
};
bool gs_object_of(uintptr_t address, struct gs_object *out);

#endif
