import X86

/// The few host instructions that surround a guest's own.
///
/// Throughout: RDI is the address of `CPUState`, RSI of the op, RCX of the memory operand. A register operand of the guest
/// has a *slot*: the offset of its value in `CPUState`, 16 bits of the op's `immediate`, is loaded to one of R8…R11.
extension Assembler {
    private static let slots: [GeneralRegister] = [.r8, .r9, .r10, .r11]
    private static let slotField = MemoryLayout<Op>.offset(of: \.immediate) ?? 8

    /// The state's byte at this offset, and behind it.
    func state(_ offset: Int) -> Memory { .at(.rdi, offset) }

    /// A general register of the guest's.
    func guest(_ register: GeneralRegister) -> Memory { state(Int(CPUState.offset(ofRegister: register.rawValue))) }

    /// What a slot that is loaded means, and what lies behind it.
    func slot(_ slot: UInt8, _ displacement: Int = 0) -> Memory {
        .at(.rdi, index: Assembler.slots[Int(slot)], displacement)
    }

    mutating func loadSlot(_ slot: UInt8) {
        movzx(
            Assembler.slots[Int(slot)], .at(.rsi, Assembler.slotField + Int(slot) * 2), from: .word, .long)
    }

    // MARK: Vectors

    /// The VEX form of a load: all of a YMM register, or an XMM register alone.
    mutating func loadVEX(_ register: UInt8, _ slot: UInt8, wide: Bool) {
        vmovups(.xmm(register), self.slot(slot))
        guard wide else { return }
        vinsertf128(.ymm(register), .ymm(register), self.slot(slot, CPUState.upperHalfDistance), half: 1)
    }

    /// Stores the whole YMM register (its upper half is zero after a 128-bit form).
    mutating func storeVEX(_ register: UInt8, _ slot: UInt8) {
        vmovups(self.slot(slot), .xmm(register))
        vextractf128(self.slot(slot, CPUState.upperHalfDistance), .ymm(register), half: 1)
    }

    mutating func loadXMM0() { movups(.xmm(0), state(CPUState.vectorOffset)) }

    mutating func storeXMM0(clearingUpperHalf: Bool) {
        movups(state(CPUState.vectorOffset), .xmm(0))
        guard clearingUpperHalf else { return }
        xor(.rax, .rax, .long)
        mov(state(CPUState.upperHalfOffset), .rax)
        mov(state(CPUState.upperHalfOffset + 8), .rax)
    }

    /// The register's exponent becomes all ones.
    mutating func storeMMX(_ register: UInt8, _ slot: UInt8) {
        movq(self.slot(slot), .mm(register))
        mov(self.slot(slot, 8), 0xFFFF, .word)
    }

    // MARK: Flags and control

    /// The host's flags to the lazy ones. AF is clear after every instruction that this follows.
    mutating func storeFlags() {
        setcc(.b, .rcx)
        setcc(.o, .rax)
        setcc(.nz, .r8)
        setcc(.s, .r9)
        setcc(.np, .r10)
        // CF in bit 63, CF XOR OF in bit 62.
        movzx(.rcx, .rcx, from: .byte, .long)
        movzx(.rax, .rax, from: .byte, .long)
        xor(.rax, .rcx, .long)
        lea(.rax, .at(.rax, index: .rcx, scale: 2))
        shl(.rax, 62)
        mov(state(CPUState.lazyCarryOffset), .rax)
        movzx(.r8, .r8, from: .byte, .long)
        mov(state(CPUState.lazyResultOffset), .r8)
        mov(state(CPUState.lazySignFlipOffset), .r9, .byte)
        mov(state(CPUState.lazyParityOffset), .r10, .byte)
        mov(state(CPUState.lazyAdjustOffset), 0, .byte)
    }

