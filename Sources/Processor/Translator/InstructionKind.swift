import X86

/// What the translator makes of an instruction.
enum InstructionKind {
    /// Written again with the guest's registers in their homes and its memory operand checked.
    case plain
    /// Hints.
    case nothing
    /// LDMXCSR, FLDCW.
    case loadMXCSR, loadControlWord
    /// Plain, and the x87 instruction pointer may have to follow.
    case x87
    case push, pop, leave
    /// Direct branches, with the offset from the page's start that they lead to.
    case jump(Int), jumpIf(Condition, Int), call(Int)
    case jumpIndirect, callIndirect, returnNear
    /// DIV and IDIV of 32 and 64 bits.
    case divide
    /// Executed by the interpreter's handler, which is called.
    case interpreted
    /// The same for one that goes elsewhere, or ends a block for what it does to the processor's state.
    case transfer
    /// Left to the interpreter, with what follows.
    case cold

    /// - Parameters:
    ///   - next: the offset behind it.
    ///   - passing: see `PassThrough`.
    init(_ instruction: Instruction, _ row: OpcodeRow, next: Int, passing: PassThrough) {
        self.init(translating: instruction, row, next: next, passing: passing)
        guard case .cold = self else { return }
        guard
            row.opcodeClass == .integer || row.opcodeClass == .system
                || InstructionKind.showsInstructionPointer(instruction),
            !InstructionKind.restoresVectors(instruction)
        else { return }
        self = row.flow == .straight ? .interpreted : .transfer
    }

    private init(translating instruction: Instruction, _ row: OpcodeRow, next: Int, passing: PassThrough) {
        self = .cold
        if instruction.mnemonic == .sfence {
            // Stores past the caches are the host's here, and so is what orders them.
            self = .plain
            return
        }
        guard row.opcodeClass == .integer || passing != [],
            instruction.addressSize == 8 || !instruction.hasMemoryOperand,
            InstructionKind.onHost.permits(row.feature(vectorLength: instruction.vectorLength))
        else { return }
        if InstructionKind.hasHighByte(instruction) {
            // No encoding has such a register beside one of the last eight: only as it is, with registers that are at home.
            guard InstructionKind.isPlain(instruction), !instruction.hasMemoryOperand,
                !instruction.prefixes.contains(.lock), !InstructionKind.names(4, instruction)
            else { return }
            self = .plain
            return
        }
        for index in 0..<Int(row.operandCount) {
            switch row.operands[index].kind {
            // What an encoding of ours can't have.
            case .S, .T, .C, .D, .A, .O, .X, .Y, .fixedSegment: return
            default: break
            }
        }
        // Distances from the page's beginning are displacements.
        if instruction.hasMemoryOperand,
            abs(instruction.memory.displacement) > 1 << 31 - 8192
        {
            return
        }
        let target = next &+ Int(truncatingIfNeeded: Int64(bitPattern: instruction.immediate))
        switch instruction.mnemonic {
        case .jmp, .call:
            guard instruction.operandSize == 8 else { return }
            let isCall = instruction.mnemonic == .call
            switch instruction.operands[0] {
            case .relative: self = isCall ? .call(target) : .jump(target)
            case .register, .memory: self = isCall ? .callIndirect : .jumpIndirect
            default: return
            }
        case .jcc:
            guard instruction.operandSize == 8 else { return }
            self = .jumpIf(instruction.condition, target)
        case .ret:
            guard instruction.operandSize == 8 else { return }
            self = .returnNear
        case .push:
            guard instruction.operandSize == 8 else { return }
            switch instruction.operands[0] {
            case .register, .immediate: self = .push
            default: return
            }
        case .pop:
            guard instruction.operandSize == 8, case .register = instruction.operands[0] else { return }
            self = .pop
        case .leave:
            guard instruction.operandSize == 8 else { return }
            self = .leave
        case .div, .idiv:
            switch instruction.operands[0] {
            case .register(let number, let size) where size >= 4: self = Homes.home(number) == nil ? .cold : .divide
            case .memory(let size) where size >= 4: self = .divide
            default: return
            }
        case .nop, .endbr, .prefetchnta, .prefetcht0, .prefetcht1, .prefetcht2, .prefetch, .prefetchw: self = .nothing
        case .bt, .bts, .btr, .btc:
            // By a register in memory they reach beyond the operand.
            if instruction.hasMemoryOperand, case .register = instruction.operands[1] { return }
            self = .plain
        case .ldmxcsr, .vldmxcsr: self = .loadMXCSR
        case .fldcw: self = .loadControlWord
        case _ where row.opcodeClass == .x87: self = .x87
        default:
            if passing != [] || InstructionKind.isPlain(instruction) { self = .plain }
        }
        if case .plain = self, InstructionKind.homeless(instruction).count > (instruction.hasMemoryOperand ? 1 : 2) {
            self = .cold
        }
    }

