; HLT is an exit; an interrupt or an NMI goes on behind it. Intel SDM vol. 2, HLT.
        bits    64
        org     0x1000
        handlers
        sti
        hlt
;= hlt
;! interrupt 22
;= report 22
first:  report  1
;= report 1
        hlt
;= hlt
;! interrupt 23
;= report 23
        report  2
;= report 2
        cli
        hlt
;= hlt
;! nmi
;= report 2
        report  3
;= report 3
        hlt
;= hlt
;# rip after
after:
