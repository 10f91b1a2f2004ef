/// What executors ask of a decoded instruction beside its operands.
extension Instruction {
    /// The row of the opcode table, with conditions and effects.
    @inlinable public var opcodeRow: OpcodeRow { OpcodeTable.published[row] }

    /// The condition of `jcc`, `setcc` and `cmovcc`.
    public var condition: Condition { Condition(rawValue: opcode & 15) ?? .o }

    /// Transfers control, or may.
    public var isBranch: Bool { opcodeRow.isBranch }

    /// Whether a block of code of this size must end here.
    public func endsBlock(in codeSize: CodeSize) -> Bool {
        switch opcodeRow.flow {
        case .straight, .conditional: false
        case .branch, .boundary: true
        case .segment:
            switch operands[0] {
            // Interrupts wait behind it, and the stack's width is part of the mode; in 32-bit code so is whether data is flat.
            case .segment(.ss): true
            case .segment(.ds), .segment(.es): codeSize == .bits32
            default: false
            }
        }
    }

    /// Whether memory is accessed: by an operand, or beside the operands.
    public var accessesMemory: Bool {
        switch opcodeRow.memoryUse {
        case .implicit: return true
        case .none: return false
        case .operands:
            for index in 0..<Int(operandCount) {
                switch operands[index] {
                case .memory(let size) where size > 0: return true
                case .stringSource, .stringDestination: return true
                default: break
                }
            }
            return false
        }
    }

    /// `memory` is an operand: by ModRM or as an absolute offset; not the implicit ones of string instructions.
    public var hasMemoryOperand: Bool { memoryOperandIndex != nil }
    /// Which operand is `.memory`.
    public var memoryOperandIndex: Int? {
        for index in 0..<Int(operandCount) {
            if case .memory = operands[index] { return index }
        }
        return nil
    }
    /// Bytes accessed at `memory`: 0 without a memory operand, where it isn't accessed, and where the size of the image is the
    /// instruction's matter (FXSAVE, XSAVE and their kin).
    public var memorySize: UInt8 {
        for index in 0..<Int(operandCount) {
            if case .memory(let size) = operands[index] { return size }
        }
        return 0
    }
    /// How the memory operand is accessed; nil without one.
    public var memoryAccess: OperandForm.Access? {
        guard let index = memoryOperandIndex else { return nil }
        return opcodeRow.operands[index].access
    }

    /// The CPUID feature that it needs.
    public var feature: Feature? { opcodeRow.feature(vectorLength: vectorLength) }

    /// The linear part of RIP after it, for a relative branch at `rip`: cut to the operand size as the manuals say.
    public func branchTarget(rip: UInt64) -> UInt64 {
        let target = rip &+ UInt64(length) &+ immediate
        return switch operandSize {
        case 2: target & 0xFFFF
        case 4: target & 0xFFFF_FFFF
        default: target
        }
    }
}

/// Conditions by their encoding. Intel SDM vol. 1, appendix B.
public enum Condition: UInt8, Sendable, CaseIterable {
    case o, no, b, nb, z, nz, be, nbe, s, ns, p, np, l, nl, le, nle

    /// Whether it holds with these flags.
    @inlinable public func holds(_ flags: RFLAGS) -> Bool {
        let f = flags.rawValue
        let met: Bool
        switch rawValue >> 1 {
        case 0: met = f & 0x800 != 0
        case 1: met = f & 1 != 0
        case 2: met = f & 0x40 != 0
        case 3: met = f & 0x41 != 0
        case 4: met = f & 0x80 != 0
        case 5: met = f & 4 != 0
        case 6: met = (f >> 4 ^ f) & 0x80 != 0
        default: met = (f >> 4 ^ f) & 0x80 != 0 || f & 0x40 != 0
        }
        return met != (rawValue & 1 != 0)
    }

    /// The flags that it depends on.
    public var flags: RFLAGS {
        switch rawValue >> 1 {
        case 0: .OF
        case 1: .CF
        case 2: .ZF
        case 3: [.CF, .ZF]
        case 4: .SF
        case 5: .PF
        case 6: [.SF, .OF]
        default: [.SF, .OF, .ZF]
        }
    }
}

/// General registers by number.
public enum GeneralRegister: UInt8, Sendable, CaseIterable {
    case rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15
}
