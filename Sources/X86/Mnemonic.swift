/// The operation that an opcode row performs, by the manuals' mnemonics in lower case.
///
/// One name per meaning: operand width is no part of it (`movd` moves 4 or 8 bytes, `cbw` is CBW, CWDE or CDQE by operand
/// size), nor is the condition of `jcc`, `setcc` and `cmovcc`, which is the low nibble of the opcode. String instructions
/// have names without a width (`movs`), so that `movsd` and `cmpsd` are SSE2's. `Far` marks forms that load CS, `Seg`, `CR`
/// and `DR` moves of such registers.
public enum Mnemonic: String, CaseIterable, Sendable {
    /// Not decoded.
    case invalid

    // Integer arithmetic and logic
    case add, or, adc, sbb, and, sub, xor, cmp, test, not, neg, inc, dec, mul, imul, div, idiv, rol, ror, rcl, rcr
    case shl, shr, sar, shld, shrd, bt, bts, btr, btc, bsf, bsr, bswap, popcnt, lzcnt, tzcnt, adcx, adox, crc32, daa
    case das, aaa, aas, aam, aad

    // Moves and conversions
    case mov, movsx, movsxd, movzx, movbe, movSeg, movCR, movDR, lea, xchg, xadd, cmpxchg, cmpxchg8b, cmpxchg16b, cbw
    case cwd, cmovcc, setcc, xlat, salc, lahf, sahf, push, pop, pusha, popa, pushf, popf, pushSeg, popSeg, enter
    case leave, lds, les, lss, lfs, lgs, bound

    // Control flow
    case jcc, jmp, jmpFar, call, callFar, ret, retFar, loop, loope, loopne, jcxz, int, int1, int3, into, iret

    // Strings and ports
    case movs, stos, lods, cmps, scas, ins, outs, `in`, out

    // Flags
    case clc, stc, cmc, cld, std, cli, sti, clac, stac

    // No effect, hints and undefined
    case nop, pause, endbr, prefetchnta, prefetcht0, prefetcht1, prefetcht2, prefetch, prefetchw, ud0, ud1, ud2

    // BMI1, BMI2
    case andn, bextr, blsi, blsmsk, blsr, bzhi, mulx, pdep, pext, rorx, sarx, shlx, shrx

    // System
    case hlt, cpuid, rdtsc, rdtscp, rdpmc, rdmsr, wrmsr, rdrand, rdseed, rdpid, lgdt, lidt, lldt, ltr, lmsw, sgdt
    case sidt, sldt, str, smsw, clts, verr, verw, lar, lsl, arpl, invd, wbinvd, invlpg, invpcid, swapgs, syscall
    case sysret, sysenter, sysexit, rsm, monitor, mwait, vmcall, vmmcall, xgetbv, xsetbv, rdpkru, wrpkru, rdfsbase
    case rdgsbase, wrfsbase, wrgsbase, clflush, clflushopt, clwb, lfence, mfence, sfence

    // State images
    case fxsave, fxrstor, xsave, xsaveopt, xsavec, xsaves, xrstor, xrstors, ldmxcsr, stmxcsr

    // x87
    case fadd, faddp, fiadd, fmul, fmulp, fimul, fcom, fcomp, fcompp, ficom, ficomp, fsub, fsubp, fisub, fsubr, fsubrp
    case fisubr, fdiv, fdivp, fidiv, fdivr, fdivrp, fidivr, fld, fst, fstp, fild, fist, fistp, fisttp, fbld, fbstp
    case fldenv, fldcw, fnstenv, fnstcw, fnstsw, fnsave, frstor, fxch, fnop, fchs, fabs, ftst, fxam, fld1, fldl2t
    case fldl2e, fldpi, fldlg2, fldln2, fldz, f2xm1, fyl2x, fptan, fpatan, fxtract, fprem1, fdecstp, fincstp, fprem
    case fyl2xp1, fsqrt, fsincos, frndint, fscale, fsin, fcos, fcmovb, fcmove, fcmovbe, fcmovu, fcmovnb, fcmovne
    case fcmovnbe, fcmovnu, fucom, fucomp, fucompp, fcomi, fcomip, fucomi, fucomip, fnclex, fninit, ffree, ffreep
    case fwait

    // MMX with their SSE2 and later forms
    case emms, movd, movq, packsswb, packuswb, packssdw, punpcklbw, punpcklwd, punpckldq, punpckhbw, punpckhwd
    case punpckhdq, paddb, paddw, paddd, paddq, paddsb, paddsw, paddusb, paddusw, psubb, psubw, psubd, psubq, psubsb
    case psubsw, psubusb, psubusw, pmullw, pmulhw, pmulhuw, pmuludq, pmaddwd, pcmpeqb, pcmpeqw, pcmpeqd, pcmpgtb
    case pcmpgtw, pcmpgtd, pand, pandn, por, pxor, psllw, pslld, psllq, psrlw, psrld, psrlq, psraw, psrad, pavgb
    case pavgw, pmaxub, pmaxsw, pminub, pminsw, psadbw, pmovmskb, pextrw, pinsrw, pshufw, maskmovq, movntq, movq2dq
    case movdq2q

