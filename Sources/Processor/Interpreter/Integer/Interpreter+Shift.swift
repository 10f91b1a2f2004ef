import X86

/// SHL, SHR, SAR, ROL, ROR, RCL, RCR. Intel SDM vol. 2.
///
/// The count is masked to 5 bits (6 for 64-bit operands); zero leaves the flags alone. OF after counts above one, which
/// the manual leaves undefined, is by the same formula as after one, as current processors have it.
protocol ShiftOperation {
    /// What of a masked, non-zero count has an effect.
    static func turns<W: OperandWidth>(_ count: Int, _: W.Type) -> Int
    /// `count` is `turns`.
    static func result<W: OperandWidth>(_ a: W, _ count: Int, carry: Bool) -> W
    static func setFlags<W: OperandWidth>(_ cpu: CPU, _ a: W, _ count: Int, _ result: W)
}

extension ShiftOperation {
    @inline(__always) static func turns<W: OperandWidth>(_ count: Int, _: W.Type) -> Int { count }
}

enum ShiftLeft: ShiftOperation {
    @inline(__always) static func result<W: OperandWidth>(_ a: W, _ count: Int, carry: Bool) -> W {
        count < W.bits ? a &<< W(count) : 0
    }
    @inline(__always) static func setFlags<W: OperandWidth>(_ cpu: CPU, _ a: W, _ count: Int, _ result: W) {
        let carry = count <= W.bits && (a &>> W(truncatingIfNeeded: W.bits - count)) & 1 != 0
        cpu.setFlags(result: result, carry: carry, overflow: result.isNegative != carry)
    }
}

enum ShiftRight: ShiftOperation {
    @inline(__always) static func result<W: OperandWidth>(_ a: W, _ count: Int, carry: Bool) -> W {
        count < W.bits ? a &>> W(count) : 0
    }
    @inline(__always) static func setFlags<W: OperandWidth>(_ cpu: CPU, _ a: W, _ count: Int, _ result: W) {
        let carry = count <= W.bits && (a &>> W(truncatingIfNeeded: count - 1)) & 1 != 0
        cpu.setFlags(result: result, carry: carry, overflow: (result ^ (result &<< 1)).isNegative)
    }
}

enum ShiftRightArithmetic: ShiftOperation {
    @inline(__always) static func result<W: OperandWidth>(_ a: W, _ count: Int, carry: Bool) -> W {
        W(truncatingIfNeeded: Int64(bitPattern: a.extended) &>> Int64(count))
    }
    @inline(__always) static func setFlags<W: OperandWidth>(_ cpu: CPU, _ a: W, _ count: Int, _ result: W) {
        let carry = (Int64(bitPattern: a.extended) &>> Int64(count - 1)) & 1 != 0
        cpu.setFlags(result: result, carry: carry, overflow: false)
    }
}

enum RotateLeft: ShiftOperation {
    @inline(__always) static func result<W: OperandWidth>(_ a: W, _ count: Int, carry: Bool) -> W {
        (a &<< W(truncatingIfNeeded: count)) | (a &>> (0 &- W(truncatingIfNeeded: count)))
    }
    @inline(__always) static func setFlags<W: OperandWidth>(_ cpu: CPU, _ a: W, _ count: Int, _ result: W) {
        let carry = result & 1 != 0
        cpu.setCarryAndOverflow(carry, result.isNegative != carry)
    }
}

enum RotateRight: ShiftOperation {
    @inline(__always) static func result<W: OperandWidth>(_ a: W, _ count: Int, carry: Bool) -> W {
        (a &>> W(truncatingIfNeeded: count)) | (a &<< (0 &- W(truncatingIfNeeded: count)))
    }
    @inline(__always) static func setFlags<W: OperandWidth>(_ cpu: CPU, _ a: W, _ count: Int, _ result: W) {
        cpu.setCarryAndOverflow(result.isNegative, (result ^ (result &<< 1)).isNegative)
    }
}

enum RotateLeftThroughCarry: ShiftOperation {
    @inline(__always) static func turns<W: OperandWidth>(_ count: Int, _: W.Type) -> Int {
        W.bits < 32 ? count % (W.bits + 1) : count
    }
    @inline(__always) static func result<W: OperandWidth>(_ a: W, _ count: Int, carry: Bool) -> W {
        if count == 0 { return a }
        // Swift's smart shifts: what is shifted out wholly is zero.
        return (a << W(count)) | (W(carry ? 1 : 0) << W(count - 1)) | (a >> W(W.bits + 1 - count))
    }
    @inline(__always) static func setFlags<W: OperandWidth>(_ cpu: CPU, _ a: W, _ count: Int, _ result: W) {
        let carry = count == 0 ? cpu.carryFlag : (a &>> W(truncatingIfNeeded: W.bits - count)) & 1 != 0
        cpu.setCarryAndOverflow(carry, result.isNegative != carry)
    }
}

