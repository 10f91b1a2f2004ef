import X86

/// For tests: emitted code that says how much of it was executed.
extension Emitter {
    /// Counts an instruction that is about to begin. Changes no flags, and the first scratch register alone, which nothing holds
    /// between two instructions.
    mutating func countInstruction() {
        let first = Homes.scratch.0
        let isUser = superblock.mode.view == .user
        let counter = state(isUser ? CPUState.userInstructionsOffset : CPUState.systemInstructionsOffset)
        assembler.mov(first, counter)
        assembler.lea(first, .at(first, 1))
        assembler.mov(counter, first)
    }
}