    // SSE
    case movups, movaps, movss, movlps, movhps, movhlps, movlhps, movntps, movmskps, unpcklps, unpckhps, shufps, andps
    case andnps, orps, xorps, addps, addss, mulps, mulss, subps, subss, minps, minss, divps, divss, maxps, maxss
    case sqrtps, sqrtss, rsqrtps, rsqrtss, rcpps, rcpss, cmpps, cmpss, ucomiss, comiss, cvtpi2ps, cvtsi2ss, cvttps2pi
    case cvttss2si, cvtps2pi, cvtss2si

    // SSE2
    case movupd, movapd, movsd, movlpd, movhpd, movntpd, movmskpd, unpcklpd, unpckhpd, shufpd, andpd, andnpd, orpd
    case xorpd, addpd, addsd, mulpd, mulsd, subpd, subsd, minpd, minsd, divpd, divsd, maxpd, maxsd, sqrtpd, sqrtsd
    case cmppd, cmpsd, ucomisd, comisd, cvtpi2pd, cvtsi2sd, cvttpd2pi, cvttsd2si, cvtpd2pi, cvtsd2si, cvtps2pd
    case cvtpd2ps, cvtss2sd, cvtsd2ss, cvtdq2ps, cvtps2dq, cvttps2dq, cvtdq2pd, cvtpd2dq, cvttpd2dq, movdqa, movdqu
    case movntdq, movnti, maskmovdqu, pshufd, pshufhw, pshuflw, punpcklqdq, punpckhqdq, pslldq, psrldq

    // SSE3, SSSE3
    case addsubps, addsubpd, haddps, haddpd, hsubps, hsubpd, lddqu, movddup, movsldup, movshdup, pshufb, phaddw
    case phaddd, phaddsw, pmaddubsw, phsubw, phsubd, phsubsw, psignb, psignw, psignd, pmulhrsw, pabsb, pabsw, pabsd
    case palignr

    // SSE4.1, SSE4.2
    case pblendvb, blendvps, blendvpd, ptest, pmovsxbw, pmovsxbd, pmovsxbq, pmovsxwd, pmovsxwq, pmovsxdq, pmovzxbw
    case pmovzxbd, pmovzxbq, pmovzxwd, pmovzxwq, pmovzxdq, pmuldq, pcmpeqq, movntdqa, packusdw, pminsb, pminsd, pminuw
    case pminud, pmaxsb, pmaxsd, pmaxuw, pmaxud, pmulld, phminposuw, roundps, roundpd, roundss, roundsd, blendps
    case blendpd, pblendw, pextrb, pextrd, extractps, pinsrb, insertps, pinsrd, dpps, dppd, mpsadbw, pcmpgtq
    case pcmpestrm, pcmpestri, pcmpistrm, pcmpistri

    // AES, PCLMULQDQ, SHA
    case aesimc, aesenc, aesenclast, aesdec, aesdeclast, aeskeygenassist, pclmulqdq, sha1nexte, sha1msg1, sha1msg2
    case sha1rnds4, sha256rnds2, sha256msg1, sha256msg2