enum RotateRightThroughCarry: ShiftOperation {
    @inline(__always) static func turns<W: OperandWidth>(_ count: Int, _: W.Type) -> Int {
        W.bits < 32 ? count % (W.bits + 1) : count
    }
    @inline(__always) static func result<W: OperandWidth>(_ a: W, _ count: Int, carry: Bool) -> W {
        if count == 0 { return a }
        return (a >> W(count)) | (W(carry ? 1 : 0) << W(W.bits - count)) | (a << W(W.bits + 1 - count))
    }
    @inline(__always) static func setFlags<W: OperandWidth>(_ cpu: CPU, _ a: W, _ count: Int, _ result: W) {
        let carry = count == 0 ? cpu.carryFlag : (a &>> W(truncatingIfNeeded: count - 1)) & 1 != 0
        cpu.setCarryAndOverflow(carry, (result ^ (result &<< 1)).isNegative)
    }
}

extension CPU {
    /// op r, imm, masked and not zero (`op.detail`).
    @inline(__always) func shiftRegister<O: ShiftOperation, W: OperandWidth>(_ cursor: OpCursor, _: O.Type, _: W.Type)
        -> UInt
    {
        let a: W = register(cursor.op.destination)
        let count = O.turns(Int(cursor.op.detail), W.self)
        let result = O.result(a, count, carry: carryFlag)
        setRegister(cursor.op.destination, result)
        O.setFlags(self, a, count, result)
        return proceed(cursor)
    }

    /// op r/m, CL or imm; the count's place is the register `op.source`, or `op.detail` where that is the zero register.
    @inline(__always) func shift<O: ShiftOperation, W: OperandWidth>(_ cursor: OpCursor, _: O.Type, _: W.Type) -> UInt {
        return straight(cursor) { () throws(Stop) in
            let masked = Int((register(cursor.op.source, as: UInt8.self) | cursor.op.detail) & (W.bits == 64 ? 63 : 31))
            if masked == 0 {
                // The operand is written all the same: a 32-bit register loses its upper half.
                _ = try modifyDestination(cursor) { (a: W) in a }
                return
            }
            let count = O.turns(masked, W.self)
            let carry = carryFlag
            let a: W = try modifyDestination(cursor) { O.result($0, count, carry: carry) }
            O.setFlags(self, a, count, O.result(a, count, carry: carry))
        }
    }
}

extension PlaceForms {
    /// The register forms are those with a constant count that is not zero.
    func lowerShift(_ l: inout Lowering) -> Bool {
        l.setDestination(l.operand0)
        let size = l.size(of: l.operand0)
        if let count = l.offset(of: l.operand1) {
            l.op.source = count
        } else {
            l.op.detail = UInt8(truncatingIfNeeded: l.instruction.immediate) & (size == 8 ? 63 : 31)
        }
        return l.use(l.op.extra == OperandPlace.register && l.op.detail != 0 ? register[size] : memory[size])
    }
}

extension Interpreter {
    static let shifts: [(Mnemonic, Lowering.Lowerer)] = [
        (.shl, { shl.lowerShift(&$0) }), (.shr, { shr.lowerShift(&$0) }), (.sar, { sar.lowerShift(&$0) }),
        (.rol, { rol.lowerShift(&$0) }), (.ror, { ror.lowerShift(&$0) }), (.rcl, { rcl.lowerShift(&$0) }),
        (.rcr, { rcr.lowerShift(&$0) }), (.shld, { lowerDoubleShift(&$0, shld) }),
        (.shrd, { lowerDoubleShift(&$0, shrd) }),
    ]

    static let shl = PlaceForms(
        register: Widths(
            byte: { CPU($0).shiftRegister(OpCursor($1), ShiftLeft.self, UInt8.self) },
            word: { CPU($0).shiftRegister(OpCursor($1), ShiftLeft.self, UInt16.self) },
            long: { CPU($0).shiftRegister(OpCursor($1), ShiftLeft.self, UInt32.self) },
            quad: { CPU($0).shiftRegister(OpCursor($1), ShiftLeft.self, UInt64.self) }),
        memory: Widths(
            byte: { CPU($0).shift(OpCursor($1), ShiftLeft.self, UInt8.self) },
            word: { CPU($0).shift(OpCursor($1), ShiftLeft.self, UInt16.self) },
            long: { CPU($0).shift(OpCursor($1), ShiftLeft.self, UInt32.self) },
            quad: { CPU($0).shift(OpCursor($1), ShiftLeft.self, UInt64.self) }))

    static let shr = PlaceForms(
        register: Widths(
            byte: { CPU($0).shiftRegister(OpCursor($1), ShiftRight.self, UInt8.self) },
            word: { CPU($0).shiftRegister(OpCursor($1), ShiftRight.self, UInt16.self) },
            long: { CPU($0).shiftRegister(OpCursor($1), ShiftRight.self, UInt32.self) },
            quad: { CPU($0).shiftRegister(OpCursor($1), ShiftRight.self, UInt64.self) }),
        memory: Widths(
            byte: { CPU($0).shift(OpCursor($1), ShiftRight.self, UInt8.self) },
            word: { CPU($0).shift(OpCursor($1), ShiftRight.self, UInt16.self) },
            long: { CPU($0).shift(OpCursor($1), ShiftRight.self, UInt32.self) },
            quad: { CPU($0).shift(OpCursor($1), ShiftRight.self, UInt64.self) }))

