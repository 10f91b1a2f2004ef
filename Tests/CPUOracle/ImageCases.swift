import X86

/// State images and environments in memory: saved by one instruction, altered, and loaded by another, with what lies between
/// changed meanwhile. FXSAVE, FNSAVE, FNSTENV, the XSAVE family, and their counterparts.
///
/// What a host saves of its own stays out of the comparison: the last x87 instruction's opcode, pointers and selectors, MXCSR_MASK.
public struct ImageCases {
    private let mode: OracleCase.Mode
    private var random: OracleRandom
    private var left: Int

    public init(seed: UInt64, mode: OracleCase.Mode, count: Int) {
        (self.mode, left) = (mode, count)
        random = OracleRandom(seed: seed &+ UInt64(mode.rawValue))
    }

    /// Where the image is, in the data window.
    static let offset: UInt32 = 0x400

    /// How a pair is encoded: the opcode's bytes, and the digits in ModRM.reg.
    private struct Pair {
        var saving: (opcode: [UInt8], digit: UInt8)
        var loading: (opcode: [UInt8], digit: UInt8)
        var kind: Kind
    }
    private enum Kind { case environment, fxsave, xsave }

    private static let pairs: [Pair] = [
        Pair(saving: ([0xD9], 6), loading: ([0xD9], 4), kind: .environment),
        Pair(saving: ([0xDD], 6), loading: ([0xDD], 4), kind: .environment),
        Pair(saving: ([0x0F, 0xAE], 0), loading: ([0x0F, 0xAE], 1), kind: .fxsave),
        Pair(saving: ([0x0F, 0xAE], 4), loading: ([0x0F, 0xAE], 5), kind: .xsave),
        Pair(saving: ([0x0F, 0xAE], 6), loading: ([0x0F, 0xAE], 5), kind: .xsave),
        Pair(saving: ([0x0F, 0xC7], 4), loading: ([0x0F, 0xAE], 5), kind: .xsave),
    ]

    public mutating func next() -> OracleCase? {
        guard left > 0 else { return nil }
        left -= 1
        var test = StateGenerator.make(mode, &random)
        let pair = random.pick(ImageCases.pairs)
        // The x87's and the vectors' state as it is after a reset, now and then.
        if random.chance(20) { test.state.xsave = OracleState().xsave }
        test.state.registers[3] = mode.dataStart + UInt64(ImageCases.offset)
        // Components that a guest is offered too.
        test.state.registers[0] = UInt64(random.below(8))
        test.state.registers[2] = 0
        // XSAVE leaves what is beyond its components in the header as it was, and XRSTOR wants zeros there.
        if pair.kind == .xsave { test.background = 0 }
        let wide = mode == .bits64 && random.chance(50)
        let short = pair.kind == .environment && random.chance(30)
        test.code = instruction(pair.saving.opcode, pair.saving.digit, wide: wide, short: short)
        test.code += alteration(pair.kind, hasInitialComponents: test.state.initialComponents != 0)
        for _ in 0..<random.below(4) { test.code += random.pick(ImageCases.changes) }
        if pair.kind == .xsave, random.chance(50) { test.code += [0xB0, UInt8(random.below(8))] }  // mov al, components
        if random.chance(80) {
            test.code += instruction(pair.loading.opcode, pair.loading.digit, wide: wide, short: short)
        }
        test.ignored = ignored(pair.kind, isShort: (mode == .bits16) != short)
        return test
    }

    /// fninit; fld1; fldz; fincstp; emms; pcmpeqd xmm0, xmm0; xorps xmm1, xmm1
    private static let changes: [[UInt8]] = [
        [0xDB, 0xE3], [0xD9, 0xE8], [0xD9, 0xEE], [0xD9, 0xF7], [0x0F, 0x77], [0x66, 0x0F, 0x76, 0xC0],
        [0x0F, 0x57, 0xC9],
    ]

    /// On [rBX]; `short` is the other operand size, which environments have.
    private func instruction(_ opcode: [UInt8], _ digit: UInt8, wide: Bool = false, short: Bool = false) -> [UInt8] {
        (short ? [0x66] : []) + (wide ? [0x48] : []) + opcode + [digit << 3 | (mode == .bits16 ? 7 : 3)]
    }

    /// AND, OR or XOR of 32 bits of the image.
    private func change(_ digit: UInt8, at offset: UInt64, _ value: UInt64) -> [UInt8] {
        (mode == .bits16 ? [0x66] : []) + [0x81, 0x80 | digit << 3 | (mode == .bits16 ? 7 : 3)]
            + RowEncoder.bytes(offset, mode == .bits16 ? 2 : 4) + RowEncoder.bytes(value, 4)
    }

    private static let or: UInt8 = 1, and: UInt8 = 4, xor: UInt8 = 6

    private mutating func alteration(_ kind: Kind, hasInitialComponents: Bool) -> [UInt8] {
        guard random.chance(60) else { return [] }
        switch kind {
        case .environment: return change(ImageCases.xor, at: random.pick([0, 4, 8]), random.next() & 0x7F3F)
        case .fxsave: return change(ImageCases.xor, at: random.pick([0, 4, 32, 160, 24]), random.value() & 0x7F3F)
        case .xsave:
            switch random.below(8) {
            case 0: return change(ImageCases.or, at: 524, 0x8000_0000)
            case 1: return change(ImageCases.or, at: 524, 0x8000_0000) + change(ImageCases.or, at: 520, 7)
            case 2: return change(ImageCases.or, at: 512 + UInt64(4 * random.below(16)), 1 << UInt64(random.below(3)))
            case 3: return change(ImageCases.xor, at: 24, 1 << UInt64(random.below(17)))
            case 4: return change(ImageCases.xor, at: 576 + UInt64(4 * random.below(64)), random.value())
            // XSTATE_BV as it was saved is looked at where it may show what the processor keeps track of.
            default: return hasInitialComponents ? [] : change(ImageCases.and, at: 512, UInt64(random.below(8)))
            }
        }
    }

    /// Offsets in the data window.
    private func ignored(_ kind: Kind, isShort: Bool) -> [Range<UInt32>] {
        let start = ImageCases.offset
        func range(_ range: Range<UInt32>) -> Range<UInt32> { start + range.lowerBound..<start + range.upperBound }
        switch kind {
        case .environment: return [range(isShort ? 6..<14 : 12..<28)]
        // Each register's place has six bytes more than the register.
        case .fxsave, .xsave:
            return [range(6..<24), range(28..<32)] + (0..<8).map { range(42 + 16 * $0..<48 + 16 * $0) }
        }
    }
}
