; What only 64-bit mode has: non-canonical addresses, instructions that are gone, system calls. Intel SDM vol. 3, 6.8.
        bits    64
        org     0x1000
        handlers

        attempt stack
        mov     rax, 0x0000800000000000
canonical:
        mov     ecx, [rax]
;= fault d 0 canonical

stack:  attempt jump
        mov     rbp, 0x0000800000000000
on_stack:
        mov     ecx, [rbp]
;= fault c 0 on_stack

jump:   attempt gone
        mov     rax, 0x8000000000000000
away:   jmp     rax
;= fault d 0 away

gone:   attempt gone_push
no_daa: db      0x27
;= fault 6 0 no_daa
gone_push:
        attempt null_stack
no_push_es:
        db      0x06
;= fault 6 0 no_push_es

null_stack:
; A null SS is allowed in ring 0.
        attempt ring3_null
        xor     eax, eax
        mov     ss, eax
        push    rax
        pop     rax
        report  0x55
;= report 55
        mov     eax, 0x10
        mov     ss, eax

ring3_null:
        attempt pae_off
        mov     rax, cr4
        and     eax, ~0x20
no_pae: mov     cr4, rax
;= fault d 0 no_pae

pae_off:
        attempt no_syscall
        mov     ecx, 0xc0000080
        rdmsr
        and     eax, ~0x100
        xor     edx, edx
no_lme: wrmsr
;= fault d 0 no_lme

no_syscall:
; EFER.SCE is off.
        attempt over
off:    syscall
;= fault 6 0 off
over:   hlt
;= hlt
