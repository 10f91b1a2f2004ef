; An access that crosses a page comes in two pieces, the lower first.
        bits    64
        org     0x1000
        mov     ebx, 0xd0000ffd
        mov     eax, 0x44332211
        mov     [rbx], eax
;= write d0000ffd 3 332211
;= write d0001000 1 44
        mov     rax, 0x8877665544332211
        mov     [rbx - 1], rax
;= write d0000ffc 4 44332211
;= write d0001000 4 88776655
        mov     ecx, [rbx]
;= read d0000ffd 3 ccbbaa
;= read d0001000 1 dd
        report  ecx
;= report ddccbbaa
        mov     cx, [rbx + 2]
;= read d0000fff 1 11
;= read d0001000 1 22
        report  ecx
;= report ddcc2211

; From the last page of a slot into the hole: the memory's part is memory, the rest is MMIO.
        mov     ebx, 0x9fffe
        mov     dword [rbx], 0x0a0b0c0d
;= write a0000 2 a0b
        mov     cx, [rbx]
        report  ecx
;= report ddcc0c0d
        mov     ecx, [rbx]
;= read a0000 2 7788
        report  ecx
;= report 77880c0d
        hlt
;= hlt
