/* Leaving one stack for another. See proc.c for the overview.
 *
 * gs_switch is inline assembly, for the processor's prediction of returns. As a function it would be called on one stack and
 * left on another: with a ret, which is predicted to go back to its caller, wherever goroutines leave at different
 * places; with a jump, the return of every function further up is predicted to go to the place of the one below it. Inline there is
 * no call, and the returns that follow are those of the goroutine that left, which are right whenever both wait
 * in the same function, and never out of step. A yield among eight: 18.4 ns with the jump in
 * a function, 10.0 inline; a round trip through two channels: 64 and 54 ns.
 *
 * What must survive is what a called function must keep. All of it but the frame pointer is declared overwritten: the
 * compiler saves what it needs, in the frame of the function that switches, where its unwind information tells debuggers and
 * the collector finds it. Frame pointer and the address to continue at are put on the stack below the red zone. MXCSR and
 * the x87 control word belong to the thread: saving them costs 3.7 times the rest, and programs that change the rounding
 * mode do so for the whole thread. */
#ifndef GS_SWITCH_H
#define GS_SWITCH_H

#include "sched/gmp.h"

/* Where a new stack starts, with g in the frame pointer: calls gs_main, which never returns. In switch_*.S. */
GM_HIDDEN void gs_entry(void);
GM_HIDDEN void gs_main(struct gs_g *g);

/* Words from the saved stack pointer to where it pointed before; which of them are what. */
#if defined(__x86_64__)
enum { GS_FRAME_WORDS = 18, GS_FRAME_FP = 0, GS_FRAME_PC = 1 };
#elif defined(__aarch64__)
enum { GS_FRAME_WORDS = 2, GS_FRAME_FP = 0, GS_FRAME_PC = 1 };
#else
#error "no context switch for this machine: add it here and a switch_*.S"
#endif

/* Puts the stack pointer in *save and continues where `load` was saved; returns when somebody loads *save. */
GM_INLINE void gs_switch(void **save, void *load) {
#if defined(__x86_64__)
    __asm__ volatile("leaq -144(%%rsp), %%rsp\n\t"
                     "leaq 1f(%%rip), %%rax\n\t"
                     "movq %%rbp, (%%rsp)\n\t"
                     "movq %%rax, 8(%%rsp)\n\t"
                     "movq %%rsp, (%0)\n\t"
                     "movq %1, %%rsp\n\t"
                     "movq (%%rsp), %%rbp\n\t"
                     "movq 8(%%rsp), %%rcx\n\t"
                     "leaq 144(%%rsp), %%rsp\n\t"
                     "jmpq *%%rcx\n"
                     "1:"
                     : "+D"(save), "+S"(load)
                     :
                     : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc",
                       "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                       "xmm12", "xmm13", "xmm14", "xmm15", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)");
#elif defined(__aarch64__)
    register void **s __asm__("x0") = save;
    register void *l __asm__("x1") = load;
    __asm__ volatile("adr x9, 1f\n\t"
                     "stp x29, x9, [sp, #-16]!\n\t"
                     "mov x10, sp\n\t"
                     "str x10, [x0]\n\t"
                     "mov sp, x1\n\t"
                     "ldp x29, x9, [sp], #16\n\t"
                     "br x9\n"
                     "1:"
                     : "+r"(s), "+r"(l)
                     :
                     : "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17", "x18",
                       "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x30", "memory", "cc",
                       "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15",
                       "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31");
#endif
}

/* The saved stack pointer of g's stack, which will start at gs_entry with `top` (aligned to 16) as its upper end. */
GM_INLINE void *gs_new_frame(struct gs_g *g, char *top) {
    void **frame = (void **)(void *)top - GS_FRAME_WORDS;
    frame[GS_FRAME_FP] = g;
    frame[GS_FRAME_PC] = (void *)(uintptr_t)gs_entry;
    return frame;
}

#endif
