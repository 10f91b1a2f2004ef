import X86

/// Code that is translated as one: what can be reached from one entry by direct branches without leaving its page, as basic
/// blocks.
struct Superblock {
    /// An instruction, and what the stages behind the decoding ask of it again and again.
    struct Step {
        let instruction: Instruction
        /// Of its first byte in the page.
        let offset: Int
        /// As they were decoded.
        let bytes: CodeBytes
        let kind: InstructionKind
        let flagUse: FlagUse
        var next: Int { offset + Int(instruction.length) }
        /// Its last bytes are in the next page.
        var crosses: Bool { next > 4096 }

        init(_ instruction: Instruction, offset: Int, _ bytes: CodeBytes, _ mode: CodeMode) {
            self.instruction = instruction
            self.offset = offset
            self.bytes = bytes.prefix(Int(instruction.length))
            kind = InstructionKind(instruction, next: offset + Int(instruction.length), mode)
            flagUse = FlagUse(instruction)
        }
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

    /// Of all blocks.
    private(set) var steps: [Step] = []
    var blocks: [BasicBlock] = []
    /// The blocks by where they begin.
    private(set) var starts = OffsetMap()
    let entry: Int
    let mode: CodeMode

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
    /// they are known.
    init?(
        entry: Int, mode: CodeMode, known: (Int) -> Known, fetch: (Int) -> CodeBytes, beyond: () -> CodeBytes
    ) {
        self.entry = entry
        self.mode = mode
        steps.reserveCapacity(Superblock.limit)
        var found = OffsetMap()
        var leaders = [entry]
        var work = [entry]
        starts[entry] = 0
        func lead(_ offset: Int) {
            work.append(offset)
            guard starts[offset] == nil else { return }
            starts[offset] = leaders.count
            leaders.append(offset)
        }
        while let start = work.popLast() {
            var offset = start
            while offset < 4096, found[offset] == nil, steps.count < Superblock.limit {
                var bytes = fetch(offset)
                var instruction = try? bytes.decoded(mode)
                if instruction == nil, bytes.count < 15 {
                    bytes = bytes.followed(by: beyond())
                    instruction = try? bytes.decoded(mode)
                }
                guard let instruction else { break }
                found[offset] = steps.count
                steps.append(Step(instruction, offset: offset, bytes, mode))
                let kind = steps[steps.count - 1].kind
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
        guard found[entry] != nil else { return nil }
        form(leaders, found)
        findDeadFlags()
    }

    /// Runs of steps from each leader to the next.
    private mutating func form(_ leaders: [Int], _ found: OffsetMap) {
        blocks.reserveCapacity(leaders.count)
        for leader in leaders {
            guard let first = found[leader] else {
                starts[leader] = nil
                continue
            }
            starts[leader] = blocks.count
            blocks.append(BasicBlock(steps: run(from: first, found)))
        }
        for index in blocks.indices {
            let last = blocks[index].steps.upperBound - 1
            if steps[last].kind.fallsThrough { blocks[index].following = starts[steps[last].next] }
            if let target = steps[last].kind.targetInPage { blocks[index].target = starts[target] }
        }
    }

    private mutating func run(from first: Int, _ found: OffsetMap) -> Range<Int> {
        var range = first..<first + 1
        while !steps[range.upperBound - 1].kind.endsBlock {
            let next = steps[range.upperBound - 1].next
            guard let place = found[next], starts[next] == nil else { break }
            if place != range.upperBound {
                // Instructions that lie across each other go on with the same one, which is there twice then.
                if range.upperBound != steps.count {
                    steps += steps[range]
                    range = steps.count - range.count..<steps.count
                }
                steps.append(steps[place])
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
