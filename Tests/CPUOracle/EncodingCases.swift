import Processor
import X86

/// Bytes rather than instructions: every opcode of every map with every ModRM byte, cut off at each length, and with as many
/// prefixes as fit and one more. Each is executed for one step (RFLAGS.TF), so that a length shows as the RIP of a #DB.
public struct EncodingCases {
    private var random: OracleRandom
    /// The ModRM bytes that are tried; 256 of them make the set whole.
    private let modRMs: [UInt8]
    private var leads: [[UInt8]] = []
    private var lead = 0
    private var opcode = 0
    private var modRM = 0
    private let mode: OracleCase.Mode

    public init(seed: UInt64, mode: OracleCase.Mode, modRMs count: Int) {
        random = OracleRandom(seed: seed)
        self.mode = mode
        modRMs =
            count >= 256
            ? Array(0...255) : (0..<count).map { UInt8(truncatingIfNeeded: $0 * 256 / count + $0 * 37 % 8) }
        for prefix in [[], [0x66], [0xF3], [0xF2]] as [[UInt8]] {
            let rex: [[UInt8]] = mode == .bits64 ? [[], [0x48]] : [[]]
            for map in [[], [0x0F], [0x0F, 0x38], [0x0F, 0x3A]] as [[UInt8]] {
                for rex in rex { leads.append(prefix + rex + map) }
            }
        }
        for map in 1...3 as ClosedRange<UInt8> {
            for last in 0..<8 as Range<UInt8> {
                // vvvv = 1111, and another; W with the odd ones.
                leads.append([0xC4, 0xE0 | map, 0x78 | last])
                leads.append([0xC4, 0xE0 | map, 0x80 | 0x50 | last])
            }
        }
    }

    public mutating func next() -> OracleCase? {
        while lead < leads.count {
            let bytes = leads[lead] + [UInt8(opcode), modRMs[modRM]]
            modRM += 1
            if modRM == modRMs.count {
                modRM = 0
                opcode += 1
                if opcode == 256 {
                    opcode = 0
                    lead += 1
                }
            }
            if let test = EncodingCases.step(bytes + tail, mode, &random) { return test }
        }
        return nil
    }

    /// SIB, displacement and immediate: a SIB of [RSI + RBX], a small displacement.
    private var tail: [UInt8] { [0x1E, 0x00, 0x00, 0x00, 0x00, 0x11, 0x22, 0x33, 0x44] }

    /// One step at `bytes`; nil where the host would show something of its own.
    static func step(
        _ bytes: [UInt8], _ mode: OracleCase.Mode, at offset: Int = 0, _ random: inout OracleRandom
    ) -> OracleCase? {
        guard !isTheHosts(bytes, mode) else { return nil }
        var test = StateGenerator.make(mode, &random)
        // Everything that may be an address is one; nothing else faults for another reason.
        for register in 0..<(mode == .bits64 ? 16 : 8) {
            test.state.registers[register] = mode.dataStart + 0x400 + UInt64(register) * 0x40
        }
        test.state.registers[3] = 0x80
        test.state.registers[1] = 3
        test.state.registers[4] = mode.stackStart + 0x800
        test.state.xsave[3] = 0x1F80
        test.state.xsave[0] = 0x37F
        test.state.rflags = 0x302 | random.next() & 0x8D5
        test.codeOffset = UInt32(offset)
        test.state.rip = mode.codeStart + UInt64(offset)
        test.code = bytes
        return test
    }

    /// Bytes that can't be judged by this host: instructions of `NativeRows.elsewhere`, and opcodes of extensions that hosts
    /// have and guests aren't offered.
    static func isTheHosts(_ bytes: [UInt8], _ mode: OracleCase.Mode) -> Bool {
        let padded = Array((bytes + [UInt8](repeating: 0, count: 16)).prefix(15))
        if let decoded = try? Decoder.decode(
            padded, codeSize: CodeSize(rawValue: mode.codeSize), vendor: CodeAnalysis.vendor)
        {
            let row = decoded.opcodeRow
            if row.privileged { return false }
            if !HostProcessor.offered.permits(row.feature(vectorLength: decoded.vectorLength)) { return true }
            // AMD's processors take the single-step trap within a gather.
            if row.vsib { return true }
            return NativeRows.elsewhere(row) != nil || EncodingCases.hasUndefinedResult(decoded)
        }
        return UnofferedEncodings.contains(padded, mode)
    }

