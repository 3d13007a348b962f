/* Notes: of the kind that Go's linker writes, one of somebody else, one of GNU that is empty, and one
   that is right, in two areas. */

    .macro note owner, kind, value
    .balign 4
    .long 2f - 1f, 4f - 3f, \kind
1:  .asciz "\owner"
2:  .balign 4
3:  .ascii "\value"
4:  .balign 4
    .endm

    .section .note.go.buildid, "a", @note
    note Go, 4, "go/build/id"
    note Xen, 6, "other"
    .section .note.gnu.build-id, "a", @note
    note GNU, 3, ""
    note GNU, 3, "01234567890123456789"
    .text
    .globl _start
_start:
    hlt
    .section .note.GNU-stack, "", @progbits

#ifdef SHARED
/* What dwz leaves: the file with what objects have in common, by its name and its build ID. */
	.section .gnu_debugaltlink, "", %progbits
	.asciz "shared.debug"
	.ascii "0123456789abcdefghij"
/* A package of split units has this, and no build ID. */
	.section .debug_cu_index, "", %progbits
	.long 2, 0, 0, 0
#endif
