import Processor
public import X86

/// An instruction as bytes, with what has to be known to put it somewhere.
public struct EncodedInstruction: Sendable {
    public var bytes: [UInt8] = []
    /// A memory operand that counts from RIP: where its displacement is, and what it is to reach.
    var ripOperand: (offset: Int, target: UInt64)?
    var row: UInt16 = 0
    var reads: RFLAGS = []
    var certainlyWrites: RFLAGS = []
    var leavesUndefined: RFLAGS = []

    /// The bytes for an address.
    func placed(at address: UInt64) -> [UInt8] {
        guard let (offset, target) = ripOperand else { return bytes }
        var bytes = bytes
        let displacement = target &- (address &+ UInt64(bytes.count))
        for index in 0..<4 { bytes[offset + index] = UInt8(truncatingIfNeeded: displacement >> UInt64(8 * index)) }
        return bytes
    }
}

/// Makes encodings of opcode rows: prefixes, operands and immediates of every form, memory operands that lie in the windows
/// more often than not.
public struct RowEncoder {
    public enum Operand: Sendable {
        case register, memory
    }

    /// What an encoding may choose beside registers, addresses and immediates.
    public struct Form: Sendable, Hashable {
        /// What ModRM.rm names; nil without a ModRM byte.
        public var operand: Operand?
        /// VEX.L, where both lengths are one row.
        public var wide = false
        /// 66, where it isn't mandatory; REX.W or VEX.W, where it isn't.
        public var operandSize = false
        public var w = false
        /// 67.
        public var addressSize = false
        public var lock = false
        /// F2 or F3, where neither is mandatory.
        public var `repeat`: UInt8?
        /// A REX prefix without a bit set.
        public var emptyREX = false
    }

    /// Every form that a row has in this mode.
    public func forms(of row: OpcodeRow) -> [Form] {
        var forms: [Form] = []
        let operands: [Operand?] =
            !row.hasModRM
            ? [nil]
            : row.fixedModRM != nil || row.mod == .register
                ? [.register] : row.mod == .memory ? [.memory] : [.register, .memory]
        let is64 = mode == .bits64
        let choosesSize = !row.isVEX && (row.prefix == .any || row.prefix == .noRepeat)
        for operand in operands {
            for wide in row.vectorLength == .either || row.vectorLength == .ignored ? [false, true] : [false] {
                for operandSize in choosesSize ? [false, true] : [false] {
                    for w in row.w == nil && is64 ? [false, true] : [row.w ?? false] {
                        forms.append(Form(operand: operand, wide: wide, operandSize: operandSize, w: w))
                    }
                }
            }
            let plain = Form(operand: operand, w: row.w ?? false)
            if operand == .memory || RowEncoder.impliesAddress(row) {
                var form = plain
                form.addressSize = true
                forms.append(form)
            }
            if row.lockable, operand == .memory {
                for w in is64 && row.w == nil ? [false, true] : [row.w ?? false] {
                    var form = plain
                    (form.lock, form.w) = (true, w)
                    forms.append(form)
                    form.operandSize = true
                    if choosesSize { forms.append(form) }
                }
            }
            if !row.isVEX, row.prefix == .any {
                for prefix in [0xF3, 0xF2] as [UInt8] {
                    var form = plain
                    form.repeat = prefix
                    forms.append(form)
                    form.w = is64
                    if RowEncoder.isString(row), is64 { forms.append(form) }
                }
            }
            if !row.isVEX, is64, row.w == nil {
                var form = plain
                form.emptyREX = true
                forms.append(form)
            }
        }
        return forms
    }

    /// A form drawn at random, as sequences want them.
    private func form(_ row: OpcodeRow, _ operand: Operand?, wide: Bool, _ random: inout OracleRandom) -> Form {
        var form = Form(operand: operand, wide: wide)
        let free = !row.isVEX && (row.prefix == .any || row.prefix == .noRepeat)
        form.operandSize = free && random.chance(25)
        form.w = row.w ?? (mode == .bits64 && random.chance(row.isVEX ? 30 : 40))
        if row.vectorLength == .ignored { form.wide = random.chance(20) }
        form.lock = row.lockable && operand == .memory && random.chance(15)
        let hasAddress = operand == .memory || RowEncoder.impliesAddress(row)
        switch mode {
        case .bits64: form.addressSize = hasAddress && !row.vsib && random.chance(recklessness)
        case .bits32: break
        // Code of 16 bits uses both sizes; there is no VSIB in its own.
        case .bits16: form.addressSize = row.vsib || hasAddress && random.chance(25)
        }
        form.emptyREX = mode == .bits64 && random.chance(15)
        if !row.isVEX, row.prefix == .any {
            if RowEncoder.isString(row), random.chance(50) { form.repeat = random.chance(70) ? 0xF3 : 0xF2 }
            if !RowEncoder.isString(row), random.chance(recklessness) { form.repeat = random.chance(50) ? 0xF3 : 0xF2 }
        }
        return form
    }

