/* Where goroutines begin, on aarch64. The switch itself is in switch.h. */
#if defined(__aarch64__)
        .text
/* The outermost frame of every goroutine: the undefined return address tells unwinders to stop. gs_main is jumped to, as on
 * x86-64. */
        .p2align 4
        .globl gs_entry
        .hidden gs_entry
        .type gs_entry, %function
gs_entry:
        .cfi_startproc
        .cfi_undefined x30
        mov x0, x29
        mov x29, #0
        adr x30, 1f
        b gs_main
1:      brk #1
        .cfi_endproc
        .size gs_entry, . - gs_entry
#endif
        .section .note.GNU-stack, "", %progbits
