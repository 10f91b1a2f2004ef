; Code that changes itself, near and far, and is executed at once. Intel SDM vol. 3, 13.6.
        bits    64
        org     0x1000
        mov     ecx, 3
again:  mov     eax, 1
patch:  out     0xe9, eax
        inc     byte [again + 1]
        dec     ecx
        jnz     again
;= report 1
;= report 2
;= report 3
; The very next instruction.
        mov     byte [next + 1], 0x99
next:   mov     eax, 0x11
        out     0xe9, eax
;= report 99
; In a page that has been executed, through another virtual address.
        mov     dword [0x72000 + 8 * 8], 0x83           ; 16 MiB is physical 0
        mov     rax, cr3
        mov     cr3, rax
        call    routine
;= report 5
        mov     byte [0x1000000 + routine + 1], 7
        call    routine
;= report 7
        hlt
;= hlt
routine:
        mov     eax, 5
        out     0xe9, eax
        ret