    /// The registers that cases keep pointing into the data window. R14 is a small index, R15 counts loops.
    static func pointers(_ mode: OracleCase.Mode) -> [UInt8] { mode == .bits64 ? [3, 6, 7, 12, 13] : [3, 6, 7] }
    static let index: UInt8 = 14
    static let counter: UInt8 = 15
    /// Where they point at first and after each renewal.
    static func pointer(_ register: UInt8, _ mode: OracleCase.Mode) -> UInt64 {
        mode.dataStart + 0x800 + UInt64(register) * 0x120
    }

    public var mode: OracleCase.Mode
    /// Percent of memory operands that may lie anywhere.
    public var wildness = 3
    /// Percent of instructions that get prefixes without a meaning, of those that may have one, and of registers that cases
    /// would rather keep.
    public var recklessness = 3

    private var limit: Int { mode == .bits64 ? 16 : 8 }

    public init(mode: OracleCase.Mode) { self.mode = mode }

    /// One encoding of a row with this kind of operand in ModRM.rm (nil for rows without a ModRM byte); nil if there is none.
    public func encode(
        _ number: Int, operand: Operand?, wide: Bool = false, _ random: inout OracleRandom
    ) -> EncodedInstruction? {
        encode(number, form(OpcodeTable.rows[number], operand, wide: wide, &random), &random)
    }

    /// One encoding of a row in a form; nil if the row has none in it.
    public func encode(_ number: Int, _ form: Form, _ random: inout OracleRandom) -> EncodedInstruction? {
        let row = OpcodeTable.rows[number]
        let operand = form.operand
        guard mode == .bits64 ? !row.invalidIn64Bit : !row.only64Bit else { return nil }
        if let operand {
            guard row.hasModRM, row.mod != (operand == .memory ? .register : .memory) else { return nil }
            if operand == .memory, row.fixedModRM != nil { return nil }
        } else if row.hasModRM {
            return nil
        }
        var parts = Parts(low: UInt8(random.below(16)))
        chooseRegisters(row, &parts, &random)
        if let fixed = row.fixedModRM {
            parts.modRM = [fixed]
        } else if operand == .memory {
            memoryOperand(row, form, &parts, &random)
            parts.modRM[0] |= (parts.reg & 7) << 3
        } else if row.hasModRM {
            parts.modRM = [0xC0 | (parts.reg & 7) << 3 | parts.rm & 7]
            parts.rexB = parts.rm & 8 != 0
        } else {
            parts.rexB = parts.low & 8 != 0 && row.opcodeCount == 8
        }
        var code = prefixes(row, parts, form, &random)
        code.append(row.opcode &+ (row.opcodeCount > 1 ? parts.low & (row.opcodeCount - 1) : 0))
        let modRMOffset = code.count
        code += parts.modRM
        // More immediate bytes than any form has; what is too much is cut off.
        immediate(row, &code, &random)
        guard
            let decoded = try? Decoder.decode(
                code, codeSize: CodeSize(rawValue: mode.codeSize), vendor: CodeAnalysis.vendor),
            Int(decoded.row) == number,
            HostProcessor.offered.permits(row.feature(vectorLength: decoded.vectorLength)), !hasUndefinedResult(decoded)
        else { return nil }
        let effect = FlagEffect(decoded)
        return EncodedInstruction(
            bytes: Array(code.prefix(Int(decoded.length))),
            ripOperand: decoded.memory.base == MemoryOperand.ripRegister
                ? parts.ripTarget.map { (modRMOffset + 1, $0) } : nil,
            row: decoded.row, reads: effect.reads,
            certainlyWrites: effect.certainlyWrites, leavesUndefined: effect.leavesUndefined)
    }

    /// Whether the manual leaves the result itself undefined. Intel SDM vol. 2: SHLD and SHRD by more than the width, BSWAP of
    /// a word.
    private func hasUndefinedResult(_ instruction: Instruction) -> Bool {
        switch instruction.mnemonic {
        case .shld, .shrd:
            guard instruction.operandSize == 2 else { return false }
            for index in 0..<Int(instruction.operandCount) {
                if case .immediate = instruction.operands[index] { return instruction.immediate & 31 > 16 }
            }
            return true
        case .bswap: return instruction.operandSize == 2
        // AMD's processors access four bytes, Intel's two.
        case .movsxd: return instruction.operandSize == 2
        default: return false
        }
    }

    private struct Parts {
        var low: UInt8
        var reg: UInt8 = 0
        var rm: UInt8 = 0
        var vvvv: UInt8?
        var modRM: [UInt8] = []
        var rexX = false
        var rexB = false
        var segment: UInt8?
        var ripTarget: UInt64?
    }

