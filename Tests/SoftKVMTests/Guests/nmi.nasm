; An NMI comes whatever IF is, and goes on where it came. Intel SDM vol. 3, 7.7.
        bits    64
        org     0x1000
        handlers
        cli
        report  1
;= report 1
;! nmi
;= report 2
        report  2
;= report 2
        hlt
;= hlt
;! nmi
;= report 2
        report  3
;= report 3
        hlt
;= hlt
