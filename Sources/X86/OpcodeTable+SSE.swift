extension OpcodeTable {
    /// Rows of MMX and SSE…SSE4.2, AES, PCLMULQDQ and SHA in legacy encoding. The notation is explained at `OpcodeTable`.
    static let textSSE: StaticString = """
        @ sse sse x4
        # moves of packed and scalar floating point
        NP 0F 10 /r                | movups      | Vx,Wx         | sse unal
        NP 0F 11 /r                | movups      | Wx,Vx         | sse unal
        NP 0F 28 /r                | movaps      | Vx,Wx         | sse x1
        NP 0F 29 /r                | movaps      | Wx,Vx         | sse x1
        NP 0F 2B /r mem            | movntps     | Mx,Vx         | sse x1
        NP 0F 50 /r reg            | movmskps    | Gd,Ux         | sse x7
        NP 0F 12 /r mem            | movlps      | !Vx,Mq        | sse x5
        NP 0F 13 /r mem            | movlps      | Mq,Vx         | sse x5
        NP 0F 16 /r mem            | movhps      | !Vx,Mq        | sse x5
        NP 0F 17 /r mem            | movhps      | Mq,Vx         | sse x5
        66 0F 10 /r                | movupd      | Vx,Wx         | sse2 unal
        66 0F 11 /r                | movupd      | Wx,Vx         | sse2 unal
        66 0F 28 /r                | movapd      | Vx,Wx         | sse2 x1
        66 0F 29 /r                | movapd      | Wx,Vx         | sse2 x1
        66 0F 2B /r mem            | movntpd     | Mx,Vx         | sse2 x1
        66 0F 50 /r reg            | movmskpd    | Gd,Ux         | sse2 x7
        66 0F 12 /r mem            | movlpd      | !Vx,Mq        | sse2 x5
        66 0F 13 /r mem            | movlpd      | Mq,Vx         | sse2 x5
        66 0F 16 /r mem            | movhpd      | !Vx,Mq        | sse2 x5
        66 0F 17 /r mem            | movhpd      | Mq,Vx         | sse2 x5
        NP 0F 12 /r reg            | movhlps     | !Vx,Ux        | x7
        NP 0F 16 /r reg            | movlhps     | !Vx,Ux        | x7
        F3 0F 10 /r reg            | movss       | !Vx,Ux        | sse x5
        F3 0F 10 /r mem            | movss       | Vx,Md         | sse x5
        F3 0F 11 /r reg            | movss       | !Ux,Vx        | sse x5
        F3 0F 11 /r mem            | movss       | Md,Vx         | sse x5
        F2 0F 10 /r reg            | movsd       | !Vx,Ux        | sse2 x5
        F2 0F 10 /r mem            | movsd       | Vx,Mq         | sse2 x5
        F2 0F 11 /r reg            | movsd       | !Ux,Vx        | sse2 x5
        F2 0F 11 /r mem            | movsd       | Mq,Vx         | sse2 x5
        F3 0F 12 /r                | movsldup    | Vx,Wx         | sse3
        F3 0F 16 /r                | movshdup    | Vx,Wx         | sse3
        F2 0F 12 /r                | movddup     | Vx,Wq         | sse3 x5
        # arithmetic and logic
        NP 0F 14 /r                | unpcklps    | !Vx,Wx        | sse
        66 0F 14 /r                | unpcklpd    | !Vx,Wx        | sse2
        NP 0F 15 /r                | unpckhps    | !Vx,Wx        | sse
        66 0F 15 /r                | unpckhpd    | !Vx,Wx        | sse2
        NP 0F 54 /r                | andps       | !Vx,Wx        | sse
        66 0F 54 /r                | andpd       | !Vx,Wx        | sse2
        NP 0F 55 /r                | andnps      | !Vx,Wx        | sse
        66 0F 55 /r                | andnpd      | !Vx,Wx        | sse2
        NP 0F 56 /r                | orps        | !Vx,Wx        | sse
        66 0F 56 /r                | orpd        | !Vx,Wx        | sse2
        NP 0F 57 /r                | xorps       | !Vx,Wx        | sse
        66 0F 57 /r                | xorpd       | !Vx,Wx        | sse2
        NP 0F 51 /r                | sqrtps      | Vx,Wx         | sse x2
        66 0F 51 /r                | sqrtpd      | Vx,Wx         | sse2 x2
        F3 0F 51 /r                | sqrtss      | !Vx,Wss       | sse x3
        F2 0F 51 /r                | sqrtsd      | !Vx,Wsd       | sse2 x3
        NP 0F 58 /r                | addps       | !Vx,Wx        | sse x2
        66 0F 58 /r                | addpd       | !Vx,Wx        | sse2 x2
        F3 0F 58 /r                | addss       | !Vx,Wss       | sse x3
        F2 0F 58 /r                | addsd       | !Vx,Wsd       | sse2 x3
        NP 0F 59 /r                | mulps       | !Vx,Wx        | sse x2
        66 0F 59 /r                | mulpd       | !Vx,Wx        | sse2 x2
        F3 0F 59 /r                | mulss       | !Vx,Wss       | sse x3
        F2 0F 59 /r                | mulsd       | !Vx,Wsd       | sse2 x3
        NP 0F 5C /r                | subps       | !Vx,Wx        | sse x2
        66 0F 5C /r                | subpd       | !Vx,Wx        | sse2 x2
        F3 0F 5C /r                | subss       | !Vx,Wss       | sse x3
        F2 0F 5C /r                | subsd       | !Vx,Wsd       | sse2 x3
        NP 0F 5D /r                | minps       | !Vx,Wx        | sse x2
        66 0F 5D /r                | minpd       | !Vx,Wx        | sse2 x2
        F3 0F 5D /r                | minss       | !Vx,Wss       | sse x3
        F2 0F 5D /r                | minsd       | !Vx,Wsd       | sse2 x3
        NP 0F 5E /r                | divps       | !Vx,Wx        | sse x2
        66 0F 5E /r                | divpd       | !Vx,Wx        | sse2 x2
        F3 0F 5E /r                | divss       | !Vx,Wss       | sse x3
        F2 0F 5E /r                | divsd       | !Vx,Wsd       | sse2 x3
        NP 0F 5F /r                | maxps       | !Vx,Wx        | sse x2
        66 0F 5F /r                | maxpd       | !Vx,Wx        | sse2 x2
        F3 0F 5F /r                | maxss       | !Vx,Wss       | sse x3
        F2 0F 5F /r                | maxsd       | !Vx,Wsd       | sse2 x3
        NP 0F 52 /r                | rsqrtps     | Vx,Wx         | sse
        F3 0F 52 /r                | rsqrtss     | !Vx,Wss       | sse x5
        NP 0F 53 /r                | rcpps       | Vx,Wx         | sse
        F3 0F 53 /r                | rcpss       | !Vx,Wss       | sse x5
        NP 0F 2E /r                | ucomiss     | :Vx,Wss       | sse x3 w=oszapc
        NP 0F 2F /r                | comiss      | :Vx,Wss       | sse x3 w=oszapc
        66 0F 2E /r                | ucomisd     | :Vx,Wsd       | sse2 x3 w=oszapc
        66 0F 2F /r                | comisd      | :Vx,Wsd       | sse2 x3 w=oszapc
        NP 0F C2 /r                | cmpps       | !Vx,Wx,Ib     | sse x2
        NP 0F C6 /r                | shufps      | !Vx,Wx,Ib     | sse
        66 0F C2 /r                | cmppd       | !Vx,Wx,Ib     | sse2 x2
        66 0F C6 /r                | shufpd      | !Vx,Wx,Ib     | sse2
        F3 0F C2 /r                | cmpss       | !Vx,Wss,Ib    | sse x3
        F2 0F C2 /r                | cmpsd       | !Vx,Wsd,Ib    | sse2 x3
        66 0F D0 /r                | addsubpd    | !Vx,Wx        | sse3 x2
        66 0F 7C /r                | haddpd      | !Vx,Wx        | sse3 x2
        66 0F 7D /r                | hsubpd      | !Vx,Wx        | sse3 x2
        F2 0F D0 /r                | addsubps    | !Vx,Wx        | sse3 x2
        F2 0F 7C /r                | haddps      | !Vx,Wx        | sse3 x2
        F2 0F 7D /r                | hsubps      | !Vx,Wx        | sse3 x2
        # conversions
        NP 0F 2A /r                | cvtpi2ps    | !Vx,Qq        | sse x22
        66 0F 2A /r                | cvtpi2pd    | Vx,Qq         | sse2 x22
        NP 0F 2C /r                | cvttps2pi   | Pq,Wq         | sse x22
        NP 0F 2D /r                | cvtps2pi    | Pq,Wq         | sse x22
        66 0F 2C /r                | cvttpd2pi   | Pq,Wx         | sse2 x22
        66 0F 2D /r                | cvtpd2pi    | Pq,Wx         | sse2 x22
        F3 0F 2A /r                | cvtsi2ss    | !Vx,Ey        | sse x3
        F3 0F 2C /r                | cvttss2si   | Gy,Wss        | sse x3
        F3 0F 2D /r                | cvtss2si    | Gy,Wss        | sse x3
        F2 0F 2A /r                | cvtsi2sd    | !Vx,Ey        | sse2 x3
        F2 0F 2C /r                | cvttsd2si   | Gy,Wsd        | sse2 x3
        F2 0F 2D /r                | cvtsd2si    | Gy,Wsd        | sse2 x3
        NP 0F 5A /r                | cvtps2pd    | Vx,Wh         | sse2 x3
        66 0F 5A /r                | cvtpd2ps    | Vx,Wx         | sse2 x2
        F3 0F 5A /r                | cvtss2sd    | !Vx,Wss       | sse2 x3
        F2 0F 5A /r                | cvtsd2ss    | !Vx,Wsd       | sse2 x3
        NP 0F 5B /r                | cvtdq2ps    | Vx,Wx         | sse2 x2
        66 0F 5B /r                | cvtps2dq    | Vx,Wx         | sse2 x2
        F3 0F 5B /r                | cvttps2dq   | Vx,Wx         | sse2 x2
        F3 0F E6 /r                | cvtdq2pd    | Vx,Wh         | sse2 x5
        F2 0F E6 /r                | cvtpd2dq    | Vx,Wx         | sse2 x2
        66 0F E6 /r                | cvttpd2dq   | Vx,Wx         | sse2 x2
        # integer moves
        NP 0F 6E /r                | movd        | Pq,Ey         | mmx #mmx x24
        NP 0F 7E /r                | movd        | Ey,Pq         | mmx #mmx x24
        66 0F 6E /r                | movd        | Vx,Ey         | sse2 x5
        66 0F 7E /r                | movd        | Ey,Vx         | sse2 x5
        F3 0F 7E /r                | movq        | Vx,Wq         | sse2 x5
        66 0F D6 /r                | movq        | Wq,Vx         | sse2 x5
        NP 0F 6F /r                | movq        | Pq,Qq         | mmx #mmx x23
        NP 0F 7F /r                | movq        | Qq,Pq         | mmx #mmx x23
        66 0F 6F /r                | movdqa      | Vx,Wx         | sse2 x1
        66 0F 7F /r                | movdqa      | Wx,Vx         | sse2 x1
        F3 0F 6F /r                | movdqu      | Vx,Wx         | sse2 unal
        F3 0F 7F /r                | movdqu      | Wx,Vx         | sse2 unal
        NP 0F E7 /r mem            | movntq      | Mq,Pq         | sse #mmx x23
        66 0F E7 /r mem            | movntdq     | Mx,Vx         | sse2 x1
        F2 0F F0 /r mem            | lddqu       | Vx,Mx         | sse3 unal
        F3 0F D6 /r reg            | movq2dq     | Vx,Nq         | sse2 x24
        F2 0F D6 /r reg            | movdq2q     | Pq,Ux         | sse2 x24
        NP 0F F7 /r reg            | maskmovq    | :Pq,Nq        | sse #mmx x24 mem
        66 0F F7 /r reg            | maskmovdqu  | :Vx,Ux        | sse2 unal mem
        NP 0F D7 /r reg            | pmovmskb    | Gd,Nq         | sse #mmx x24
        66 0F D7 /r reg            | pmovmskb    | Gd,Ux         | sse2 x7
        NP 0F C4 /r                | pinsrw      | !Pq,Ed/w,Ib   | sse #mmx x24
        66 0F C4 /r                | pinsrw      | !Vx,Ed/w,Ib   | sse2 x5
        NP 0F C5 /r reg            | pextrw      | Gd,Nq,Ib      | sse #mmx x24
        66 0F C5 /r reg            | pextrw      | Gd,Ux,Ib      | sse2 x5
        NP 0F 70 /r                | pshufw      | Pq,Qq,Ib      | sse #mmx x23
        66 0F 70 /r                | pshufd      | Vx,Wx,Ib      | sse2
        F3 0F 70 /r                | pshufhw     | Vx,Wx,Ib      | sse2
        F2 0F 70 /r                | pshuflw     | Vx,Wx,Ib      | sse2
        NP 0F 77                   | emms        |               | mmx #mmx
        # integer arithmetic and logic
        NP 0F 60 /r                | punpcklbw   | !Pq,Qd        | mmx #mmx x23
        66 0F 60 /r                | punpcklbw   | !Vx,Wx        | sse2
        NP 0F 61 /r                | punpcklwd   | !Pq,Qd        | mmx #mmx x23
        66 0F 61 /r                | punpcklwd   | !Vx,Wx        | sse2
        NP 0F 62 /r                | punpckldq   | !Pq,Qd        | mmx #mmx x23
        66 0F 62 /r                | punpckldq   | !Vx,Wx        | sse2
        NP 0F 63 /r                | packsswb    | !Pq,Qq        | mmx #mmx x23
        66 0F 63 /r                | packsswb    | !Vx,Wx        | sse2
        NP 0F 64 /r                | pcmpgtb     | !Pq,Qq        | mmx #mmx x23
        66 0F 64 /r                | pcmpgtb     | !Vx,Wx        | sse2
        NP 0F 65 /r                | pcmpgtw     | !Pq,Qq        | mmx #mmx x23
        66 0F 65 /r                | pcmpgtw     | !Vx,Wx        | sse2
        NP 0F 66 /r                | pcmpgtd     | !Pq,Qq        | mmx #mmx x23
        66 0F 66 /r                | pcmpgtd     | !Vx,Wx        | sse2
        NP 0F 67 /r                | packuswb    | !Pq,Qq        | mmx #mmx x23
        66 0F 67 /r                | packuswb    | !Vx,Wx        | sse2
        NP 0F 68 /r                | punpckhbw   | !Pq,Qq        | mmx #mmx x23
        66 0F 68 /r                | punpckhbw   | !Vx,Wx        | sse2
        NP 0F 69 /r                | punpckhwd   | !Pq,Qq        | mmx #mmx x23
        66 0F 69 /r                | punpckhwd   | !Vx,Wx        | sse2
        NP 0F 6A /r                | punpckhdq   | !Pq,Qq        | mmx #mmx x23
        66 0F 6A /r                | punpckhdq   | !Vx,Wx        | sse2
        NP 0F 6B /r                | packssdw    | !Pq,Qq        | mmx #mmx x23
        66 0F 6B /r                | packssdw    | !Vx,Wx        | sse2
        66 0F 6C /r                | punpcklqdq  | !Vx,Wx        | sse2
        66 0F 6D /r                | punpckhqdq  | !Vx,Wx        | sse2
        NP 0F 74 /r                | pcmpeqb     | !Pq,Qq        | mmx #mmx x23
        66 0F 74 /r                | pcmpeqb     | !Vx,Wx        | sse2
        NP 0F 75 /r                | pcmpeqw     | !Pq,Qq        | mmx #mmx x23
        66 0F 75 /r                | pcmpeqw     | !Vx,Wx        | sse2
        NP 0F 76 /r                | pcmpeqd     | !Pq,Qq        | mmx #mmx x23
        66 0F 76 /r                | pcmpeqd     | !Vx,Wx        | sse2
        NP 0F D1 /r                | psrlw       | !Pq,Qq        | mmx #mmx x23
        66 0F D1 /r                | psrlw       | !Vx,Wx        | sse2
        NP 0F D2 /r                | psrld       | !Pq,Qq        | mmx #mmx x23
        66 0F D2 /r                | psrld       | !Vx,Wx        | sse2
        NP 0F D3 /r                | psrlq       | !Pq,Qq        | mmx #mmx x23
        66 0F D3 /r                | psrlq       | !Vx,Wx        | sse2
        NP 0F D4 /r                | paddq       | !Pq,Qq        | sse2 #mmx x23
        66 0F D4 /r                | paddq       | !Vx,Wx        | sse2
        NP 0F D5 /r                | pmullw      | !Pq,Qq        | mmx #mmx x23
        66 0F D5 /r                | pmullw      | !Vx,Wx        | sse2
        NP 0F D8 /r                | psubusb     | !Pq,Qq        | mmx #mmx x23
        66 0F D8 /r                | psubusb     | !Vx,Wx        | sse2
        NP 0F D9 /r                | psubusw     | !Pq,Qq        | mmx #mmx x23
        66 0F D9 /r                | psubusw     | !Vx,Wx        | sse2
        NP 0F DA /r                | pminub      | !Pq,Qq        | sse #mmx x23
        66 0F DA /r                | pminub      | !Vx,Wx        | sse2
        NP 0F DB /r                | pand        | !Pq,Qq        | mmx #mmx x23
        66 0F DB /r                | pand        | !Vx,Wx        | sse2
        NP 0F DC /r                | paddusb     | !Pq,Qq        | mmx #mmx x23
        66 0F DC /r                | paddusb     | !Vx,Wx        | sse2
        NP 0F DD /r                | paddusw     | !Pq,Qq        | mmx #mmx x23
        66 0F DD /r                | paddusw     | !Vx,Wx        | sse2
        NP 0F DE /r                | pmaxub      | !Pq,Qq        | sse #mmx x23
        66 0F DE /r                | pmaxub      | !Vx,Wx        | sse2
        NP 0F DF /r                | pandn       | !Pq,Qq        | mmx #mmx x23
        66 0F DF /r                | pandn       | !Vx,Wx        | sse2
        NP 0F E0 /r                | pavgb       | !Pq,Qq        | sse #mmx x23
        66 0F E0 /r                | pavgb       | !Vx,Wx        | sse2
        NP 0F E1 /r                | psraw       | !Pq,Qq        | mmx #mmx x23
        66 0F E1 /r                | psraw       | !Vx,Wx        | sse2
        NP 0F E2 /r                | psrad       | !Pq,Qq        | mmx #mmx x23
        66 0F E2 /r                | psrad       | !Vx,Wx        | sse2
        NP 0F E3 /r                | pavgw       | !Pq,Qq        | sse #mmx x23
        66 0F E3 /r                | pavgw       | !Vx,Wx        | sse2
        NP 0F E4 /r                | pmulhuw     | !Pq,Qq        | sse #mmx x23
        66 0F E4 /r                | pmulhuw     | !Vx,Wx        | sse2
        NP 0F E5 /r                | pmulhw      | !Pq,Qq        | mmx #mmx x23
        66 0F E5 /r                | pmulhw      | !Vx,Wx        | sse2
        NP 0F E8 /r                | psubsb      | !Pq,Qq        | mmx #mmx x23
        66 0F E8 /r                | psubsb      | !Vx,Wx        | sse2
        NP 0F E9 /r                | psubsw      | !Pq,Qq        | mmx #mmx x23
        66 0F E9 /r                | psubsw      | !Vx,Wx        | sse2
        NP 0F EA /r                | pminsw      | !Pq,Qq        | sse #mmx x23
        66 0F EA /r                | pminsw      | !Vx,Wx        | sse2
        NP 0F EB /r                | por         | !Pq,Qq        | mmx #mmx x23
        66 0F EB /r                | por         | !Vx,Wx        | sse2
        NP 0F EC /r                | paddsb      | !Pq,Qq        | mmx #mmx x23
        66 0F EC /r                | paddsb      | !Vx,Wx        | sse2
        NP 0F ED /r                | paddsw      | !Pq,Qq        | mmx #mmx x23
        66 0F ED /r                | paddsw      | !Vx,Wx        | sse2
        NP 0F EE /r                | pmaxsw      | !Pq,Qq        | sse #mmx x23
        66 0F EE /r                | pmaxsw      | !Vx,Wx        | sse2
        NP 0F EF /r                | pxor        | !Pq,Qq        | mmx #mmx x23
        66 0F EF /r                | pxor        | !Vx,Wx        | sse2
        NP 0F F1 /r                | psllw       | !Pq,Qq        | mmx #mmx x23
        66 0F F1 /r                | psllw       | !Vx,Wx        | sse2
        NP 0F F2 /r                | pslld       | !Pq,Qq        | mmx #mmx x23
        66 0F F2 /r                | pslld       | !Vx,Wx        | sse2
        NP 0F F3 /r                | psllq       | !Pq,Qq        | mmx #mmx x23
        66 0F F3 /r                | psllq       | !Vx,Wx        | sse2
        NP 0F F4 /r                | pmuludq     | !Pq,Qq        | sse2 #mmx x23
        66 0F F4 /r                | pmuludq     | !Vx,Wx        | sse2
        NP 0F F5 /r                | pmaddwd     | !Pq,Qq        | mmx #mmx x23
        66 0F F5 /r                | pmaddwd     | !Vx,Wx        | sse2
        NP 0F F6 /r                | psadbw      | !Pq,Qq        | sse #mmx x23
        66 0F F6 /r                | psadbw      | !Vx,Wx        | sse2
        NP 0F F8 /r                | psubb       | !Pq,Qq        | mmx #mmx x23
        66 0F F8 /r                | psubb       | !Vx,Wx        | sse2
        NP 0F F9 /r                | psubw       | !Pq,Qq        | mmx #mmx x23
        66 0F F9 /r                | psubw       | !Vx,Wx        | sse2
        NP 0F FA /r                | psubd       | !Pq,Qq        | mmx #mmx x23
        66 0F FA /r                | psubd       | !Vx,Wx        | sse2
        NP 0F FB /r                | psubq       | !Pq,Qq        | sse2 #mmx x23
        66 0F FB /r                | psubq       | !Vx,Wx        | sse2
        NP 0F FC /r                | paddb       | !Pq,Qq        | mmx #mmx x23
        66 0F FC /r                | paddb       | !Vx,Wx        | sse2
        NP 0F FD /r                | paddw       | !Pq,Qq        | mmx #mmx x23
        66 0F FD /r                | paddw       | !Vx,Wx        | sse2
        NP 0F FE /r                | paddd       | !Pq,Qq        | mmx #mmx x23
        66 0F FE /r                | paddd       | !Vx,Wx        | sse2
        NP 0F 71 /2 reg            | psrlw       | !Nq,Ib        | mmx #mmx x24
        66 0F 71 /2 reg            | psrlw       | !Ux,Ib        | sse2 x7
        NP 0F 71 /4 reg            | psraw       | !Nq,Ib        | mmx #mmx x24
        66 0F 71 /4 reg            | psraw       | !Ux,Ib        | sse2 x7
        NP 0F 71 /6 reg            | psllw       | !Nq,Ib        | mmx #mmx x24
        66 0F 71 /6 reg            | psllw       | !Ux,Ib        | sse2 x7
        NP 0F 72 /2 reg            | psrld       | !Nq,Ib        | mmx #mmx x24
        66 0F 72 /2 reg            | psrld       | !Ux,Ib        | sse2 x7
        NP 0F 72 /4 reg            | psrad       | !Nq,Ib        | mmx #mmx x24
        66 0F 72 /4 reg            | psrad       | !Ux,Ib        | sse2 x7
        NP 0F 72 /6 reg            | pslld       | !Nq,Ib        | mmx #mmx x24
        66 0F 72 /6 reg            | pslld       | !Ux,Ib        | sse2 x7
        NP 0F 73 /2 reg            | psrlq       | !Nq,Ib        | mmx #mmx x24
        66 0F 73 /2 reg            | psrlq       | !Ux,Ib        | sse2 x7
        66 0F 73 /3 reg            | psrldq      | !Ux,Ib        | sse2 x7
        NP 0F 73 /6 reg            | psllq       | !Nq,Ib        | mmx #mmx x24
        66 0F 73 /6 reg            | psllq       | !Ux,Ib        | sse2 x7
        66 0F 73 /7 reg            | pslldq      | !Ux,Ib        | sse2 x7
        # SSSE3
        NP 0F 38 00 /r             | pshufb      | !Pq,Qq        | ssse3 #mmx x23
        66 0F 38 00 /r             | pshufb      | !Vx,Wx        | ssse3
        NP 0F 38 01 /r             | phaddw      | !Pq,Qq        | ssse3 #mmx x23
        66 0F 38 01 /r             | phaddw      | !Vx,Wx        | ssse3
        NP 0F 38 02 /r             | phaddd      | !Pq,Qq        | ssse3 #mmx x23
        66 0F 38 02 /r             | phaddd      | !Vx,Wx        | ssse3
        NP 0F 38 03 /r             | phaddsw     | !Pq,Qq        | ssse3 #mmx x23
        66 0F 38 03 /r             | phaddsw     | !Vx,Wx        | ssse3
        NP 0F 38 04 /r             | pmaddubsw   | !Pq,Qq        | ssse3 #mmx x23
        66 0F 38 04 /r             | pmaddubsw   | !Vx,Wx        | ssse3
        NP 0F 38 05 /r             | phsubw      | !Pq,Qq        | ssse3 #mmx x23
        66 0F 38 05 /r             | phsubw      | !Vx,Wx        | ssse3
        NP 0F 38 06 /r             | phsubd      | !Pq,Qq        | ssse3 #mmx x23
        66 0F 38 06 /r             | phsubd      | !Vx,Wx        | ssse3
        NP 0F 38 07 /r             | phsubsw     | !Pq,Qq        | ssse3 #mmx x23
        66 0F 38 07 /r             | phsubsw     | !Vx,Wx        | ssse3
        NP 0F 38 08 /r             | psignb      | !Pq,Qq        | ssse3 #mmx x23
        66 0F 38 08 /r             | psignb      | !Vx,Wx        | ssse3
        NP 0F 38 09 /r             | psignw      | !Pq,Qq        | ssse3 #mmx x23
        66 0F 38 09 /r             | psignw      | !Vx,Wx        | ssse3
        NP 0F 38 0A /r             | psignd      | !Pq,Qq        | ssse3 #mmx x23
        66 0F 38 0A /r             | psignd      | !Vx,Wx        | ssse3
        NP 0F 38 0B /r             | pmulhrsw    | !Pq,Qq        | ssse3 #mmx x23
        66 0F 38 0B /r             | pmulhrsw    | !Vx,Wx        | ssse3
        NP 0F 38 1C /r             | pabsb       | Pq,Qq         | ssse3 #mmx x23
        66 0F 38 1C /r             | pabsb       | Vx,Wx         | ssse3
        NP 0F 38 1D /r             | pabsw       | Pq,Qq         | ssse3 #mmx x23
        66 0F 38 1D /r             | pabsw       | Vx,Wx         | ssse3
        NP 0F 38 1E /r             | pabsd       | Pq,Qq         | ssse3 #mmx x23
        66 0F 38 1E /r             | pabsd       | Vx,Wx         | ssse3
        NP 0F 3A 0F /r             | palignr     | !Pq,Qq,Ib     | ssse3 #mmx x23
        66 0F 3A 0F /r             | palignr     | !Vx,Wx,Ib     | ssse3
        # SSE4
        66 0F 38 10 /r             | pblendvb    | !Vx,Wx,XMM0   | sse4_1
        66 0F 38 14 /r             | blendvps    | !Vx,Wx,XMM0   | sse4_1
        66 0F 38 15 /r             | blendvpd    | !Vx,Wx,XMM0   | sse4_1
        66 0F 38 17 /r             | ptest       | :Vx,Wx        | sse4_1 w=oszapc
        66 0F 38 20 /r             | pmovsxbw    | Vx,Wh         | sse4_1 x5
        66 0F 38 21 /r             | pmovsxbd    | Vx,Wf         | sse4_1 x5
        66 0F 38 22 /r             | pmovsxbq    | Vx,We         | sse4_1 x5
        66 0F 38 23 /r             | pmovsxwd    | Vx,Wh         | sse4_1 x5
        66 0F 38 24 /r             | pmovsxwq    | Vx,Wf         | sse4_1 x5
        66 0F 38 25 /r             | pmovsxdq    | Vx,Wh         | sse4_1 x5
        66 0F 38 30 /r             | pmovzxbw    | Vx,Wh         | sse4_1 x5
        66 0F 38 31 /r             | pmovzxbd    | Vx,Wf         | sse4_1 x5
        66 0F 38 32 /r             | pmovzxbq    | Vx,We         | sse4_1 x5
        66 0F 38 33 /r             | pmovzxwd    | Vx,Wh         | sse4_1 x5
        66 0F 38 34 /r             | pmovzxwq    | Vx,Wf         | sse4_1 x5
        66 0F 38 35 /r             | pmovzxdq    | Vx,Wh         | sse4_1 x5
        66 0F 38 28 /r             | pmuldq      | !Vx,Wx        | sse4_1
        66 0F 38 29 /r             | pcmpeqq     | !Vx,Wx        | sse4_1
        66 0F 38 2B /r             | packusdw    | !Vx,Wx        | sse4_1
        66 0F 38 37 /r             | pcmpgtq     | !Vx,Wx        | sse4_2
        66 0F 38 38 /r             | pminsb      | !Vx,Wx        | sse4_1
        66 0F 38 39 /r             | pminsd      | !Vx,Wx        | sse4_1
        66 0F 38 3A /r             | pminuw      | !Vx,Wx        | sse4_1
        66 0F 38 3B /r             | pminud      | !Vx,Wx        | sse4_1
        66 0F 38 3C /r             | pmaxsb      | !Vx,Wx        | sse4_1
        66 0F 38 3D /r             | pmaxsd      | !Vx,Wx        | sse4_1
        66 0F 38 3E /r             | pmaxuw      | !Vx,Wx        | sse4_1
        66 0F 38 3F /r             | pmaxud      | !Vx,Wx        | sse4_1
        66 0F 38 40 /r             | pmulld      | !Vx,Wx        | sse4_1
        66 0F 38 2A /r mem         | movntdqa    | Vx,Mx         | sse4_1 x1
        66 0F 38 41 /r             | phminposuw  | Vx,Wx         | sse4_1
        66 0F 3A 08 /r             | roundps     | Vx,Wx,Ib      | sse4_1 x2
        66 0F 3A 09 /r             | roundpd     | Vx,Wx,Ib      | sse4_1 x2
        66 0F 3A 0A /r             | roundss     | !Vx,Wss,Ib    | sse4_1 x3
        66 0F 3A 0B /r             | roundsd     | !Vx,Wsd,Ib    | sse4_1 x3
        66 0F 3A 0C /r             | blendps     | !Vx,Wx,Ib     | sse4_1
        66 0F 3A 0D /r             | blendpd     | !Vx,Wx,Ib     | sse4_1
        66 0F 3A 0E /r             | pblendw     | !Vx,Wx,Ib     | sse4_1
        66 0F 3A 14 /r             | pextrb      | Ed/b,Vx,Ib    | sse4_1 x5
        66 0F 3A 15 /r             | pextrw      | Ed/w,Vx,Ib    | sse4_1 x5
        66 0F 3A 16 /r             | pextrd      | Ey,Vx,Ib      | sse4_1 x5
        66 0F 3A 17 /r             | extractps   | Ed,Vx,Ib      | sse4_1 x5
        66 0F 3A 20 /r             | pinsrb      | !Vx,Ed/b,Ib   | sse4_1 x5
        66 0F 3A 21 /r             | insertps    | !Vx,Wss,Ib    | sse4_1 x5
        66 0F 3A 22 /r             | pinsrd      | !Vx,Ey,Ib     | sse4_1 x5
        66 0F 3A 40 /r             | dpps        | !Vx,Wx,Ib     | sse4_1 x2
        66 0F 3A 41 /r             | dppd        | !Vx,Wx,Ib     | sse4_1 x2
        66 0F 3A 42 /r             | mpsadbw     | !Vx,Wx,Ib     | sse4_1
        66 0F 3A 60 /r             | pcmpestrm   | :Vx,Wx,Ib     | sse4_2 unal w=oszapc
        66 0F 3A 61 /r             | pcmpestri   | :Vx,Wx,Ib     | sse4_2 unal w=oszapc
        66 0F 3A 62 /r             | pcmpistrm   | :Vx,Wx,Ib     | sse4_2 unal w=oszapc
        66 0F 3A 63 /r             | pcmpistri   | :Vx,Wx,Ib     | sse4_2 unal w=oszapc
        # AES, PCLMULQDQ, SHA
        66 0F 38 DB /r             | aesimc      | Vx,Wx         | aes
        66 0F 38 DC /r             | aesenc      | !Vx,Wx        | aes
        66 0F 38 DD /r             | aesenclast  | !Vx,Wx        | aes
        66 0F 38 DE /r             | aesdec      | !Vx,Wx        | aes
        66 0F 38 DF /r             | aesdeclast  | !Vx,Wx        | aes
        66 0F 3A DF /r             | aeskeygenassist | Vx,Wx,Ib      | aes
        66 0F 3A 44 /r             | pclmulqdq   | !Vx,Wx,Ib     | pclmulqdq
        NP 0F 38 C8 /r             | sha1nexte   | !Vx,Wx        | sha v=unalignedSHA
        NP 0F 38 C9 /r             | sha1msg1    | !Vx,Wx        | sha v=unalignedSHA
        NP 0F 38 CA /r             | sha1msg2    | !Vx,Wx        | sha v=unalignedSHA
        NP 0F 38 CC /r             | sha256msg1  | !Vx,Wx        | sha v=unalignedSHA
        NP 0F 38 CD /r             | sha256msg2  | !Vx,Wx        | sha v=unalignedSHA
        NP 0F 38 CB /r             | sha256rnds2 | !Vx,Wx,XMM0   | sha v=unalignedSHA
        NP 0F 3A CC /r             | sha1rnds4   | !Vx,Wx,Ib     | sha v=unalignedSHA
        """
}
