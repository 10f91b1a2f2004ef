; The way by which a kernel resets: an interrupt table of no length.
        bits    64
        org     0x1000
        lidt    [none]
        ud2
;= shutdown
none:   dw      0
        dq      0
