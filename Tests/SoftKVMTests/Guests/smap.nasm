; SMAP: the supervisor's data accesses to user pages fault, unless RFLAGS.AC is set. Intel SDM vol. 3, 5.6.1.
        bits    64
        org     0x1000
        handlers
; The page at 16 MiB is the user's; everything that the supervisor needs is not.
        mov     dword [0x72000 + 8 * 8], 0x80007
        mov     dword [0x72000 + 8 * 8 + 4], 0
        mov     qword [0x80000], 0x90007
        and     byte [0x72000], ~4                      ; the first 2 MiB: supervisor
        mov     rax, cr3
        mov     cr3, rax
        mov     rax, cr4
        or      eax, 0x200000
        mov     cr4, rax
        attempt write
read:   mov     al, [0x1000000]
;= fault e 1 read 1000000
write:  attempt allowed
store:  mov     [0x1000008], al
;= fault e 3 store 1000008
allowed:
        attempt over
        pushfq
        or      dword [rsp], 0x40000
        popfq
        mov     al, [0x1000000]
        report  0x77
;= report 77
over:   hlt
;= hlt
