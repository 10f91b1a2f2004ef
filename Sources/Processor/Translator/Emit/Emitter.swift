import X86

/// Writes a superblock's code: basic block after basic block, instruction after instruction, and behind them what is rarely
/// needed.
///
/// A basic block is written once for each way in which the flags may arrive (`FlagState`), as long as there are few: what comes
/// from a loop's own branch finds a version in which they need not be put by.
///
/// It writes one superblock after the other, and keeps its memory.
struct Emitter {
    var assembler: Assembler
    /// Filled before it is begun.
    var superblock = Superblock()
    private let common: CommonCode
    /// Where common pieces lie, as labels.
    private(set) var leaves: Leaves
    /// Slots and links that the code uses, from the first free ones on.
    private(set) var slots = 0..<0
    private(set) var links = 0..<0
    /// Which accesses share a check.
    private(set) var memory = MemoryGroups()
    /// Offsets of steps whose addresses wander: they are looked for in the table of translations at each execution. Nil: those of
    /// all.
    var wandering: Set<Int>? = []
    /// The step of each slot, by its offset.
    private(set) var slotSteps: [UInt16] = []
    /// Host address of the next page, where the TLB has it as code.
    var following: UInt?
    /// Instructions are counted as they begin.
    var counts = false
    /// Where in the code an instruction's begins, for those who look; nil where nobody does.
    private(set) var marks: [(label: Assembler.Label, step: Superblock.Step)]?
    /// Where what is out of line begins.
    private(set) var tail: Assembler.Label?

    typealias Version = BlockVersion
    private var versions = BlockVersions()
    private var wanted: [Version] = []
    private static let mostVersions = 4

    // MARK: At the present point

    /// Where the status flags are.
    var flags = FlagState.saved
    /// The basic block's index, and the step's.
    var block = 0
    var index = 0
    /// Slots of the groups of accesses that have been checked.
    var checked: [Int?] = []
    /// The slot whose `delta` is in the second scratch register.
    var held: Int?
    /// What the state does not know yet of the last x87 instruction.
    var x87 = X87Pointers()

    // MARK: Written last

    /// Ways out to the interpreter, by the instruction that it is to execute.
    private var coldExits = WaysOut()
    private var boundaryExits = WaysOut()
    /// What is done out of line, and the flags there.
    private struct OutOfLine {
        let flags: FlagState
        let x87: X87Pointers
        let write: (inout Emitter) -> Void
    }
    private var outOfLine: [OutOfLine] = []
    /// Instructions that the interpreter's handlers execute: a reference to the op's address, and the instruction.
    var interpreted: [(place: Assembler.Label, instruction: Instruction)] = []
    /// Instructions that go on in the next page: a reference to the address of what is known of it, and the step's index.
    var crossings: [(place: Assembler.Label, step: Int)] = []
    /// Accesses to guest memory: a label in front of each instruction that makes one, and the way out at its instruction.
    private(set) var accesses: [(label: Assembler.Label, wayOut: Assembler.Label)] = []

    struct Leaves {
        let cold, boundary, lookUp, linkMiss, targetMiss: Assembler.Label
        let interpret, transfer, crossing, readMiss, writeMiss, readTableMiss, writeTableMiss: Assembler.Label
        let loadVectors, loadX87: Assembler.Label

        /// For code at a position in the cache that the common pieces lie in.
        init(_ assembler: inout Assembler, _ common: CommonCode, at position: Int) {
            func leaf(_ offset: Int) -> Assembler.Label { assembler.label(at: offset - position) }
            cold = leaf(common.cold)
            boundary = leaf(common.boundary)
            lookUp = leaf(common.lookUp)
            linkMiss = leaf(common.linkMiss)
            targetMiss = leaf(common.targetMiss)
            interpret = leaf(common.interpret)
            transfer = leaf(common.transfer)
            crossing = leaf(common.crossing)
            readMiss = leaf(common.readMiss)
            writeMiss = leaf(common.writeMiss)
            readTableMiss = leaf(common.readTableMiss)
            writeTableMiss = leaf(common.writeTableMiss)
            loadVectors = leaf(common.loadVectors)
            loadX87 = leaf(common.loadX87)
        }
    }

