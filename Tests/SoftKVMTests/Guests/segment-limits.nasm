; Limits: up, down, and of the stack. Intel SDM vol. 3, 6.3 (limit checking).
;; entry protected
        bits    32
        org     0x1000
        handlers
        lgdt    [gdtr]
        mov     eax, 8
        mov     es, eax
        mov     al, [es:0xfff]
        attempt word_over
beyond: mov     al, [es:0x1000]
;= fault d 0 beyond
word_over:
        mov     eax, 8
        mov     es, eax
        attempt down
across: mov     ax, [es:0xfff]
;= fault d 0 across
; Expand-down: what is above the limit is allowed, up to 4 GiB for a big segment.
down:   mov     eax, 0x20
        mov     es, eax
        mov     al, [es:0x1000]
        report  0x66
;= report 66
        attempt write
below:  mov     al, [es:0xfff]
;= fault d 0 below
write:  attempt code
        mov     eax, 0x28
        mov     es, eax
        mov     al, [es:0]
ro:     mov     [es:0], al
;= fault d 0 ro
code:   attempt over
        mov     eax, 0x30
unreadable:
        mov     es, eax
;= fault d 30 unreadable
over:   hlt
;= hlt
        align   8
gdt:    dq      0
        dq      0x0040930000000fff      ; 0x08 data, 4 KiB
        dq      0x00cf93000000ffff      ; 0x10 data, flat
        dq      0x00cf9b000000ffff      ; 0x18 code, flat
        dq      0x0040970000000fff      ; 0x20 data, expand-down
        dq      0x0040910000000fff      ; 0x28 data, read-only
        dq      0x0040990000000fff      ; 0x30 code, not readable
gdtr:   dw      gdtr - gdt - 1
        dd      gdt
