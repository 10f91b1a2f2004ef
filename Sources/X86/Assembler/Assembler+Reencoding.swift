// A decoded instruction written again. Intel SDM vol. 2, 2.1-2.3.

extension Assembler {
    /// A register that an instruction's encoding names.
    public struct NamedRegister: Sendable, Hashable {
        /// ModRM.reg, ModRM.rm, VEX.vvvv, imm8[7:4] or the opcode's low bits.
        public enum Field: UInt8, Sendable { case reg, rm, vvvv, immediate, opcode }
        public enum Bank: UInt8, Sendable { case general, vector, mmx }
        public var field: Field
        public var bank: Bank
        public var number: UInt8
    }

    /// Writes the same operation with its memory operand at `memory` and its registers as `naming` says; returns false, and
    /// writes nothing, where it can't be.
    ///
    /// Segment overrides, LOCK, REP and the address size are dropped. Implicit registers (XMM0 of BLENDVPS, RDI of MASKMOVQ,
    /// CL, flags) are the caller's matter. It can't be: AH…BH, gathers, relative branches, control, debug and segment
    /// registers, and instructions or operand sizes that 64-bit code does not have.
    public mutating func reencode(
        _ instruction: Instruction, memory: Memory, naming: (NamedRegister) -> UInt8
    ) -> Bool {
        let row = instruction.opcodeRow
        var again = Reencoding(instruction)
        guard codeSize == .bits64, again.name(instruction, row, memory, naming) else { return false }
        let opcode = Opcode(instruction.map, row.prefix, instruction.opcode)
        if row.isVEX {
            let (wide, w) = (instruction.vectorLength == 32, instruction.rexW)
            if row.hasModRM {
                encodeVEX(
                    opcode, wide: wide, w: w, again.reg, vvvv: again.vvvv, again.rm, immediate: again.immediate)
            } else {
                encodeVEX(opcode, wide: wide, w: w, vvvv: again.vvvv)
            }
            return true
        }
        let word = again.usesOperandSize && instruction.operandSize == 2 && row.prefix != .p66
        let width: Width = instruction.rexW ? .quad : word ? .word : .long
        if row.hasModRM {
            encode(opcode, width, again.reg, again.rm, immediate: again.immediate)
        } else {
            let bare = Opcode(opcode.map, opcode.prefix, again.low == nil ? opcode.byte : opcode.byte & 0xF8)
            encode(bare, width, low: again.low ?? .digit(0), immediate: again.immediate)
        }
        return true
    }
}

/// The fields of an encoding with their new contents.
private struct Reencoding {
    var reg: Assembler.Field
    var rm: Assembler.Field
    var vvvv: Assembler.Field
    /// The register in the opcode.
    var low: Assembler.Field?
    var immediate = Assembler.Immediate.none
    var usesOperandSize = false

    /// As they are.
    init(_ instruction: Instruction) {
        reg = .digit(instruction.modRM >> 3 & 7)
        rm = .digit(instruction.modRM & 7)
        vvvv = .digit(instruction.vexRegister)
    }

    /// The operands with their new names; false where they can't have them.
    mutating func name(
        _ instruction: Instruction, _ row: OpcodeRow, _ memory: Assembler.Memory,
        _ naming: (Assembler.NamedRegister) -> UInt8
    ) -> Bool {
        guard row.mnemonic != .invalid, !row.vsib, !row.invalidIn64Bit else { return false }
        switch row.operandSize {
        case .standard: break
        case .default64: guard instruction.operandSize != 4 else { return false }
        case .forced64: guard instruction.operandSize == 8 else { return false }
        }
        // Their operands are no part of the encoding.
        if row.mnemonic == .cbw || row.mnemonic == .cwd { usesOperandSize = true }
        for index in 0..<Int(row.operandCount) {
            let form = row.operands[index], operand = instruction.operands[index]
            guard Reencoding.isIn64BitCode(form, operand) else { return false }
            switch form.size {
            case .v, .z, .p, .a, .env, .st: usesOperandSize = true
            default: break
            }
            switch form.kind {
            case .E, .M, .R, .W, .U, .Q, .N: rm = Reencoding.field(operand, .rm, memory, naming)
            case .G, .V, .P: reg = Reencoding.field(operand, .reg, memory, naming)
            case .B, .H: vvvv = Reencoding.field(operand, .vvvv, memory, naming)
            case .Z: low = Reencoding.field(operand, .opcode, memory, naming)
            case .L: append(UInt64(Reencoding.field(operand, .immediate, memory, naming).number) << 4, 1)
            case .I, .signedI:
                guard case .immediate(let size) = operand else { break }
                append(immediate.size == 0 ? instruction.immediate : UInt64(instruction.immediate2), Int(size))
            case .fixed, .one, .xmm0, .st, .sti, .none: break
            case .fixedSegment, .S, .T, .C, .D, .J, .A, .O, .X, .Y: return false
            }
        }
        return true
    }

    /// One more immediate behind what there is.
    private mutating func append(_ value: UInt64, _ size: Int) {
        let bits = UInt64(size) * 8
        let value = bits < 64 ? value & (1 << bits - 1) : value
        immediate.value |= Int64(bitPattern: value << UInt64(immediate.size * 8))
        immediate.size += size
    }

    /// Not AH…BH; and of what 64-bit code has in one size only, that size.
    private static func isIn64BitCode(_ form: OperandForm, _ operand: Operand) -> Bool {
        switch operand {
        case .highByte: false
        case .register(_, let size) where form.size == .n: size == 8
        case .memory(let size) where form.memorySize == .s: size == 10
        default: true
        }
    }

    private static func field(
        _ operand: Operand, _ field: Assembler.NamedRegister.Field, _ memory: Assembler.Memory,
        _ naming: (Assembler.NamedRegister) -> UInt8
    ) -> Assembler.Field {
        switch operand {
        case .register(let number, size: 1):
            .byteRegister(naming(.init(field: field, bank: .general, number: number)) & 15)
        case .register(let number, _): .register(naming(.init(field: field, bank: .general, number: number)) & 15)
        case .vector(let number, _): .register(naming(.init(field: field, bank: .vector, number: number)) & 15)
        case .mmx(let number): .register(naming(.init(field: field, bank: .mmx, number: number)) & 7)
        case .memory: .memory(memory)
        default: .digit(0)
        }
    }
}
