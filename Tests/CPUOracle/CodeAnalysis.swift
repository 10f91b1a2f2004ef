import Processor
public import X86

/// A case's code taken apart: its instructions, and which flags the manual leaves undefined before each.
public struct CodeAnalysis {
    public struct Step {
        public var offset: Int
        public var instruction: Instruction
        /// Undefined when execution gets here.
        var undefined: RFLAGS = []
        /// Whether execution gets here at all.
        var reached = false
    }

    public private(set) var steps: [Step] = []
    private var indices: [Int: Int] = [:]
    /// Undefined where the code ends.
    private var undefinedAtEnd: RFLAGS = []
    private let end: Int

    /// The first instruction that reads flags which are undefined there: the code's outcome is then no one's to say.
    public private(set) var readsUndefined: Int?

    static let status: RFLAGS = [.CF, .PF, .AF, .ZF, .SF, .OF]

    public init(_ code: [UInt8], mode: OracleCase.Mode) {
        var offset = 0
        while offset < code.count {
            guard
                let instruction = try? Decoder.decode(
                    Array(code[offset..<min(offset + 15, code.count)]), codeSize: CodeSize(rawValue: mode.codeSize),
                    vendor: CodeAnalysis.vendor)
            else { break }
            indices[offset] = steps.count
            steps.append(Step(offset: offset, instruction: instruction))
            offset += Int(instruction.length)
        }
        end = offset
        follow()
    }

    /// Whose processor this is.
    static let vendor: Vendor =
        [0x6874_7541, 0x6F67_7948].contains(HostProcessor.cpuid(leaf: 0).ebx) ? .amd : .intel

    /// Carries the undefined flags along every way that execution can take, until nothing changes.
    private mutating func follow() {
        guard !steps.isEmpty else { return }
        var work = [0]
        steps[0].reached = true
        while let index = work.popLast() {
            let step = steps[index]
            let effect = FlagEffect(step.instruction)
            if !effect.reads.isDisjoint(with: step.undefined), readsUndefined.map({ $0 > index }) ?? true {
                readsUndefined = index
            }
            let after = step.undefined.subtracting(effect.certainlyWrites).union(effect.leavesUndefined)
            for next in successors(of: index) {
                guard next < steps.count else {
                    undefinedAtEnd.formUnion(after)
                    continue
                }
                if !steps[next].reached || !steps[next].undefined.isSuperset(of: after) {
                    steps[next].reached = true
                    steps[next].undefined.formUnion(after)
                    work.append(next)
                }
            }
        }
    }

    /// Where an instruction leads: `steps.count` is the end. Returns and indirect branches may lead to any call's successor or
    /// to any instruction.
    private func successors(of index: Int) -> [Int] {
        let step = steps[index]
        let instruction = step.instruction
        let next = step.offset + Int(instruction.length)
        func at(_ offset: Int) -> [Int] { offset == end ? [steps.count] : indices[offset].map { [$0] } ?? [] }
        guard instruction.opcodeRow.isBranch else { return at(next) }
        if case .relative = instruction.operands[0] {
            let target = at(next &+ Int(truncatingIfNeeded: Int64(bitPattern: instruction.immediate)))
            switch instruction.mnemonic {
            case .jmp, .call: return target
            default: return target + at(next)
            }
        }
        return Array(0...steps.count)
    }

    /// The flags that can't be compared when execution has ended at an offset.
    public func undefined(at offset: Int) -> RFLAGS {
        if offset == end { return undefinedAtEnd }
        guard let index = indices[offset] else {
            // Past the instruction that ended it (a trap), or somewhere that isn't one: whatever may be undefined anywhere.
            return steps.reduce(undefinedAtEnd) {
                $0.union($1.undefined).union(FlagEffect($1.instruction).leavesUndefined)
            }
        }
        return steps[index].undefined
    }
}

extension OracleCase {
    /// The instruction at which the case has ended. A jump may have gone between those that were meant.
    func instruction(at rip: UInt64) -> Instruction? {
        let offset = Int(truncatingIfNeeded: Int64(bitPattern: rip &- state.rip))
        guard code.indices.contains(offset) else { return nil }
        let bytes = code[offset...].prefix(15) + [UInt8](repeating: OracleWindows.filler, count: 14)
        return try? Decoder.decode(
            Array(bytes), codeSize: CodeSize(rawValue: mode.codeSize), vendor: CodeAnalysis.vendor)
    }
}

/// What is undefined at the end of the way that execution has taken.
struct PathAnalysis {
    private(set) var undefined: RFLAGS = []
    /// Where the first instruction is that read a flag which was undefined: from there on the outcome is no one's to say.
    private(set) var readsUndefined: Int?

    /// `offsets`: where the instructions begin, from the code window's start on, in the order of execution; the last one has not
    /// been completed.
    init(_ test: OracleCase, _ offsets: [Int]) {
        var window = [UInt8](repeating: OracleWindows.filler, count: OracleWindows.codeSize)
        let start = min(Int(test.codeOffset), window.count)
        let end = min(start + test.code.count, window.count)
        window.replaceSubrange(start..<end, with: test.code.prefix(end - start))
        for offset in offsets.dropLast() where window.indices.contains(offset) {
            guard
                let instruction = try? Decoder.decode(
                    Array(window[offset..<min(offset + 15, window.count)]),
                    codeSize: CodeSize(rawValue: test.mode.codeSize),
                    vendor: CodeAnalysis.vendor)
            else { continue }
            let effect = FlagEffect(instruction)
            if readsUndefined == nil, !effect.reads.isDisjoint(with: undefined) { readsUndefined = offset }
            undefined = undefined.subtracting(effect.certainlyWrites).union(effect.leavesUndefined)
        }
    }
}

/// What an instruction does to the flags, more exactly than its row can say where a condition or a count is known.
struct FlagEffect {
    var reads: RFLAGS
    /// Written whatever the operands are.
    var certainlyWrites: RFLAGS
    var leavesUndefined: RFLAGS

    init(_ instruction: Instruction) {
        let row = instruction.opcodeRow
        reads = row.flagsRead
        certainlyWrites = row.flagsMayBeKept ? [] : row.flagsWritten
        leavesUndefined = row.flagsUndefined
        switch instruction.mnemonic {
        case .jcc, .setcc, .cmovcc:
            reads = FlagEffect.ofCondition[Int(instruction.opcode & 15) / 2]
        case .shl, .shr, .sar, .rol, .ror, .rcl, .rcr, .shld, .shrd:
            // Intel SDM vol. 2: OF is defined for counts of 1 only, CF of SHL and SHR for counts below the width; a masked
            // count of 0 changes nothing.
            let width = FlagEffect.width(instruction)
            let count = FlagEffect.count(instruction)
            if count == 0 {
                certainlyWrites = []
                leavesUndefined = []
                return
            }
            if count != nil { certainlyWrites = row.flagsWritten }
            if count == 1 { leavesUndefined.remove(.OF) } else { leavesUndefined.insert(.OF) }
            if [.shl, .shr, .shld, .shrd].contains(instruction.mnemonic), (count ?? 31) >= width {
                leavesUndefined.insert(.CF)
            }
        default: break
        }
    }

    /// Intel SDM vol. 1, appendix B.
    private static let ofCondition: [RFLAGS] = [
        .OF, .CF, .ZF, [.CF, .ZF], .SF, .PF, [.SF, .OF], [.ZF, .SF, .OF],
    ]

    private static func width(_ instruction: Instruction) -> Int {
        switch instruction.operands[0] {
        case .register(_, let size), .memory(let size): Int(size) * 8
        case .highByte: 8
        default: Int(instruction.operandSize) * 8
        }
    }

    /// The count of a shift by an immediate, masked.
    private static func count(_ instruction: Instruction) -> Int? {
        for index in 0..<Int(instruction.operandCount) {
            switch instruction.opcodeRow.operands[index].kind {
            case .I: return Int(instruction.immediate & (width(instruction) == 64 ? 63 : 31))
            case .one: return 1
            default: break
            }
        }
        return nil
    }
}
