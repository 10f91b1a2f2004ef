; A fault while a fault is being delivered is #DF with error code 0; one more shuts the processor down.
; Intel SDM vol. 3, 7.15, interrupt 8.
;; entry protected
        bits    32
        org     0x1000
        handlers
        attempt again
        mov     word [0x6d000 + 13 * 8 + 4], 0          ; the gate of #GP is not present: #NP on the way, then #DF
        mov     eax, 0x1003
first:  mov     ds, eax
;= fault 8 0 first
again:  mov     word [0x6d000 + 8 * 8 + 4], 0           ; nor is that of #DF
        mov     eax, 0x1003
        mov     ds, eax
;= shutdown
