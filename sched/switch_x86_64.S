/* Where goroutines begin, on x86-64. The switch itself is in switch.h. */
#if defined(__x86_64__)
        .text
/* The outermost frame of every goroutine: the undefined return address tells unwinders to stop. The stack pointer is
 * aligned to 16 here, as before any call. gs_main is entered as if by one, but by a jump: it never returns, and a call
 * that is never returned from would put the processor's prediction of all later returns out of step (switch.h). */
        .p2align 4
        .globl gs_entry
        .hidden gs_entry
        .type gs_entry, @function
gs_entry:
        .cfi_startproc
        .cfi_undefined %rip
        movq %rbp, %rdi
        xorl %ebp, %ebp
        leaq 1f(%rip), %rax
        pushq %rax
        jmp gs_main
1:      ud2
        .cfi_endproc
        .size gs_entry, . - gs_entry
#endif
        .section .note.GNU-stack, "", %progbits
