import X86

/// Guest memory: a linear address is looked for in the range that a slot knows. A miss goes to the table of translations, which
/// fills the slot, and to the interpreter where that has nothing either. Where addresses wander so that slots are of no use the
/// table is looked into at once.
extension Emitter {
    // MARK: Addresses

    /// FS and GS have a base in 64-bit code.
    private func segmentBase(_ memory: MemoryOperand) -> Assembler.Memory? {
        guard memory.segment == .fs || memory.segment == .gs else { return nil }
        return state(Int(CPUState.offset(ofSegmentBase: memory.segment.rawValue)))
    }

    /// A guest register's home, or `scratch` with its value.
    mutating func loaded(_ guest: UInt8, _ scratch: GeneralRegister) -> GeneralRegister {
        if let home = Homes.home(guest) { return home }
        assembler.mov(scratch, place(guest))
        if scratch == Homes.scratch.1 { held = nil }
        return scratch
    }

    /// The linear address of a memory operand and a few bytes more, in the first scratch register; uses the second where the
    /// operand has a segment's base, or two registers that have no home. Changes no flags.
    mutating func linearAddress(_ step: Superblock.Step, adding more: Int = 0, segmented: Bool = true) {
        let memory = step.instruction.memory
        let (first, second) = Homes.scratch
        if memory.base == MemoryOperand.ripRegister {
            loadRIP(first, step.next &+ Int(memory.displacement) &+ more)
        } else {
            let base = memory.base == MemoryOperand.noRegister ? nil : loaded(memory.base, first)
            let index =
                memory.index == MemoryOperand.noRegister ? nil : loaded(memory.index, base == first ? second : first)
            assembler.lea(
                first,
                Assembler.Memory(base, index: index, scale: 1 << Int(memory.scale), Int(memory.displacement) &+ more))
        }
        if segmented, let base = segmentBase(memory) {
            assembler.mov(second, base)
            held = nil
            assembler.lea(first, .at(first, index: second))
        }
    }

    // MARK: Checks

    /// Puts the linear address of a group's first byte into the first scratch register.
    private mutating func groupAddress(_ access: MemoryGroups.Access, _ step: Superblock.Step) {
        guard let register = access.register else { return linearAddress(step) }
        let base = loaded(register, Homes.scratch.0)
        assembler.lea(Homes.scratch.0, .at(base, memory.groups[access.group].low - access.distance))
    }

    /// Checks a group at the present point, whatever step its first access is; a miss leaves to the interpreter at `leaving`.
    private mutating func check(_ access: MemoryGroups.Access, of step: Superblock.Step, leaving: Superblock.Step)
        -> Int
    {
        let group = memory.groups[access.group]
        clobberFlags()
        let slot = newSlot(for: step)
        checked[access.group] = slot
        if wandering?.contains(step.offset) ?? true {
            lookUp(access, of: step, slot: slot, leaving: leaving)
            held = slot
            return slot
        }
        let (again, miss) = (assembler.here(), assembler.label())
        groupAddress(access, step)
        assembler.sub(Homes.scratch.0, state(EmittedData.slot(slot)))
        assembler.cmp(Homes.scratch.0, state(EmittedData.slot(slot) + EmittedData.lengthOffset))
        assembler.jcc(.nb, miss, .near)
        held = nil
        let leaving = leaving.offset
        later { emitter in
            emitter.assembler.place(miss)
            emitter.groupAddress(access, step)
            emitter.assembler.mov(
                Homes.scratch.1, Int(SlotRequest(slot: slot, span: group.span).rawValue), .long)
            emitter.assembler.call(group.isWrite ? emitter.leaves.writeMiss : emitter.leaves.readMiss)
            emitter.assembler.jcc(.z, again, .near)
            emitter.assembler.jmp(emitter.coldExit(leaving))
        }
        return slot
    }

    /// The same by the table of translations. What is to be added to the linear address is in the second scratch register then,
    /// and in the slot for the group's other accesses.
    private mutating func lookUp(
        _ access: MemoryGroups.Access, of step: Superblock.Step, slot: Int, leaving: Superblock.Step
    ) {
        let (first, second) = Homes.scratch
        let group = memory.groups[access.group]
        let (found, miss) = (assembler.label(), assembler.label())
        let delta = state(EmittedData.slot(slot) + EmittedData.deltaOffset)
        groupAddress(access, step)
        // The tag is that of the last byte, the place that of the first: they meet where both are in one page.
        assembler.lea(second, .at(first, group.span - 1))
        emitTableEntry(tag: second, place: first, isWrite: group.isWrite)
        assembler.cmp(second, .at(first, group.isWrite ? TLBEntry.writeOffset : TLBEntry.readOffset))
        assembler.jcc(.nz, miss, .near)
        assembler.mov(second, .at(first, TLBEntry.addendOffset))
        assembler.place(found)
        assembler.mov(delta, second)
        let leaving = leaving.offset
        later { emitter in
            emitter.assembler.place(miss)
            emitter.groupAddress(access, step)
            emitter.assembler.mov(second, Int(SlotRequest(slot: slot, span: group.span).rawValue), .long)
            emitter.assembler.call(group.isWrite ? emitter.leaves.writeTableMiss : emitter.leaves.readTableMiss)
            emitter.assembler.jcc(.z, found, .near)
            emitter.assembler.jmp(emitter.coldExit(leaving))
        }
    }

