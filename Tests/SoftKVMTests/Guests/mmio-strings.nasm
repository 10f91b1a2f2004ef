; String instructions to, from and between places where no slot is: one element at a time.
        bits    64
        org     0x1000
        cld
        mov     edi, 0xd0000000
        mov     eax, 0x01020304
        mov     ecx, 2
        rep     stosd
;= write d0000000 4 1020304
;= write d0000004 4 1020304
        mov     eax, edi
        out     0xe9, eax
;= report d0000008
        mov     esi, 0xd0001000
        mov     edi, buffer
        mov     ecx, 2
        rep     movsw
;= read d0001000 2 1111
;= read d0001002 2 2222
        report  [buffer]
;= report 22221111
        mov     esi, buffer
        mov     edi, 0xd0002000
        mov     ecx, 2
        rep     movsb
;= write d0002000 1 11
;= write d0002001 1 11
        mov     esi, 0xd0003000
        lodsd
;= read d0003000 4 cafe
        out     0xe9, eax
;= report cafe
        mov     esi, 0xd0004000
        mov     edi, 0xd0005000
        movsd
;= read d0004000 4 abcd
;= write d0005000 4 abcd
        hlt
;= hlt
buffer: dq      0
