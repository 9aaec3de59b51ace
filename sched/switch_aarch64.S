/* Context switch for aarch64, AAPCS64.
 *
 * Saved are x19-x28, the frame pointer x29, the return address x30, and the low halves of v8-v15 (d8-d15), which
 * are all that a called function must keep. Twenty words; x30 is word 11. It ends in a ret: see
 * switch_x86_64.S. */
#if defined(__aarch64__)
        .text
        .p2align 6
        .globl gs_switch
        .hidden gs_switch
        .type gs_switch, %function
gs_switch:
        .cfi_startproc
        sub sp, sp, #160
        .cfi_adjust_cfa_offset 160
        stp x19, x20, [sp, #0]
        .cfi_rel_offset x19, 0
        .cfi_rel_offset x20, 8
        stp x21, x22, [sp, #16]
        .cfi_rel_offset x21, 16
        .cfi_rel_offset x22, 24
        stp x23, x24, [sp, #32]
        .cfi_rel_offset x23, 32
        .cfi_rel_offset x24, 40
        stp x25, x26, [sp, #48]
        .cfi_rel_offset x25, 48
        .cfi_rel_offset x26, 56
        stp x27, x28, [sp, #64]
        .cfi_rel_offset x27, 64
        .cfi_rel_offset x28, 72
        stp x29, x30, [sp, #80]
        .cfi_rel_offset x29, 80
        .cfi_rel_offset x30, 88
        stp d8, d9, [sp, #96]
        stp d10, d11, [sp, #112]
        stp d12, d13, [sp, #128]
        stp d14, d15, [sp, #144]
        mov x9, sp
        str x9, [x0]
        mov sp, x1
        ldp x19, x20, [sp, #0]
        ldp x21, x22, [sp, #16]
        ldp x23, x24, [sp, #32]
        ldp x25, x26, [sp, #48]
        ldp x27, x28, [sp, #64]
        ldp x29, x30, [sp, #80]
        ldp d8, d9, [sp, #96]
        ldp d10, d11, [sp, #112]
        ldp d12, d13, [sp, #128]
        ldp d14, d15, [sp, #144]
        add sp, sp, #160
        .cfi_adjust_cfa_offset -160
        ret
        .cfi_endproc
        .size gs_switch, . - gs_switch

/* The outermost frame of every goroutine: the undefined return address tells unwinders to stop. */
        .p2align 4
        .globl gs_entry
        .hidden gs_entry
        .type gs_entry, %function
gs_entry:
        .cfi_startproc
        .cfi_undefined x30
        mov x29, #0
        bl gs_main
        brk #1
        .cfi_endproc
        .size gs_entry, . - gs_entry
#endif
        .section .note.GNU-stack, "", %progbits