    static let sar = PlaceForms(
        register: Widths(
            byte: { CPU($0).shiftRegister(OpCursor($1), ShiftRightArithmetic.self, UInt8.self) },
            word: { CPU($0).shiftRegister(OpCursor($1), ShiftRightArithmetic.self, UInt16.self) },
            long: { CPU($0).shiftRegister(OpCursor($1), ShiftRightArithmetic.self, UInt32.self) },
            quad: { CPU($0).shiftRegister(OpCursor($1), ShiftRightArithmetic.self, UInt64.self) }),
        memory: Widths(
            byte: { CPU($0).shift(OpCursor($1), ShiftRightArithmetic.self, UInt8.self) },
            word: { CPU($0).shift(OpCursor($1), ShiftRightArithmetic.self, UInt16.self) },
            long: { CPU($0).shift(OpCursor($1), ShiftRightArithmetic.self, UInt32.self) },
            quad: { CPU($0).shift(OpCursor($1), ShiftRightArithmetic.self, UInt64.self) }))

    static let rol = PlaceForms(
        register: Widths(
            byte: { CPU($0).shiftRegister(OpCursor($1), RotateLeft.self, UInt8.self) },
            word: { CPU($0).shiftRegister(OpCursor($1), RotateLeft.self, UInt16.self) },
            long: { CPU($0).shiftRegister(OpCursor($1), RotateLeft.self, UInt32.self) },
            quad: { CPU($0).shiftRegister(OpCursor($1), RotateLeft.self, UInt64.self) }),
        memory: Widths(
            byte: { CPU($0).shift(OpCursor($1), RotateLeft.self, UInt8.self) },
            word: { CPU($0).shift(OpCursor($1), RotateLeft.self, UInt16.self) },
            long: { CPU($0).shift(OpCursor($1), RotateLeft.self, UInt32.self) },
            quad: { CPU($0).shift(OpCursor($1), RotateLeft.self, UInt64.self) }))

    static let ror = PlaceForms(
        register: Widths(
            byte: { CPU($0).shiftRegister(OpCursor($1), RotateRight.self, UInt8.self) },
            word: { CPU($0).shiftRegister(OpCursor($1), RotateRight.self, UInt16.self) },
            long: { CPU($0).shiftRegister(OpCursor($1), RotateRight.self, UInt32.self) },
            quad: { CPU($0).shiftRegister(OpCursor($1), RotateRight.self, UInt64.self) }),
        memory: Widths(
            byte: { CPU($0).shift(OpCursor($1), RotateRight.self, UInt8.self) },
            word: { CPU($0).shift(OpCursor($1), RotateRight.self, UInt16.self) },
            long: { CPU($0).shift(OpCursor($1), RotateRight.self, UInt32.self) },
            quad: { CPU($0).shift(OpCursor($1), RotateRight.self, UInt64.self) }))

    static let rcl = PlaceForms(
        register: Widths(
            byte: { CPU($0).shiftRegister(OpCursor($1), RotateLeftThroughCarry.self, UInt8.self) },
            word: { CPU($0).shiftRegister(OpCursor($1), RotateLeftThroughCarry.self, UInt16.self) },
            long: { CPU($0).shiftRegister(OpCursor($1), RotateLeftThroughCarry.self, UInt32.self) },
            quad: { CPU($0).shiftRegister(OpCursor($1), RotateLeftThroughCarry.self, UInt64.self) }),
        memory: Widths(
            byte: { CPU($0).shift(OpCursor($1), RotateLeftThroughCarry.self, UInt8.self) },
            word: { CPU($0).shift(OpCursor($1), RotateLeftThroughCarry.self, UInt16.self) },
            long: { CPU($0).shift(OpCursor($1), RotateLeftThroughCarry.self, UInt32.self) },
            quad: { CPU($0).shift(OpCursor($1), RotateLeftThroughCarry.self, UInt64.self) }))

    static let rcr = PlaceForms(
        register: Widths(
            byte: { CPU($0).shiftRegister(OpCursor($1), RotateRightThroughCarry.self, UInt8.self) },
            word: { CPU($0).shiftRegister(OpCursor($1), RotateRightThroughCarry.self, UInt16.self) },
            long: { CPU($0).shiftRegister(OpCursor($1), RotateRightThroughCarry.self, UInt32.self) },
            quad: { CPU($0).shiftRegister(OpCursor($1), RotateRightThroughCarry.self, UInt64.self) }),
        memory: Widths(
            byte: { CPU($0).shift(OpCursor($1), RotateRightThroughCarry.self, UInt8.self) },
            word: { CPU($0).shift(OpCursor($1), RotateRightThroughCarry.self, UInt16.self) },
            long: { CPU($0).shift(OpCursor($1), RotateRightThroughCarry.self, UInt32.self) },
            quad: { CPU($0).shift(OpCursor($1), RotateRightThroughCarry.self, UInt64.self) }))
}
