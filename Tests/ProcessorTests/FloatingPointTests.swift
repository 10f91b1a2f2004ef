import Testing
import X86

@testable import Processor

/// Every MMX, SSE, AVX and x87 row that is offered here, on the host and in the interpreter: equal bit for bit.
@Suite struct FloatingPointTests {
    /// Rows whose operands are made by other tests, or that the native run can't hold.
    private static let elsewhere: Set<Mnemonic> = [
        .maskmovq, .maskmovdqu, .vmaskmovdqu, .vldmxcsr, .fldenv, .fnstenv, .fnsave, .frstor, .fldcw, .fwait,
    ]

    /// The bytes of a row: register operands at random, memory at [RSI + 64…].
    static func encode(_ row: OpcodeRow, memory: Bool, wide: Bool, _ random: inout FloatingPointRandom) -> [UInt8] {
        var reg = UInt8(random.below(16))
        var rm = UInt8(random.below(16))
        let vvvv = UInt8(random.below(16))
        var usesVVVV = false
        var isVector = [false, false]
        var immediate = false
        for index in 0..<Int(row.operandCount) {
            switch row.operands[index].kind {
            case .H, .B: usesVVVV = true
            case .V: isVector[0] = true
            case .W, .U: isVector[1] = true
            case .I, .L, .signedI: immediate = true
            default: break
            }
        }
        if !isVector[0], reg == 4 { reg = 5 }
        if !isVector[1], rm == 4 { rm = 5 }
        if !isVector[0], reg == 6 { reg = 7 }
        if !isVector[1], rm == 6 { rm = 7 }
        for index in 0..<Int(row.operandCount) {
            switch row.operands[index].kind {
            case .P: reg &= 7
            case .Q, .N: rm &= 7
            default: break
            }
        }
        if let digit = row.digit { reg = digit }
        var modRM: [UInt8]
        if memory {
            // [rsi + 64]
            modRM = [0x46 | (reg & 7) << 3, 64]
            rm = 6
        } else {
            modRM = [0xC0 | (reg & 7) << 3 | rm & 7]
        }
        if let fixed = row.fixedModRM { modRM = [fixed] }
        if !row.hasModRM { modRM = [] }
        var bytes: [UInt8] = []
        let prefix: UInt8 = row.prefix == .p66 ? 1 : row.prefix == .pF3 ? 2 : row.prefix == .pF2 ? 3 : 0
        let map: UInt8 = row.map == .map0F ? 1 : row.map == .map0F38 ? 2 : 3
        let w = row.w ?? (random.below(2) == 0)
        if row.isVEX {
            let first = (reg < 8 || row.digit != nil ? 0x80 : 0) | 0x40 | (rm < 8 || memory ? 0x20 : 0) | map
            let second = (w ? 0x80 : 0) | (usesVVVV ? ~vvvv & 15 : 15) << 3 | (wide ? 4 : 0) | prefix
            bytes = [0xC4, first, second, row.opcode]
        } else if row.map == .oneByte {
            bytes = [row.opcode]
        } else {
            if prefix != 0 { bytes.append([0x66, 0xF3, 0xF2][Int(prefix) - 1]) }
            let rex = (w ? 8 : 0) as UInt8 | (reg >= 8 && row.digit == nil ? 4 : 0) | (rm >= 8 && !memory ? 1 : 0)
            if row.hasModRM { bytes.append(0x40 | rex) }
            bytes.append(0x0F)
            if map == 2 { bytes.append(0x38) }
            if map == 3 { bytes.append(0x3A) }
            bytes.append(row.opcode)
        }
        bytes += modRM
        if immediate { bytes.append(UInt8(truncatingIfNeeded: random.next() >> 20)) }
        return bytes
    }

    static func state(_ harness: FloatingPointHarness, _ random: inout FloatingPointRandom)
        -> FloatingPointHarness.State
    {
        var state = FloatingPointHarness.State()
        for index in 0..<16 { state.general[index] = random.word() }
        if random.below(2) == 0 { state.general[0] = random.below(40) &- 20 }
        if random.below(2) == 0 { state.general[2] = random.below(40) &- 20 }
        state.general[6] = harness.address + 3072 + 256
        state.flags = random.next() & FloatingPointHarness.flagsMask
        for index in 20..<52 { state.xsave[index] = random.word() }
        for index in 72..<104 { state.xsave[index] = random.word() }
        // All exceptions masked; any rounding, DAZ, FTZ and flags.
        state.xsave[3] = 0x1F80 | (random.below(2) == 0 ? random.next() & 0xE07F : 0)
        let tags = random.below(3) == 0 ? random.next() & 0xFF : random.below(2) * 0xFF
        let control = 0x7F | random.below(4) << 10 | [0, 2, 3][Int(random.below(3))] << 8
        state.xsave[0] = control | (random.next() & 0x7F7F) << 16 | tags << 32
        for index in 0..<8 { (state.xsave[4 + 2 * index], state.xsave[5 + 2 * index]) = random.extended() }
        for index in stride(from: 256, to: 512, by: 8) {
            let word = random.word()
            for byte in 0..<8 { state.memory[index + byte] = UInt8(truncatingIfNeeded: word >> UInt64(8 * byte)) }
        }
        return state
    }

