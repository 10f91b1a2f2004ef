; The error code of #PF for each cause, and CR2. Intel SDM vol. 3, 5.7 (page-fault exceptions).
        bits    64
        org     0x1000
        handlers
; 4 KiB pages for the 2 MiB at 16 MiB: a page table at 0x80000, all backed by the page at 0x90000.
        mov     dword [0x72000 + 8 * 8], 0x80007
        mov     dword [0x72000 + 8 * 8 + 4], 0
        mov     qword [0x80000], 0                      ; 0x1000000 not present
        mov     qword [0x80008], 0x90005                ; 0x1001000 read-only, user
        mov     qword [0x80010], 0x90003                ; 0x1002000 writable, supervisor
        mov     rax, 0x8000000000090007
        mov     [0x80018], rax                          ; 0x1003000 writable, user, no execution
        mov     rax, 0x0008000000090007
        mov     [0x80020], rax                          ; 0x1004000 a reserved bit is set
        mov     qword [0x80028], 0x90007                ; 0x1005000 writable, user
        mov     byte [0x90000], 0xc3                    ; ret
        mov     rax, cr3
        mov     cr3, rax

        attempt write
read0:  mov     al, [0x1000010]
;= fault e 0 read0 1000010
write:  attempt fetch
write0: mov     [0x1000020], al
;= fault e 2 write0 1000020
fetch:  attempt protect
        mov     eax, 0x1000030
        call    rax
;= fault e 10 1000030 1000030
protect:
        mov     rax, cr0
        or      eax, 0x10000                            ; WP
        mov     cr0, rax
        attempt unprotect
write1: mov     [0x1001040], al
;= fault e 3 write1 1001040
unprotect:
        mov     rax, cr0
        and     eax, ~0x10000
        mov     cr0, rax
        attempt execute
        mov     byte [0x1001041], 0xc3
        report  0x100
;= report 100
execute:
        attempt reserved
        mov     eax, 0x1003000
        call    rax
;= fault e 11 1003000 1003000
reserved:
        attempt smep
bits0:  mov     al, [0x1004050]
;= fault e 9 bits0 1004050

; Our own pages must be the supervisor's for SMEP to let them run.
smep:   and     byte [0x72000], ~4
        mov     rax, cr3
        mov     cr3, rax
        mov     rax, cr4
        or      eax, 0x100000
        mov     cr4, rax
        attempt ring3
        mov     eax, 0x1005000
        call    rax
;= fault e 11 1005000 1005000

; The same from ring 3. Its code and stack are in user pages anyway.
ring3:  mov     rax, cr4
        and     eax, ~0x100000
        mov     cr4, rax
        or      byte [0x72000], 4
        mov     rax, cr3
        mov     cr3, rax
        attempt ring3_write
        mov     rcx, user_read
        jmp     drop
user_read:
        mov     al, [0x1002060]
;= fault e 5 user_read 1002060
ring3_write:
        attempt ring3_readonly
        mov     rcx, user_write
        jmp     drop
user_write:
        mov     [0x1002070], al
;= fault e 7 user_write 1002070
ring3_readonly:
        attempt ring3_absent
        mov     rcx, user_readonly
        jmp     drop
user_readonly:
        mov     [0x1001080], al
;= fault e 7 user_readonly 1001080
ring3_absent:
        attempt ring3_absent_write
        mov     rcx, user_absent
        jmp     drop
user_absent:
        mov     al, [0x1000090]
;= fault e 4 user_absent 1000090
ring3_absent_write:
        attempt ring3_fetch
        mov     rcx, user_absent_write
        jmp     drop
user_absent_write:
        mov     [0x10000a0], al
;= fault e 6 user_absent_write 10000a0
ring3_fetch:
        attempt ring3_absent_fetch
        mov     rcx, user_fetch
        jmp     drop
user_fetch:
        mov     eax, 0x1003000
        call    rax
;= fault e 15 1003000 1003000
ring3_absent_fetch:
        attempt ring3_privileged
        mov     rcx, user_absent_fetch
        jmp     drop
user_absent_fetch:
        mov     eax, 0x10000b0
        call    rax
;= fault e 14 10000b0 10000b0
ring3_privileged:
        attempt straddle
        mov     rcx, user_hlt
        jmp     drop
user_hlt:
        hlt
;= fault d 0 user_hlt

; CR2 is the first byte that faults: here the second page's first.
straddle:
        attempt over
        mov     qword [0x80030], 0x90007                ; 0x1006000, and nothing after it
crossing:
        mov     eax, [0x1006ffe]
;= fault e 0 crossing 1007000
over:   hlt
;= hlt

; To ring 3, at RCX, with the stack in a user page.
drop:   push    0x33
        push    0x58000
        push    2
        push    0x3b
        push    rcx
        iretq
