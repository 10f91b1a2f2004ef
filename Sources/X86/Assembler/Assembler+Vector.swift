// MMX, SSE and AVX as far as code of our own moves them, and state images. Intel SDM vol. 2, chapters 3-5.

extension Assembler {
    // MARK: SSE and MMX

    /// An instruction without an operand size: `wide` is REX.W.
    private mutating func sse(_ opcode: Opcode, _ reg: some Operand, _ rm: some Operand, wide: Bool = false) {
        encode(opcode, wide ? .quad : plain, field(reg, .long), field(rm, .long))
    }

    /// A move with one opcode to the register and another to memory.
    private mutating func sse(load: Opcode, store: UInt8, _ to: some Operand, _ from: some Operand, wide: Bool = false)
    {
        if case .memory = to.form {
            sse(Opcode(load.map, load.prefix, store), from, to, wide: wide)
        } else {
            sse(load, to, from, wide: wide)
        }
    }

    public mutating func movups(_ to: some Operand, _ from: some Operand) {
        sse(load: .map0F(0x10), store: 0x11, to, from)
    }
    public mutating func movaps(_ to: some Operand, _ from: some Operand) {
        sse(load: .map0F(0x28), store: 0x29, to, from)
    }
    public mutating func movdqu(_ to: some Operand, _ from: some Operand) {
        sse(load: .map0F(0x6F, .pF3), store: 0x7F, to, from)
    }
    public mutating func movdqa(_ to: some Operand, _ from: some Operand) {
        sse(load: .map0F(0x6F, .p66), store: 0x7F, to, from)
    }

    /// MOVD between an MMX or XMM register and a general register or memory of 32 bits.
    public mutating func movd(_ to: some Operand, _ from: some Operand) {
        switch (to.form, from.form) {
        case (.vector(let vector), _): sse(word(0x6E, vector), to, from)
        case (_, .vector(let vector)): sse(word(0x7E, vector), from, to)
        default: preconditionFailure("MOVD has a vector register")
        }
    }

    /// MOVQ between a vector register and another of its kind, memory, or a general register.
    public mutating func movq(_ to: some Operand, _ from: some Operand) {
        switch (to.form, from.form) {
        case (.vector(let vector), .general): sse(word(0x6E, vector), to, from, wide: true)
        case (.general, .vector(let vector)): sse(word(0x7E, vector), from, to, wide: true)
        case (.vector(let vector), _) where vector.bank == .mm: sse(.map0F(0x6F), to, from)
        case (_, .vector(let vector)) where vector.bank == .mm: sse(.map0F(0x7F), from, to)
        case (.vector, _): sse(.map0F(0x7E, .pF3), to, from)
        default: sse(.map0F(0xD6, .p66), from, to)
        }
    }

    private func word(_ opcode: UInt8, _ vector: Vector) -> Opcode { .map0F(opcode, vector.bank == .mm ? .any : .p66) }

    public mutating func pxor(_ to: Vector, _ from: some Operand) { sse(word(0xEF, to), to, from) }
    public mutating func paddd(_ to: Vector, _ from: some Operand) { sse(word(0xFE, to), to, from) }
    public mutating func emms() { bytes(0x0F, 0x77) }

    // MARK: AVX

    /// The length is the registers'; `vvvv`: the second of three operands.
    public mutating func vex(
        _ map: OpcodeMap, _ prefix: MandatoryPrefix, _ opcode: UInt8, w: Bool = false, _ reg: Vector,
        vvvv: Vector? = nil, _ rm: some Operand, immediate: UInt8? = nil
    ) {
        encodeVEX(
            Opcode(map, prefix, opcode), wide: reg.bank == .ymm, w: w, .register(reg.number),
            vvvv: .register(vvvv?.number ?? 0), field(rm, .long), immediate: immediate.map { .byte($0) } ?? .none)
    }

    private mutating func vex(
        _ prefix: MandatoryPrefix, load: UInt8, store: UInt8, _ to: some Operand, _ from: some Operand
    ) {
        switch (to.form, from.form) {
        case (.vector(let vector), _): vex(.map0F, prefix, load, vector, from)
        case (_, .vector(let vector)): vex(.map0F, prefix, store, vector, to)
        default: preconditionFailure("the instruction has a vector register")
        }
    }

    /// With XMM registers the upper half is cleared.
    public mutating func vmovups(_ to: some Operand, _ from: some Operand) {
        vex(.none, load: 0x10, store: 0x11, to, from)
    }
    public mutating func vmovaps(_ to: some Operand, _ from: some Operand) {
        vex(.none, load: 0x28, store: 0x29, to, from)
    }
    public mutating func vmovdqu(_ to: some Operand, _ from: some Operand) {
        vex(.pF3, load: 0x6F, store: 0x7F, to, from)
    }
    public mutating func vmovdqa(_ to: some Operand, _ from: some Operand) {
        vex(.p66, load: 0x6F, store: 0x7F, to, from)
    }
    /// `half` 1 is the upper one.
    public mutating func vinsertf128(_ to: Vector, _ first: Vector, _ from: some Operand, half: UInt8) {
        vex(.map0F3A, .p66, 0x18, to, vvvv: first, from, immediate: half)
    }
    public mutating func vextractf128(_ to: some Operand, _ from: Vector, half: UInt8) {
        vex(.map0F3A, .p66, 0x19, from, to, immediate: half)
    }
    public mutating func vpxor(_ to: Vector, _ first: Vector, _ from: some Operand) {
        vex(.map0F, .p66, 0xEF, to, vvvv: first, from)
    }
    public mutating func vzeroupper() { bytes(0xC5, 0xF8, 0x77) }
    public mutating func vzeroall() { bytes(0xC5, 0xFC, 0x77) }

    // MARK: State

    private mutating func image(_ opcode: UInt8, _ digit: UInt8, _ image: Memory, wide: Bool = true) {
        encode(.map0F(opcode), wide && codeSize == .bits64 ? .quad : plain, .digit(digit), .memory(image))
    }
    public mutating func ldmxcsr(_ from: Memory) { image(0xAE, 2, from, wide: false) }
    public mutating func stmxcsr(_ to: Memory) { image(0xAE, 3, to, wide: false) }
    /// In 64-bit code the forms with 64-bit FIP and FDP.
    public mutating func fxsave(_ to: Memory) { image(0xAE, 0, to) }
    public mutating func fxrstor(_ from: Memory) { image(0xAE, 1, from) }
    public mutating func xsave(_ to: Memory) { image(0xAE, 4, to) }
    public mutating func xrstor(_ from: Memory) { image(0xAE, 5, from) }
    public mutating func xsaveopt(_ to: Memory) { image(0xAE, 6, to) }
    public mutating func xsavec(_ to: Memory) { image(0xC7, 4, to) }
}
