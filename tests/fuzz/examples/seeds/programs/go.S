// Two functions with Go's function table (the file `table`), and the module that describes both.
        .text
        .globl  _start
_start: .skip   48, 0x90

        .section .gopclntab, "a"
        .balign 8
table:  .incbin "table"

        .section .noptrdata, "aw"
        .balign 8
        // Where the table is, its names, its functions, the text, read-only data, data of functions.
module: .quad   table, table + 72
        .skip   128 - 16
        .quad   table + 105
        .skip   176 - 136
        .quad   _start
        .skip   312 - 184
        .quad   table, table