    /// Makes the tag of one linear address, and of another the place of its entry in the table of translations.
    mutating func emitTableEntry(tag: GeneralRegister, place: GeneralRegister, isWrite: Bool = false) {
        assembler.shr(place, 12 - TLBEntry.sizeShift)
        assembler.and(place, Int(TLBEntry.indexMask) << TLBEntry.sizeShift, .long)
        assembler.add(place, state(CPUState.tlbOffset))
        assembler.and(tag, -4096)
        assembler.or(tag, state(isWrite ? CPUState.tlbWriteGenerationOffset : CPUState.tlbGenerationOffset))
    }

    /// The slot of this step's access, checked; true beside it where it was checked here, so that the first scratch register is
    /// the access's distance from the slot's base.
    private mutating func checkedSlot(_ step: Superblock.Step, _ access: MemoryGroups.Access?) -> (
        slot: Int, isFresh: Bool
    ) {
        guard let access else { preconditionFailure("an access that no group knows") }
        if let slot = checked[access.group] { return (slot, false) }
        return (check(access, of: step, leaving: step), true)
    }

    /// Checks what the coming steps reach before an instruction that overwrites the flags does so, where they would have to be
    /// put by for a check behind it.
    mutating func checkAhead(_ step: Superblock.Step) {
        guard flags.isSaved || flags.source != nil, FlagSource(step.instruction) == nil else { return }
        var written: RegisterSet = []
        for next in index..<min(index + 10, superblock.blocks[block].steps.upperBound) {
            let coming = superblock.steps[next]
            if let access = memory.operands[next] { checkAhead(access, of: coming, leaving: step, written) }
            if let access = memory.stack[next] { checkAhead(access, of: coming, leaving: step, written) }
            // Its flags are the next ones to be looked after.
            if next > index, coming.flagUse.overwrites { return }
            if coming.kind.endsBlock { return }
            if case .interpreted = coming.kind { return }
            written.formUnion(coming.written)
        }
    }

    /// `written`: registers that are, between here and there.
    private mutating func checkAhead(
        _ access: MemoryGroups.Access, of coming: Superblock.Step, leaving: Superblock.Step, _ written: RegisterSet
    ) {
        guard let register = access.register, checked[access.group] == nil, !written.contains(register) else { return }
        _ = check(access, of: coming, leaving: leaving)
    }

    // MARK: Operands

    /// Sees to it that the second scratch register holds what is to be added to a linear address of a slot's range.
    private mutating func hold(_ slot: Int) {
        guard held != slot else { return }
        assembler.mov(Homes.scratch.1, state(EmittedData.slot(slot) + EmittedData.deltaOffset))
        held = slot
    }

    /// A checked access at a register and a displacement.
    mutating func checkedPlace(_ step: Superblock.Step, _ base: GeneralRegister, _ displacement: Int)
        -> Assembler.Memory
    {
        let (slot, _) = checkedSlot(step, memory.stack[index])
        hold(slot)
        return .at(base, index: Homes.scratch.1, displacement)
    }

    /// The checked memory operand of an instruction, and which scratch registers are free beside it. With `needsFlags` the host
    /// has the guest's flags behind it; where the instruction has a register that is in the state the first scratch register is
    /// free.
    mutating func checkedOperand(_ step: Superblock.Step, needsFlags: Bool, needsScratch: Bool) -> (
        Assembler.Memory, Homes.Free
    ) {
        let access = memory.operands[index]
        let (slot, isFresh) = checkedSlot(step, access)
        let (first, second) = Homes.scratch
        let operand = step.instruction.memory
        if operand.index == MemoryOperand.noRegister, segmentBase(operand) == nil, operand.base < 16,
            let base = Homes.home(operand.base)
        {
            if needsFlags { restoreFlags() }
            hold(slot)
            return (.at(base, index: second, Int(operand.displacement)), [.first])
        }
        if needsFlags, !flags.isInHost, flags != .dead {
            restoreFlags()
            linearAddress(step)
            hold(slot)
        } else if isFresh, access?.register == nil, held != slot {
            // The check has left the distance from the range's beginning.
            held = nil
            assembler.mov(second, state(EmittedData.slot(slot) + EmittedData.hostOffset))
        } else {
            linearAddress(step)
            hold(slot)
        }
        guard needsScratch else { return (.at(first, index: second), []) }
        held = nil
        assembler.lea(second, .at(first, index: second))
        return (.at(second), [.first])
    }
}