    // MARK: Registers

    private func general(written: Bool, _ random: inout OracleRandom) -> UInt8 {
        let wanted = UInt8(random.below(limit))
        if random.chance(recklessness) { return written && wanted == RowEncoder.counter ? 0 : wanted }
        if written { return random.pick(limit == 16 ? [0, 1, 2, 5, 8, 9, 10, 11] : [0, 1, 2, 5]) }
        return wanted
    }

    private func chooseRegisters(_ row: OpcodeRow, _ parts: inout Parts, _ random: inout OracleRandom) {
        (parts.reg, parts.rm) = (UInt8(random.below(limit)), UInt8(random.below(limit)))
        for index in 0..<Int(row.operandCount) {
            let form = row.operands[index]
            let written = form.access != .read
            switch form.kind {
            case .G: parts.reg = general(written: written, &random)
            case .E, .R: parts.rm = general(written: written, &random)
            case .Z: parts.low = general(written: written, &random)
            case .B: parts.vvvv = general(written: written, &random)
            case .H: parts.vvvv = UInt8(random.below(limit))
            case .P: parts.reg &= 7
            case .Q, .N, .sti: parts.rm &= 7
            default: break
            }
        }
        if let digit = row.digit { parts.reg = digit }
    }

    // MARK: Prefixes

    private func prefixes(
        _ row: OpcodeRow, _ parts: Parts, _ form: Form, _ random: inout OracleRandom
    ) -> [UInt8] {
        var code: [UInt8] = []
        if let segment = parts.segment { code.append(segment) }
        if form.addressSize { code.append(0x67) }
        let r = row.digit == nil && row.hasModRM && parts.reg & 8 != 0
        if row.isVEX { return code + vex(row, parts, form, r: r, &random) }
        if form.lock { code.append(0xF0) }
        if form.operandSize { code.append(0x66) }
        if let prefix = form.repeat { code.append(prefix) }
        switch row.prefix {
        case .p66: code.append(0x66)
        case .pF3: code.append(0xF3)
        case .pF2: code.append(0xF2)
        default: break
        }
        if mode == .bits64 {
            var rex: UInt8 = 0x40 | (form.w ? 8 : 0)
            rex |= (r ? 4 : 0) | (parts.rexX ? 2 : 0) | (parts.rexB ? 1 : 0)
            if rex != 0x40 || form.emptyREX { code.append(rex) }
        }
        switch row.map {
        case .oneByte: break
        case .map0F: code.append(0x0F)
        case .map0F38: code += [0x0F, 0x38]
        case .map0F3A: code += [0x0F, 0x3A]
        }
        return code
    }

    private func vex(
        _ row: OpcodeRow, _ parts: Parts, _ form: Form, r: Bool, _ random: inout OracleRandom
    ) -> [UInt8] {
        let prefix: UInt8 =
            switch row.prefix {
            case .p66: 1
            case .pF3: 2
            case .pF2: 3
            default: 0
            }
        let long = row.vectorLength == .l256 || form.wide && row.vectorLength != .l128
        let last = (~(parts.vvvv ?? 0) & 15) << 3 | (long ? 4 : 0) | prefix
        if row.map == .map0F, !form.w, !parts.rexX, !parts.rexB, random.chance(60) {
            return [0xC5, (r ? 0 : 0x80) | last]
        }
        let first = (r ? 0 : 0x80) as UInt8 | (parts.rexX ? 0 : 0x40) | (parts.rexB ? 0 : 0x20) | row.map.rawValue
        return [0xC4, first, (form.w ? 0x80 : 0) | last]
    }

    static func isString(_ row: OpcodeRow) -> Bool {
        switch row.mnemonic {
        case .movs, .cmps, .stos, .lods, .scas, .ins, .outs: true
        default: false
        }
    }

    /// Whether the address size counts though no ModRM byte names memory: by an offset in the code, a register that addresses,
    /// or one that counts.
    static func impliesAddress(_ row: OpcodeRow) -> Bool {
        switch row.mnemonic {
        case .xlat, .maskmovq, .maskmovdqu, .vmaskmovdqu, .loop, .loope, .loopne, .jcxz: true
        default: isString(row) || (0..<Int(row.operandCount)).contains { row.operands[$0].kind == .O }
        }
    }

    // MARK: Memory operands

