import X86

/// Writes a superblock's code: basic block after basic block, instruction after instruction, and behind them what is rarely
/// needed.
struct Emitter {
    var assembler = Assembler()
    let superblock: Superblock
    /// Where common pieces lie, as labels.
    let leaves: Leaves
    /// Of the basic blocks.
    var labels: [Assembler.Label] = []
    /// Where the status flags are at this point.
    var flags = FlagPlace.state
    /// Ways out to the interpreter, by the offset in the page of the instruction that it is to execute.
    var coldExits: [Int: Assembler.Label] = [:]
    /// Ways out between two instructions, by the offset of the second.
    var boundaryExits: [Int: Assembler.Label] = [:]
    /// Ways out to other code, by the target's offset from the page's start, and by the branch that leads there.
    var jumpExits: [Departure: Assembler.Label] = [:]
    /// Accesses to guest memory: a label in front of each instruction that makes one, and the way out at its instruction.
    var accesses: [(label: Assembler.Label, wayOut: Assembler.Label)] = []

    struct Leaves {
        var cold: Assembler.Label
        var boundary: Assembler.Label
        var lookUp: Assembler.Label
    }

    struct Departure: Hashable {
        var target: Int
        var branch: Int?
    }

    enum FlagPlace {
        /// In the host's flags alone; there and in the state; in the state alone.
        case host, both, state
    }

    /// `position`: where the code will be in the cache that the common pieces lie in.
    init(_ superblock: Superblock, at position: Int, _ common: CommonCode) {
        self.superblock = superblock
        leaves = Leaves(
            cold: assembler.label(at: common.cold - position),
            boundary: assembler.label(at: common.boundary - position),
            lookUp: assembler.label(at: common.lookUp - position))
        for _ in superblock.blocks { labels.append(assembler.label()) }
    }

    /// A field of the state.
    func state(_ offset: Int) -> Assembler.Memory { Assembler.Memory(nil, offset).in(.gs) }

    /// The state's place of a guest register.
    func place(_ guest: UInt8) -> Assembler.Memory { state(Int(CPUState.offset(ofRegister: guest))) }

    /// All of it. The entry is its first byte.
    mutating func emit() {
        if let first = superblock.starts[superblock.entry], first != 0 { assembler.jmp(labels[first], .near) }
        for (index, block) in superblock.blocks.enumerated() { emit(block, index) }
        emitExits()
    }

    private mutating func emit(_ block: Superblock.BasicBlock, _ index: Int) {
        assembler.place(labels[index])
        if block.isTarget { flags = block.wantsSavedFlags ? .state : .host }
        for step in block.steps { emit(step, index) }
        guard let last = block.steps.last else { return }
        let kind = InstructionKind(last, superblock.mode)
        if kind.fallsThrough { goOn(to: last.next, from: index) }
    }

    private mutating func emit(_ step: Superblock.Step, _ block: Int) {
        switch InstructionKind(step, superblock.mode) {
        case .plain: emitPlain(step)
        case .nothing: break
        case .push: emitPush(step)
        case .pop: emitPop(step)
        case .leave: emitLeave(step)
        case .jump(let target): emitJump(to: target, from: block, step)
        case .jumpIf(let condition, let target): emitJump(if: condition, to: target, from: block, step)
        case .call(let target): emitCall(step, to: target)
        case .jumpIndirect: emitJumpIndirect(step)
        case .callIndirect: emitCallIndirect(step)
        case .returnNear: emitReturn(step)
        case .cold:
            saveFlags()
            assembler.jmp(coldExit(step.offset))
        }
    }

    // MARK: Ways out

    /// Where the interpreter takes over at the instruction that begins at an offset. The flags are in the state.
    mutating func coldExit(_ offset: Int) -> Assembler.Label {
        if let label = coldExits[offset] { return label }
        let label = assembler.label()
        coldExits[offset] = label
        return label
    }

    /// Where the run loop takes over before the instruction at an offset. The flags are in the state.
    mutating func boundaryExit(_ offset: Int) -> Assembler.Label {
        if let label = boundaryExits[offset] { return label }
        let label = assembler.label()
        boundaryExits[offset] = label
        return label
    }

    /// Where code elsewhere goes on, at an offset from the page's start. The flags are in the state.
    mutating func jumpExit(_ target: Int, _ branch: Int?) -> Assembler.Label {
        let departure = Departure(target: target, branch: branch)
        if let label = jumpExits[departure] { return label }
        let label = assembler.label()
        jumpExits[departure] = label
        return label
    }

    private mutating func emitExits() {
        for (departure, label) in jumpExits {
            assembler.place(label)
            loadRIP(Homes.scratch.0, departure.target)
            if let branch = departure.branch { checkTarget(branch) }
            assembler.jmp(leaves.lookUp)
        }
        for (exits, leaf) in [(coldExits, leaves.cold), (boundaryExits, leaves.boundary)] {
            for (offset, label) in exits {
                assembler.place(label)
                assembler.mov(Homes.scratch.0, offset, .long)
                assembler.jmp(leaf)
            }
        }
    }

    /// RIP of what lies so many bytes from the page's start.
    mutating func loadRIP(_ register: GeneralRegister, _ offset: Int) {
        assembler.mov(register, state(CPUState.codeBaseOffset))
        if offset != 0 { assembler.lea(register, .at(register, offset)) }
    }
}
