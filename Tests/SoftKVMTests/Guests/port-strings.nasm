; INS and OUTS of each width, with and without REP, upwards and downwards. Intel SDM vol. 2, INS and OUTS.
;; entry protected
        bits    32
        org     0x1000
        cld
        mov     edx, 0x100
        mov     esi, data
        outsb
;= out 100 1 1
        outsw
;= out 100 2 302
        outsd
;= out 100 4 7060504
        mov     eax, esi
        sub     eax, data
        out     0xe9, eax
;= report 7

        mov     esi, data
        mov     ecx, 5
        rep     outsb
;= out 100 1 1
;= out 100 1 2
;= out 100 1 3
;= out 100 1 4
;= out 100 1 5
        report  ecx
;= report 0
        std
        mov     esi, data + 8
        mov     ecx, 2
        rep     outsd
;= out 100 4 c0b0a09
;= out 100 4 8070605
        cld
        mov     ecx, 0
        rep     outsb

        mov     edi, buffer
        mov     edx, 0x1f0
        insb
;= in 1f0 1 aa
        insw
;= in 1f0 2 bbcc
        insd
;= in 1f0 4 11223344
        report  [buffer]
;= report 44bbccaa
        report  [buffer + 4]
;= report 112233
        mov     edi, buffer
        mov     ecx, 3
        rep     insw
;= in 1f0 2 1111
;= in 1f0 2 2222
;= in 1f0 2 3333
        report  [buffer]
;= report 22221111
        report  [buffer + 4]
;= report 113333
        mov     eax, edi
        sub     eax, buffer
        out     0xe9, eax
;= report 6
        hlt
;= hlt
data:   db      1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
buffer: times 16 db 0
