; Reads and writes of each width where no slot is. Documentation/virt/kvm/api.rst, section 5, KVM_EXIT_MMIO.
        bits    64
        org     0x1000
        mov     ebx, 0xd0000000
        mov     rax, 0x1122334455667788
        mov     [rbx], al
;= write d0000000 1 88
        mov     [rbx + 1], ah
;= write d0000001 1 77
        mov     [rbx + 2], ax
;= write d0000002 2 7788
        mov     [rbx + 4], eax
;= write d0000004 4 55667788
        mov     [rbx + 8], rax
;= write d0000008 8 1122334455667788
        mov     byte [rbx + 3], 0x5a
;= write d0000003 1 5a
        mov     dword [rbx + 0x10], 0x12345678
;= write d0000010 4 12345678
        mov     qword [rbx + 0x18], -2
;= write d0000018 8 fffffffffffffffe

        mov     rcx, -1
        mov     cl, [rbx]
;= read d0000000 1 12
        mov     cx, [rbx + 2]
;= read d0000002 2 3456
        report  ecx
;= report ffff3456
        mov     ecx, [rbx + 4]
;= read d0000004 4 89abcdef
        mov     rax, rcx
        shr     rax, 32
        out     0xe9, eax
;= report 0
        mov     rcx, [rbx + 8]
;= read d0000008 8 1020304050607080
        report  ecx
;= report 50607080
        shr     rcx, 32
        report  ecx
;= report 10203040
        movzx   ecx, byte [rbx]
;= read d0000000 1 fe
        report  ecx
;= report fe
        movsx   ecx, byte [rbx]
;= read d0000000 1 fe
        report  ecx
;= report fffffffe
        movsx   rcx, word [rbx]
;= read d0000000 2 8000
        shr     rcx, 32
        report  ecx
;= report ffffffff
        cmp     dword [rbx], 7
;= read d0000000 4 7
        sete    cl
        report  ecx
;= report ffffff01
        test    byte [rbx], 0x80
;= read d0000000 1 7f
        setz    cl
        report  ecx
;= report ffffff01
        hlt
;= hlt
