import X86

/// As `VectorCode`, for the x87 state, MMX registers with it. FIP, FDP and FOP stay in the area all the time: what emitted code
/// executes has other addresses than what it means.
struct X87Code {
    /// ZF set; or clear where it can't be loaded.
    let load: Assembler.Label
    let storeForCall: Assembler.Label
    let loadAfterCall: Assembler.Label
    let storeToLeave: Assembler.Label

    init(_ a: inout Assembler) {
        let place = X87Code.gs(CPUState.x87PlaceOffset)
        let (done, left) = (a.label(), a.label())

        load = a.here()
        X87Code.writeLoad(&a)

        storeForCall = a.here()
        a.cmp(place, Int(RegisterPlace.host.rawValue), .byte)
        a.jcc(.nz, done, .near)
        X87Code.writeStore(&a)
        a.mov(place, Int(RegisterPlace.lent.rawValue), .byte)
        a.place(done)
        a.ret()

        loadAfterCall = a.here()
        a.cmp(place, Int(RegisterPlace.lent.rawValue), .byte)
        a.jcc(.z, load, .near)
        a.ret()

        storeToLeave = a.here()
        a.cmp(place, Int(RegisterPlace.host.rawValue), .byte)
        a.jcc(.nz, left, .near)
        X87Code.writeStore(&a)
        a.place(left)
        a.mov(place, Int(RegisterPlace.state.rawValue), .byte)
        a.ret()
    }

    private static func gs(_ offset: Int) -> Assembler.Memory { Assembler.Memory(nil, offset).in(.gs) }

    /// Every exception is masked, so that none is pending; and no bit that a host would have otherwise: reserved ones of the control
    /// word, the summary and busy bits of the status word.
    private static let loadableBits = (mask: 0x8080_E0FF, value: 0x7F)

    private static func writeLoad(_ a: inout Assembler) {
        let (first, second) = Homes.scratch
        let end = a.label()
        a.mov(first, gs(CPUState.controlWordOffset), .long)
        a.and(first, Int(Int32(truncatingIfNeeded: loadableBits.mask)), .long)
        a.cmp(first, loadableBits.value, .long)
        a.jcc(.nz, end)
        a.mov(first, .rax)
        a.mov(second, .rdx)
        a.mov(.rax, 1, .long)
        a.xor(.rdx, .rdx, .long)
        // XRSTOR refuses any other header; and without the component's bit it would initialise the state.
        a.mov(gs(CPUState.componentsOffset), 3)
        a.mov(gs(CPUState.compactionOffset), 0)
        a.xrstor(gs(0))
        a.mov(.rax, first)
        a.mov(.rdx, second)
        a.mov(gs(CPUState.x87PlaceOffset), Int(RegisterPlace.host.rawValue), .byte)
        a.xor(first, first, .long)
        a.place(end)
        a.ret()
    }

    /// Z where a control word masks every exception. Uses the register up.
    static func checkControlWord(_ a: inout Assembler, _ word: GeneralRegister) {
        a.and(word, 0x3F, .long)
        a.cmp(word, 0x3F, .long)
    }

    /// The host has an empty stack and its own control word then. Uses the first scratch register.
    private static func writeStore(_ a: inout Assembler) {
        let used: [GeneralRegister] = [.rax, .rdx, .rsi, .rdi]
        for register in used { a.push(register) }
        a.mov(.rsi, gs(CPUState.instructionPointerOffset))
        a.mov(.rdi, gs(CPUState.dataPointerOffset))
        a.mov(Homes.scratch.0, gs(CPUState.x87OpcodeOffset), .word)
        a.mov(.rax, 1, .long)
        a.xor(.rdx, .rdx, .long)
        a.xsave(gs(0))
        a.mov(gs(CPUState.instructionPointerOffset), .rsi)
        a.mov(gs(CPUState.dataPointerOffset), .rdi)
        a.mov(gs(CPUState.x87OpcodeOffset), Homes.scratch.0, .word)
        // The kept area has the component, in its initial state or not.
        a.or(gs(CPUState.componentsOffset), 1, .byte)
        a.fninit()
        for register in used.reversed() { a.pop(register) }
    }
}
