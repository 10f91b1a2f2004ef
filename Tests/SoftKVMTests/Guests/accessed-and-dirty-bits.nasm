; What a walk leaves in the tables: accessed on the way, dirty in the last one on a write. Intel SDM vol. 3, 5.8.
        bits    64
        org     0x1000
        mov     dword [0x72000 + 8 * 8], 0x80007
        mov     dword [0x72000 + 8 * 8 + 4], 0
        mov     qword [0x80000], 0x90007
        mov     qword [0x80008], 0x91007
        mov     rax, cr3
        mov     cr3, rax
        mov     al, [0x1000000]
        report  [0x80000]
;= report 90027
        report  [0x80008]
;= report 91007
        mov     byte [0x1001000], 1
        report  [0x80008]
;= report 91067
        mov     byte [0x1000000], 1
        report  [0x80000]
;= report 90067
        report  [0x72000 + 8 * 8]
;= report 80027
        hlt
;= hlt
