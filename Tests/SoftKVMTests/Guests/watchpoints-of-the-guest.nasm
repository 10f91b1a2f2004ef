; The guest's data breakpoints are traps: RIP is behind the instruction, which is complete. Intel SDM vol. 3, 19.2.4.
;; not-kernel the kernel's instruction emulator does not look at data breakpoints
        bits    64
        org     0x1000
        handlers
        attempt readers
        mov     eax, place
        mov     dr1, rax
        mov     eax, 0xd00408           ; G1, write, 4 bytes
        mov     dr7, rax
        mov     ecx, [place]
        mov     dword [place], 5
behind: nop
;= fault 1 0 behind
readers:
        report  [place]
;= report 5
        mov     rax, dr6
        out     0xe9, eax
;= report ffff0ff2
        mov     rax, 0xffff0ff0
        mov     dr6, rax
        attempt over
        mov     eax, 0xf00408           ; G1, read or write, 4 bytes
        mov     dr7, rax
        mov     cl, [place + 3]
after_read:
        nop
;= fault 1 0 after_read
over:   mov     rax, dr6
        out     0xe9, eax
;= report ffff0ff2
        hlt
;= hlt
        align   4
place:  dd      0
