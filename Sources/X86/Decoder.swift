/// Bytes to `Instruction`: prefixes, opcode, the row that matches, memory operand, operands, immediates.
///
/// Intel SDM vol. 2, 2.1–2.3; AMD APM vol. 3, chapter 1.
public enum Decoder {
    /// Makes the tables that it works by, which is otherwise done at first use.
    public static func prepare() { _ = DecodeTables.shared }

    /// Decodes the instruction at the start of `bytes` (at most 15 are looked at).
    ///
    /// Throws `.truncated` only when the given bytes could go on to be an instruction, `.tooLong` when fifteen are not enough.
    public static func decode(
        _ bytes: UnsafeRawBufferPointer, codeSize: CodeSize, realOrV86: Bool = false, vendor: Vendor = .intel
    ) throws(DecodeError) -> Instruction {
        var window: UInt128 = 0
        let count = bytes.count
        // SAFETY: reads stay below the buffer's count.
        if count >= 16 {
            window = unsafe UInt128(littleEndian: bytes.loadUnaligned(as: UInt128.self))
        } else {
            var index = count
            while index > 0 {
                index &-= 1
                window = window &<< 8 | UInt128(truncatingIfNeeded: unsafe bytes[index])
            }
        }
        return try decode(window: window, count: count, codeSize: codeSize, realOrV86: realOrV86, vendor: vendor)
    }

    public static func decode(
        _ bytes: Span<UInt8>, codeSize: CodeSize, realOrV86: Bool = false, vendor: Vendor = .intel
    ) throws(DecodeError) -> Instruction {
        var window: UInt128 = 0
        var index = min(bytes.count, 15)
        while index > 0 {
            index &-= 1
            window = window &<< 8 | UInt128(bytes[index])
        }
        return try decode(window: window, count: bytes.count, codeSize: codeSize, realOrV86: realOrV86, vendor: vendor)
    }

    public static func decode(
        _ bytes: [UInt8], codeSize: CodeSize, realOrV86: Bool = false, vendor: Vendor = .intel
    ) throws(DecodeError) -> Instruction {
        try decode(bytes.span, codeSize: codeSize, realOrV86: realOrV86, vendor: vendor)
    }

    /// Decodes from a window of 16 bytes, the first in the lowest bits, of which `count` are valid.
    public static func decode(
        window: UInt128, count: Int, codeSize: CodeSize, realOrV86: Bool = false, vendor: Vendor = .intel
    ) throws(DecodeError) -> Instruction {
        var run = Run(window: window, count: count, codeSize: codeSize, vendor: vendor)
        try run.prefixesAndOpcode()
        do {
            try run.matchRow(realOrV86: realOrV86)
            try run.operands()
        } catch {
            // UD0 and UD1 have no operands with AMD's processors: none of their bytes need be there.
            let opcode = run.instruction.opcode
            if vendor == .amd, run.instruction.map == .map0F, opcode == 0xB9 || opcode == 0xFF { throw .invalid }
            throw error
        }
        run.instruction.length = run.position
        return run.instruction
    }
}

extension Decoder {
    /// One decoding: the bytes, where in them it is, and what it has found so far.
    struct Run {
        typealias Key = DecodeTables.Key

        let window: UInt128
        /// Bytes that may be read: those given, at most 15.
        let limit: UInt8
        /// Running past `limit` means too long, not truncated.
        let isWhole: Bool
        let is64: Bool
        let codeSize: UInt8
        let vendor: Vendor
        var position: UInt8 = 0
        /// F3 or F2, the last of them, as bits of the key.
        var `repeat`: UInt32 = 0
        var has66 = false
        var has67 = false
        var isVEX = false
        var vexL = false
        /// Override, or 0xFF.
        var segment: UInt8 = 0xFF
        var instruction = Instruction()

        init(window: UInt128, count: Int, codeSize: CodeSize, vendor: Vendor) {
            self.window = window
            limit = UInt8(truncatingIfNeeded: max(0, min(count, 15)))
            isWhole = count >= 15
            is64 = codeSize == .bits64
            self.codeSize = codeSize.rawValue
            self.vendor = vendor
        }

        /// The next `count` bytes, zero-extended.
        @inline(__always)
        mutating func take(_ count: UInt8) throws(DecodeError) -> UInt64 {
            guard position &+ count <= limit else { throw isWhole ? .tooLong : .truncated }
            let bits = UInt64(truncatingIfNeeded: window &>> UInt128(truncatingIfNeeded: position &* 8))
            position &+= count
            return count == 8 ? bits : bits & ((1 &<< UInt64(count &* 8)) &- 1)
        }

        @inline(__always)
        mutating func takeByte() throws(DecodeError) -> UInt8 {
            guard position < limit else { throw isWhole ? .tooLong : .truncated }
            let byte = UInt8(truncatingIfNeeded: window &>> UInt128(truncatingIfNeeded: position &* 8))
            position &+= 1
            return byte
        }

        /// Sign-extends the low `count` bytes.
        @inline(__always)
        func signExtended(_ value: UInt64, _ count: UInt8) -> UInt64 {
            switch count {
            case 1: UInt64(bitPattern: Int64(Int8(truncatingIfNeeded: value)))
            case 2: UInt64(bitPattern: Int64(Int16(truncatingIfNeeded: value)))
            case 4: UInt64(bitPattern: Int64(Int32(truncatingIfNeeded: value)))
            default: value
            }
        }