    // VEX forms of the above
    case vmovd, vmovq, vpacksswb, vpackuswb, vpackssdw, vpunpcklbw, vpunpcklwd, vpunpckldq, vpunpckhbw, vpunpckhwd
    case vpunpckhdq, vpaddb, vpaddw, vpaddd, vpaddq, vpaddsb, vpaddsw, vpaddusb, vpaddusw, vpsubb, vpsubw, vpsubd
    case vpsubq, vpsubsb, vpsubsw, vpsubusb, vpsubusw, vpmullw, vpmulhw, vpmulhuw, vpmuludq, vpmaddwd, vpcmpeqb
    case vpcmpeqw, vpcmpeqd, vpcmpgtb, vpcmpgtw, vpcmpgtd, vpand, vpandn, vpor, vpxor, vpsllw, vpslld, vpsllq, vpsrlw
    case vpsrld, vpsrlq, vpsraw, vpsrad, vpavgb, vpavgw, vpmaxub, vpmaxsw, vpminub, vpminsw, vpsadbw, vpmovmskb
    case vpextrw, vpinsrw, vmovups, vmovaps, vmovss, vmovlps, vmovhps, vmovhlps, vmovlhps, vmovntps, vmovmskps
    case vunpcklps, vunpckhps, vshufps, vandps, vandnps, vorps, vxorps, vaddps, vaddss, vmulps, vmulss, vsubps, vsubss
    case vminps, vminss, vdivps, vdivss, vmaxps, vmaxss, vsqrtps, vsqrtss, vrsqrtps, vrsqrtss, vrcpps, vrcpss, vcmpps
    case vcmpss, vucomiss, vcomiss, vcvtsi2ss, vcvttss2si, vcvtss2si, vmovupd, vmovapd, vmovsd, vmovlpd, vmovhpd
    case vmovntpd, vmovmskpd, vunpcklpd, vunpckhpd, vshufpd, vandpd, vandnpd, vorpd, vxorpd, vaddpd, vaddsd, vmulpd
    case vmulsd, vsubpd, vsubsd, vminpd, vminsd, vdivpd, vdivsd, vmaxpd, vmaxsd, vsqrtpd, vsqrtsd, vcmppd, vcmpsd
    case vucomisd, vcomisd, vcvtsi2sd, vcvttsd2si, vcvtsd2si, vcvtps2pd, vcvtpd2ps, vcvtss2sd, vcvtsd2ss, vcvtdq2ps
    case vcvtps2dq, vcvttps2dq, vcvtdq2pd, vcvtpd2dq, vcvttpd2dq, vmovdqa, vmovdqu, vmovntdq, vmaskmovdqu, vpshufd
    case vpshufhw, vpshuflw, vpunpcklqdq, vpunpckhqdq, vpslldq, vpsrldq, vaddsubps, vaddsubpd, vhaddps, vhaddpd
    case vhsubps, vhsubpd, vlddqu, vmovddup, vmovsldup, vmovshdup, vpshufb, vphaddw, vphaddd, vphaddsw, vpmaddubsw
    case vphsubw, vphsubd, vphsubsw, vpsignb, vpsignw, vpsignd, vpmulhrsw, vpabsb, vpabsw, vpabsd, vpalignr, vblendvps
    case vblendvpd, vptest, vpmovsxbw, vpmovsxbd, vpmovsxbq, vpmovsxwd, vpmovsxwq, vpmovsxdq, vpmovzxbw, vpmovzxbd
    case vpmovzxbq, vpmovzxwd, vpmovzxwq, vpmovzxdq, vpmuldq, vpcmpeqq, vmovntdqa, vpackusdw, vpminsb, vpminsd
    case vpminuw, vpminud, vpmaxsb, vpmaxsd, vpmaxuw, vpmaxud, vpmulld, vphminposuw, vroundps, vroundpd, vroundss
    case vroundsd, vblendps, vblendpd, vpblendw, vpextrb, vpextrd, vextractps, vpinsrb, vinsertps, vpinsrd, vdpps
    case vdppd, vmpsadbw, vpcmpgtq, vpcmpestrm, vpcmpestri, vpcmpistrm, vpcmpistri, vpblendvb, vaesimc, vaesenc
    case vaesenclast, vaesdec, vaesdeclast, vaeskeygenassist, vpclmulqdq, vldmxcsr, vstmxcsr

    // AVX only
    case vzeroupper, vzeroall, vtestps, vtestpd, vbroadcastss, vbroadcastsd, vbroadcastf128, vextractf128, vinsertf128
    case vperm2f128, vpermilps, vpermilpd, vmaskmovps, vmaskmovpd

    // AVX2 only, F16C
    case vpbroadcastb, vpbroadcastw, vpbroadcastd, vpbroadcastq, vbroadcasti128, vextracti128, vinserti128, vperm2i128
    case vpermd, vpermq, vpermps, vpermpd, vpblendd, vpmaskmovd, vpmaskmovq, vpsllvd, vpsllvq, vpsrlvd, vpsrlvq
    case vpsravd, vgatherdps, vgatherdpd, vgatherqps, vgatherqpd, vpgatherdd, vpgatherdq, vpgatherqd, vpgatherqq
    case vcvtph2ps, vcvtps2ph

    // FMA
    case vfmadd132ps, vfmadd132pd, vfmadd132ss, vfmadd132sd, vfmsub132ps, vfmsub132pd, vfmsub132ss, vfmsub132sd
    case vfnmadd132ps, vfnmadd132pd, vfnmadd132ss, vfnmadd132sd, vfnmsub132ps, vfnmsub132pd, vfnmsub132ss
    case vfnmsub132sd, vfmaddsub132ps, vfmaddsub132pd, vfmsubadd132ps, vfmsubadd132pd, vfmadd213ps, vfmadd213pd
    case vfmadd213ss, vfmadd213sd, vfmsub213ps, vfmsub213pd, vfmsub213ss, vfmsub213sd, vfnmadd213ps, vfnmadd213pd
    case vfnmadd213ss, vfnmadd213sd, vfnmsub213ps, vfnmsub213pd, vfnmsub213ss, vfnmsub213sd, vfmaddsub213ps
    case vfmaddsub213pd, vfmsubadd213ps, vfmsubadd213pd, vfmadd231ps, vfmadd231pd, vfmadd231ss, vfmadd231sd
    case vfmsub231ps, vfmsub231pd, vfmsub231ss, vfmsub231sd, vfnmadd231ps, vfnmadd231pd, vfnmadd231ss, vfnmadd231sd
    case vfnmsub231ps, vfnmsub231pd, vfnmsub231ss, vfnmsub231sd, vfmaddsub231ps, vfmaddsub231pd, vfmsubadd231ps
    case vfmsubadd231pd
}
