import X86

/// Which SSE and AVX instructions pass through: by their rows, the host does with its vector registers what the guest means to be
/// done with its own.
extension InstructionKind {
    /// Works on vector registers and MXCSR, beside them on general registers, flags and a memory operand at most.
    static func isVector(_ instruction: Instruction, _ mode: CodeMode) -> Bool {
        let row = instruction.opcodeRow
        guard !mode.contains(.checksFPU) else { return false }
        switch row.mnemonic {
        case .stmxcsr, .vstmxcsr, .ldmxcsr, .vldmxcsr: return true
        default: break
        }
        // Gathers and stores by a mask of bytes have their own ways to memory.
        guard row.opcodeClass == .sse || row.opcodeClass == .vex, !row.vsib, row.memoryUse == .operands,
            !isForMMX(instruction)
        else { return false }
        // Intel's processors want the operand aligned, AMD's don't.
        let differs = row.vendorDifference == .unalignedSHA && mode.contains(.amd) != HostProcessor.isAMD
        return !differs || !instruction.hasMemoryOperand
    }

    /// LDMXCSR, FXRSTOR, XRSTOR, XRSTORS: MXCSR comes from memory, and may unmask an exception.
    static func restoresVectors(_ instruction: Instruction) -> Bool {
        let row = instruction.opcodeRow
        if row.mnemonic == .ldmxcsr || row.mnemonic == .vldmxcsr { return true }
        guard row.memoryUse == .implicit, row.operandCount > 0, row.operands[0].access == .read else { return false }
        return [.fxsr, .xsave, .xsaves].contains(row.feature)
    }

    /// Works on MMX registers, or enters the MMX state with an operand in memory, too.
    static func isForMMX(_ instruction: Instruction) -> Bool {
        if instruction.opcodeRow.opcodeClass == .mmx || instruction.opcodeRow.exceptionClass == 22 { return true }
        for index in 0..<Int(instruction.operandCount) {
            if case .mmx = instruction.operands[index] { return true }
        }
        return false
    }
}
