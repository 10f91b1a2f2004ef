; STI and MOV SS hold interrupts back for one instruction. Intel SDM vol. 3, 7.8.1 and 7.8.3.
;; not-kernel this machine's /dev/kvm emulates, and looks for a window only when it enters its guest anew
        bits    64
        org     0x1000
        handlers
        report  1
;= report 1
;! window
        sti
        report  2
;= window
;! interrupt 21
;= report 21
;= report 2
        cli
        hlt
;= hlt