    /// To `unmasked` (a function of the same arguments), if the guest has an unmasked floating-point exception.
    mutating func leaveIfUnmasked(_ unmasked: UInt) {
        let masked = label()
        mov(.rax, state(CPUState.mxcsrOffset), .long)
        not(.rax, .long)
        test(.rax, 0x1F80, .long)
        jcc(.z, masked)
        mov(.rax, unmasked)
        jmp(.rax)
        place(masked)
    }

    /// Opens a floating-point operation: with an unmasked exception to `unmasked`.
    ///
    /// `body` comes twice. Where the guest's control bits are the host's usual ones, its MXCSR stays in the host's register
    /// from operation to operation, and the flags are fetched when somebody asks (`CPU.settleMXCSR`): storing MXCSR costs more
    /// than the rest together. With other control bits it is loaded and stored around each operation, exceptions masked.
    /// `body` returns, and calls what it is given between its operation and its results.
    mutating func withMXCSR(
        unmasked: UInt, _ body: (inout Assembler, _ beforeResults: (inout Assembler) -> Void) -> Void
    ) {
        let (usual, other) = (label(), label())
        leaveIfUnmasked(unmasked)
        mov(.rax, state(CPUState.mxcsrOffset), .long)
        cmp(.rax, state(CPUState.loadedMXCSROffset), .long)
        jcc(.z, usual)
        mov(.r8, .rax, .long)
        and(.r8, ~0x3F, .long)
        cmp(.r8, 0x1F80, .long)
        jcc(.nz, other)
        mov(state(CPUState.loadedMXCSROffset), .rax, .long)
        ldmxcsr(state(CPUState.mxcsrOffset))
        place(usual)
        body(&self) { _ in }
        place(other)
        or(.rax, 0x1F80, .long)
        and(.rax, 0xFFFF, .long)
        mov(.at(.rsp, -8), .rax, .long)
        ldmxcsr(.at(.rsp, -8))
        body(&self) { a in
            a.gatherMXCSR()
            a.restoreMXCSR()
        }
    }

    /// Adds the exception flags of the host's MXCSR to the guest's.
    mutating func gatherMXCSR() {
        stmxcsr(.at(.rsp, -8))
        mov(.rax, .at(.rsp, -8), .long)
        and(.rax, 0x3F, .long)
        or(state(CPUState.mxcsrOffset), .rax, .long)
    }

    /// Gives the host its own control bits back.
    mutating func restoreMXCSR() {
        mov(.at(.rsp, -8), 0x1F80, .long)
        ldmxcsr(.at(.rsp, -8))
    }

    mutating func returnNextOp() {
        lea(.rax, .at(.rsi, MemoryLayout<Op>.stride))
        ret()
    }
}

extension CPUState {
    static let mxcsrOffset = 24
    static let vectorOffset = 160
    static let upperHalfOffset = 576
    static let upperHalfDistance = upperHalfOffset - vectorOffset
    static let x87Offset = 32
    static let loadedMXCSROffset = MemoryLayout<CPUState>.offset(of: \.loadedMXCSR) ?? 0
    static let lazyResultOffset = MemoryLayout<CPUState>.offset(of: \.lazyResult) ?? 0
    static let lazyCarryOffset = MemoryLayout<CPUState>.offset(of: \.lazyCarry) ?? 0
    static let lazyParityOffset = MemoryLayout<CPUState>.offset(of: \.lazyParity) ?? 0
    static let lazyAdjustOffset = MemoryLayout<CPUState>.offset(of: \.lazyAdjust) ?? 0
    static let lazySignFlipOffset = MemoryLayout<CPUState>.offset(of: \.lazySignFlip) ?? 0

    /// XMM register `number`'s 16 bytes; the upper half of its YMM register lies `upperHalfDistance` further on.
    static func offset(ofVector number: UInt8) -> UInt16 { UInt16(vectorOffset) + UInt16(number & 15) * 16 }
    /// MMX register `number`, while the top of the x87 stack is 0.
    static func offset(ofMMX number: UInt8) -> UInt16 { UInt16(x87Offset) + UInt16(number & 7) * 16 }
}
