/* Where goroutines begin, on x86-64. The switch itself is in switch.h. */
#if defined(__x86_64__)
        .text
/* The outermost frame of every goroutine: the undefined return address tells unwinders to stop. The stack pointer is
 * aligned to 16 here, as before any call. */
        .p2align 4
        .globl gs_entry
        .hidden gs_entry
        .type gs_entry, @function
gs_entry:
        .cfi_startproc
        .cfi_undefined %rip
        xorl %ebp, %ebp
        call gs_main
        ud2
        .cfi_endproc
        .size gs_entry, . - gs_entry
#endif
        .section .note.GNU-stack, "", %progbits
