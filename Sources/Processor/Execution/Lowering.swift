import X86

/// Turns one decoded instruction into an op. Families register a lowerer for each mnemonic that they execute.
struct Lowering {
    let instruction: Instruction
    let mode: CodeMode
    var op: Op
    /// Nothing can follow in the block, as the opcode table says.
    let endsBlock: Bool

    /// Fills in the op and returns true; false where this form does not exist for the guest (#UD).
    typealias Lowerer = @Sendable (inout Lowering) -> Bool

    /// `offset`: of the instruction's first byte from the block's start.
    init(_ instruction: Instruction, mode: CodeMode, offset: Int) {
        self.instruction = instruction
        self.mode = mode
        endsBlock = instruction.endsBlock(in: CodeSize(rawValue: mode.codeSize))
        op = Op(handler: Interpreter.undefined)
        op.length = instruction.length
        op.nextOffset = UInt16(truncatingIfNeeded: offset + Int(instruction.length))
        op.operandSize = instruction.operandSize
        op.addressSize = instruction.addressSize
        op.prefixes = instruction.prefixes
        op.immediate = instruction.immediate
        op.extra = UInt32(instruction.row)
        setMemory()
    }

    /// The op for `instruction`, and whether it ends the block.
    static func lower(_ instruction: Instruction, mode: CodeMode, offset: Int) -> (op: Op, endsBlock: Bool) {
        var lowering = Lowering(instruction, mode: mode, offset: offset)
        let row = Int(instruction.row)
        if row < table.count, let lowerer = table[row], isOffered(instruction, mode), lowerer(&lowering) {
            return (lowering.op, lowering.endsBlock)
        }
        lowering.op.handler = Interpreter.undefined
        return (lowering.op, true)
    }

    /// What the host has and we don't offer is #UD, as what it lacks, and some of what the guest's CPUID lacks.
    private static func isOffered(_ instruction: Instruction, _ mode: CodeMode) -> Bool {
        let feature = instruction.opcodeRow.feature(vectorLength: instruction.vectorLength)
        return HostProcessor.offered.permits(feature) && mode.permits(feature)
    }

    /// By row of the opcode table.
    private static let table: [Lowerer?] = {
        var byMnemonic: [Mnemonic: Lowerer] = [:]
        for family in InstructionFamilies.all {
            for (mnemonic, lowerer) in family { byMnemonic[mnemonic] = lowerer }
        }
        return OpcodeTable.rows.map { byMnemonic[$0.mnemonic] }
    }()

    static func prepare() { _ = table }

    // MARK: Operands

    var operand0: Operand { instruction.operands[0] }
    var operand1: Operand { instruction.operands[1] }
    var operand2: Operand { instruction.operands[2] }

    /// The state's offset of a register operand, or nil for another kind.
    func offset(of operand: Operand) -> UInt16? {
        switch operand {
        case .register(let number, _): CPUState.offset(ofRegister: number)
        case .highByte(let number): CPUState.offset(ofHighByte: number)
        default: nil
        }
    }

    /// Whether an operand is in memory.
    func isMemory(_ operand: Operand) -> Bool {
        if case .memory = operand { true } else { false }
    }

    func isImmediate(_ operand: Operand) -> Bool {
        if case .immediate = operand { true } else { false }
    }

    /// Bytes of an operand.
    func size(of operand: Operand) -> UInt8 {
        switch operand {
        case .register(_, let size), .memory(let size), .immediate(let size), .relative(let size), .vector(_, let size),
            .stringSource(let size), .stringDestination(let size):
            size
        case .highByte: 1
        case .segment: 2
        default: instruction.operandSize
        }
    }

    private mutating func setMemory() {
        let memory = instruction.memory
        op.displacement = UInt64(bitPattern: memory.displacement)
        if memory.base == MemoryOperand.ripRegister {
            op.base = CPUState.blockRIPOffset
            op.displacement &+= UInt64(op.nextOffset)
        } else if memory.base != MemoryOperand.noRegister {
            op.base = CPUState.offset(ofRegister: memory.base)
        }
        if memory.index != MemoryOperand.noRegister {
            op.index = CPUState.offset(ofRegister: memory.index)
            op.scale = memory.scale
        }
        op.segment = memory.segment
        if mode.codeSize == 8 {
            op.addressing = instruction.addressSize == 8 ? .flat : .flat32
            if memory.segment == .fs || memory.segment == .gs {
                op.segmentBase = CPUState.offset(ofSegmentBase: memory.segment.rawValue)
            }
        } else {
            let flat =
                mode.contains(.flatData) && [.ds, .es, .ss].contains(memory.segment) && instruction.addressSize == 4
            op.addressing = flat ? .flat32 : .checked
        }
    }
}

/// A handler for each operand width; `nil` where the width does not exist.
struct Widths {
    var byte: Op.Handler?
    var word: Op.Handler?
    var long: Op.Handler?
    var quad: Op.Handler?

    init(byte: Op.Handler? = nil, word: Op.Handler? = nil, long: Op.Handler? = nil, quad: Op.Handler? = nil) {
        self.byte = byte
        self.word = word
        self.long = long
        self.quad = quad
    }

    /// By size in bytes.
    subscript(size: UInt8) -> Op.Handler? {
        switch size {
        case 1: byte
        case 2: word
        case 4: long
        default: quad
        }
    }
}
