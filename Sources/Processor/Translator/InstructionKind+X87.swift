import X86

/// Which x87 and MMX instructions pass through. While they do, every exception of the guest's is masked: none is ever pending.
extension InstructionKind {
    /// Works on the x87 state, beside it on general and vector registers, flags and a memory operand at most.
    static func isX87(_ instruction: Instruction, _ mode: CodeMode) -> Bool {
        let row = instruction.opcodeRow
        switch row.opcodeClass {
        case .integer, .system, .vex: return false
        case .x87 where showsInstructionPointer(instruction) || restoresX87(instruction): return false
        case .x87: break
        default:
            guard isForMMX(instruction) else { return false }
            // What CVTPI2PS of memory has to do with MMX differs between vendors.
            let differs = row.exceptionClass == 22 && mode.contains(.amd) != HostProcessor.isAMD
            if differs, instruction.hasMemoryOperand { return false }
        }
        // XSAVE and XRSTOR exchange that state alone.
        return !mode.contains(.checksFPU) && row.memoryUse == .operands && HostProcessor.features.contains(.avx)
    }

    /// FNSTENV and FNSAVE, whose images have FIP; and FNINIT, which clears it. They leave every exception masked.
    static func showsInstructionPointer(_ instruction: Instruction) -> Bool {
        [.fninit, .fnstenv, .fnsave].contains(instruction.mnemonic)
    }

    /// FLDENV, FRSTOR: the control word comes from memory, and may unmask an exception.
    private static func restoresX87(_ instruction: Instruction) -> Bool {
        [.fldenv, .frstor].contains(instruction.mnemonic)
    }

    /// Leaves its address and opcode in FIP and FOP, as the interpreter has it.
    static func setsInstructionPointer(_ instruction: Instruction, _ mode: CodeMode) -> Bool {
        guard instruction.opcodeRow.opcodeClass == .x87 else { return false }
        switch instruction.mnemonic {
        case .fwait, .fnop, .fnclex, .fldcw, .fnstcw, .fnstsw: return false
        case .fincstp, .fdecstp, .ffree, .ffreep: return mode.contains(.amd)
        default: return !showsInstructionPointer(instruction) && !restoresX87(instruction)
        }
    }

    /// Of those that work on MMX registers: on vector registers or MXCSR, too.
    static func isForBoth(_ instruction: Instruction) -> Bool {
        if instruction.opcodeRow.exceptionClass == 22 { return true }
        for index in 0..<Int(instruction.operandCount) {
            if case .vector = instruction.operands[index] { return true }
        }
        return false
    }
}

/// Which registers of the host an instruction uses that is executed as it is, on the host's copy of the guest's: none where it is
/// not such a one.
struct PassThrough: OptionSet {
    let rawValue: UInt8
    /// MXCSR with them.
    static let vectors = PassThrough(rawValue: 1)
    static let x87 = PassThrough(rawValue: 2)
}

extension PassThrough {
    init(_ instruction: Instruction, _ mode: CodeMode) {
        if InstructionKind.isVector(instruction, mode) {
            self = .vectors
        } else if InstructionKind.isX87(instruction, mode) {
            self = InstructionKind.isForBoth(instruction) ? [.vectors, .x87] : .x87
        } else {
            self = []
        }
    }
}
