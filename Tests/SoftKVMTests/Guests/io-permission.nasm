; Ring 3 reaches the ports that the TSS's bitmap allows. Intel SDM vol. 1, 20.5.
        bits    64
        org     0x1000
        handlers
; The bitmap begins at 0x68 of the TSS; the limit is widened to hold 32 bytes of it. Port 0x11 is allowed, 0x10 is not.
        mov     word [0x6f000 + 0x48], 0x68 + 32
        and     byte [0x6f000 + 0x4d], 0xfd             ; not busy
        mov     word [0x6e066], 0x68
        mov     edi, 0x6e068
        mov     al, 0xff
        mov     ecx, 33
        rep     stosb
        and     byte [0x6e068 + 2], 0xfd
        mov     eax, 0x48
        ltr     ax
        attempt wide
        mov     rcx, user
        mov     edx, 2
        jmp     drop
user:   mov     al, 0x5a
        out     0x11, al
;= out 11 1 5a
denied: out     0x10, al
;= fault d 0 denied
wide:   attempt over
        mov     rcx, user2
        mov     edx, 2
        jmp     drop
user2:  out     0x11, ax                                ; the second port is not allowed
;= fault d 0 user2
over:   hlt
;= hlt
drop:   push    0x33
        push    0x58000
        push    rdx
        push    0x3b
        push    rcx
        iretq
