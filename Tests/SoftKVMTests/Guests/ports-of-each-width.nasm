; IN and OUT of each width, with the port as an immediate and in DX. Intel SDM vol. 2, IN and OUT.
;; entry real
        bits    16
        org     0x1000
        mov     al, 0x11
        out     0x10, al
;= out 10 1 11
        mov     ax, 0x2222
        out     0x20, ax
;= out 20 2 2222
        mov     eax, 0x33334444
        out     0x40, eax
;= out 40 4 33334444
        mov     dx, 0x3f8
        mov     al, 0x55
        out     dx, al
;= out 3f8 1 55
        mov     dx, 0xfffe
        mov     ax, 0x6677
        out     dx, ax
;= out fffe 2 6677
        mov     dx, 0xcf8
        mov     eax, 0x80000000
        out     dx, eax
;= out cf8 4 80000000

; A read replaces as many bits as it is wide; of 32, all of them and, in 64-bit mode, the upper half.
        mov     eax, 0xaaaaaaaa
        in      al, 0x71
;= in 71 1 5f
        out     0xe9, eax
;= report aaaaaa5f
        mov     eax, 0xaaaaaaaa
        in      ax, 0x72
;= in 72 2 1234
        out     0xe9, eax
;= report aaaa1234
        mov     dx, 0xcfc
        in      eax, dx
;= in cfc 4 89abcdef
        out     0xe9, eax
;= report 89abcdef
        mov     dx, 0x60
        in      al, dx
;= in 60 1 fa
        in      ax, dx
;= in 60 2 beef
        out     0xe9, eax
;= report 89abbeef
end:    hlt
;= hlt
;# rax 89abbeef
;# rdx 60
;# rip after
after:
