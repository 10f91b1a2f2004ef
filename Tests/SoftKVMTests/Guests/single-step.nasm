; The client's single step: a debug exit after each instruction, at the next. KVM_SET_GUEST_DEBUG.
        bits    64
        org     0x1000
        hlt
;= hlt
;! step
        nop
;= debug 1 second 4ff0
second: mov     ecx, 2
;= debug 1 third 4ff0
third:  inc     ecx
;= debug 1 fourth 4ff0
fourth: jmp     far_away
        ud2
;= debug 1 far_away 4ff0
far_away:
        nop
;= debug 1 fifth 4ff0
fifth:  nop
;= debug 1 sixth 4ff0
;! run
sixth:  report  ecx
;= report 3
        hlt
;= hlt
