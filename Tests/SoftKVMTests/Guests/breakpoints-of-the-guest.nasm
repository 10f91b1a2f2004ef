; The guest's own debug registers: an execution breakpoint is a fault, a single step is a trap.
; Intel SDM vol. 3, 19.2 and 19.3.
        bits    64
        org     0x1000
        handlers
        attempt data
        mov     eax, there
        mov     dr0, rax
        mov     eax, 0x402
        mov     dr7, rax
        nop
there:  nop
;= fault 1 0 there
data:   mov     rax, dr6
        out     0xe9, eax
;= report ffff0ff1
        mov     rax, 0xffff0ff0
        mov     dr6, rax
        attempt over
        mov     eax, 0x400
        mov     dr7, rax
        pushfq
        or      dword [rsp], 0x100
        popfq
        nop
stepped:
        nop
;= fault 1 0 stepped
over:   mov     rax, dr6
        out     0xe9, eax
;= report ffff4ff0
        hlt
;= hlt
