import X86

/// Code that is translated as one: what can be reached from one entry by direct branches without leaving its page, as basic
/// blocks in the order of their addresses.
struct Superblock {
    struct Step {
        var instruction: Instruction
        /// Of its first byte in the page.
        var offset: Int
        /// As they were decoded.
        var bytes: [UInt8]
        var next: Int { offset + Int(instruction.length) }
        /// Its last bytes are in the next page.
        var crosses: Bool { next > 4096 }
    }

    /// Steps of which the last alone may transfer control.
    struct BasicBlock {
        var steps: [Step]
        /// Blocks that control may go on to inside, by index.
        var successors: [Int] = []
        /// Nobody sees the status flags that it begins with.
        var flagsAreDead = false
    }

    var blocks: [BasicBlock] = []
    /// Where each block begins: offset in the page to index.
    private(set) var starts: [Int: Int] = [:]
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
    init?(entry: Int, mode: CodeMode, known: (Int) -> Known, fetch: (Int) -> [UInt8], beyond: (Int) -> [UInt8]) {
        self.entry = entry
        self.mode = mode
        var steps: [Int: Step] = [:]
        var leaders: Set<Int> = [entry]
        var work = [entry]
        while let start = work.popLast() {
            var offset = start
            while offset < 4096, steps[offset] == nil, steps.count < Superblock.limit {
                var bytes = fetch(offset)
                var decoded = unsafe bytes.withUnsafeBytes { unsafe try? mode.decode($0) }
                if decoded == nil, bytes.count < 15 {
                    bytes += beyond(15 - bytes.count)
                    decoded = unsafe bytes.withUnsafeBytes { unsafe try? mode.decode($0) }
                }
                guard let instruction = decoded else { break }
                let step = Step(
                    instruction: instruction, offset: offset, bytes: Array(bytes.prefix(Int(instruction.length))))
                steps[offset] = step
                let kind = InstructionKind(step, mode)
                if let target = kind.targetInPage, steps[target] != nil || known(target) == .warm {
                    leaders.insert(target)
                    work.append(target)
                }
                if kind.endsBlock {
                    if kind.fallsThrough, step.next < 4096, steps[step.next] != nil || known(step.next) != .translated {
                        leaders.insert(step.next)
                        work.append(step.next)
                    }
                    break
                }
                offset = step.next
            }
        }
        guard steps[entry] != nil else { return nil }
        form(steps, leaders)
        findDeadFlags()
    }

    /// Runs of steps from each leader to the next, in order of address.
    private mutating func form(_ steps: [Int: Step], _ leaders: Set<Int>) {
        for start in leaders.sorted() where steps[start] != nil {
            var run: [Step] = []
            var offset = start
            while let step = steps[offset], offset == start || !leaders.contains(offset) {
                run.append(step)
                offset = step.next
                if InstructionKind(step, mode).endsBlock { break }
            }
            starts[start] = blocks.count
            blocks.append(BasicBlock(steps: run))
        }
        for index in blocks.indices {
            guard let last = blocks[index].steps.last else { continue }
            let kind = InstructionKind(last, mode)
            if kind.fallsThrough, let next = starts[last.next] {
                blocks[index].successors.append(next)
            }
            if let target = kind.targetInPage, let next = starts[target] {
                blocks[index].successors.append(next)
            }
        }
    }
}
