import X86

/// x87 and MMX: the guest's state is the host's, but for FIP, FDP and FOP, which are written to the area for the last instruction
/// before somebody may look.
extension Emitter {
    /// As `emitVectorEntry`.
    mutating func emitX87Entry() {
        guard superblock.uses.contains(.x87) else { return }
        emitEntry(CPUState.x87PlaceOffset, leaves.loadX87)
    }

    mutating func emitX87(_ step: Superblock.Step) {
        emitPlain(step)
        guard InstructionKind.setsInstructionPointer(step.instruction, superblock.mode) else { return }
        x87.instruction = index
        if step.instruction.hasMemoryOperand { x87.operand = index }
        let following = superblock.steps[index + 1..<superblock.blocks[block].steps.upperBound]
        if !following.contains(where: { InstructionKind.setsInstructionPointer($0.instruction, superblock.mode) }) {
            storeX87Pointers()
        }
    }

    /// Writes FIP, FOP and FDP, where they are not yet. Uses the first scratch register, and changes no flags.
    mutating func storeX87Pointers() {
        storeX87Operand()
        guard let last = x87.instruction else { return }
        x87.instruction = nil
        let step = superblock.steps[last], instruction = step.instruction
        loadRIP(Homes.scratch.0, step.offset)
        assembler.mov(state(CPUState.instructionPointerOffset), Homes.scratch.0)
        assembler.mov(
            state(CPUState.x87OpcodeOffset), Int(instruction.opcode & 7) << 8 | Int(instruction.modRM), .word)
    }

    /// The operand's offset in its segment.
    private mutating func storeX87Operand() {
        guard let last = x87.operand else { return }
        x87.operand = nil
        linearAddress(superblock.steps[last], segmented: false)
        assembler.mov(state(CPUState.dataPointerOffset), Homes.scratch.0)
    }

    /// A step is coming that has the registers of the last operand changed, or Swift look at the pointers.
    mutating func settleX87Pointers(before step: Superblock.Step) {
        if case .interpreted = step.kind { return storeX87Pointers() }
        guard !step.crosses else { return storeX87Pointers() }
        guard let last = x87.operand else { return }
        let memory = superblock.steps[last].instruction.memory
        if step.written.contains(memory.base, or: memory.index) { storeX87Operand() }
    }

    /// FLDCW of a word that masks every exception.
    mutating func emitLoadControlWord(_ step: Superblock.Step) {
        let (first, second) = Homes.scratch
        clobberFlags()
        let (place, _) = checkedOperand(step, needsFlags: false, needsScratch: false)
        markAccess(step)
        assembler.movzx(first, place, from: .word, .long)
        held = nil
        assembler.mov(second, first, .long)
        X87Code.checkControlWord(&assembler, second)
        assembler.jcc(.nz, coldExit(step.offset), .near)
        assembler.mov(state(CPUState.spillOffset(0)), first, .long)
        assembler.fldcw(state(CPUState.spillOffset(0)))
    }
}

/// Steps whose FIP and FOP, and whose FDP, the state does not know yet.
struct X87Pointers: Hashable {
    var instruction: Int?
    var operand: Int?
}
