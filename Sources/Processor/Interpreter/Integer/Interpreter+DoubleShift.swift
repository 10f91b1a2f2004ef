import X86

/// SHLD and SHRD. Intel SDM vol. 2. With 16-bit operands and counts above 16, where the manual leaves the result undefined,
/// the bits follow one another as dest:source:dest, as Intel's processors have it.
protocol DoubleShift {
    static func result<W: OperandWidth>(_ a: W, _ b: W, _ count: Int) -> W
    /// The bit that was shifted out last.
    static func carry<W: OperandWidth>(_ a: W, _ b: W, _ count: Int) -> Bool
}

enum DoubleShiftLeft: DoubleShift {
    @inline(__always) static func result<W: OperandWidth>(_ a: W, _ b: W, _ count: Int) -> W {
        if count > W.bits { return (b << W(count - W.bits)) | (a >> W(2 * W.bits - count)) }
        return (a << W(count)) | (b >> W(W.bits - count))
    }
    @inline(__always) static func carry<W: OperandWidth>(_ a: W, _ b: W, _ count: Int) -> Bool {
        count > W.bits ? (b >> W(2 * W.bits - count)) & 1 != 0 : (a >> W(W.bits - count)) & 1 != 0
    }
}

enum DoubleShiftRight: DoubleShift {
    @inline(__always) static func result<W: OperandWidth>(_ a: W, _ b: W, _ count: Int) -> W {
        if count > W.bits { return (b >> W(count - W.bits)) | (a << W(2 * W.bits - count)) }
        return (a >> W(count)) | (b << W(W.bits - count))
    }
    @inline(__always) static func carry<W: OperandWidth>(_ a: W, _ b: W, _ count: Int) -> Bool {
        count > W.bits ? (b >> W(count - W.bits - 1)) & 1 != 0 : (a >> W(count - 1)) & 1 != 0
    }
}

extension CPU {
    /// The count's place is as for `shift`; the second operand is the register at `op.immediate`.
    @inline(__always) func doubleShift<O: DoubleShift, W: OperandWidth>(_ cursor: OpCursor, _: O.Type, _: W.Type)
        -> UInt
    {
        straight(cursor) { () throws(Stop) in
            let count = Int((register(cursor.op.source, as: UInt8.self) | cursor.op.detail) & (W.bits == 64 ? 63 : 31))
            if count == 0 {
                _ = try modifyDestination(cursor) { (a: W) in a }
                return
            }
            let b: W = register(UInt16(truncatingIfNeeded: cursor.op.immediate))
            let a: W = try modifyDestination(cursor) { O.result($0, b, count) }
            let new = O.result(a, b, count)
            setFlags(result: new, carry: O.carry(a, b, count), overflow: (new ^ a).isNegative)
        }
    }
}

extension Interpreter {
    static func lowerDoubleShift(_ l: inout Lowering, _ widths: Widths) -> Bool {
        l.setDestination(l.operand0)
        guard let second = l.offset(of: l.operand1) else { return false }
        let size = l.size(of: l.operand0)
        if let count = l.offset(of: l.operand2) {
            l.op.source = count
        } else {
            l.op.detail = UInt8(truncatingIfNeeded: l.instruction.immediate)
        }
        l.op.immediate = UInt64(second)
        return l.use(widths[size])
    }

    static let shld = Widths(
        word: { CPU($0).doubleShift(OpCursor($1), DoubleShiftLeft.self, UInt16.self) },
        long: { CPU($0).doubleShift(OpCursor($1), DoubleShiftLeft.self, UInt32.self) },
        quad: { CPU($0).doubleShift(OpCursor($1), DoubleShiftLeft.self, UInt64.self) })

    static let shrd = Widths(
        word: { CPU($0).doubleShift(OpCursor($1), DoubleShiftRight.self, UInt16.self) },
        long: { CPU($0).doubleShift(OpCursor($1), DoubleShiftRight.self, UInt32.self) },
        quad: { CPU($0).doubleShift(OpCursor($1), DoubleShiftRight.self, UInt64.self) })
}
