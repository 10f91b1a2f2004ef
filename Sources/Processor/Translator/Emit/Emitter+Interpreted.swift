import X86

/// Instructions that the interpreter's handlers execute.
extension Emitter {
    /// Calls the interpreter for one instruction.
    mutating func emitInterpreted(_ step: Superblock.Step) {
        saveFlags()
        let usesFlags =
            step.flagUse.reads || step.flagUse.writes || step.instruction.opcodeRow.opcodeClass == .system
            || [.pushf, .popf].contains(step.instruction.mnemonic)
        nameOp(step, usesFlags: usesFlags)
        assembler.call(leaves.interpret)
        forgetChecks()
        flags = .saved
    }

    /// The same for one that ends its block: goes on where it leads.
    mutating func emitTransfer(_ step: Superblock.Step) {
        saveFlags()
        nameOp(step, usesFlags: true)
        assembler.jmp(leaves.transfer)
    }

    private mutating func nameOp(_ step: Superblock.Step, usesFlags: Bool) {
        // The op's address is filled in behind the code's, when it is known: the immediate's last eight bytes.
        assembler.mov(Homes.scratch.1, UInt.max >> 1)
        interpreted.append((assembler.here(), step.instruction))
        assembler.mov(Homes.scratch.0, step.offset | (usesFlags ? 1 << 16 : 0), .long)
    }
}
