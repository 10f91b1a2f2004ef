; Exceptions and their error codes. Intel SDM vol. 3, 7.13 (error code) and 7.15 (exception reference).
;; entry protected
        bits    32
        org     0x1000
        handlers

        attempt overflow
        xor     ecx, ecx
divide: div     ecx
;= fault 0 0 divide

overflow:
        attempt bounds
        mov     al, 0x7f
        add     al, 1
        into
after_into:
;= fault 4 0 after_into

bounds: attempt selector
undefined:
        ud2
;= fault 6 0 undefined

selector:
        attempt present
        mov     eax, 0x1003             ; beyond the GDT's limit; the RPL is not in the error code
beyond: mov     ds, eax
;= fault d 1000 beyond

present:
        attempt stack_segment
        mov     eax, 0x58
absent: mov     es, eax
;= fault b 58 absent

stack_segment:
        attempt stack_null
        mov     eax, 0x58
absent_stack:
        mov     ss, eax
;= fault c 58 absent_stack

stack_null:
        attempt code_write
        xor     eax, eax
null_stack:
        mov     ss, eax
;= fault d 0 null_stack

code_write:
        attempt far_jump
into_code:
        mov     [cs:0], eax
;= fault d 0 into_code

far_jump:
        attempt idt
data_jump:
        jmp     0x10:0
;= fault d 10 data_jump

idt:    attempt null_data
        mov     word [0x6d000 + 0x50 * 8 + 4], 0x6e00
soft:   int     0x50                    ; a gate that is not present
;= fault b 282 soft

null_data:
        attempt reserved_cr0
        xor     eax, eax
        mov     es, eax
through_null:
        mov     al, [es:0]
;= fault d 0 through_null

reserved_cr0:
        attempt reserved_cr4
        mov     eax, 0x80000000         ; PG without PE
bad_cr0:
        mov     cr0, eax
;= fault d 0 bad_cr0

reserved_cr4:
        attempt msr
        mov     eax, 0x80000000
bad_cr4:
        mov     cr4, eax
;= fault d 0 bad_cr4

msr:    attempt device
        mov     ecx, 0x4000fff0
bad_msr:
        rdmsr
;= fault d 0 bad_msr

device: attempt over
        mov     eax, cr0
        or      eax, 8                  ; TS
        mov     cr0, eax
no_fpu: fninit
;= fault 7 0 no_fpu

over:   clts
        int     0x30
;= report 30
        hlt
;= hlt
