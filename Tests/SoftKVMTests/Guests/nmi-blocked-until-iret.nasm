; The next NMI waits for the handler's IRET; of several, one. Intel SDM vol. 3, 7.7.1.
;; not-kernel this machine's /dev/kvm emulates, and looks for an NMI only when it enters its guest anew
        bits    64
        org     0x1000
        handlers
        mov     word [0x6d000 + 2 * 16], handler
        report  1
;= report 1
;! nmi
;= report a
;! nmi
;! nmi
;= report b
;= report a
;= report b
        report  2
;= report 2
        hlt
;= hlt
handler:
        push    rax
        report  0xa
        report  0xb
        pop     rax
        iretq
