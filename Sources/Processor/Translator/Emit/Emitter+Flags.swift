import X86

/// The guest's status flags in the host's. They are put by as LAHF and SETO give them, in one word of the state, or made again
/// out of registers (`FlagSource`), where an instruction of ours would overwrite them.
extension Emitter {
    /// Sees to it that the state has them.
    mutating func saveFlags() {
        guard !flags.isSaved else { return }
        guard flags != .dead else {
            // Nobody sees them; those that were saved last are as good as any.
            flags.isSaved = true
            return
        }
        if !flags.isInHost { remakeFlags() }
        assembler.mov(Homes.scratch.0, .rax)
        assembler.lahf()
        assembler.setcc(.o, .rax)
        assembler.mov(state(CPUState.packedFlagsOffset), .rax, .word)
        assembler.mov(.rax, Homes.scratch.0)
        flags.isSaved = true
    }

    /// Sees to it that the host has them. Uses the first scratch register.
    mutating func restoreFlags() {
        guard !flags.isInHost, flags != .dead else { return }
        if flags.source != nil { return remakeFlags() }
        assembler.mov(Homes.scratch.0, .rax)
        assembler.movzx(.rax, state(CPUState.packedFlagsOffset), from: .word)
        // 1 + 7FH overflows, 0 + 7FH does not.
        assembler.add(.rax, 0x7F, .byte)
        assembler.sahf()
        assembler.mov(.rax, Homes.scratch.0)
        flags.isInHost = true
    }

    /// An instruction of ours is about to overwrite the host's.
    mutating func clobberFlags() {
        if !flags.survivesClobbering { saveFlags() }
        flags.isInHost = false
    }

    private mutating func remakeFlags() {
        let scratch = Homes.scratch.0
        switch flags.source {
        case .compare(let a, .register(let b), let width): assembler.cmp(a, b, width)
        case .compare(let a, .immediate(let b), let width): assembler.cmp(a, b, width)
        case .test(let a, .register(let b), let width): assembler.test(a, b, width)
        case .test(let a, .immediate(let b), let width): assembler.test(a, b, width)
        case .sum(let a, .register(let b), let width):
            assembler.mov(scratch, a)
            assembler.sub(scratch, b)
            assembler.add(scratch, b, width)
        case .sum(let a, .immediate(let b), let width):
            assembler.lea(scratch, .at(a, -b))
            assembler.add(scratch, b, width)
        case .difference(let a, .register(let b), let width):
            assembler.lea(scratch, .at(a, index: b))
            assembler.sub(scratch, b, width)
        case .difference(let a, .immediate(let b), let width):
            assembler.lea(scratch, .at(a, b))
            assembler.sub(scratch, b, width)
        case .negation(let a, let width):
            assembler.mov(scratch, a)
            assembler.neg(scratch, .quad)
            assembler.neg(scratch, width)
        case nil: return
        }
        flags.isInHost = true
    }

    /// An instruction that leaves the flags alone, or writes them by what they were, is about to write registers: flags that
    /// were to be made of those are made now. Uses the first scratch register where the host does not have them.
    mutating func keepFlags(writing registers: RegisterSet) {
        guard flags.isMade(of: registers) else { return }
        if !flags.isSaved { restoreFlags() }
        flags.source = nil
    }
}
