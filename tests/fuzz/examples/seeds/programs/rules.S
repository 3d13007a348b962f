/* Unwind information that compilers rarely write: expressions, registers in registers, remember and
   restore, signal frames, rows that do not end, functions in each other, gaps. x86-64. */

#ifdef DEBUG_FRAME
    .cfi_sections .debug_frame
#endif
    .text
    .globl _start

_start:
    .cfi_startproc
    .cfi_undefined rip
    call pushes
    call derefs
    call finds
    hlt
    .cfi_endproc
    .zero 5

    .type pushes, @function
pushes:
    .cfi_startproc
    push %rbx
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset rbx, 0
    push %rbp
    .cfi_def_cfa_offset 24
    .cfi_offset rbp, -24
    mov %rsp, %rbp
    .cfi_def_cfa_register rbp
    .cfi_remember_state
    leave
    .cfi_def_cfa rsp, 16
    .cfi_restore rbp
    pop %rbx
    .cfi_def_cfa_offset 8
    ret
    .cfi_restore_state
    .cfi_same_value r12
    .cfi_register r13, r14
    .cfi_val_offset r15, 16
    .cfi_escape 0x2e, 0x10
    nop
    ret
    .cfi_endproc
    .size pushes, .-pushes

/* CFA = *(rsp + 40) + 8: as hand-written code keeps its stack pointer. */
derefs:
    .cfi_startproc
    .cfi_escape 0x0f, 0x06, 0x77, 0x28, 0x06, 0x23, 0x08, 0x96
    nop
    .cfi_escape 0x16, 0x06, 0x03, 0x77, 0x10, 0x22
    .cfi_escape 0x10, 0x06, 0x02, 0x76, 0x10
    nop
    .cfi_def_cfa r10, 0
    ret
    .cfi_endproc

/* As a linkage table says it: rsp + 8 + ((rip & 15) >= 11) * 8. */
finds:
    .cfi_startproc
    .cfi_escape 0x0f, 0x0b, 0x77, 0x08, 0x80, 0x00, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22
    nop
    .cfi_endproc
    .fill 300, 1, 0x90

    .cfi_startproc simple
    .cfi_signal_frame
    .cfi_def_cfa rsp, 168
    .cfi_offset rip, 0
    nop
trampoline:
    mov $15, %rax
    syscall
    .cfi_endproc

/* Code without any of this, and another trampoline in it. */
bare:
    nop
    mov $0xf, %rax
    syscall
    ret

    .section .plt, "ax"
    .cfi_startproc
    .rept 4
    push $1
    jmp *bare(%rip)
    .p2align 4
    .endr
    .cfi_endproc
    .section .note.GNU-stack, "", @progbits
