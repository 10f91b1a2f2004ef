; A hardware breakpoint that the client sets: an exit before the instruction, unknown to the guest.
        bits    64
        org     0x1000
;! break there
        mov     ecx, 1
        mov     ecx, 2
there:  mov     ecx, 3
;= debug 1 there ff1
;! run
        report  ecx
;= report 3
        mov     rax, dr7
        out     0xe9, eax
;= report 400
        hlt
;= hlt
