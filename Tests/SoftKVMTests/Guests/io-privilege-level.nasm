; With IOPL 3, ring 3 reaches all ports and the interrupt flag, and is still not privileged. Intel SDM vol. 1, 20.5.1.
;; not-kernel PVM runs ring 3 without IOPL
        bits    64
        org     0x1000
        handlers
        attempt over
        push    0x33
        push    0x58000
        push    0x3002
        push    0x3b
        push    user
        iretq
user:   mov     al, 0x6b
        out     0x10, al
;= out 10 1 6b
        in      al, 0x12
;= in 12 1 33
        sti
        cli
        pushfq
        pop     rax
        out     0xe9, eax
;= report 3002
last:   hlt
;= fault d 0 last
over:   hlt
;= hlt
