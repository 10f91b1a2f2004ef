import X86

/// DIV and IDIV: #DE is the interpreter's to raise, so that what may raise it is left to it.
extension Emitter {
    mutating func emitDivision(_ step: Superblock.Step) {
        let instruction = step.instruction
        let (first, second) = Homes.scratch
        var divisor = first
        var width = Assembler.Width.quad
        switch instruction.operands[0] {
        case .register(let number, let size):
            divisor = Homes.home(number) ?? first
            width = size == 8 ? .quad : .long
        default:
            width = instruction.memorySize == 8 ? .quad : .long
            let (memory, _) = checkedOperand(step, needsFlags: false, needsScratch: false)
            markAccess(step)
            assembler.mov(first, memory, width)
        }
        clobberFlagsBesideDivisor(divisor)
        held = nil
        if instruction.mnemonic == .div {
            // The quotient fits where the upper half is below the divisor.
            assembler.cmp(.rdx, divisor, width)
            assembler.jcc(.nb, coldExit(step.offset), .near)
        } else {
            // It surely fits where the upper half is but the lower one's sign, unless the divisor is -1.
            assembler.mov(second, .rax, width)
            assembler.sar(second, width == .quad ? 63 : 31, width)
            assembler.cmp(second, .rdx, width)
            assembler.jcc(.nz, coldExit(step.offset), .near)
            assembler.lea(second, .at(divisor, 1), width)
            assembler.cmp(second, 1, width)
            assembler.jcc(.be, coldExit(step.offset), .near)
        }
        if instruction.mnemonic == .div { assembler.div(divisor, width) } else { assembler.idiv(divisor, width) }
        // They are undefined; the host's are as good as any.
        flags = .inHost
    }

    /// As `clobberFlags`, while the first scratch register may hold the divisor.
    private mutating func clobberFlagsBesideDivisor(_ divisor: GeneralRegister) {
        guard !flags.survivesClobbering, divisor == Homes.scratch.0 else { return clobberFlags() }
        assembler.mov(state(CPUState.spillOffset(3)), divisor)
        clobberFlags()
        assembler.mov(divisor, state(CPUState.spillOffset(3)))
    }
}