    init(_ common: CommonCode) {
        var assembler = Assembler()
        leaves = Leaves(&assembler, common, at: 0)
        self.assembler = assembler
        self.common = common
    }

    /// Gets ready to write the superblock, at a position in the cache. With `sharing` accesses share checks.
    mutating func begin(at position: Int, firstSlot: Int, firstLink: Int, sharing: Bool) {
        assembler.removeAll()
        leaves = Leaves(&assembler, common, at: position)
        slots = firstSlot..<firstSlot
        links = firstLink..<firstLink
        marks = TranslationTrace.isOn ? [] : nil
        tail = nil
        slotSteps.removeAll(keepingCapacity: true)
        memory.find(superblock, sharing: sharing)
        checked.refill(nil, count: memory.groups.count)
        versions.reset(blocks: superblock.blocks.count)
        wanted.removeAll(keepingCapacity: true)
        coldExits.removeAll()
        boundaryExits.removeAll()
        outOfLine.removeAll(keepingCapacity: true)
        interpreted.removeAll(keepingCapacity: true)
        crossings.removeAll(keepingCapacity: true)
        accesses.removeAll(keepingCapacity: true)
        flags = .saved
    }

    /// A field of the state, or of what lies behind it.
    func state(_ offset: Int) -> Assembler.Memory { Assembler.Memory(nil, offset).in(.gs) }

    /// The state's place of a guest register.
    func place(_ guest: UInt8) -> Assembler.Memory { state(Int(CPUState.offset(ofRegister: guest))) }

    mutating func newSlot(for step: Superblock.Step) -> Int {
        slotSteps.append(UInt16(truncatingIfNeeded: step.offset))
        slots = slots.lowerBound..<slots.upperBound + 1
        return slots.upperBound - 1
    }

    mutating func newLink() -> Int {
        links = links.lowerBound..<links.upperBound + 1
        return links.upperBound - 1
    }

    /// All of it. The entry is its first byte: there the flags are saved.
    mutating func emit() {
        guard let first = superblock.starts[superblock.entry] else { return }
        // Where a jump to its successor may come (`CodeCache.redirect`).
        assembler.nop(CodeCache.jumpSize)
        emitVectorEntry()
        emitX87Entry()
        var next: Version? = version(first, .saved, hasGate: false)
        while let version = next ?? wanted.popLast() {
            next = nil
            if isWritten(version) { continue }
            next = emit(version)
        }
        if marks != nil { tail = assembler.here() }
        // Some of it has more to be done out of line.
        var done = 0
        while done < outOfLine.count {
            let piece = outOfLine[done]
            (flags, x87) = (piece.flags, piece.x87)
            piece.write(&self)
            done += 1
        }
        emit(coldExits, leaves.cold)
        emit(boundaryExits, leaves.boundary)
    }

    // MARK: Basic blocks

    /// The version for flags that are as they are. At a gate they are seen, whatever follows.
    @inline(__always) func version(_ block: Int, _ flags: FlagState, hasGate: Bool) -> Version {
        Version(
            block: block, flags: superblock.blocks[block].flagsAreDead && !hasGate ? .dead : flags, hasGate: hasGate)
    }

    mutating func label(_ version: Version) -> Assembler.Label {
        if let label = versions.label(version) { return label }
        let label = assembler.label()
        versions.add(version, label)
        wanted.append(version)
        return label
    }

    /// Whether there may be a further version of a block, or is this one.
    @inline(__always) func mayBe(_ version: Version) -> Bool {
        versions.label(version) != nil || versions.count(of: version.block) < Emitter.mostVersions
    }