    /// Register operands that are in the state, each of which needs a scratch register.
    private static func homeless(_ instruction: Instruction) -> RegisterSet {
        var found: RegisterSet = []
        for index in 0..<Int(instruction.operandCount) {
            if case .register(let guest, _) = instruction.operands[index], Homes.home(guest) == nil {
                found.insert(guest)
            }
        }
        return found
    }

    /// AH, CH, DH or BH.
    static func hasHighByte(_ instruction: Instruction) -> Bool {
        (0..<Int(instruction.operandCount)).contains {
            if case .highByte = instruction.operands[$0] { true } else { false }
        }
    }

    private static func names(_ register: UInt8, _ instruction: Instruction) -> Bool {
        (0..<Int(instruction.operandCount)).contains {
            if case .register(register, _) = instruction.operands[$0] { true } else { false }
        }
    }

    /// Where a direct branch inside the page leads.
    var targetInPage: Int? {
        switch self {
        case .jump(let target), .jumpIf(_, let target): 0..<4096 ~= target ? target : nil
        default: nil
        }
    }

    var isCold: Bool {
        if case .cold = self { true } else { false }
    }

    /// Nothing can follow in the basic block.
    var endsBlock: Bool {
        switch self {
        case .plain, .x87, .loadMXCSR, .loadControlWord, .nothing, .push, .pop, .leave, .divide, .interpreted: false
        default: true
        }
    }

    /// Control may go on to the next instruction, and what follows is worth translating with it.
    var fallsThrough: Bool {
        switch self {
        case .plain, .x87, .loadMXCSR, .loadControlWord, .nothing, .push, .pop, .leave, .divide, .interpreted, .jumpIf:
            true
        default: false
        }
    }

    /// May leave in the middle of the superblock, or check memory: the flags that the guest has then must be in the state.
    func mayLeave(accessingMemory: Bool) -> Bool {
        switch self {
        case .plain, .x87: accessingMemory
        case .nothing, .jump, .jumpIf: false
        default: true
        }
    }

    /// The guest's general registers that an instruction writes, whole or in part.
    func written(_ instruction: Instruction, _ row: OpcodeRow) -> RegisterSet {
        var registers: RegisterSet = []
        switch self {
        case .push, .call, .callIndirect, .returnNear, .pop: registers.insert(4)
        case .leave: return [4, 5]
        default: break
        }
        for index in 0..<Int(instruction.operandCount) where row.operands[index].access != .read {
            switch instruction.operands[index] {
            case .register(let number, _): registers.insert(number)
            case .highByte(let number): registers.insert(number & 3)
            default: break
            }
        }
        switch instruction.mnemonic {
        case .mul, .cwd, .div, .idiv, .cmpxchg8b, .cmpxchg16b: registers.formUnion([0, 2])
        case .imul where instruction.operandCount == 1: registers.formUnion([0, 2])
        case .cbw, .cmpxchg, .lahf: registers.insert(0)
        case .pcmpestri, .pcmpistri, .vpcmpestri, .vpcmpistri: registers.insert(1)
        default: break
        }
        return registers
    }

    /// What guests are offered and the host has.
    private static let onHost = HostProcessor.offered.intersection(HostProcessor.features)

    private static func isPlain(_ instruction: Instruction) -> Bool { plainRows[Int(instruction.row)] }
    /// By the rows of the opcode table.
    private static let plainRows = OpcodeTable.rows.map { plainMnemonics.contains($0.mnemonic) }

    private static let plainMnemonics: Set<Mnemonic> = [
        // Moves
        .mov, .movsx, .movsxd, .movzx, .movbe, .movnti, .lea, .cmovcc, .setcc, .bswap, .cbw, .cwd,
        .xchg, .xadd, .cmpxchg, .cmpxchg8b, .cmpxchg16b,
        // Arithmetic
        .add, .adc, .adcx, .adox, .sub, .sbb, .cmp, .inc, .dec, .neg, .imul, .mul, .mulx, .crc32,
        .and, .andn, .or, .xor, .not, .test,
        // Shifts and bits
        .rol, .ror, .rorx, .rcl, .rcr, .shl, .shlx, .shr, .shrx, .sar, .sarx, .shld, .shrd,
        .bsf, .bsr, .tzcnt, .lzcnt, .popcnt, .bextr, .blsi, .blsmsk, .blsr, .bzhi, .pdep, .pext,
        // Flags
        .cmc, .clc, .stc, .lahf, .sahf,
    ]
}