    private static func forms(_ row: OpcodeRow) -> [(memory: Bool, wide: Bool)] {
        var forms: [(Bool, Bool)] = []
        let lengths: [Bool] =
            switch row.vectorLength {
            case .either: [false, true]
            case .l256: [true]
            default: [false]
            }
        for wide in lengths {
            guard HostProcessor.features.permits(row.feature(vectorLength: wide ? 32 : 16)) else { continue }
            if row.mod != .register, row.hasModRM, row.fixedModRM == nil,
                (0..<Int(row.operandCount)).contains(where: { row.operands[$0].memorySize != .none })
            {
                forms.append((true, wide))
            }
            if row.mod != .memory { forms.append((false, wide)) }
        }
        return forms
    }

    private static func compare(_ classes: Set<OpcodeClass>, rounds: Int) {
        let harness = FloatingPointHarness()
        var random = FloatingPointRandom(7)
        for (number, row) in OpcodeTable.rows.enumerated() where classes.contains(row.opcodeClass) && !row.vsib {
            if elsewhere.contains(row.mnemonic) { continue }
            for form in forms(row) {
                for _ in 0..<rounds {
                    let bytes = encode(row, memory: form.memory, wide: form.wide, &random)
                    guard let decoded = try? Decoder.decode(bytes, codeSize: .bits64), Int(decoded.row) == number else {
                        break
                    }
                    guard HostProcessor.offered.permits(row.feature(vectorLength: decoded.vectorLength)) else { break }
                    var state = state(harness, &random)
                    if row.opcodeClass == .mmx, random.below(2) == 0 { state.xsave[0] &= ~0x3800_0000 }
                    let native = harness.native(bytes, state)
                    let (ours, stop) = harness.interpreted(bytes, state, rip: harness.lastNativeAddress)
                    if let difference = difference(native, ours, stop, row) {
                        Issue.record("\(row.mnemonic) \(hex(bytes)) \(form): \(difference)")
                        break
                    }
                }
            }
        }
    }

    static func hex(_ bytes: [UInt8]) -> String { bytes.map { String($0, radix: 16) }.joined(separator: " ") }

    private static func difference(
        _ native: FloatingPointHarness.State, _ ours: FloatingPointHarness.State, _ stop: Stop?, _ row: OpcodeRow
    ) -> String? {
        if let stop { return "stopped: \(stop)" }
        var found: [String] = []
        for index in 0..<16 where native.general[index] != ours.general[index] && index != 4 {
            found.append(
                "r\(index) \(String(native.general[index], radix: 16)) ours \(String(ours.general[index], radix: 16))")
        }
        let flags = FloatingPointHarness.flagsMask & ~row.flagsUndefined.rawValue
        if native.flags & flags != ours.flags & flags {
            found.append("flags \(String(native.flags, radix: 16)) ours \(String(ours.flags, radix: 16))")
        }
        for index in 0..<104 {
            var mask = UInt64.max
            // MXCSR_MASK and the header are no state.
            if index == 3 { mask = 0xFFFF_FFFF }
            // AMD's processors keep the last instruction's pointers only with a pending exception.
            if index == 0 { mask = 0xFF_FFFF_FFFF }
            if index == 1 || index == 2 { mask = 0 }
            if index > 3, index < 20, index & 1 == 1 { mask = 0xFFFF }
            if index >= 52 && index < 72 { mask = 0 }
            if native.xsave[index] & mask != ours.xsave[index] & mask {
                found.append(
                    "xsave[\(index)] \(String(native.xsave[index] & mask, radix: 16)) ours \(String(ours.xsave[index] & mask, radix: 16))"
                )
            }
        }
        if native.memory != ours.memory {
            found.append("memory \(native.memory[320..<360]) ours \(ours.memory[320..<360])")
        }
        return found.isEmpty ? nil : found.joined(separator: "; ")
    }

    @Test func sse() { FloatingPointTests.compare([.sse], rounds: 6) }
    @Test func vex() { FloatingPointTests.compare([.vex], rounds: 4) }
    @Test func mmx() { FloatingPointTests.compare([.mmx], rounds: 6) }
    @Test func x87() { FloatingPointTests.compare([.x87], rounds: 60) }
}
