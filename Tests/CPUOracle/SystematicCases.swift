import Processor
import X86

/// Each row of the opcode table in each form that it has, from states full of edge values: single instructions, one after the
/// other. Counts what it has made, by row.
public struct SystematicCases {
    /// States for each form.
    private let rounds: Int
    private var random: OracleRandom
    /// Cases made of each row.
    public private(set) var counts: [Int]
    private var pending: [(row: Int, mode: OracleCase.Mode, form: RowEncoder.Form)] = []
    private var current = 0
    private var round = 0

    public init(seed: UInt64, rounds: Int) {
        self.rounds = rounds
        random = OracleRandom(seed: seed)
        counts = [Int](repeating: 0, count: OpcodeTable.rows.count)
        for (number, row) in OpcodeTable.rows.enumerated() where NativeRows.isCompared(row) {
            for mode in OracleCase.Mode.offered {
                for form in RowEncoder(mode: mode).forms(of: row) { pending.append((number, mode, form)) }
            }
        }
    }

    public mutating func next() -> OracleCase? {
        while current < pending.count {
            let (number, mode, form) = pending[current]
            round += 1
            if round >= rounds {
                round = 0
                current += 1
            }
            var encoder = RowEncoder(mode: mode)
            (encoder.wildness, encoder.recklessness) = (8, 8)
            guard let instruction = encoder.encode(number, form, &random) else { continue }
            var test = StateGenerator.make(mode, &random)
            test.code = instruction.placed(at: test.state.rip)
            RareStates.arrange(&test, OpcodeTable.rows[number], &random)
            // Undefined flags of a single instruction are masked; those that it reads are defined here.
            counts[number] += 1
            return test
        }
        return nil
    }
}

/// `docs/instructions.md`: each row of the opcode table, how many cases compared it with the host's CPU, or what else does.
public enum InstructionReport {
    public static func text(_ counts: [Int]) -> String {
        var lines = [
            "# The instructions and what shows them right", "",
            "Made by `make instructions`. A line is a row of the opcode table. Its count is of single instructions in every form",
            "that it has (operand kinds, prefixes, vector lengths, 64-, 32- and 16-bit code), executed by the host's own processor and",
            "by the interpreter from the same states, and equal in registers, flags, FPU and vector state, memory and fault. Random",
            "sequences of them are compared by `make fuzz-cpu`. What user level can't show names its tests. Rows with a star have a",
            "situation in which [models differ](#where-models-differ).", "",
        ]
        for kind in [OpcodeClass.integer, .system, .x87, .mmx, .sse, .vex] {
            lines += ["## \(title(kind))", "", "| encoding | instruction | compared natively |", "|---|---|---|"]
            for (number, row) in OpcodeTable.rows.enumerated() where row.opcodeClass == kind {
                let elsewhere = NativeRows.elsewhere(row)
                let count = counts[number] > 0 ? "\(counts[number])" : ""
                let what = [count, elsewhere ?? ""].filter { !$0.isEmpty }.joined(separator: "; ")
                let star = ModelChoice.all.contains { $0.mnemonics.contains(row.mnemonic) } ? "*" : ""
                lines.append("| \(encoding(row)) | \(row.mnemonic.rawValue)\(star) | \(what) |")
            }
            lines.append("")
        }
        return (lines + choices).joined(separator: "\n")
    }

    /// What each model may choose, from the oracle's own table.
    private static var choices: [String] {
        var lines = [
            "## Where models differ", "",
            "The host may do any of these, and what led up to it is compared; a further outcome is a finding. The first one is the",
            "interpreter's on every host (`CPUOracleTests/ourChoices`).", "",
            "| instructions | situation | outcomes | why |", "|---|---|---|---|",
        ]
        for choice in ModelChoice.all {
            let names = choice.mnemonics.map(\.rawValue).joined(separator: ", ")
            let outcomes = choice.outcomes.map { "\($0.behaviour) (\($0.seenOn))" }.joined(separator: "; or ")
            lines.append("| \(names) | \(choice.situation) | \(outcomes) | \(choice.reason) |")
        }
        return lines + [""]
    }

    private static func title(_ kind: OpcodeClass) -> String {
        switch kind {
        case .integer: "General-purpose"
        case .system: "System"
        case .x87: "x87"
        case .mmx: "MMX"
        case .sse: "SSE, AES, PCLMULQDQ, SHA"
        case .vex: "AVX, AVX2, FMA, F16C"
        }
    }

    static func encoding(_ row: OpcodeRow) -> String {
        var words: [String] = []
        if row.isVEX { words.append("VEX.\(length(row.vectorLength))") }
        switch row.prefix {
        case .p66: words.append("66")
        case .pF3: words.append("F3")
        case .pF2: words.append("F2")
        case .none: words.append("NP")
        default: break
        }
        if let w = row.w { words.append(w ? "W1" : "W0") }
        switch row.map {
        case .oneByte: break
        case .map0F: words.append("0F")
        case .map0F38: words.append("0F 38")
        case .map0F3A: words.append("0F 3A")
        }
        let opcode = hex(row.opcode)
        words.append(row.opcodeCount == 8 ? opcode + "+r" : row.opcodeCount == 16 ? opcode + "+c" : opcode)
        if let fixed = row.fixedModRM {
            words.append(hex(fixed))
        } else if row.hasModRM {
            words.append(row.digit.map { "/\($0)" } ?? "/r")
            if row.mod == .memory { words.append("mem") }
            if row.mod == .register { words.append("reg") }
        }
        return words.joined(separator: " ")
    }

    private static func length(_ form: VectorLengthForm) -> String {
        switch form {
        case .l128: "128"
        case .l256: "256"
        case .either: "128/256"
        default: "LIG"
        }
    }

    private static func hex(_ byte: UInt8) -> String {
        (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
    }
}
