extension OpcodeTable {
    /// Rows of AVX, AVX2, F16C and FMA. The notation is explained at `OpcodeTable`.
    static let textVEX: StaticString = """
        @ vex avx x4
        # moves of packed and scalar floating point
        VEX.Lx.NP.0F.WIG 10 /r     | vmovups     | Vx,Wx         |
        VEX.Lx.NP.0F.WIG 11 /r     | vmovups     | Wx,Vx         |
        VEX.Lx.NP.0F.WIG 28 /r     | vmovaps     | Vx,Wx         | x1
        VEX.Lx.NP.0F.WIG 29 /r     | vmovaps     | Wx,Vx         | x1
        VEX.Lx.NP.0F.WIG 2B /r mem | vmovntps    | Mx,Vx         | x1
        VEX.Lx.NP.0F.WIG 50 /r reg | vmovmskps   | Gd,Ux         | x7
        VEX.128.NP.0F.WIG 12 /r mem | vmovlps     | Vx,Hx,Mq      | x5
        VEX.128.NP.0F.WIG 13 /r mem | vmovlps     | Mq,Vx         | x5
        VEX.128.NP.0F.WIG 16 /r mem | vmovhps     | Vx,Hx,Mq      | x5
        VEX.128.NP.0F.WIG 17 /r mem | vmovhps     | Mq,Vx         | x5
        VEX.Lx.66.0F.WIG 10 /r     | vmovupd     | Vx,Wx         |
        VEX.Lx.66.0F.WIG 11 /r     | vmovupd     | Wx,Vx         |
        VEX.Lx.66.0F.WIG 28 /r     | vmovapd     | Vx,Wx         | x1
        VEX.Lx.66.0F.WIG 29 /r     | vmovapd     | Wx,Vx         | x1
        VEX.Lx.66.0F.WIG 2B /r mem | vmovntpd    | Mx,Vx         | x1
        VEX.Lx.66.0F.WIG 50 /r reg | vmovmskpd   | Gd,Ux         | x7
        VEX.128.66.0F.WIG 12 /r mem | vmovlpd     | Vx,Hx,Mq      | x5
        VEX.128.66.0F.WIG 13 /r mem | vmovlpd     | Mq,Vx         | x5
        VEX.128.66.0F.WIG 16 /r mem | vmovhpd     | Vx,Hx,Mq      | x5
        VEX.128.66.0F.WIG 17 /r mem | vmovhpd     | Mq,Vx         | x5
        VEX.128.NP.0F.WIG 12 /r reg | vmovhlps    | Vx,Hx,Ux      | x7
        VEX.128.NP.0F.WIG 16 /r reg | vmovlhps    | Vx,Hx,Ux      | x7
        VEX.LIG.F3.0F.WIG 10 /r reg | vmovss      | Vx,Hx,Ux      | x5
        VEX.LIG.F3.0F.WIG 10 /r mem | vmovss      | Vx,Md         | x5
        VEX.LIG.F3.0F.WIG 11 /r reg | vmovss      | Ux,Hx,Vx      | x5
        VEX.LIG.F3.0F.WIG 11 /r mem | vmovss      | Md,Vx         | x5
        VEX.LIG.F2.0F.WIG 10 /r reg | vmovsd      | Vx,Hx,Ux      | x5
        VEX.LIG.F2.0F.WIG 10 /r mem | vmovsd      | Vx,Mq         | x5
        VEX.LIG.F2.0F.WIG 11 /r reg | vmovsd      | Ux,Hx,Vx      | x5
        VEX.LIG.F2.0F.WIG 11 /r mem | vmovsd      | Mq,Vx         | x5
        VEX.Lx.F3.0F.WIG 12 /r     | vmovsldup   | Vx,Wx         |
        VEX.Lx.F3.0F.WIG 16 /r     | vmovshdup   | Vx,Wx         |
        VEX.128.F2.0F.WIG 12 /r    | vmovddup    | Vx,Wq         | x5
        VEX.256.F2.0F.WIG 12 /r    | vmovddup    | Vx,Wx         | x5
        # arithmetic and logic
        VEX.Lx.NP.0F.WIG 14 /r     | vunpcklps   | Vx,Hx,Wx      |
        VEX.Lx.66.0F.WIG 14 /r     | vunpcklpd   | Vx,Hx,Wx      |
        VEX.Lx.NP.0F.WIG 15 /r     | vunpckhps   | Vx,Hx,Wx      |
        VEX.Lx.66.0F.WIG 15 /r     | vunpckhpd   | Vx,Hx,Wx      |
        VEX.Lx.NP.0F.WIG 54 /r     | vandps      | Vx,Hx,Wx      |
        VEX.Lx.66.0F.WIG 54 /r     | vandpd      | Vx,Hx,Wx      |
        VEX.Lx.NP.0F.WIG 55 /r     | vandnps     | Vx,Hx,Wx      |
        VEX.Lx.66.0F.WIG 55 /r     | vandnpd     | Vx,Hx,Wx      |
        VEX.Lx.NP.0F.WIG 56 /r     | vorps       | Vx,Hx,Wx      |
        VEX.Lx.66.0F.WIG 56 /r     | vorpd       | Vx,Hx,Wx      |
        VEX.Lx.NP.0F.WIG 57 /r     | vxorps      | Vx,Hx,Wx      |
        VEX.Lx.66.0F.WIG 57 /r     | vxorpd      | Vx,Hx,Wx      |
        VEX.Lx.NP.0F.WIG 51 /r     | vsqrtps     | Vx,Wx         | x2
        VEX.Lx.66.0F.WIG 51 /r     | vsqrtpd     | Vx,Wx         | x2
        VEX.LIG.F3.0F.WIG 51 /r    | vsqrtss     | Vx,Hx,Wss     | x3
        VEX.LIG.F2.0F.WIG 51 /r    | vsqrtsd     | Vx,Hx,Wsd     | x3
        VEX.Lx.NP.0F.WIG 58 /r     | vaddps      | Vx,Hx,Wx      | x2
        VEX.Lx.66.0F.WIG 58 /r     | vaddpd      | Vx,Hx,Wx      | x2
        VEX.LIG.F3.0F.WIG 58 /r    | vaddss      | Vx,Hx,Wss     | x3
        VEX.LIG.F2.0F.WIG 58 /r    | vaddsd      | Vx,Hx,Wsd     | x3
        VEX.Lx.NP.0F.WIG 59 /r     | vmulps      | Vx,Hx,Wx      | x2
        VEX.Lx.66.0F.WIG 59 /r     | vmulpd      | Vx,Hx,Wx      | x2
        VEX.LIG.F3.0F.WIG 59 /r    | vmulss      | Vx,Hx,Wss     | x3
        VEX.LIG.F2.0F.WIG 59 /r    | vmulsd      | Vx,Hx,Wsd     | x3
        VEX.Lx.NP.0F.WIG 5C /r     | vsubps      | Vx,Hx,Wx      | x2
        VEX.Lx.66.0F.WIG 5C /r     | vsubpd      | Vx,Hx,Wx      | x2
        VEX.LIG.F3.0F.WIG 5C /r    | vsubss      | Vx,Hx,Wss     | x3
        VEX.LIG.F2.0F.WIG 5C /r    | vsubsd      | Vx,Hx,Wsd     | x3
        VEX.Lx.NP.0F.WIG 5D /r     | vminps      | Vx,Hx,Wx      | x2
        VEX.Lx.66.0F.WIG 5D /r     | vminpd      | Vx,Hx,Wx      | x2
        VEX.LIG.F3.0F.WIG 5D /r    | vminss      | Vx,Hx,Wss     | x3
        VEX.LIG.F2.0F.WIG 5D /r    | vminsd      | Vx,Hx,Wsd     | x3
        VEX.Lx.NP.0F.WIG 5E /r     | vdivps      | Vx,Hx,Wx      | x2
        VEX.Lx.66.0F.WIG 5E /r     | vdivpd      | Vx,Hx,Wx      | x2
        VEX.LIG.F3.0F.WIG 5E /r    | vdivss      | Vx,Hx,Wss     | x3
        VEX.LIG.F2.0F.WIG 5E /r    | vdivsd      | Vx,Hx,Wsd     | x3
        VEX.Lx.NP.0F.WIG 5F /r     | vmaxps      | Vx,Hx,Wx      | x2
        VEX.Lx.66.0F.WIG 5F /r     | vmaxpd      | Vx,Hx,Wx      | x2
        VEX.LIG.F3.0F.WIG 5F /r    | vmaxss      | Vx,Hx,Wss     | x3
        VEX.LIG.F2.0F.WIG 5F /r    | vmaxsd      | Vx,Hx,Wsd     | x3
        VEX.Lx.NP.0F.WIG 52 /r     | vrsqrtps    | Vx,Wx         |
        VEX.LIG.F3.0F.WIG 52 /r    | vrsqrtss    | Vx,Hx,Wss     | x5
        VEX.Lx.NP.0F.WIG 53 /r     | vrcpps      | Vx,Wx         |
        VEX.LIG.F3.0F.WIG 53 /r    | vrcpss      | Vx,Hx,Wss     | x5
        VEX.LIG.NP.0F.WIG 2E /r    | vucomiss    | :Vx,Wss       | x3 w=oszapc
        VEX.LIG.NP.0F.WIG 2F /r    | vcomiss     | :Vx,Wss       | x3 w=oszapc
        VEX.LIG.66.0F.WIG 2E /r    | vucomisd    | :Vx,Wsd       | x3 w=oszapc
        VEX.LIG.66.0F.WIG 2F /r    | vcomisd     | :Vx,Wsd       | x3 w=oszapc
        VEX.Lx.NP.0F.WIG C2 /r     | vcmpps      | Vx,Hx,Wx,Ib   | x2
        VEX.Lx.NP.0F.WIG C6 /r     | vshufps     | Vx,Hx,Wx,Ib   |
        VEX.Lx.66.0F.WIG C2 /r     | vcmppd      | Vx,Hx,Wx,Ib   | x2
        VEX.Lx.66.0F.WIG C6 /r     | vshufpd     | Vx,Hx,Wx,Ib   |
        VEX.LIG.F3.0F.WIG C2 /r    | vcmpss      | Vx,Hx,Wss,Ib  | x3
        VEX.LIG.F2.0F.WIG C2 /r    | vcmpsd      | Vx,Hx,Wsd,Ib  | x3
        VEX.Lx.66.0F.WIG D0 /r     | vaddsubpd   | Vx,Hx,Wx      | x2
        VEX.Lx.66.0F.WIG 7C /r     | vhaddpd     | Vx,Hx,Wx      | x2
        VEX.Lx.66.0F.WIG 7D /r     | vhsubpd     | Vx,Hx,Wx      | x2
        VEX.Lx.F2.0F.WIG D0 /r     | vaddsubps   | Vx,Hx,Wx      | x2
        VEX.Lx.F2.0F.WIG 7C /r     | vhaddps     | Vx,Hx,Wx      | x2
        VEX.Lx.F2.0F.WIG 7D /r     | vhsubps     | Vx,Hx,Wx      | x2
        # conversions
        VEX.LIG.F3.0F.WIG 2A /r    | vcvtsi2ss   | Vx,Hx,Ey      | x3
        VEX.LIG.F3.0F.WIG 2C /r    | vcvttss2si  | Gy,Wss        | x3
        VEX.LIG.F3.0F.WIG 2D /r    | vcvtss2si   | Gy,Wss        | x3
        VEX.LIG.F2.0F.WIG 2A /r    | vcvtsi2sd   | Vx,Hx,Ey      | x3
        VEX.LIG.F2.0F.WIG 2C /r    | vcvttsd2si  | Gy,Wsd        | x3
        VEX.LIG.F2.0F.WIG 2D /r    | vcvtsd2si   | Gy,Wsd        | x3
        VEX.Lx.NP.0F.WIG 5A /r     | vcvtps2pd   | Vx,Wh         | x3
        VEX.Lx.66.0F.WIG 5A /r     | vcvtpd2ps   | Vdq,Wx        | x2
        VEX.LIG.F3.0F.WIG 5A /r    | vcvtss2sd   | Vx,Hx,Wss     | x3
        VEX.LIG.F2.0F.WIG 5A /r    | vcvtsd2ss   | Vx,Hx,Wsd     | x3
        VEX.Lx.NP.0F.WIG 5B /r     | vcvtdq2ps   | Vx,Wx         | x2
        VEX.Lx.66.0F.WIG 5B /r     | vcvtps2dq   | Vx,Wx         | x2
        VEX.Lx.F3.0F.WIG 5B /r     | vcvttps2dq  | Vx,Wx         | x2
        VEX.Lx.F3.0F.WIG E6 /r     | vcvtdq2pd   | Vx,Wh         | x5
        VEX.Lx.F2.0F.WIG E6 /r     | vcvtpd2dq   | Vdq,Wx        | x2
        VEX.Lx.66.0F.WIG E6 /r     | vcvttpd2dq  | Vdq,Wx        | x2
        # integer moves
        VEX.128.66.0F.WIG 6E /r    | vmovd       | Vx,Ey         | x5
        VEX.128.66.0F.WIG 7E /r    | vmovd       | Ey,Vx         | x5
        VEX.128.F3.0F.WIG 7E /r    | vmovq       | Vx,Wq         | x5
        VEX.128.66.0F.WIG D6 /r    | vmovq       | Wq,Vx         | x5
        VEX.Lx.66.0F.WIG 6F /r     | vmovdqa     | Vx,Wx         | x1
        VEX.Lx.66.0F.WIG 7F /r     | vmovdqa     | Wx,Vx         | x1
        VEX.Lx.F3.0F.WIG 6F /r     | vmovdqu     | Vx,Wx         |
        VEX.Lx.F3.0F.WIG 7F /r     | vmovdqu     | Wx,Vx         |
        VEX.Lx.66.0F.WIG E7 /r mem | vmovntdq    | Mx,Vx         | x1
        VEX.Lx.F2.0F.WIG F0 /r mem | vlddqu      | Vx,Mx         |
        VEX.128.66.0F.WIG F7 /r reg | vmaskmovdqu | :Vx,Ux        | mem
        VEX.Lx.66.0F.WIG D7 /r reg | vpmovmskb   | Gd,Ux         | avx+2 x7
        VEX.128.66.0F.WIG C4 /r    | vpinsrw     | Vx,Hx,Ed/w,Ib | x5
        VEX.128.66.0F.WIG C5 /r reg | vpextrw     | Gd,Ux,Ib      | x5
        VEX.Lx.66.0F.WIG 70 /r     | vpshufd     | Vx,Wx,Ib      | avx+2
        VEX.Lx.F3.0F.WIG 70 /r     | vpshufhw    | Vx,Wx,Ib      | avx+2
        VEX.Lx.F2.0F.WIG 70 /r     | vpshuflw    | Vx,Wx,Ib      | avx+2
        VEX.128.NP.0F.WIG 77       | vzeroupper  |               | x8
        VEX.256.NP.0F.WIG 77       | vzeroall    |               | x8
        # integer arithmetic and logic
        VEX.Lx.66.0F.WIG 60 /r     | vpunpcklbw  | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG 61 /r     | vpunpcklwd  | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG 62 /r     | vpunpckldq  | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG 63 /r     | vpacksswb   | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG 64 /r     | vpcmpgtb    | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG 65 /r     | vpcmpgtw    | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG 66 /r     | vpcmpgtd    | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG 67 /r     | vpackuswb   | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG 68 /r     | vpunpckhbw  | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG 69 /r     | vpunpckhwd  | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG 6A /r     | vpunpckhdq  | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG 6B /r     | vpackssdw   | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG 6C /r     | vpunpcklqdq | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG 6D /r     | vpunpckhqdq | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG 74 /r     | vpcmpeqb    | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG 75 /r     | vpcmpeqw    | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG 76 /r     | vpcmpeqd    | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG D1 /r     | vpsrlw      | Vx,Hx,Wdq     | avx+2
        VEX.Lx.66.0F.WIG D2 /r     | vpsrld      | Vx,Hx,Wdq     | avx+2
        VEX.Lx.66.0F.WIG D3 /r     | vpsrlq      | Vx,Hx,Wdq     | avx+2
        VEX.Lx.66.0F.WIG D4 /r     | vpaddq      | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG D5 /r     | vpmullw     | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG D8 /r     | vpsubusb    | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG D9 /r     | vpsubusw    | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG DA /r     | vpminub     | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG DB /r     | vpand       | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG DC /r     | vpaddusb    | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG DD /r     | vpaddusw    | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG DE /r     | vpmaxub     | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG DF /r     | vpandn      | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG E0 /r     | vpavgb      | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG E1 /r     | vpsraw      | Vx,Hx,Wdq     | avx+2
        VEX.Lx.66.0F.WIG E2 /r     | vpsrad      | Vx,Hx,Wdq     | avx+2
        VEX.Lx.66.0F.WIG E3 /r     | vpavgw      | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG E4 /r     | vpmulhuw    | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG E5 /r     | vpmulhw     | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG E8 /r     | vpsubsb     | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG E9 /r     | vpsubsw     | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG EA /r     | vpminsw     | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG EB /r     | vpor        | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG EC /r     | vpaddsb     | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG ED /r     | vpaddsw     | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG EE /r     | vpmaxsw     | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG EF /r     | vpxor       | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG F1 /r     | vpsllw      | Vx,Hx,Wdq     | avx+2
        VEX.Lx.66.0F.WIG F2 /r     | vpslld      | Vx,Hx,Wdq     | avx+2
        VEX.Lx.66.0F.WIG F3 /r     | vpsllq      | Vx,Hx,Wdq     | avx+2
        VEX.Lx.66.0F.WIG F4 /r     | vpmuludq    | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG F5 /r     | vpmaddwd    | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG F6 /r     | vpsadbw     | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG F8 /r     | vpsubb      | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG F9 /r     | vpsubw      | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG FA /r     | vpsubd      | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG FB /r     | vpsubq      | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG FC /r     | vpaddb      | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG FD /r     | vpaddw      | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG FE /r     | vpaddd      | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F.WIG 71 /2 reg | vpsrlw      | Hx,Ux,Ib      | avx+2 x7
        VEX.Lx.66.0F.WIG 71 /4 reg | vpsraw      | Hx,Ux,Ib      | avx+2 x7
        VEX.Lx.66.0F.WIG 71 /6 reg | vpsllw      | Hx,Ux,Ib      | avx+2 x7
        VEX.Lx.66.0F.WIG 72 /2 reg | vpsrld      | Hx,Ux,Ib      | avx+2 x7
        VEX.Lx.66.0F.WIG 72 /4 reg | vpsrad      | Hx,Ux,Ib      | avx+2 x7
        VEX.Lx.66.0F.WIG 72 /6 reg | vpslld      | Hx,Ux,Ib      | avx+2 x7
        VEX.Lx.66.0F.WIG 73 /2 reg | vpsrlq      | Hx,Ux,Ib      | avx+2 x7
        VEX.Lx.66.0F.WIG 73 /3 reg | vpsrldq     | Hx,Ux,Ib      | avx+2 x7
        VEX.Lx.66.0F.WIG 73 /6 reg | vpsllq      | Hx,Ux,Ib      | avx+2 x7
        VEX.Lx.66.0F.WIG 73 /7 reg | vpslldq     | Hx,Ux,Ib      | avx+2 x7
        # SSSE3
        VEX.Lx.66.0F38.WIG 00 /r   | vpshufb     | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F38.WIG 01 /r   | vphaddw     | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F38.WIG 02 /r   | vphaddd     | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F38.WIG 03 /r   | vphaddsw    | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F38.WIG 04 /r   | vpmaddubsw  | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F38.WIG 05 /r   | vphsubw     | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F38.WIG 06 /r   | vphsubd     | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F38.WIG 07 /r   | vphsubsw    | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F38.WIG 08 /r   | vpsignb     | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F38.WIG 09 /r   | vpsignw     | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F38.WIG 0A /r   | vpsignd     | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F38.WIG 0B /r   | vpmulhrsw   | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F38.WIG 1C /r   | vpabsb      | Vx,Wx         | avx+2
        VEX.Lx.66.0F38.WIG 1D /r   | vpabsw      | Vx,Wx         | avx+2
        VEX.Lx.66.0F38.WIG 1E /r   | vpabsd      | Vx,Wx         | avx+2
        VEX.Lx.66.0F3A.WIG 0F /r   | vpalignr    | Vx,Hx,Wx,Ib   | avx+2
        # SSE4
        VEX.Lx.66.0F3A.W0 4A /r    | vblendvps   | Vx,Hx,Wx,Lx   | avx
        VEX.Lx.66.0F3A.W0 4B /r    | vblendvpd   | Vx,Hx,Wx,Lx   | avx
        VEX.Lx.66.0F3A.W0 4C /r    | vpblendvb   | Vx,Hx,Wx,Lx   | avx+2
        VEX.Lx.66.0F38.WIG 17 /r   | vptest      | :Vx,Wx        | w=oszapc
        VEX.Lx.66.0F38.WIG 20 /r   | vpmovsxbw   | Vx,Wh         | avx+2 x5
        VEX.Lx.66.0F38.WIG 21 /r   | vpmovsxbd   | Vx,Wf         | avx+2 x5
        VEX.Lx.66.0F38.WIG 22 /r   | vpmovsxbq   | Vx,We         | avx+2 x5
        VEX.Lx.66.0F38.WIG 23 /r   | vpmovsxwd   | Vx,Wh         | avx+2 x5
        VEX.Lx.66.0F38.WIG 24 /r   | vpmovsxwq   | Vx,Wf         | avx+2 x5
        VEX.Lx.66.0F38.WIG 25 /r   | vpmovsxdq   | Vx,Wh         | avx+2 x5
        VEX.Lx.66.0F38.WIG 30 /r   | vpmovzxbw   | Vx,Wh         | avx+2 x5
        VEX.Lx.66.0F38.WIG 31 /r   | vpmovzxbd   | Vx,Wf         | avx+2 x5
        VEX.Lx.66.0F38.WIG 32 /r   | vpmovzxbq   | Vx,We         | avx+2 x5
        VEX.Lx.66.0F38.WIG 33 /r   | vpmovzxwd   | Vx,Wh         | avx+2 x5
        VEX.Lx.66.0F38.WIG 34 /r   | vpmovzxwq   | Vx,Wf         | avx+2 x5
        VEX.Lx.66.0F38.WIG 35 /r   | vpmovzxdq   | Vx,Wh         | avx+2 x5
        VEX.Lx.66.0F38.WIG 28 /r   | vpmuldq     | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F38.WIG 29 /r   | vpcmpeqq    | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F38.WIG 2B /r   | vpackusdw   | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F38.WIG 37 /r   | vpcmpgtq    | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F38.WIG 38 /r   | vpminsb     | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F38.WIG 39 /r   | vpminsd     | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F38.WIG 3A /r   | vpminuw     | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F38.WIG 3B /r   | vpminud     | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F38.WIG 3C /r   | vpmaxsb     | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F38.WIG 3D /r   | vpmaxsd     | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F38.WIG 3E /r   | vpmaxuw     | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F38.WIG 3F /r   | vpmaxud     | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F38.WIG 40 /r   | vpmulld     | Vx,Hx,Wx      | avx+2
        VEX.Lx.66.0F38.WIG 2A /r mem | vmovntdqa   | Vx,Mx         | avx+2 x1
        VEX.128.66.0F38.WIG 41 /r  | vphminposuw | Vx,Wx         |
        VEX.Lx.66.0F3A.WIG 08 /r   | vroundps    | Vx,Wx,Ib      | x2
        VEX.Lx.66.0F3A.WIG 09 /r   | vroundpd    | Vx,Wx,Ib      | x2
        VEX.LIG.66.0F3A.WIG 0A /r  | vroundss    | Vx,Hx,Wss,Ib  | x3
        VEX.LIG.66.0F3A.WIG 0B /r  | vroundsd    | Vx,Hx,Wsd,Ib  | x3
        VEX.Lx.66.0F3A.WIG 0C /r   | vblendps    | Vx,Hx,Wx,Ib   |
        VEX.Lx.66.0F3A.WIG 0D /r   | vblendpd    | Vx,Hx,Wx,Ib   |
        VEX.Lx.66.0F3A.WIG 0E /r   | vpblendw    | Vx,Hx,Wx,Ib   | avx+2
        VEX.128.66.0F3A.WIG 14 /r  | vpextrb     | Ed/b,Vx,Ib    | x5
        VEX.128.66.0F3A.WIG 15 /r  | vpextrw     | Ed/w,Vx,Ib    | x5
        VEX.128.66.0F3A.WIG 16 /r  | vpextrd     | Ey,Vx,Ib      | x5
        VEX.128.66.0F3A.WIG 17 /r  | vextractps  | Ed,Vx,Ib      | x5
        VEX.128.66.0F3A.WIG 20 /r  | vpinsrb     | Vx,Hx,Ed/b,Ib | x5
        VEX.128.66.0F3A.WIG 21 /r  | vinsertps   | Vx,Hx,Wss,Ib  | x5
        VEX.128.66.0F3A.WIG 22 /r  | vpinsrd     | Vx,Hx,Ey,Ib   | x5 v=wideInsert
        VEX.Lx.66.0F3A.WIG 40 /r   | vdpps       | Vx,Hx,Wx,Ib   | x2
        VEX.128.66.0F3A.WIG 41 /r  | vdppd       | Vx,Hx,Wx,Ib   | x2
        VEX.Lx.66.0F3A.WIG 42 /r   | vmpsadbw    | Vx,Hx,Wx,Ib   | avx+2
        VEX.128.66.0F3A.WIG 60 /r  | vpcmpestrm  | :Vx,Wx,Ib     | w=oszapc
        VEX.128.66.0F3A.WIG 61 /r  | vpcmpestri  | :Vx,Wx,Ib     | w=oszapc
        VEX.128.66.0F3A.WIG 62 /r  | vpcmpistrm  | :Vx,Wx,Ib     | w=oszapc
        VEX.128.66.0F3A.WIG 63 /r  | vpcmpistri  | :Vx,Wx,Ib     | w=oszapc
        # AES, PCLMULQDQ
        VEX.128.66.0F38.WIG DB /r  | vaesimc     | Vx,Wx         | aes
        VEX.Lx.66.0F38.WIG DC /r   | vaesenc     | Vx,Hx,Wx      | aes+vaes
        VEX.Lx.66.0F38.WIG DD /r   | vaesenclast | Vx,Hx,Wx      | aes+vaes
        VEX.Lx.66.0F38.WIG DE /r   | vaesdec     | Vx,Hx,Wx      | aes+vaes
        VEX.Lx.66.0F38.WIG DF /r   | vaesdeclast | Vx,Hx,Wx      | aes+vaes
        VEX.128.66.0F3A.WIG DF /r  | vaeskeygenassist | Vx,Wx,Ib      | aes
        VEX.Lx.66.0F3A.WIG 44 /r   | vpclmulqdq  | Vx,Hx,Wx,Ib   | pclmulqdq+vpclmulqdq
        # AVX, AVX2 and F16C without a legacy form
        VEX.128.NP.0F.WIG AE /2 mem | vldmxcsr    | :Md           | x5
        VEX.128.NP.0F.WIG AE /3 mem | vstmxcsr    | Md            | x5
        VEX.Lx.66.0F38.W0 0C /r    | vpermilps   | Vx,Hx,Wx      |
        VEX.Lx.66.0F38.W0 0D /r    | vpermilpd   | Vx,Hx,Wx      |
        VEX.Lx.66.0F3A.W0 04 /r    | vpermilps   | Vx,Wx,Ib      |
        VEX.Lx.66.0F3A.W0 05 /r    | vpermilpd   | Vx,Wx,Ib      |
        VEX.Lx.66.0F38.W0 0E /r    | vtestps     | :Vx,Wx        | w=oszapc
        VEX.Lx.66.0F38.W0 0F /r    | vtestpd     | :Vx,Wx        | w=oszapc
        VEX.Lx.66.0F38.W0 13 /r    | vcvtph2ps   | Vx,Wh         | f16c x11
        VEX.Lx.66.0F3A.W0 1D /r    | vcvtps2ph   | Wh,Vx,Ib      | f16c x11
        VEX.Lx.66.0F38.W0 18 /r mem | vbroadcastss | Vx,Md         | x6
        VEX.Lx.66.0F38.W0 18 /r reg | vbroadcastss | Vx,Ud         | avx2 x7
        VEX.256.66.0F38.W0 19 /r mem | vbroadcastsd | Vx,Mq         | x6
        VEX.256.66.0F38.W0 19 /r reg | vbroadcastsd | Vx,Uq         | avx2 x7
        VEX.256.66.0F38.W0 1A /r mem | vbroadcastf128 | Vx,Mdq        | x6
        VEX.256.66.0F38.W0 5A /r mem | vbroadcasti128 | Vx,Mdq        | avx2 x6
        VEX.Lx.66.0F38.W0 78 /r    | vpbroadcastb | Vx,Wb         | avx2 x6
        VEX.Lx.66.0F38.W0 79 /r    | vpbroadcastw | Vx,Ww         | avx2 x6
        VEX.Lx.66.0F38.W0 58 /r    | vpbroadcastd | Vx,Wd         | avx2 x6
        VEX.Lx.66.0F38.W0 59 /r    | vpbroadcastq | Vx,Wq         | avx2 x6
        VEX.256.66.0F3A.W0 06 /r   | vperm2f128  | Vx,Hx,Wx,Ib   | x6
        VEX.256.66.0F3A.W0 46 /r   | vperm2i128  | Vx,Hx,Wx,Ib   | avx2 x6
        VEX.256.66.0F3A.W0 18 /r   | vinsertf128 | Vx,Hx,Wdq,Ib  | x6
        VEX.256.66.0F3A.W0 38 /r   | vinserti128 | Vx,Hx,Wdq,Ib  | avx2 x6
        VEX.256.66.0F3A.W0 19 /r   | vextractf128 | Wdq,Vx,Ib     | x6
        VEX.256.66.0F3A.W0 39 /r   | vextracti128 | Wdq,Vx,Ib     | avx2 x6
        VEX.Lx.66.0F38.W0 2C /r mem | vmaskmovps  | Vx,Hx,Mx      | x6
        VEX.Lx.66.0F38.W0 2D /r mem | vmaskmovpd  | Vx,Hx,Mx      | x6
        VEX.Lx.66.0F38.W0 2E /r mem | vmaskmovps  | !Mx,Hx,Vx     | x6
        VEX.Lx.66.0F38.W0 2F /r mem | vmaskmovpd  | !Mx,Hx,Vx     | x6
        VEX.Lx.66.0F38.W0 8C /r mem | vpmaskmovd  | Vx,Hx,Mx      | avx2 x6
        VEX.Lx.66.0F38.W0 8E /r mem | vpmaskmovd  | !Mx,Hx,Vx     | avx2 x6
        VEX.Lx.66.0F38.W0 45 /r    | vpsrlvd     | Vx,Hx,Wx      | avx2
        VEX.Lx.66.0F38.W0 47 /r    | vpsllvd     | Vx,Hx,Wx      | avx2
        VEX.Lx.66.0F38.W1 8C /r mem | vpmaskmovq  | Vx,Hx,Mx      | avx2 x6
        VEX.Lx.66.0F38.W1 8E /r mem | vpmaskmovq  | !Mx,Hx,Vx     | avx2 x6
        VEX.Lx.66.0F38.W1 45 /r    | vpsrlvq     | Vx,Hx,Wx      | avx2
        VEX.Lx.66.0F38.W1 47 /r    | vpsllvq     | Vx,Hx,Wx      | avx2
        VEX.Lx.66.0F38.W0 46 /r    | vpsravd     | Vx,Hx,Wx      | avx2
        VEX.256.66.0F38.W0 16 /r   | vpermps     | Vx,Hx,Wx      | avx2
        VEX.256.66.0F38.W0 36 /r   | vpermd      | Vx,Hx,Wx      | avx2
        VEX.256.66.0F3A.W1 00 /r   | vpermq      | Vx,Wx,Ib      | avx2
        VEX.256.66.0F3A.W1 01 /r   | vpermpd     | Vx,Wx,Ib      | avx2
        VEX.Lx.66.0F3A.W0 02 /r    | vpblendd    | Vx,Hx,Wx,Ib   | avx2
        # gathers: the memory operand is one element, at the addresses of a vector of indices
        VEX.Lx.66.0F38.W0 92 /r mem | vgatherdps  | !Vx,Md,!Hx    | avx2 vsib x12
        VEX.Lx.66.0F38.W1 92 /r mem | vgatherdpd  | !Vx,Mq,!Hx    | avx2 vsib x12
        VEX.Lx.66.0F38.W0 93 /r mem | vgatherqps  | !Vdq,Md,!Hdq  | avx2 vsib x12
        VEX.Lx.66.0F38.W1 93 /r mem | vgatherqpd  | !Vx,Mq,!Hx    | avx2 vsib x12
        VEX.Lx.66.0F38.W0 90 /r mem | vpgatherdd  | !Vx,Md,!Hx    | avx2 vsib x12
        VEX.Lx.66.0F38.W1 90 /r mem | vpgatherdq  | !Vx,Mq,!Hx    | avx2 vsib x12
        VEX.Lx.66.0F38.W0 91 /r mem | vpgatherqd  | !Vdq,Md,!Hdq  | avx2 vsib x12
        VEX.Lx.66.0F38.W1 91 /r mem | vpgatherqq  | !Vx,Mq,!Hx    | avx2 vsib x12
        # FMA
        VEX.Lx.66.0F38.W0 96 /r    | vfmaddsub132ps | !Vx,Hx,Wx     | fma x2
        VEX.Lx.66.0F38.W1 96 /r    | vfmaddsub132pd | !Vx,Hx,Wx     | fma x2
        VEX.Lx.66.0F38.W0 97 /r    | vfmsubadd132ps | !Vx,Hx,Wx     | fma x2
        VEX.Lx.66.0F38.W1 97 /r    | vfmsubadd132pd | !Vx,Hx,Wx     | fma x2
        VEX.Lx.66.0F38.W0 98 /r    | vfmadd132ps | !Vx,Hx,Wx     | fma x2
        VEX.Lx.66.0F38.W1 98 /r    | vfmadd132pd | !Vx,Hx,Wx     | fma x2
        VEX.LIG.66.0F38.W0 99 /r   | vfmadd132ss | !Vx,Hx,Wss    | fma x3
        VEX.LIG.66.0F38.W1 99 /r   | vfmadd132sd | !Vx,Hx,Wsd    | fma x3
        VEX.Lx.66.0F38.W0 9A /r    | vfmsub132ps | !Vx,Hx,Wx     | fma x2
        VEX.Lx.66.0F38.W1 9A /r    | vfmsub132pd | !Vx,Hx,Wx     | fma x2
        VEX.LIG.66.0F38.W0 9B /r   | vfmsub132ss | !Vx,Hx,Wss    | fma x3
        VEX.LIG.66.0F38.W1 9B /r   | vfmsub132sd | !Vx,Hx,Wsd    | fma x3
        VEX.Lx.66.0F38.W0 9C /r    | vfnmadd132ps | !Vx,Hx,Wx     | fma x2
        VEX.Lx.66.0F38.W1 9C /r    | vfnmadd132pd | !Vx,Hx,Wx     | fma x2
        VEX.LIG.66.0F38.W0 9D /r   | vfnmadd132ss | !Vx,Hx,Wss    | fma x3
        VEX.LIG.66.0F38.W1 9D /r   | vfnmadd132sd | !Vx,Hx,Wsd    | fma x3
        VEX.Lx.66.0F38.W0 9E /r    | vfnmsub132ps | !Vx,Hx,Wx     | fma x2
        VEX.Lx.66.0F38.W1 9E /r    | vfnmsub132pd | !Vx,Hx,Wx     | fma x2
        VEX.LIG.66.0F38.W0 9F /r   | vfnmsub132ss | !Vx,Hx,Wss    | fma x3
        VEX.LIG.66.0F38.W1 9F /r   | vfnmsub132sd | !Vx,Hx,Wsd    | fma x3
        VEX.Lx.66.0F38.W0 A6 /r    | vfmaddsub213ps | !Vx,Hx,Wx     | fma x2
        VEX.Lx.66.0F38.W1 A6 /r    | vfmaddsub213pd | !Vx,Hx,Wx     | fma x2
        VEX.Lx.66.0F38.W0 A7 /r    | vfmsubadd213ps | !Vx,Hx,Wx     | fma x2
        VEX.Lx.66.0F38.W1 A7 /r    | vfmsubadd213pd | !Vx,Hx,Wx     | fma x2
        VEX.Lx.66.0F38.W0 A8 /r    | vfmadd213ps | !Vx,Hx,Wx     | fma x2
        VEX.Lx.66.0F38.W1 A8 /r    | vfmadd213pd | !Vx,Hx,Wx     | fma x2
        VEX.LIG.66.0F38.W0 A9 /r   | vfmadd213ss | !Vx,Hx,Wss    | fma x3
        VEX.LIG.66.0F38.W1 A9 /r   | vfmadd213sd | !Vx,Hx,Wsd    | fma x3
        VEX.Lx.66.0F38.W0 AA /r    | vfmsub213ps | !Vx,Hx,Wx     | fma x2
        VEX.Lx.66.0F38.W1 AA /r    | vfmsub213pd | !Vx,Hx,Wx     | fma x2
        VEX.LIG.66.0F38.W0 AB /r   | vfmsub213ss | !Vx,Hx,Wss    | fma x3
        VEX.LIG.66.0F38.W1 AB /r   | vfmsub213sd | !Vx,Hx,Wsd    | fma x3
        VEX.Lx.66.0F38.W0 AC /r    | vfnmadd213ps | !Vx,Hx,Wx     | fma x2
        VEX.Lx.66.0F38.W1 AC /r    | vfnmadd213pd | !Vx,Hx,Wx     | fma x2
        VEX.LIG.66.0F38.W0 AD /r   | vfnmadd213ss | !Vx,Hx,Wss    | fma x3
        VEX.LIG.66.0F38.W1 AD /r   | vfnmadd213sd | !Vx,Hx,Wsd    | fma x3
        VEX.Lx.66.0F38.W0 AE /r    | vfnmsub213ps | !Vx,Hx,Wx     | fma x2
        VEX.Lx.66.0F38.W1 AE /r    | vfnmsub213pd | !Vx,Hx,Wx     | fma x2
        VEX.LIG.66.0F38.W0 AF /r   | vfnmsub213ss | !Vx,Hx,Wss    | fma x3
        VEX.LIG.66.0F38.W1 AF /r   | vfnmsub213sd | !Vx,Hx,Wsd    | fma x3
        VEX.Lx.66.0F38.W0 B6 /r    | vfmaddsub231ps | !Vx,Hx,Wx     | fma x2
        VEX.Lx.66.0F38.W1 B6 /r    | vfmaddsub231pd | !Vx,Hx,Wx     | fma x2
        VEX.Lx.66.0F38.W0 B7 /r    | vfmsubadd231ps | !Vx,Hx,Wx     | fma x2
        VEX.Lx.66.0F38.W1 B7 /r    | vfmsubadd231pd | !Vx,Hx,Wx     | fma x2
        VEX.Lx.66.0F38.W0 B8 /r    | vfmadd231ps | !Vx,Hx,Wx     | fma x2
        VEX.Lx.66.0F38.W1 B8 /r    | vfmadd231pd | !Vx,Hx,Wx     | fma x2
        VEX.LIG.66.0F38.W0 B9 /r   | vfmadd231ss | !Vx,Hx,Wss    | fma x3
        VEX.LIG.66.0F38.W1 B9 /r   | vfmadd231sd | !Vx,Hx,Wsd    | fma x3
        VEX.Lx.66.0F38.W0 BA /r    | vfmsub231ps | !Vx,Hx,Wx     | fma x2
        VEX.Lx.66.0F38.W1 BA /r    | vfmsub231pd | !Vx,Hx,Wx     | fma x2
        VEX.LIG.66.0F38.W0 BB /r   | vfmsub231ss | !Vx,Hx,Wss    | fma x3
        VEX.LIG.66.0F38.W1 BB /r   | vfmsub231sd | !Vx,Hx,Wsd    | fma x3
        VEX.Lx.66.0F38.W0 BC /r    | vfnmadd231ps | !Vx,Hx,Wx     | fma x2
        VEX.Lx.66.0F38.W1 BC /r    | vfnmadd231pd | !Vx,Hx,Wx     | fma x2
        VEX.LIG.66.0F38.W0 BD /r   | vfnmadd231ss | !Vx,Hx,Wss    | fma x3
        VEX.LIG.66.0F38.W1 BD /r   | vfnmadd231sd | !Vx,Hx,Wsd    | fma x3
        VEX.Lx.66.0F38.W0 BE /r    | vfnmsub231ps | !Vx,Hx,Wx     | fma x2
        VEX.Lx.66.0F38.W1 BE /r    | vfnmsub231pd | !Vx,Hx,Wx     | fma x2
        VEX.LIG.66.0F38.W0 BF /r   | vfnmsub231ss | !Vx,Hx,Wss    | fma x3
        VEX.LIG.66.0F38.W1 BF /r   | vfnmsub231sd | !Vx,Hx,Wsd    | fma x3
        """
}
