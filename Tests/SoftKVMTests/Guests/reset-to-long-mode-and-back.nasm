; From the reset vector through real, protected and long mode, compatibility mode, and back to real mode.
; Intel SDM vol. 3, 10.8.5 (IA-32e mode initialisation), 10.9 (mode switching).
;; entry reset
        org     0xf0000                 ; offsets in the segment 0xf000 are those of the last 64 KiB below 4 GiB
        bits    16
start:  mov     ax, cs
        movzx   eax, ax
        out     0xe9, eax
;= report f000
        mov     eax, cr0
        out     0xe9, eax
;= report 60000010
        cli
; The tables are copied to 0x8000, for the segment's base is too high to reach them by a real mode's address.
        xor     ax, ax
        mov     es, ax
        mov     di, 0x8000
        mov     si, low - start
        mov     cx, low_end - low
        cld
        cs rep  movsb
        jmp     0:0x8000

        bits    16
low:
%define at(label) (label - low + 0x8000)
        mov     ax, cs
        movzx   eax, ax
        out     0xe9, eax
;= report 0
        xor     ax, ax
        mov     ds, ax
        mov     ss, ax
        mov     sp, 0x7000
        lgdt    [at(gdtr)]
        mov     eax, cr0
        or      al, 1
        mov     cr0, eax
        jmp     0x18:at(protected_mode)

        bits    32
protected_mode:
        mov     ax, 0x10
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     eax, cr0
        out     0xe9, eax
;= report 60000011
; Page tables at 0x10000: the first 2 MiB, to themselves.
        mov     edi, 0x10000
        xor     eax, eax
        mov     ecx, 0x3000 / 4
        rep     stosd
        mov     dword [0x10000], 0x11003
        mov     dword [0x11000], 0x12003
        mov     dword [0x12000], 0x83
        mov     eax, cr4
        or      eax, 0x20
        mov     cr4, eax
        mov     eax, 0x10000
        mov     cr3, eax
        mov     ecx, 0xc0000080
        rdmsr
        out     0xe9, eax
;= report 0
        or      eax, 0x100
        wrmsr
        mov     eax, cr0
        or      eax, 0x80000000
        mov     cr0, eax
        mov     ecx, 0xc0000080
        rdmsr
        out     0xe9, eax
;= report 500
        jmp     0x08:at(long_mode)

        bits    64
long_mode:
        mov     rax, 0x1234567800000000
        shr     rax, 32
        out     0xe9, eax
;= report 12345678
        mov     r8d, 0xabcd
        report  r8d
;= report abcd
        jmp     far dword [at(pointer)]

        bits    32
compatibility_mode:
        mov     ax, 0x10
        mov     ds, ax
        mov     eax, cs
        out     0xe9, eax
;= report 18
; The same byte is REX.W in 64-bit mode and DEC EAX here.
        mov     eax, 5
        db      0x48
        nop
        out     0xe9, eax
;= report 4
        mov     eax, cr0
        and     eax, 0x7fffffff
        mov     cr0, eax
        mov     ecx, 0xc0000080
        rdmsr
        out     0xe9, eax
;= report 100
        and     eax, ~0x100
        wrmsr
        jmp     0x20:at(sixteen)

        bits    16
sixteen:
        mov     ax, 0x28
        mov     ds, ax
        mov     ss, ax
        mov     eax, cr0
        and     al, 0xfe
        mov     cr0, eax
        jmp     0:at(real_mode)
real_mode:
        xor     ax, ax
        mov     ds, ax
        mov     ss, ax
        mov     eax, cr0
        out     0xe9, eax
;= report 60000010
        mov     ecx, 0xc0000080
        rdmsr
        out     0xe9, eax
;= report 0
        hlt
;= hlt
;# cs 0
;# efer 0

        align   8
gdt:    dq      0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff, 0x00009b000000ffff, 0x000093000000ffff
gdtr:   dw      gdtr - gdt - 1
        dd      at(gdt)
pointer:
        dd      at(compatibility_mode)
        dw      0x18
low_end:
        times   0xfff0 - ($ - start) db 0
        jmp     near start              ; a far jump would give CS the base 0xf0000
        times   0x10000 - ($ - start) db 0
