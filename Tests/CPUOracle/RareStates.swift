import X86

/// What random states hardly ever have, and a row needs to do all that it does: for half of the systematic cases.
enum RareStates {
    static func arrange(_ test: inout OracleCase, _ row: OpcodeRow, _ random: inout OracleRandom) {
        let isString = RowEncoder.isString(row)
        if isString { test.state.registers[1] &= 0x3F }
        guard random.chance(50), let instruction = test.instruction(at: test.state.rip) else { return }
        if isString { elements(&test, &random) }
        if row.vsib { indices(&test, instruction, &random) }
        switch row.mnemonic {
        case .cmpxchg, .cmpxchg8b, .cmpxchg16b: expectation(&test, instruction)
        case .bt, .bts, .btr, .btc: bitOffset(&test, instruction, &random)
        case .div, .idiv: dividend(&test, instruction, &random)
        case .shl, .shr, .sar, .rol, .ror, .rcl, .rcr, .shld, .shrd:
            test.state.registers[1] = random.pick([0, 1, 5, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 255])
        default: break
        }
        // Intel SDM vol. 2, 2.4: the classes whose instructions raise SIMD floating-point exceptions.
        if [2, 3].contains(row.exceptionClass) {
            test.state.xsave[3] = random.next() & 0xFF80 | (random.chance(50) ? random.next() & 0x3F : 0)
        }
        if row.opcodeClass == .x87 { test.state.xsave[0] = test.state.xsave[0] & ~0x3F | random.next() & 0x3F }
        if test.mode != .bits64 { for index in 0..<8 { test.state.registers[index] &= 0xFFFF_FFFF } }
    }

    /// Strings whose elements lie across the border of two pages, in both directions, and some that are equal for a while.
    private static func elements(_ test: inout OracleCase, _ random: inout OracleRandom) {
        for index in [6, 7] {
            let offset = OracleWindows.page - 32 + random.below(64)
            test.state.registers[index] = test.mode.dataStart + UInt64(offset)
        }
        test.state.rflags = test.state.rflags & ~RFLAGS.DF.rawValue | (random.chance(50) ? RFLAGS.DF.rawValue : 0)
        if random.chance(50) {
            test.background = OracleWindows.runs
            test.state.registers[0] = UInt64(random.pick(OracleWindows.runBytes)) &* 0x0101_0101_0101_0101
        }
    }

    /// Memory that holds what CMPXCHG and its kin expect, under an upper half of RAX that is to stay.
    private static func expectation(_ test: inout OracleCase, _ instruction: Instruction) {
        test.background = 0
        for index in [0, 2] { test.state.registers[index] &= instruction.rexW ? 0 : ~0xFFFF_FFFF }
    }

    /// Elements of a gather that are near.
    private static func indices(_ test: inout OracleCase, _ instruction: Instruction, _ random: inout OracleRandom) {
        let register = Int(instruction.memory.index & 15)
        for word in [20 + 2 * register, 21 + 2 * register, 72 + 2 * register, 73 + 2 * register] {
            func index() -> UInt64 { UInt64(random.below(48)) &- 8 }
            test.state.xsave[word] = instruction.opcode & 1 != 0 ? index() : index() & 0xFFFF_FFFF | index() << 32
        }
    }

    /// A bit some hundred bytes to either side.
    private static func bitOffset(_ test: inout OracleCase, _ instruction: Instruction, _ random: inout OracleRandom) {
        guard case .register(let number, let size) = instruction.operands[1],
            ![instruction.memory.base, instruction.memory.index].contains(number)
        else { return }
        let mask: UInt64 = size == 8 ? .max : (1 << (UInt64(size) * 8)) - 1
        let offset = UInt64(random.below(8192)) &- 4096
        test.state.registers[Int(number)] = test.state.registers[Int(number)] & ~mask | offset & mask
    }

    /// A dividend that is not much longer than a word, so that the quotient fits; or one whose quotient is the most negative.
    private static func dividend(_ test: inout OracleCase, _ instruction: Instruction, _ random: inout OracleRandom) {
        if case .register(let number, let size) = instruction.operands[0], size > 1, number != 0, number != 2,
            random.chance(25)
        {
            let isOne = random.chance(50)
            test.state.registers[Int(number)] = isOne ? 1 : .max
            test.state.registers[0] = 1 << (UInt64(size) * 8 - 1)
            test.state.registers[2] = isOne ? .max : 0
            return
        }
        switch instruction.operands[0] {
        case .memory(1), .register(_, 1), .highByte: test.state.registers[0] &= 0x3FF
        default:
            let bits = UInt64(instruction.operandSize) * 8
            let isNegative = instruction.mnemonic == .idiv && test.state.registers[0] >> (bits - 1) & 1 != 0
            test.state.registers[2] = isNegative ? .max : UInt64(random.below(3))
        }
    }
}
