/// A guest's instruction written again as 64-bit code for the host, with other registers.
///
/// Intel SDM vol. 2, 2.1–2.3.
extension Encoder {
    /// The bytes of the same operation with its memory operand at `[memoryBase]` and its registers renumbered.
    ///
    /// `bytes` are the instruction's own (its immediates are copied from their end). `general` and `vector` give the host's
    /// register for a guest's general or XMM/YMM register; MMX and x87 registers keep their numbers. Segment overrides, LOCK,
    /// REP and address size are dropped. Implicit registers (XMM0 of BLENDVPS, RDI of MASKMOVQ, CL, flags) are the caller's
    /// matter. Nil where it can't be: AH…BH, gathers, relative branches, control, debug and segment registers, and
    /// instructions or operand sizes that 64-bit mode does not have.
    public static func reencode(
        _ instruction: Instruction, bytes: [UInt8], memoryBase: GeneralRegister, general: (UInt8) -> UInt8,
        vector: (UInt8) -> UInt8 = { $0 }
    ) -> [UInt8]? {
        let row = instruction.opcodeRow
        let length = Int(instruction.length)
        guard row.mnemonic != .invalid, !row.vsib, !row.invalidIn64Bit, bytes.count >= length else { return nil }
        switch row.operandSize {
        case .standard: break
        case .default64: guard instruction.operandSize != 4 else { return nil }
        case .forced64: guard instruction.operandSize == 8 else { return nil }
        }

        var reg = instruction.modRM >> 3 & 7 | (row.digit == nil ? instruction.rexR : 0)
        var rm = instruction.modRM & 7 | instruction.rexB
        var vvvv = instruction.vexRegister
        var opcode = instruction.opcode
        var opcodeRegister: UInt8 = 0
        var immediates = 0
        var isMemory = false
        var hasByteRegister = false
        var usesOperandSize = false
        for index in 0..<Int(row.operandCount) {
            let form = row.operands[index]
            let operand = instruction.operands[index]
            switch form.size {
            case .v, .z, .p, .a, .env, .st: usesOperandSize = true
            default: break
            }
            // What 64-bit mode has in one size only.
            switch operand {
            case .register(_, let size) where form.size == .n: guard size == 8 else { return nil }
            case .memory(let size) where form.memorySize == .s: guard size == 10 else { return nil }
            default: break
            }
            if case .memory = operand { isMemory = true }
            if case .highByte = operand { return nil }
            if case .register(let number, size: 1) = operand, general(number) > 3 { hasByteRegister = true }
            switch form.kind {
            case .G: reg = general(reg) & 15
            case .E, .R: if case .register = operand { rm = general(rm) & 15 }
            case .B: vvvv = general(vvvv) & 15
            case .Z:
                opcodeRegister = general(opcode & 7 | instruction.rexB) & 15
                opcode = opcode & 0xF8 | opcodeRegister & 7
            case .V: reg = vector(reg) & 15
            case .W, .U: if case .vector = operand { rm = vector(rm) & 15 }
            case .H: vvvv = vector(vvvv) & 15
            case .I, .signedI:
                if case .immediate(let size) = operand { immediates += Int(size) }
            case .L: immediates += 1
            case .P, .Q, .N, .M, .fixed, .one, .xmm0, .st, .sti, .none: break
            case .fixedSegment, .S, .T, .C, .D, .J, .A, .O, .X, .Y: return nil
            }
        }
        if !isMemory, row.fixedModRM != nil { rm = instruction.modRM & 7 }
        var tail = Array(bytes[(length - immediates)..<length])
        for index in 0..<Int(row.operandCount) where row.operands[index].kind == .L {
            if case .vector(let number, _) = instruction.operands[index], let byte = tail.last {
                tail[tail.count - 1] = (vector(number) & 15) << 4 | byte & 15
            }
        }

        var code: [UInt8] = []
        let base = isMemory ? memoryBase.rawValue : row.hasModRM ? rm : opcodeRegister
        if row.isVEX {
            let map = instruction.map.rawValue
            let prefix: UInt8 =
                switch row.prefix {
                case .p66: 1
                case .pF3: 2
                case .pF2: 3
                default: 0
                }
            code += [
                0xC4, (reg & 8 != 0 ? 0 : 0x80) | 0x40 | (base & 8 != 0 ? 0 : 0x20) | map,
                (instruction.rexW ? 0x80 : 0) | (~vvvv & 15) << 3 | (instruction.vectorLength == 32 ? 4 : 0) | prefix,
            ]
        } else {
            if usesOperandSize, instruction.operandSize == 2, row.prefix != .p66 { code.append(0x66) }
            switch row.prefix {
            case .p66: code.append(0x66)
            case .pF3: code.append(0xF3)
            case .pF2: code.append(0xF2)
            default: break
            }
            let rex = 0x40 | (instruction.rexW ? 8 : 0) | (row.hasModRM ? reg & 8 : 0) >> 1 | (base & 8) >> 3
            if rex != 0x40 || hasByteRegister { code.append(rex) }
            switch instruction.map {
            case .oneByte: break
            case .map0F: code.append(0x0F)
            case .map0F38: code += [0x0F, 0x38]
            case .map0F3A: code += [0x0F, 0x3A]
            }
        }
        code.append(opcode)
        if row.hasModRM {
            if isMemory {
                let low = base & 7
                code.append((low == 5 ? 0x40 : 0) | (reg & 7) << 3 | low)
                if low == 4 { code.append(0x24) }
                if low == 5 { code.append(0) }
            } else {
                code.append(0xC0 | (reg & 7) << 3 | rm & 7)
            }
        }
        return code + tail
    }
}
