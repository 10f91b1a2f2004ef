; An instruction that reads and writes: one exit for each, the write with the result.
        bits    64
        org     0x1000
        mov     ebx, 0xd0000000
        mov     ecx, 5
        add     [rbx], ecx
;= read d0000000 4 7
;= write d0000000 4 c
        sub     byte [rbx], 1
;= read d0000000 1 0
;= write d0000000 1 ff
        setc    al
        movzx   eax, al
        out     0xe9, eax
;= report 1
        inc     word [rbx + 2]
;= read d0000002 2 ffff
;= write d0000002 2 0
        not     qword [rbx + 8]
;= read d0000008 8 f
;= write d0000008 8 fffffffffffffff0
        shl     dword [rbx], 4
;= read d0000000 4 12345678
;= write d0000000 4 23456780
        lock    or dword [rbx], 0x80
;= read d0000000 4 1
;= write d0000000 4 81
        mov     ecx, 0x1111
        xchg    [rbx], ecx
;= read d0000000 4 2222
;= write d0000000 4 1111
        report  ecx
;= report 2222
        hlt
;= hlt
