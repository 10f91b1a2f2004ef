extension OpcodeTable {
    /// Rows of the x87 FPU. The notation is explained at `OpcodeTable`.
    static let textX87: StaticString = """
        @ x87 fpu
        9B                         | fwait       |               |
        D8 /0 mem                  | fadd        | !ST0,Md       |
        D8 /0 reg                  | fadd        | !ST0,STi      |
        DC /0 mem                  | fadd        | !ST0,Mq       |
        DA /0 mem                  | fiadd       | !ST0,Md       |
        DE /0 mem                  | fiadd       | !ST0,Mw       |
        D8 /1 mem                  | fmul        | !ST0,Md       |
        D8 /1 reg                  | fmul        | !ST0,STi      |
        DC /1 mem                  | fmul        | !ST0,Mq       |
        DA /1 mem                  | fimul       | !ST0,Md       |
        DE /1 mem                  | fimul       | !ST0,Mw       |
        D8 /2 mem                  | fcom        | :ST0,Md       |
        D8 /2 reg                  | fcom        | :ST0,STi      |
        DC /2 mem                  | fcom        | :ST0,Mq       |
        DA /2 mem                  | ficom       | :ST0,Md       |
        DE /2 mem                  | ficom       | :ST0,Mw       |
        D8 /3 mem                  | fcomp       | :ST0,Md       |
        D8 /3 reg                  | fcomp       | :ST0,STi      |
        DC /3 mem                  | fcomp       | :ST0,Mq       |
        DA /3 mem                  | ficomp      | :ST0,Md       |
        DE /3 mem                  | ficomp      | :ST0,Mw       |
        D8 /4 mem                  | fsub        | !ST0,Md       |
        D8 /4 reg                  | fsub        | !ST0,STi      |
        DC /4 mem                  | fsub        | !ST0,Mq       |
        DA /4 mem                  | fisub       | !ST0,Md       |
        DE /4 mem                  | fisub       | !ST0,Mw       |
        D8 /5 mem                  | fsubr       | !ST0,Md       |
        D8 /5 reg                  | fsubr       | !ST0,STi      |
        DC /5 mem                  | fsubr       | !ST0,Mq       |
        DA /5 mem                  | fisubr      | !ST0,Md       |
        DE /5 mem                  | fisubr      | !ST0,Mw       |
        D8 /6 mem                  | fdiv        | !ST0,Md       |
        D8 /6 reg                  | fdiv        | !ST0,STi      |
        DC /6 mem                  | fdiv        | !ST0,Mq       |
        DA /6 mem                  | fidiv       | !ST0,Md       |
        DE /6 mem                  | fidiv       | !ST0,Mw       |
        D8 /7 mem                  | fdivr       | !ST0,Md       |
        D8 /7 reg                  | fdivr       | !ST0,STi      |
        DC /7 mem                  | fdivr       | !ST0,Mq       |
        DA /7 mem                  | fidivr      | !ST0,Md       |
        DE /7 mem                  | fidivr      | !ST0,Mw       |
        DC /0 reg                  | fadd        | !STi,ST0      |
        DC /1 reg                  | fmul        | !STi,ST0      |
        DC /2 reg                  | fcom        | :ST0,STi      |
        DC /3 reg                  | fcomp       | :ST0,STi      |
        DC /4 reg                  | fsubr       | !STi,ST0      |
        DC /5 reg                  | fsub        | !STi,ST0      |
        DC /6 reg                  | fdivr       | !STi,ST0      |
        DC /7 reg                  | fdiv        | !STi,ST0      |
        D9 /0 mem                  | fld         | ST0,Md        |
        D9 /2 mem                  | fst         | Md,ST0        |
        D9 /3 mem                  | fstp        | Md,ST0        |
        D9 /4 mem                  | fldenv      | :Menv         |
        D9 /5 mem                  | fldcw       | :Mw           |
        D9 /6 mem                  | fnstenv     | Menv          |
        D9 /7 mem                  | fnstcw      | Mw            |
        D9 /0 reg                  | fld         | ST0,STi       |
        D9 /1 reg                  | fxch        | !ST0,!STi     |
        D9 :D0                     | fnop        |               |
        D9 /3 reg                  | fstp        | STi,ST0       |
        D9 :E0                     | fchs        |               |
        D9 :E1                     | fabs        |               |
        D9 :E4                     | ftst        |               |
        D9 :E5                     | fxam        |               |
        D9 :E8                     | fld1        |               |
        D9 :E9                     | fldl2t      |               |
        D9 :EA                     | fldl2e      |               |
        D9 :EB                     | fldpi       |               |
        D9 :EC                     | fldlg2      |               |
        D9 :ED                     | fldln2      |               |
        D9 :EE                     | fldz        |               |
        D9 :F0                     | f2xm1       |               |
        D9 :F1                     | fyl2x       |               |
        D9 :F2                     | fptan       |               |
        D9 :F3                     | fpatan      |               |
        D9 :F4                     | fxtract     |               |
        D9 :F5                     | fprem1      |               |
        D9 :F6                     | fdecstp     |               |
        D9 :F7                     | fincstp     |               |
        D9 :F8                     | fprem       |               |
        D9 :F9                     | fyl2xp1     |               |
        D9 :FA                     | fsqrt       |               |
        D9 :FB                     | fsincos     |               |
        D9 :FC                     | frndint     |               |
        D9 :FD                     | fscale      |               |
        D9 :FE                     | fsin        |               |
        D9 :FF                     | fcos        |               |
        DA /0 reg                  | fcmovb      | !ST0,STi      | cmov r=c
        DA /1 reg                  | fcmove      | !ST0,STi      | cmov r=z
        DA /2 reg                  | fcmovbe     | !ST0,STi      | cmov r=zc
        DA /3 reg                  | fcmovu      | !ST0,STi      | cmov r=p
        DA :E9                     | fucompp     | :ST0,ST1      |
        DB /0 mem                  | fild        | ST0,Md        |
        DB /1 mem                  | fisttp      | Md,ST0        | sse3
        DB /2 mem                  | fist        | Md,ST0        |
        DB /3 mem                  | fistp       | Md,ST0        |
        DB /5 mem                  | fld         | ST0,Mt        |
        DB /7 mem                  | fstp        | Mt,ST0        |
        DB /0 reg                  | fcmovnb     | !ST0,STi      | cmov r=c
        DB /1 reg                  | fcmovne     | !ST0,STi      | cmov r=z
        DB /2 reg                  | fcmovnbe    | !ST0,STi      | cmov r=zc
        DB /3 reg                  | fcmovnu     | !ST0,STi      | cmov r=p
        # FENI, FDISI and FSETPM of the 8087 and 287 do nothing
        DB :E0                     | fnop        |               |
        DB :E1                     | fnop        |               |
        DB :E2                     | fnclex      |               |
        DB :E3                     | fninit      |               |
        DB :E4                     | fnop        |               |
        DB /5 reg                  | fucomi      | :ST0,STi      | w=oszapc cmov
        DB /6 reg                  | fcomi       | :ST0,STi      | w=oszapc cmov
        DD /0 mem                  | fld         | ST0,Mq        |
        DD /1 mem                  | fisttp      | Mq,ST0        | sse3
        DD /2 mem                  | fst         | Mq,ST0        |
        DD /3 mem                  | fstp        | Mq,ST0        |
        DD /4 mem                  | frstor      | :Mst          |
        DD /6 mem                  | fnsave      | Mst           |
        DD /7 mem                  | fnstsw      | Mw            |
        DD /0 reg                  | ffree       | :STi          |
        DD /1 reg                  | fxch        | !ST0,!STi     |
        DD /2 reg                  | fst         | STi,ST0       |
        DD /3 reg                  | fstp        | STi,ST0       |
        DD /4 reg                  | fucom       | :ST0,STi      |
        DD /5 reg                  | fucomp      | :ST0,STi      |
        DE /0 reg                  | faddp       | !STi,ST0      |
        DE /1 reg                  | fmulp       | !STi,ST0      |
        DE /4 reg                  | fsubrp      | !STi,ST0      |
        DE /5 reg                  | fsubp       | !STi,ST0      |
        DE /6 reg                  | fdivrp      | !STi,ST0      |
        DE /7 reg                  | fdivp       | !STi,ST0      |
        DE /2 reg                  | fcomp       | :ST0,STi      |
        DE :D9                     | fcompp      | :ST0,ST1      |
        DF /0 mem                  | fild        | ST0,Mw        |
        DF /1 mem                  | fisttp      | Mw,ST0        | sse3
        DF /2 mem                  | fist        | Mw,ST0        |
        DF /3 mem                  | fistp       | Mw,ST0        |
        DF /4 mem                  | fbld        | ST0,Mt        |
        DF /5 mem                  | fild        | ST0,Mq        |
        DF /6 mem                  | fbstp       | Mt,ST0        |
        DF /7 mem                  | fistp       | Mq,ST0        |
        DF /0 reg                  | ffreep      | :STi          |
        DF /1 reg                  | fxch        | !ST0,!STi     |
        DF /2 reg                  | fstp        | STi,ST0       |
        DF /3 reg                  | fstp        | STi,ST0       |
        DF :E0                     | fnstsw      | AX            |
        DF /5 reg                  | fucomip     | :ST0,STi      | w=oszapc cmov
        DF /6 reg                  | fcomip      | :ST0,STi      | w=oszapc cmov
        """
}
