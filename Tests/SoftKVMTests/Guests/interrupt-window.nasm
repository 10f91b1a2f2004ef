; The window opens when RFLAGS.IF is set and no shadow is in force; then an interrupt can be injected.
; Documentation/virt/kvm/api.rst, section 5, request_interrupt_window.
;; not-kernel this machine's /dev/kvm emulates, and looks for a window only when it enters its guest anew
        bits    64
        org     0x1000
        handlers
;! window
        report  1
;= report 1
        report  2
;= report 2
        sti
        nop
        nop
;= window
;! interrupt 20
;= report 20
        report  3
;= report 3
        cli
        report  4
;= report 4
;! window
        report  5
;= report 5
        mov     rax, 0x202
        push    rax
        popfq
        nop
;= window
;! interrupt 3f
;= report 3f
        cli
        hlt
;= hlt
