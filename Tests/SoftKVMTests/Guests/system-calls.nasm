; SYSCALL and SYSRET, SYSENTER and SYSEXIT. Intel SDM vol. 3, 6.8.7 and 6.8.8.
;; not-kernel PVM's SYSRET loads the selectors of PVM's own
        bits    64
        org     0x1000
        handlers
        mov     ecx, 0xc0000080
        rdmsr
        or      eax, 1                                  ; SCE
        wrmsr
        mov     ecx, 0xc0000081                         ; STAR: SYSCALL 0x08, SYSRET 0x30 - 8 = 0x28
        xor     eax, eax
        mov     edx, 0x00280008
        wrmsr
        mov     ecx, 0xc0000082                         ; LSTAR
        mov     eax, entry
        xor     edx, edx
        wrmsr
        mov     ecx, 0xc0000084                         ; FMASK
        mov     eax, 0x200
        wrmsr
        mov     ecx, user
        mov     r11d, 0x3202
        o64 sysret
user:   mov     eax, cs
        out     0xe9, eax
;= report 3b
        mov     eax, ss
        out     0xe9, eax
;= report 33
        syscall
back:   jmp     returned
entry:  mov     esp, 0x60000
        mov     eax, cs
        out     0xe9, eax
;= report 8
        report  ecx
;= report back
        report  r11d
;= report 3202
        pushfq
        pop     rax
        out     0xe9, eax
;= report 3002
        o64 sysret
returned:
        nop
        mov     eax, 0x88
        out     0xe9, eax
;= report 88
        attempt over
done:   hlt
;= fault d 0 done
over:   hlt
;= hlt
