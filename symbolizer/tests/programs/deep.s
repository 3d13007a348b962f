# Debug information as no compiler makes it: one function with millions of inlined calls, each
# inside the one before. DEPTH is given on the command line; with SPIN, that many rounds of a loop
# (x86-64) are in it.
        .text
        .globl  deep
        .type   deep, @function
deep:
.Lbegin:
        .file 1 "deep.c"
        .loc 1 1
        nop
        nop
        .ifdef  SPIN
        movl    $SPIN, %ecx
1:      decl    %ecx
        jnz     1b
        .endif
        ret
.Lend:
        .size   deep, .-deep

        .section .debug_abbrev,"",@progbits
.Labbrev:
        .uleb128 1              # compile unit
        .uleb128 0x11
        .byte 1
        .uleb128 0x11, 0x01     # low_pc, addr
        .uleb128 0x12, 0x07     # high_pc, data8
        .uleb128 0x10, 0x17     # stmt_list, sec_offset
        .uleb128 0, 0
        .uleb128 2              # subprogram
        .uleb128 0x2e
        .byte 1
        .uleb128 0x03, 0x08     # name, string
        .uleb128 0x11, 0x01
        .uleb128 0x12, 0x07
        .uleb128 0, 0
        .uleb128 3              # inlined subroutine without any attribute
        .uleb128 0x1d
        .byte 1
        .uleb128 0, 0
        .byte 0

        .section .debug_info,"",@progbits
        .long .Linfo_end - .Linfo_begin
.Linfo_begin:
        .short 4
        .long .Labbrev
        .byte 8
        .uleb128 1
        .quad .Lbegin
        .quad .Lend - .Lbegin
        .long .Lline
        .uleb128 2
        .asciz "deep"
        .quad .Lbegin
        .quad .Lend - .Lbegin
        .fill DEPTH, 1, 3
        .fill DEPTH, 1, 0
        .byte 0, 0
.Linfo_end:

        .section .debug_line,"",@progbits
.Lline:
