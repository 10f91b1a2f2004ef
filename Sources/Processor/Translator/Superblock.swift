import X86

/// Code that is translated as one: what can be reached from one entry by direct branches without leaving its page, as basic
/// blocks. It is filled again and again, and keeps its memory.
struct Superblock {
    /// An instruction, and what the stages behind the decoding ask of it again and again.
    struct Step {
        let instruction: Instruction
        /// Of its first byte in the page.
        let offset: Int
        let kind: InstructionKind
        let flagUse: FlagUse
        /// General registers.
        let written: RegisterSet
        /// At its operand in memory; and it writes there.
        let accessesMemory: Bool
        let writesMemory: Bool
        var next: Int { offset + Int(instruction.length) }
        /// Its last bytes are in the next page.
        var crosses: Bool { next > 4096 }

        /// - Parameter passing: what of it passes through.
        init(_ instruction: Instruction, offset: Int, passing: PassThrough) {
            self.instruction = instruction
            self.offset = offset
            let row = instruction.opcodeRow
            kind = InstructionKind(instruction, row, next: offset + Int(instruction.length), passing: passing)
            flagUse = FlagUse(instruction, row)
            written = kind.written(instruction, row)
            accessesMemory = instruction.memorySize != 0
            writesMemory = instruction.memoryOperandIndex.map { row.operands[$0].access != .read } ?? false
        }

        /// See `InstructionKind`.
        var mayLeave: Bool { kind.mayLeave(accessingMemory: accessesMemory) }
    }

    /// Steps of which the last alone may transfer control, by their indices.
    struct BasicBlock {
        let steps: Range<Int>
        /// Blocks that control may go on to inside: behind it, and where its branch leads.
        var following: Int?
        var target: Int?
        /// Nobody sees the status flags that it begins with.
        var flagsAreDead = false
    }

    /// Of all blocks, and the bytes that they were decoded from.
    private(set) var steps: [Step] = []
    private(set) var bytes: [CodeBytes] = []
    /// Registers that those of them which are translated use.
    private(set) var uses: PassThrough = []
    var blocks: [BasicBlock] = []
    /// The blocks by where they begin.
    private(set) var starts = OffsetMap()
    private(set) var entry = 0
    private(set) var mode = CodeMode(rawValue: 8)
    // Wanted while it is decoded: instructions by their offsets, where blocks begin in the order in which that was found, and
    // what is to be decoded yet.
    private var found = OffsetMap()
    private var leaders: [Int] = []
    private var work: [Int] = []

    /// Steps in one superblock.
    private static let limit = 160

    /// What is known of code that a superblock might go on with.
    enum Known {
        /// It was executed, as often as is worth it.
        case warm
        /// Never, or seldom.
        case cold
        /// It has a translation of its own, which a link leads to.
        case translated
    }

    /// Decodes from `entry` on, through what `known` says is worth it. `fetch` gives the bytes at an offset, at most 15 and none
    /// beyond the page, once it has seen to it that stores to them will be noticed; `beyond` the first bytes of the next page, if
    /// they are known. False where there is no instruction at `entry`.
    mutating func decode(
        entry: Int, mode: CodeMode, known: (Int) -> Known, fetch: (Int) -> CodeBytes, beyond: () -> CodeBytes
    ) -> Bool {
        removeAll()
        self.entry = entry
        self.mode = mode
        lead(entry)
        while let start = work.popLast() {
            var offset = start
            while offset < 4096, found[offset] == nil, steps.count < Superblock.limit {
                var bytes = fetch(offset)
                var instruction = try? mode.decode(bytes)
                if instruction == nil, bytes.count < 15 {
                    bytes = bytes.followed(by: beyond())
                    instruction = try? mode.decode(bytes)
                }
                guard let instruction else { break }
                found[offset] = steps.count
                let passing = PassThrough(instruction, mode)
                steps.append(Step(instruction, offset: offset, passing: passing))
                self.bytes.append(bytes.prefix(Int(instruction.length)))
                let kind = steps[steps.count - 1].kind
                if !kind.isCold { uses.formUnion(passing) }
                offset += Int(instruction.length)
                if let target = kind.targetInPage, found[target] != nil || known(target) == .warm { lead(target) }
                if kind.endsBlock {
                    if kind.fallsThrough, offset < 4096, found[offset] != nil || known(offset) != .translated {
                        lead(offset)
                    }
                    break
                }
            }
        }
        guard found[entry] != nil else { return false }
        form()
        findDeadFlags()
        return true
    }

    private mutating func removeAll() {
        steps.removeAll(keepingCapacity: true)
        bytes.removeAll(keepingCapacity: true)
        blocks.removeAll(keepingCapacity: true)
        leaders.removeAll(keepingCapacity: true)
        work.removeAll(keepingCapacity: true)
        starts.removeAll()
        found.removeAll()
        uses = []
    }

    /// A block begins there, and is to be decoded.
    private mutating func lead(_ offset: Int) {
        work.append(offset)
        guard starts[offset] == nil else { return }
        starts[offset] = leaders.count
        leaders.append(offset)
    }

    /// Runs of steps from each leader to the next.
    private mutating func form() {
        for leader in leaders {
            guard let first = found[leader] else {
                starts[leader] = nil
                continue
            }
            starts[leader] = blocks.count
            blocks.append(BasicBlock(steps: run(from: first)))
        }
        for index in blocks.indices {
            let last = blocks[index].steps.upperBound - 1
            if steps[last].kind.fallsThrough { blocks[index].following = starts[steps[last].next] }
            if let target = steps[last].kind.targetInPage { blocks[index].target = starts[target] }
        }
    }

    private mutating func run(from first: Int) -> Range<Int> {
        var range = first..<first + 1
        while !steps[range.upperBound - 1].kind.endsBlock {
            let next = steps[range.upperBound - 1].next
            guard let place = found[next], starts[next] == nil else { break }
            if place != range.upperBound {
                // Instructions that lie across each other go on with the same one, which is there twice then.
                if range.upperBound != steps.count {
                    steps += steps[range]
                    bytes += bytes[range]
                    range = steps.count - range.count..<steps.count
                }
                steps.append(steps[place])
                bytes.append(bytes[place])
            }
            range = range.lowerBound..<range.upperBound + 1
        }
        return range
    }

    /// The offset that a basic block begins at.
    func start(of block: Int) -> Int { steps[blocks[block].steps.lowerBound].offset }

    /// Begins with something that is translated.
    var isWorthwhile: Bool {
        guard let first = starts[entry] else { return false }
        return !steps[blocks[first].steps.lowerBound].kind.isCold
    }
}