    private func memoryOperand(_ row: OpcodeRow, _ form: Form, _ parts: inout Parts, _ random: inout OracleRandom) {
        let pointers = RowEncoder.pointers(mode)
        if row.vsib {
            // The indices are whatever the vector holds.
            let (base, index) = (random.pick(pointers), UInt8(random.below(limit)))
            (parts.rexB, parts.rexX) = (base & 8 != 0, index & 8 != 0)
            parts.modRM = [0x44, UInt8(random.below(4)) << 6 | (index & 7) << 3 | base & 7, random.byte()]
            return
        }
        if mode != .bits64, form.addressSize != (mode == .bits16) {
            memoryOperand16(&parts, &random)
            return
        }
        if random.chance(wildness) {
            let base = UInt8(random.below(limit))
            parts.rexB = base & 8 != 0
            parts.modRM = base & 7 == 4 ? [0x84, 0x24 | UInt8(random.below(4)) << 6] : [0x80 | base & 7]
            parts.modRM += RowEncoder.bytes(random.next(), 4)
            return
        }
        let target = target(&random)
        switch random.below(20) {
        case 0 where mode == .bits64:
            parts.modRM = [0x05, 0, 0, 0, 0]
            parts.ripTarget = target
        case 1:
            parts.modRM = (mode == .bits64 ? [0x04, 0x25] : [0x05]) + RowEncoder.bytes(target, 4)
        case 2 where mode == .bits64:
            // FS and GS begin at the window's start.
            parts.segment = random.chance(50) ? 0x64 : 0x65
            parts.modRM = [0x04, 0x25] + RowEncoder.bytes(target &- mode.dataStart, 4)
        default:
            let base = random.pick(pointers)
            parts.rexB = base & 8 != 0
            if random.chance(recklessness) { parts.segment = random.pick([0x26, 0x2E, 0x36, 0x3E]) }
            let distance = target &- RowEncoder.pointer(base, mode)
            let short = Int8(exactly: Int64(bitPattern: distance)) != nil && random.chance(80)
            let mod: UInt8 = short ? 0x40 : 0x80
            var middle: [UInt8] = []
            if mode == .bits64, random.chance(25) {
                parts.rexX = true
                middle = [UInt8(random.below(4)) << 6 | (RowEncoder.index & 7) << 3 | base & 7]
            } else if base & 7 == 4 {
                middle = [0x24]
            }
            parts.modRM = [mod | (middle.isEmpty ? base & 7 : 4)] + middle + RowEncoder.bytes(distance, short ? 1 : 4)
        }
    }

    /// ModRM of 16-bit addressing: BX and BP with or without SI and DI, each alone, or a displacement. Intel SDM vol. 2,
    /// table 2-1.
    private func memoryOperand16(_ parts: inout Parts, _ random: inout OracleRandom) {
        if random.chance(wildness) {
            parts.modRM = [0x80 | UInt8(random.below(8))] + RowEncoder.bytes(random.next(), 2)
            return
        }
        let target = target(&random)
        if random.chance(8) {
            parts.modRM = [0x06] + RowEncoder.bytes(target, 2)
            return
        }
        // [BP] is in the stack segment; what BP holds is anyone's guess after a while.
        if random.chance(8) {
            parts.modRM = [0x40 | random.pick([2, 3, 6]), random.byte()]
            return
        }
        let (rm, registers) = random.pick(
            [(0, [3, 6]), (1, [3, 7]), (4, [6]), (5, [7]), (7, [3])] as [(UInt8, [UInt8])])
        if random.chance(recklessness) { parts.segment = random.pick([0x26, 0x2E, 0x36, 0x3E]) }
        let distance = registers.reduce(target) { $0 &- RowEncoder.pointer($1, mode) }
        let short = Int8(exactly: Int64(bitPattern: distance)) != nil && random.chance(80)
        parts.modRM = [(short ? 0x40 : 0x80) | rm] + RowEncoder.bytes(distance, short ? 1 : 2)
    }

    /// An address in the data window: aligned, or not, across the border between the pages, or in what can't be written. With
    /// less than 64 bits now and then where addresses end.
    private func target(_ random: inout OracleRandom) -> UInt64 {
        if mode != .bits64, random.chance(3) {
            return (mode == .bits16 ? 0xFFFF : 0xFFFF_FFFF) - UInt64(random.below(40))
        }
        let offset =
            switch random.below(24) {
            case 0, 1: OracleWindows.page - 1 - random.below(32)
            case 2: random.below(OracleWindows.dataSize + OracleWindows.page)
            case 3...8: random.below(0x1F00)
            default: random.below(0x1F00) & ~63
            }
        return mode.dataStart + UInt64(offset)
    }

    // MARK: Immediates

    private func immediate(_ row: OpcodeRow, _ code: inout [UInt8], _ random: inout OracleRandom) {
        var value = random.value()
        if random.chance(30) { value &= 0xFF00_FFFF_0000_003F }
        for index in 0..<Int(row.operandCount) where row.operands[index].kind == .O {
            value = mode.dataStart + UInt64(random.below(0x1FF0))
        }
        code += RowEncoder.bytes(value, 8)
        code += [0, 0]
    }

    static func bytes(_ value: UInt64, _ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: value >> UInt64(8 * $0)) }
    }
}
