; Exceptions through the interrupt vector table: no error codes, IP at the fault. Intel SDM vol. 3, 21.1.4 and 7.15.
;; entry real
        bits    16
        org     0x1000
        real_handlers
        attempt overflow
        xor     cl, cl
        mov     ax, 1
divide: div     cl
;= fault 0 divide
overflow:
        attempt bound_check
        mov     al, 0x7f
        add     al, 1
        into
after_into:
;= fault 4 after_into
bound_check:
        attempt word_check
opcode: ud2
;= fault 6 opcode
word_check:  attempt stack_check
beyond: mov     ax, [0xffff]
;= fault d beyond
stack_check: attempt soft_check
        mov     bp, 0xffff
stack:  mov     ax, [bp]
;= fault c stack
soft_check:  mov     sp, 0x6000
        int     0x21
;= report 21
        hlt
;= hlt
