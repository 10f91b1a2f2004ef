import X86

/// Instructions that mean on the host what they mean in the guest: written again, with the guest's registers in their homes.
extension Emitter {
    mutating func emitPlain(_ step: Superblock.Step) {
        let instruction = step.instruction
        let use = FlagUse(instruction)
        var memory = Assembler.Memory(nil, 0)
        var free = [Homes.scratch.0, Homes.scratch.1]
        if instruction.hasMemoryOperand, instruction.memorySize != 0 {
            let checked = checked(step)
            memory = checked.memory
            free = checked.isSimple ? [Homes.scratch.0] : []
            if free.isEmpty, needsScratch(instruction) {
                // One register is enough for the address.
                assembler.lea(Homes.scratch.1, memory)
                memory = .at(Homes.scratch.1)
                free = [Homes.scratch.0]
            }
            if use.dependsOnFormer { restoreFlagsBesideAddress() }
        } else if instruction.hasMemoryOperand {
            // LEA: an address is all.
            linearAddressOfLEA(step, &memory, &free)
        } else if use.dependsOnFormer {
            restoreFlags()
        }
        emit(step, memory, free)
        if use.writes { flags = .host }
    }

    /// Registers that are in the state go through scratch registers.
    private mutating func emit(_ step: Superblock.Step, _ memory: Assembler.Memory, _ free: [GeneralRegister]) {
        let instruction = step.instruction
        var held: [(guest: UInt8, host: GeneralRegister, written: Bool)] = []
        for index in 0..<Int(instruction.operandCount) {
            guard case .register(let guest, _) = instruction.operands[index], Homes.home(guest) == nil else { continue }
            let access = instruction.opcodeRow.operands[index].access
            if let known = held.firstIndex(where: { $0.guest == guest }) {
                held[known].written = held[known].written || access != .read
                continue
            }
            let host = free[held.count]
            held.append((guest, host, access != .read))
            // Also where it is written alone: some instructions leave it as it was, or its upper part.
            assembler.mov(host, place(guest))
        }
        if instruction.hasMemoryOperand, instruction.memorySize != 0 { markAccess(step) }
        if instruction.prefixes.contains(.lock) { assembler.bytes(0xF0) }
        let isWritten = assembler.reencode(instruction, memory: memory) { register in
            held.first { $0.guest == register.number }?.host.rawValue ?? Homes.home(register.number)?.rawValue ?? 0
        }
        precondition(isWritten, "the translator's kinds and the encoder disagree on \(instruction.mnemonic)")
        for register in held where register.written { assembler.mov(place(register.guest), register.host) }
    }

    private func needsScratch(_ instruction: Instruction) -> Bool {
        for index in 0..<Int(instruction.operandCount) {
            if case .register(let guest, _) = instruction.operands[index], Homes.home(guest) == nil { return true }
        }
        return false
    }

    /// LEA's operand, with its registers in hand.
    private mutating func linearAddressOfLEA(
        _ step: Superblock.Step, _ memory: inout Assembler.Memory, _ free: inout [GeneralRegister]
    ) {
        var step = step
        // No segment's base is added.
        step.instruction.memory.segment = .ds
        linearAddress(step)
        memory = .at(Homes.scratch.0)
        free = [Homes.scratch.1]
    }

    /// As `restoreFlags`, while scratch registers hold an address: the accumulator is kept in the state.
    private mutating func restoreFlagsBesideAddress() {
        guard flags == .state else { return }
        assembler.mov(state(CPUState.spillOffset), .rax)
        assembler.movzx(.rax, state(CPUState.packedFlagsOffset), from: .word)
        assembler.add(.rax, 0x7F, .byte)
        assembler.sahf()
        assembler.mov(.rax, state(CPUState.spillOffset))
        flags = .both
    }
}