        // MARK: Prefixes and opcode

        mutating func prefixesAndOpcode() throws(DecodeError) {
            var rex: UInt8 = 0
            var byte: UInt8
            scan: while true {
                byte = try takeByte()
                switch byte {
                case 0x26, 0x2E, 0x36, 0x3E:
                    // In 64-bit mode they do nothing, not even undo FS or GS.
                    if !is64 { segment = (byte &- 0x26) &>> 3 }
                case 0x64, 0x65: segment = byte &- 0x60
                case 0x66: has66 = true
                case 0x67: has67 = true
                case 0xF0: instruction.prefixes.insert(.lock)
                case 0xF2: `repeat` = Key.pF2
                case 0xF3: `repeat` = Key.pF3
                case 0x40...0x4F where is64:
                    rex = byte
                    continue scan
                default: break scan
                }
                rex = 0
            }
            switch byte {
            case 0x0F:
                byte = try takeByte()
                instruction.map = .map0F
                if byte == 0x38 {
                    instruction.map = .map0F38
                    byte = try takeByte()
                } else if byte == 0x3A {
                    instruction.map = .map0F3A
                    byte = try takeByte()
                }
            case 0xC4, 0xC5:
                if try isVEXPrefix() {
                    guard rex == 0, !has66, `repeat` == 0, !instruction.prefixes.contains(.lock) else { throw .invalid }
                    try vex(threeBytes: byte == 0xC4)
                    return
                }
            default: break
            }
            instruction.opcode = byte
            if rex != 0 {
                instruction.hasREX = true
                instruction.rexW = rex & 8 != 0
                instruction.rexR = (rex & 4) &<< 1
                instruction.rexX = (rex & 2) &<< 2
                instruction.rexB = (rex & 1) &<< 3
            }
        }

        /// Outside 64-bit mode C4 and C5 are LES and LDS, unless the next byte would be a ModRM byte with mod 3.
        private func isVEXPrefix() throws(DecodeError) -> Bool {
            if is64 { return true }
            guard position < limit else { throw isWhole ? .tooLong : .truncated }
            return UInt8(truncatingIfNeeded: window &>> UInt128(truncatingIfNeeded: position &* 8)) >= 0xC0
        }

        private mutating func vex(threeBytes: Bool) throws(DecodeError) {
            isVEX = true
            instruction.prefixes.insert(.vex)
            let first = try takeByte()
            var last = first
            instruction.rexR = is64 ? (~first & 0x80) &>> 4 : 0
            instruction.map = .map0F
            if threeBytes {
                instruction.rexX = is64 ? (~first & 0x40) &>> 3 : 0
                instruction.rexB = is64 ? (~first & 0x20) &>> 2 : 0
                switch first & 0x1F {
                case 1: break
                case 2: instruction.map = .map0F38
                case 3: instruction.map = .map0F3A
                default: throw .invalid
                }
                last = try takeByte()
                instruction.rexW = last & 0x80 != 0
            }
            instruction.vexRegister = (~last &>> 3) & (is64 ? 15 : 7)
            vexL = last & 4 != 0
            switch last & 3 {
            case 1: has66 = true
            case 2: `repeat` = Key.pF3
            case 3: `repeat` = Key.pF2
            default: break
            }
            instruction.opcode = try takeByte()
        }

        // MARK: The row

        mutating func matchRow(realOrV86: Bool) throws(DecodeError) {
            let tables = DecodeTables.shared
            // SAFETY: the index is below 7 × 256 by the ranges of map and opcode.
            let cell = unsafe tables.cells[
                DecodeTables.cell(isVEX: isVEX, map: instruction.map, opcode: instruction.opcode)]
            guard cell.count > 0 else { throw .invalid }
            var key = `repeat`
            if has66 { key |= Key.p66 }
            if instruction.rexW { key |= Key.w }
            if vexL { key |= Key.l }
            if is64 { key |= Key.is64 }
            if realOrV86 { key |= Key.realOrV86 }
            if instruction.rexB != 0 { key |= Key.rexB }
            if instruction.vexRegister != 0 { key |= Key.vvvv }
            if cell.hasModRM {
                let modRM = try takeByte()
                instruction.hasModRM = true
                instruction.modRM = modRM
                key |= UInt32(modRM)
                if modRM >= 0xC0 { key |= Key.register }
            }
            var index = Int(cell.first)
            let end = index &+ Int(cell.count)
            while true {
                // SAFETY: cells describe runs inside `candidates`.
                if unsafe key & tables.candidates[index].mask == tables.candidates[index].value { break }
                index &+= 1
                if index == end {
                    // The bytes of its operand must be there all the same, and not too many.
                    setAddressSize()
                    if cell.hasModRM, instruction.modRM < 0xC0 { try memoryOperand(vsib: false) }
                    try skipImmediates(like: unsafe tables.candidates[Int(cell.first)].row)
                    throw .invalid
                }
            }
            instruction.row = unsafe tables.candidates[index].row
        }
    }
}
