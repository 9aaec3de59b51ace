/* Leaving one stack for another. See proc.c for the overview; the assembly says what is saved and why. */
#ifndef GS_SWITCH_H
#define GS_SWITCH_H

#include "sched/gmp.h"

/* Saves the callee-saved registers on the present stack, its pointer in *save, and continues where `load` was saved. */
GM_HIDDEN void gs_switch(void **save, void *load);
/* Where a new stack starts: calls gs_main, which never returns. */
GM_HIDDEN void gs_entry(void);
GM_HIDDEN void gs_main(void);

/* Words between the saved stack pointer and the address to continue at, for the frame of a new stack. */
#if defined(__x86_64__)
enum { GS_FRAME_WORDS = 7, GS_FRAME_PC = 6 };
#elif defined(__aarch64__)
enum { GS_FRAME_WORDS = 20, GS_FRAME_PC = 11 };
#else
#error "no context switch for this machine: add switch_*.S"
#endif

/* The saved stack pointer of a stack that will start at gs_entry with `top` (aligned to 16) as its upper end. */
GM_INLINE void *gs_new_frame(char *top) {
    void **frame = (void **)(void *)top - (GS_FRAME_WORDS + 1) / 2 * 2;
#if defined(__x86_64__)
    frame++; /* popping all of it leaves the pointer aligned */
#endif
    for (int i = 0; i < GS_FRAME_WORDS; i++) frame[i] = NULL;
    frame[GS_FRAME_PC] = (void *)(uintptr_t)gs_entry;
    return frame;
}

#endif