    private static func hasUndefinedResult(_ instruction: Instruction) -> Bool {
        [.shld, .shrd, .bswap, .movsxd].contains(instruction.mnemonic) && instruction.operandSize == 2
    }
}

/// Encodings that are #UD for guests, since the feature isn't offered, and that a host may execute.
enum UnofferedEncodings {
    static func contains(_ bytes: [UInt8], _ mode: OracleCase.Mode) -> Bool {
        var index = 0
        var prefixes: Set<UInt8> = []
        while index < 14, legacy.contains(bytes[index]) || mode == .bits64 && bytes[index] & 0xF0 == 0x40 {
            prefixes.insert(bytes[index])
            index += 1
        }
        let rest = Array(bytes[index...])
        guard rest.count >= 3 else { return false }
        let (first, second, third) = (rest[0], rest[1], rest[2])
        // EVEX: AVX-512. 8F with map 8 and up: XOP.
        if first == 0x62, mode == .bits64 || second & 0xC0 == 0xC0 { return true }
        if first == 0xC4 || first == 0xC5, mode == .bits64 || second & 0xC0 == 0xC0 {
            // VEX: GFNI, VNNI, IFMA, opmasks and their kin.
            return true
        }
        guard first == 0x0F else { return false }
        switch second {
        // SSE4A.
        case 0x78, 0x79, 0x2B: return true
        // CLZERO, MONITORX, RDPRU, MCOMMIT and others by ModRM.
        case 0x01: return third >= 0xC0
        case 0xAE, 0xC7: return true
        case 0x38: return [0xCF, 0xF5, 0xF6, 0xF8, 0xF9, 0xC8, 0x8A, 0x8B].contains(third)
        case 0x3A: return [0xCE, 0xCF].contains(third)
        // UD0 and the like never; CET's NOPs are NOPs.
        default: return false
        }
    }

    private static let legacy: Set<UInt8> = [0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0, 0xF2, 0xF3]
}

/// Instructions cut off by a page that isn't there, and ones of 15 and 16 bytes.
public struct LengthCases {
    private var random: OracleRandom
    private let mode: OracleCase.Mode
    private var remaining: Int
    private var queue: [OracleCase] = []

    public init(seed: UInt64, mode: OracleCase.Mode, count: Int) {
        random = OracleRandom(seed: seed)
        self.mode = mode
        remaining = count
    }

    public mutating func next() -> OracleCase? {
        while queue.isEmpty {
            guard remaining > 0 else { return nil }
            remaining -= 1
            make()
        }
        return queue.removeLast()
    }

    private mutating func make() {
        let number = random.below(OpcodeTable.rows.count)
        let row = OpcodeTable.rows[number]
        guard NativeRows.isCompared(row) else { return }
        let encoder = RowEncoder(mode: mode)
        guard let form = encoder.forms(of: row).randomElement(using: &random),
            let bytes = encoder.encode(number, form, &random)?.bytes
        else { return }
        func add(_ bytes: [UInt8], at offset: Int) {
            guard !EncodingCases.isTheHosts(bytes, mode),
                let test = EncodingCases.step(bytes, mode, at: offset, &random)
            else { return }
            queue.append(test)
        }
        // Cut off at each length, and whole, at the end of the window.
        for length in 1...bytes.count { add(Array(bytes.prefix(length)), at: OracleWindows.codeSize - length) }
        // Filled up with prefixes: to 14, 15 and 16 bytes, in the middle and at the end.
        let filler: [UInt8] = row.isVEX ? [0x2E, 0x3E, 0x67] : [0x2E, 0x3E, 0x66, 0x67, 0xF2, 0xF3]
        for length in 14...16 where length > bytes.count {
            let prefixes = (0..<length - bytes.count).map { _ in random.pick(filler) }
            for offset in [0, OracleWindows.codeSize - length, OracleWindows.codeSize - length + 1] {
                add(Array((prefixes + bytes).prefix(OracleWindows.codeSize - offset)), at: offset)
            }
        }
    }
}
