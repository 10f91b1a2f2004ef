import X86

/// Guest memory: a linear address is made and looked for in the table of translations; where it is not there, the interpreter
/// takes the instruction.
extension Emitter {
    /// What a checked access is made at; valid until the next instruction of ours that writes a scratch register.
    ///
    /// Both scratch registers may be in use afterwards where the operand has an index, a segment's base or a register that is in
    /// the state; `simple` leaves the first one free.
    struct Checked {
        var memory: Assembler.Memory
        var isSimple: Bool
    }

    /// The linear address of a memory operand, in the first scratch register. Changes no flags.
    mutating func linearAddress(_ step: Superblock.Step) {
        let memory = step.instruction.memory
        let (first, second) = Homes.scratch
        if memory.base == MemoryOperand.ripRegister {
            loadRIP(first, step.next &+ Int(memory.displacement))
        } else {
            let base = memory.base == MemoryOperand.noRegister ? nil : loaded(memory.base, first)
            let index = memory.index == MemoryOperand.noRegister ? nil : loaded(memory.index, second)
            assembler.lea(
                first, Assembler.Memory(base, index: index, scale: 1 << Int(memory.scale), Int(memory.displacement)))
        }
        if let base = segmentBase(memory) {
            assembler.mov(second, base)
            assembler.lea(first, .at(first, index: second))
        }
    }

    /// The same with the first scratch register alone, after a check. Changes flags.
    private mutating func linearAddressAgain(_ step: Superblock.Step) {
        let memory = step.instruction.memory
        let first = Homes.scratch.0
        if memory.base == MemoryOperand.ripRegister {
            loadRIP(first, step.next &+ Int(memory.displacement))
        } else {
            let hasBase = memory.base != MemoryOperand.noRegister
            let base = hasBase ? Homes.home(memory.base) : nil
            let hasIndex = memory.index != MemoryOperand.noRegister
            if hasIndex {
                let index = loaded(memory.index, first)
                assembler.lea(
                    first, Assembler.Memory(base, index: index, scale: 1 << Int(memory.scale), Int(memory.displacement))
                )
            } else if let base {
                assembler.lea(first, .at(base, Int(memory.displacement)))
            } else {
                assembler.mov(first, Int(memory.displacement))
            }
            if hasBase, base == nil { assembler.add(first, place(memory.base)) }
        }
        if let base = segmentBase(memory) { assembler.add(first, base) }
    }

    /// FS and GS have a base in 64-bit code.
    private func segmentBase(_ memory: MemoryOperand) -> Assembler.Memory? {
        guard memory.segment == .fs || memory.segment == .gs else { return nil }
        return state(Int(CPUState.offset(ofSegmentBase: memory.segment.rawValue)))
    }

    /// A guest register's home, or `scratch` with its value.
    mutating func loaded(_ guest: UInt8, _ scratch: GeneralRegister) -> GeneralRegister {
        if let home = Homes.home(guest) { return home }
        assembler.mov(scratch, place(guest))
        return scratch
    }

    /// Checks `size` bytes at the address in the first scratch register, which is used up; leaves what is to be added to it for
    /// the host's address in the second. The flags have to be in the state.
    mutating func check(_ step: Superblock.Step, size: Int, isWrite: Bool) {
        let (first, second) = Homes.scratch
        assembler.mov(second, first)
        assembler.shr(second, 12 - TLBEntry.sizeShift)
        assembler.and(second, Int(TLBEntry.indexMask) << TLBEntry.sizeShift, .long)
        assembler.add(second, state(CPUState.tlbOffset))
        // The page of the last byte: an access that leaves the page matches nothing.
        if size > 1 { assembler.lea(first, .at(first, size - 1)) }
        assembler.and(first, -4096)
        assembler.or(first, state(isWrite ? CPUState.tlbWriteGenerationOffset : CPUState.tlbGenerationOffset))
        assembler.cmp(first, .at(second, isWrite ? TLBEntry.writeOffset : TLBEntry.readOffset))
        assembler.jcc(.nz, coldExit(step.offset))
        assembler.mov(second, .at(second, TLBEntry.addendOffset))
        flags = .state
    }

    /// The next host instruction makes the guest instruction's access.
    mutating func markAccess(_ step: Superblock.Step) {
        accesses.append((assembler.here(), coldExit(step.offset)))
    }

    /// Checks eight bytes at a register and a displacement, and gives the operand.
    mutating func checkedPlace(
        _ step: Superblock.Step, _ base: GeneralRegister, _ displacement: Int, isWrite: Bool
    ) -> Assembler.Memory {
        saveFlags()
        assembler.lea(Homes.scratch.0, .at(base, displacement))
        check(step, size: 8, isWrite: isWrite)
        return .at(base, index: Homes.scratch.1, displacement)
    }

    /// The checked memory operand of an instruction.
    mutating func checked(_ step: Superblock.Step) -> Checked {
        saveFlags()
        linearAddress(step)
        check(step, size: Int(step.instruction.memorySize), isWrite: step.instruction.memoryAccess != .read)
        let memory = step.instruction.memory
        let (first, second) = Homes.scratch
        if memory.index == MemoryOperand.noRegister, segmentBase(memory) == nil, memory.base < 16,
            let base = Homes.home(memory.base)
        {
            return Checked(memory: .at(base, index: second, Int(memory.displacement)), isSimple: true)
        }
        linearAddressAgain(step)
        return Checked(memory: .at(first, index: second), isSimple: false)
    }
}
