import X86

/// The pieces of emitted code that all others share: the way in, the ways out, and the look-up of code by address.
/// Offsets are from the cache's start.
struct CommonCode {
    /// A function of the state and of the address to go to; returns a `Departure`.
    var enter = 0
    /// To the interpreter at the instruction whose offset in the page is in the first scratch register.
    var cold = 0
    /// The same, between two instructions.
    var boundary = 0
    /// On to the code at the RIP in the first scratch register, or out where none is known.
    var lookUp = 0
    /// Why emitted code was left.
    enum Departure: UInt {
        case boundary, cold
    }

    let bytes: [UInt8]

    init() {
        var assembler = Assembler()
        func gs(_ offset: Int) -> Assembler.Memory { Assembler.Memory(nil, offset).in(.gs) }
        let (first, second) = Homes.scratch
        let saved: [GeneralRegister] = [.rbp, .rbx, .r12, .r13, .r14, .r15]

        let enterLabel = assembler.here()
        for register in saved { assembler.push(register) }
        assembler.sub(.rsp, 8)
        assembler.rdgsbase(.rax)
        assembler.mov(.at(.rdi, CPUState.hostGSBaseOffset), .rax)
        assembler.wrgsbase(.rdi)
        assembler.mov(second, .rsi)
        for (guest, host) in Homes.all { assembler.mov(host, gs(Int(CPUState.offset(ofRegister: guest)))) }
        assembler.jmp(second)

        // The ways out meet where the reason is in RAX.
        func storeHomes() {
            for (guest, host) in Homes.all { assembler.mov(gs(Int(CPUState.offset(ofRegister: guest))), host) }
        }
        let out = assembler.label()
        func leave(_ departure: Departure, adding: Bool) -> Assembler.Label {
            let label = assembler.here()
            if adding {
                assembler.add(first, gs(CPUState.codeBaseOffset))
                assembler.mov(gs(CPUState.ripOffset), first)
            }
            storeHomes()
            assembler.mov(.rax, Int(departure.rawValue), .long)
            assembler.jmp(out)
            return label
        }
        let coldLabel = leave(.cold, adding: true)
        let boundaryLabel = leave(.boundary, adding: true)
        let missLabel = leave(.boundary, adding: false)
        assembler.place(out)
        assembler.mov(.rdi, gs(CPUState.hostGSBaseOffset))
        assembler.wrgsbase(.rdi)
        assembler.add(.rsp, 8)
        for register in saved.reversed() { assembler.pop(register) }
        assembler.ret()

        // See `CPU.recallBlock`.
        let lookUpLabel = assembler.here()
        assembler.mov(gs(CPUState.ripOffset), first)
        assembler.mov(second, first)
        assembler.shr(second, 12)
        assembler.xor(second, first)
        assembler.and(second, BlockCache.lookupCount - 1, .long)
        assembler.lea(second, .at(second, index: second, scale: 2))
        assembler.shl(second, 3)
        assembler.add(second, gs(CPUState.lookupsOffset))
        assembler.cmp(.at(second), first)
        assembler.jcc(.nz, missLabel)
        assembler.mov(first, gs(CPUState.enteredKeyOffset))
        assembler.cmp(.at(second, 8), first)
        assembler.jcc(.nz, missLabel)
        assembler.mov(second, .at(second, 16))
        assembler.mov(first, gs(CPUState.codeGenerationOffset))
        assembler.cmp(.at(second, Block.translationGenerationOffset), first)
        assembler.jcc(.nz, missLabel)
        assembler.cmp(gs(CPUState.exitRequestOffset), 0, .long)
        assembler.jcc(.nz, missLabel)
        assembler.mov(first, gs(CPUState.ripOffset))
        assembler.and(first, -4096)
        assembler.mov(gs(CPUState.codeBaseOffset), first)
        assembler.jmp(.at(second, Block.hostCodeOffset))

        let code = assembler.finished()
        bytes = code.bytes
        enter = code.offset(of: enterLabel)
        cold = code.offset(of: coldLabel)
        boundary = code.offset(of: boundaryLabel)
        lookUp = code.offset(of: lookUpLabel)
    }
}
