; BOUND: #BR outside the limits, at the instruction; both limits are inside. Intel SDM vol. 2, BOUND.
;; entry protected
        bits    32
        org     0x1000
        handlers
        mov     eax, -3
        bound   eax, [limits]
        mov     eax, 10
        bound   eax, [limits]
        report  1
;= report 1
        attempt above
        mov     eax, -4
below:  bound   eax, [limits]
;= fault 5 0 below
above:  attempt over
        mov     eax, 11
beyond: bound   eax, [limits]
;= fault 5 0 beyond
over:   hlt
;= hlt
limits: dd      -3, 10
