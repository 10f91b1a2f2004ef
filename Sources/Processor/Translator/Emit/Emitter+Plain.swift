import X86

/// Instructions that mean on the host what they mean in the guest: written again, with the guest's registers in their homes.
extension Emitter {
    mutating func emitPlain(_ step: Superblock.Step) {
        let instruction = step.instruction
        let use = step.flagUse
        if use.overwrites { checkAhead(step) }
        let written: RegisterSet = use.overwrites ? [] : step.written
        var memory = Assembler.Memory(nil, 0)
        var free: Homes.Free = [.first, .second]
        if step.accessesMemory {
            (memory, free) = checkedOperand(
                step, needsFlags: use.dependsOnFormer || flags.isLost(writing: written),
                needsScratch: Emitter.hasStateRegister(instruction))
        } else if instruction.hasMemoryOperand {
            // LEA: an address is all, and no segment's base is added.
            keepFlags(writing: written)
            (memory, free) = addressOperand(step)
        } else if use.dependsOnFormer {
            restoreFlags()
        }
        keepFlags(writing: written)
        emit(step, memory, free)
        if use.writes {
            let source = use.overwrites ? FlagSource(instruction) : nil
            flags = FlagState(isInHost: true, source: source)
        }
    }

    /// Registers that are in the state go through scratch registers.
    private mutating func emit(_ step: Superblock.Step, _ memory: Assembler.Memory, _ free: Homes.Free) {
        let instruction = step.instruction
        var free = free
        var held: [(guest: UInt8, host: GeneralRegister, written: Bool)] = []
        for operand in 0..<Int(instruction.operandCount) {
            guard case .register(let guest, _) = instruction.operands[operand], Homes.home(guest) == nil else {
                continue
            }
            let access = instruction.opcodeRow.operands[operand].access
            if let known = held.firstIndex(where: { $0.guest == guest }) {
                held[known].written = held[known].written || access != .read
                continue
            }
            let host = free.take()
            if host == Homes.scratch.1 { self.held = nil }
            held.append((guest, host, access != .read))
            // Also where it is written alone: some instructions leave it as it was, or its upper part.
            assembler.mov(host, place(guest))
        }
        if step.accessesMemory { markAccess(step) }
        if InstructionKind.hasHighByte(instruction) {
            assembler.bytes(superblock.bytes[index].array)
            return
        }
        if instruction.prefixes.contains(.lock) { assembler.lock() }
        let isWritten = assembler.reencode(instruction, memory: memory) { register in
            guard register.bank == .general else { return register.number }
            return held.first { $0.guest == register.number }?.host.rawValue ?? Homes.home(register.number)?.rawValue
                ?? 0
        }
        precondition(isWritten, "the translator's kinds and the encoder disagree on \(instruction.mnemonic)")
        for register in held where register.written { assembler.mov(place(register.guest), register.host) }
    }

    private static func hasStateRegister(_ instruction: Instruction) -> Bool {
        for index in 0..<Int(instruction.operandCount) {
            if case .register(let guest, _) = instruction.operands[index], Homes.home(guest) == nil { return true }
        }
        return false
    }

    /// LEA's operand: the guest's registers where they all have homes, else what was made of them.
    private mutating func addressOperand(_ step: Superblock.Step) -> (Assembler.Memory, Homes.Free) {
        let operand = step.instruction.memory
        func home(_ number: UInt8) -> GeneralRegister?? {
            number == MemoryOperand.noRegister ? .some(nil) : Homes.home(number).map { .some($0) }
        }
        if operand.base != MemoryOperand.ripRegister, let base = home(operand.base), let index = home(operand.index) {
            return (
                Assembler.Memory(base, index: index, scale: 1 << Int(operand.scale), Int(operand.displacement)),
                [.first, .second]
            )
        }
        linearAddress(step, segmented: false)
        return (.at(Homes.scratch.0), [.second])
    }
}
