import X86

/// The guest's status flags in the host's. They are put by as LAHF and SETO give them, in one word of the state, before anything
/// that would change them or may leave, and taken back where an instruction depends on them.
extension Emitter {
    /// Sees to it that the state has them.
    mutating func saveFlags() {
        guard flags == .host else { return }
        assembler.mov(Homes.scratch.0, .rax)
        assembler.lahf()
        assembler.setcc(.o, .rax)
        assembler.mov(state(CPUState.packedFlagsOffset), .rax, .word)
        assembler.mov(.rax, Homes.scratch.0)
        flags = .both
    }

    /// Sees to it that the host has them.
    mutating func restoreFlags() {
        guard flags == .state else { return }
        assembler.mov(Homes.scratch.0, .rax)
        assembler.movzx(.rax, state(CPUState.packedFlagsOffset), from: .word)
        // 1 + 7FH overflows, 0 + 7FH does not.
        assembler.add(.rax, 0x7F, .byte)
        assembler.sahf()
        assembler.mov(.rax, Homes.scratch.0)
        flags = .both
    }

    /// The host's are about to be overwritten by an instruction of ours.
    mutating func clobberFlags() {
        saveFlags()
        flags = .state
    }
}
