import X86

/// Emitted code that moves the guest's vector registers and MXCSR between its XSAVE area and the host's registers. The state is at
/// GS. They are loaded by the first superblock that uses them, and stored when emitted code is left: code without them pays
/// nothing, and loops pay once.
struct VectorCode {
    /// A routine that loads them: ZF set; or clear where they can't be, since an exception is unmasked. Uses both scratch registers.
    let load: Assembler.Label
    /// Routines around a call of Swift, the x87 state's included: they do nothing where nothing is loaded. The first uses the first
    /// scratch register, the second both.
    let storeForCall: Assembler.Label
    let loadAfterCall: Assembler.Label
    /// For good, the x87 state's included. Uses the first scratch register.
    let storeToLeave: Assembler.Label

    init(_ a: inout Assembler, _ x87: X87Code) {
        let place = VectorCode.gs(CPUState.vectorPlaceOffset)
        let left = a.label()

        load = a.here()
        VectorCode.writeLoad(&a)

        storeForCall = a.here()
        a.cmp(place, Int(RegisterPlace.host.rawValue), .byte)
        a.jcc(.nz, x87.storeForCall, .near)
        VectorCode.writeStore(&a)
        a.mov(place, Int(RegisterPlace.lent.rawValue), .byte)
        a.jmp(x87.storeForCall, .near)

        loadAfterCall = a.here()
        a.cmp(place, Int(RegisterPlace.lent.rawValue), .byte)
        a.jcc(.nz, x87.loadAfterCall, .near)
        // Nothing that is called unmasks an exception: it can be loaded as before.
        a.call(load)
        a.jmp(x87.loadAfterCall, .near)

        storeToLeave = a.here()
        a.cmp(place, Int(RegisterPlace.host.rawValue), .byte)
        a.jcc(.nz, left, .near)
        VectorCode.writeStore(&a)
        a.place(left)
        a.mov(place, Int(RegisterPlace.state.rawValue), .byte)
        a.jmp(x87.storeToLeave, .near)
    }

    private static func gs(_ offset: Int) -> Assembler.Memory { Assembler.Memory(nil, offset).in(.gs) }

    /// Z where a value of MXCSR can be the host's while the guest's code runs: every exception masked, reserved bits clear.
    static func checkMXCSR(_ a: inout Assembler, _ value: GeneralRegister, _ scratch: GeneralRegister) {
        a.mov(scratch, value, .long)
        a.and(scratch, Int(~XSAVEOps.mxcsrMask | 0x1F80), .long)
        a.cmp(scratch, 0x1F80, .long)
    }

    private static func writeLoad(_ a: inout Assembler) {
        let (first, second) = Homes.scratch
        let (settled, narrow, loaded, end) = (a.label(), a.label(), a.label(), a.label())
        // What the interpreter's floating point has left in the host's register: see `CPU.settleMXCSR`.
        a.cmp(gs(CPUState.loadedMXCSROffset), 0, .long)
        a.jcc(.z, settled)
        a.stmxcsr(gs(CPUState.spillOffset(0)))
        a.mov(first, gs(CPUState.spillOffset(0)), .long)
        a.and(first, 0x3F, .long)
        a.or(gs(CPUState.mxcsrOffset), first, .long)
        a.mov(gs(CPUState.loadedMXCSROffset), 0, .long)
        a.place(settled)
        a.mov(first, gs(CPUState.mxcsrOffset), .long)
        checkMXCSR(&a, first, second)
        a.jcc(.nz, end, .near)
        a.ldmxcsr(gs(CPUState.mxcsrOffset))
        if HostProcessor.features.contains(.avx) {
            // Upper halves that are all zero are left clear, so that SSE code runs at its full speed.
            a.vmovups(.ymm(0), gs(CPUState.upperHalfOffset))
            for pair in 1..<8 {
                // VORPS
                a.vex(.map0F, .none, 0x56, .ymm(0), vvvv: .ymm(0), gs(CPUState.upperHalfOffset + pair * 32))
            }
            a.vex(.map0F38, .p66, 0x17, .ymm(0), Assembler.Vector.ymm(0))  // VPTEST
            a.jcc(.z, narrow, .near)
            for number in 0..<16 as Range<UInt8> {
                let offset = Int(CPUState.offset(ofVector: number))
                a.vmovups(.xmm(number), gs(offset))
                a.vinsertf128(.ymm(number), .ymm(number), gs(offset + CPUState.upperHalfDistance), half: 1)
            }
            a.jmp(loaded)
            a.place(narrow)
            a.vzeroupper()
        }
        for number in 0..<16 as Range<UInt8> {
            a.movups(.xmm(number), gs(Int(CPUState.offset(ofVector: number))))
        }
        a.place(loaded)
        a.mov(gs(CPUState.vectorPlaceOffset), Int(RegisterPlace.host.rawValue), .byte)
        a.xor(first, first, .long)
        a.place(end)
        a.ret()
    }

    /// The host has its own MXCSR then, but for exception flags.
    private static func writeStore(_ a: inout Assembler) {
        let usual = a.label()
        let hasAVX = HostProcessor.features.contains(.avx)
        for number in 0..<16 as Range<UInt8> {
            let offset = Int(CPUState.offset(ofVector: number))
            a.movups(gs(offset), .xmm(number))
            if hasAVX { a.vextractf128(gs(offset + CPUState.upperHalfDistance), .ymm(number), half: 1) }
        }
        if hasAVX { a.vzeroupper() }
        a.stmxcsr(gs(CPUState.mxcsrOffset))
        a.mov(Homes.scratch.0, gs(CPUState.mxcsrOffset), .long)
        a.and(Homes.scratch.0, ~0x3F, .long)
        a.cmp(Homes.scratch.0, 0x1F80, .long)
        a.jcc(.z, usual)
        a.mov(gs(CPUState.spillOffset(0)), 0x1F80, .long)
        a.ldmxcsr(gs(CPUState.spillOffset(0)))
        a.place(usual)
    }
}