    @inline(__always) func isWritten(_ version: Version) -> Bool { versions.isWritten(version) }

    /// Writes it; returns the version that is to come right behind, if there is one.
    private mutating func emit(_ version: Version) -> Version? {
        let label = label(version)
        versions.setWritten(version)
        assembler.place(label)
        (block, flags, x87) = (version.block, version.flags, X87Pointers())
        forgetChecks()
        if version.hasGate { emitGate(superblock.start(of: block)) }
        if superblock.blocks[block].flagsAreDead { flags = .dead }
        let (steps, range) = (superblock.steps, superblock.blocks[block].steps)
        for index in range {
            self.index = index
            emit(steps[index])
        }
        let last = steps[range.upperBound - 1]
        return last.kind.fallsThrough ? goOn(to: last.next, last) : nil
    }

    /// Of the present block.
    mutating func forgetChecks() {
        for group in memory.ofBlocks[block] { checked[group] = nil }
        held = nil
    }

    private mutating func emit(_ step: Superblock.Step) {
        settleX87Pointers(before: step)
        if step.crosses { emitCrossing(step) }
        if marks != nil { marks?.append((assembler.here(), step)) }
        if counts, !step.kind.isCold { countInstruction() }
        switch step.kind {
        case .plain: emitPlain(step)
        case .x87: emitX87(step)
        case .loadMXCSR: emitLoadMXCSR(step)
        case .loadControlWord: emitLoadControlWord(step)
        case .nothing: break
        case .divide: emitDivision(step)
        case .push: emitPush(step)
        case .pop: emitPop(step)
        case .leave: emitLeave(step)
        case .jump(let target): emitJump(to: target, step)
        case .jumpIf(let condition, let target): emitJump(if: condition, to: target, step)
        case .call(let target): emitCall(step, to: target)
        case .jumpIndirect: emitJumpIndirect(step)
        case .callIndirect: emitCallIndirect(step)
        case .returnNear: emitReturn(step)
        case .interpreted: emitInterpreted(step)
        case .transfer: emitTransfer(step)
        case .cold: assembler.jmp(coldExit(step.offset))
        }
    }

    // MARK: Ways out

    /// Where the interpreter takes over at the instruction that begins at an offset, from here.
    mutating func coldExit(_ offset: Int) -> Assembler.Label {
        if let label = coldExits.label(offset, flags, x87) { return label }
        let label = assembler.label()
        coldExits.add(offset, flags, x87, label)
        return label
    }

    /// Where the run loop takes over before the instruction at an offset, from here.
    mutating func boundaryExit(_ offset: Int) -> Assembler.Label {
        if let label = boundaryExits.label(offset, flags, x87) { return label }
        let label = assembler.label()
        boundaryExits.add(offset, flags, x87, label)
        return label
    }

    /// The next host instruction makes the guest instruction's access.
    mutating func markAccess(_ step: Superblock.Step) {
        accesses.append((assembler.here(), coldExit(step.offset)))
    }

    /// Has `write` write behind the rest, with the flags as they are here.
    mutating func later(_ write: @escaping (inout Emitter) -> Void) {
        outOfLine.append(OutOfLine(flags: flags, x87: x87, write: write))
    }

    private mutating func emit(_ ways: WaysOut, _ leaf: Assembler.Label) {
        for way in ways.all {
            assembler.place(way.label)
            (flags, x87) = (way.flags, way.x87)
            storeX87Pointers()
            saveFlags()
            assembler.mov(Homes.scratch.0, way.offset)
            assembler.jmp(leaf)
        }
    }

    /// RIP of what lies so many bytes from the page's start.
    mutating func loadRIP(_ register: GeneralRegister, _ offset: Int) {
        assembler.mov(register, state(CPUState.codeBaseOffset))
        if offset != 0 { assembler.lea(register, .at(register, offset)) }
    }
}
