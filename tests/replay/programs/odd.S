/* Frames that no compiler makes but that its unwind information can describe: found by a callee-saved register,
 * by another register, through memory, by a frame pointer that is no frame pointer. Each works a little, calls
 * the function in rdi, and returns. */
        .text

/* The CFA is in rbx. */
        .globl  odd_rbx
        .type   odd_rbx, @function
odd_rbx:
        .cfi_startproc
        pushq   %rbx
        .cfi_def_cfa_offset 16
        .cfi_offset %rbx, -16
        movq    %rsp, %rbx
        .cfi_def_cfa_register %rbx
        subq    $4096, %rsp
        andq    $-64, %rsp
        call    *%rdi
        movl    $300, %ecx
1:      decl    %ecx
        jnz     1b
        movq    %rbx, %rsp
        .cfi_def_cfa_register %rsp
        popq    %rbx
        .cfi_def_cfa_offset 8
        .cfi_restore %rbx
        ret
        .cfi_endproc
        .size   odd_rbx, .-odd_rbx

/* The CFA is in r14, and r14 and r15 lie in one frame. */
        .globl  odd_r14
        .type   odd_r14, @function
odd_r14:
        .cfi_startproc
        pushq   %r15
        .cfi_def_cfa_offset 16
        .cfi_offset %r15, -16
        pushq   %r14
        .cfi_def_cfa_offset 24
        .cfi_offset %r14, -24
        leaq    24(%rsp), %r14
        .cfi_def_cfa %r14, 0
        subq    $136, %rsp
        movq    %rdi, %r15
        call    *%r15
        movl    $300, %ecx
1:      decl    %ecx
        jnz     1b
        leaq    -24(%r14), %rsp
        .cfi_def_cfa %rsp, 24
        popq    %r14
        .cfi_def_cfa_offset 16
        .cfi_restore %r14
        popq    %r15
        .cfi_def_cfa_offset 8
        .cfi_restore %r15
        ret
        .cfi_endproc
        .size   odd_r14, .-odd_r14

/* The CFA is in r11, which a callee may change: only while nothing is called. */
        .globl  odd_r11
        .type   odd_r11, @function
odd_r11:
        .cfi_startproc
        movq    %rsp, %r11
        .cfi_def_cfa_register %r11
        subq    $512, %rsp
        andq    $-128, %rsp
        movl    $3000, %ecx
1:      decl    %ecx
        jnz     1b
        movq    %r11, %rsp
        .cfi_def_cfa_register %rsp
        jmp     *%rdi
        .cfi_endproc
        .size   odd_r11, .-odd_r11

/* The CFA is in memory: at rsp + 40 is the stack pointer of before, as in OpenSSL's assembly. */
        .globl  odd_memory
        .type   odd_memory, @function
odd_memory:
        .cfi_startproc
        movq    %rsp, %rax
        .cfi_def_cfa_register %rax
        pushq   %rbx
        .cfi_offset %rbx, -16
        pushq   %rbp
        .cfi_offset %rbp, -24
        subq    $200, %rsp
        andq    $-64, %rsp
        movq    %rax, 40(%rsp)
        .cfi_escape 0x0f, 0x05, 0x77, 0x28, 0x06, 0x23, 0x08
        movq    $-1, %rbp
        call    *%rdi
        movl    $300, %ecx
1:      decl    %ecx
        jnz     1b
        movq    40(%rsp), %rax
        .cfi_def_cfa %rax, 8
        movq    -16(%rax), %rbp
        .cfi_restore %rbp
        movq    -8(%rax), %rbx
        .cfi_restore %rbx
        movq    %rax, %rsp
        .cfi_def_cfa_register %rsp
        ret
        .cfi_endproc
        .size   odd_memory, .-odd_memory

/* rbp is a number like any other. */
        .globl  odd_rbp
        .type   odd_rbp, @function
odd_rbp:
        .cfi_startproc
        pushq   %rbp
        .cfi_def_cfa_offset 16
        .cfi_offset %rbp, -16
        xorl    %ebp, %ebp
        call    *%rdi
        movl    $300, %ecx
1:      incq    %rbp
        decl    %ecx
        jnz     1b
        popq    %rbp
        .cfi_def_cfa_offset 8
        .cfi_restore %rbp
        ret
        .cfi_endproc
        .size   odd_rbp, .-odd_rbp

        .section .note.GNU-stack, "", @progbits
