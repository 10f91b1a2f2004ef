import X86

/// BT, BTS, BTR, BTC. Intel SDM vol. 2, and vol. 1, 3.2 for bit strings: with memory and a register offset, the offset is
/// signed and reaches beyond the operand. Flags other than CF stay as they are.
protocol BitOperation {
    static var writes: Bool { get }
    static func result<W: OperandWidth>(_ a: W, _ mask: W) -> W
}

enum BitTest: BitOperation {
    @inline(__always) static var writes: Bool { false }
    @inline(__always) static func result<W: OperandWidth>(_ a: W, _ mask: W) -> W { a }
}

enum BitTestAndSet: BitOperation {
    @inline(__always) static var writes: Bool { true }
    @inline(__always) static func result<W: OperandWidth>(_ a: W, _ mask: W) -> W { a | mask }
}

enum BitTestAndReset: BitOperation {
    @inline(__always) static var writes: Bool { true }
    @inline(__always) static func result<W: OperandWidth>(_ a: W, _ mask: W) -> W { a & ~mask }
}

enum BitTestAndComplement: BitOperation {
    @inline(__always) static var writes: Bool { true }
    @inline(__always) static func result<W: OperandWidth>(_ a: W, _ mask: W) -> W { a ^ mask }
}

extension CPU {
    /// The bit's number is in the register `op.source`, or in `op.immediate` where `op.detail` is set.
    @inline(__always) func testBit<O: BitOperation, W: OperandWidth>(_ cursor: OpCursor, _: O.Type, _: W.Type) -> UInt {
        straight(cursor) { () throws(Stop) in
            let number: W =
                cursor.op.detail != 0 ? W(truncatingIfNeeded: cursor.op.immediate) : register(cursor.op.source)
            let mask: W = 1 &<< number
            let old: W
            if cursor.op.extra == OperandPlace.register {
                old = register(cursor.op.destination)
                if O.writes { setRegister(cursor.op.destination, O.result(old, mask)) }
            } else {
                var offset = sum(cursor)
                if cursor.op.detail == 0 {
                    let elements = Int64(bitPattern: number.extended) >> Int64(W.bits.trailingZeroBitCount)
                    offset = offset &+ UInt64(bitPattern: elements &* Int64(W.bytes))
                }
                let linear = try linearAddress(cursor, offset: offset, size: W.bytes, O.writes ? .write : .read)
                if !O.writes {
                    old = try read(linear, cursor.op.segment)
                } else if cursor.op.extra == OperandPlace.lockedMemory {
                    old = try modifyLockedMemory(at: linear, cursor.op.segment) { O.result($0, mask) }
                } else {
                    old = try modifyMemory(at: linear, cursor.op.segment) { O.result($0, mask) }
                }
            }
            setCarry(old & mask != 0)
        }
    }
}

extension Interpreter {
    static let bitTests: [(Mnemonic, Lowering.Lowerer)] = [
        (.bt, { lowerBitTest(&$0, bt) }), (.bts, { lowerBitTest(&$0, bts) }), (.btr, { lowerBitTest(&$0, btr) }),
        (.btc, { lowerBitTest(&$0, btc) }),
    ]

    private static func lowerBitTest(_ l: inout Lowering, _ widths: Widths) -> Bool {
        l.setDestination(l.operand0)
        if let source = l.offset(of: l.operand1) {
            l.op.source = source
        } else {
            l.op.detail = 1
        }
        return l.use(widths[l.size(of: l.operand0)])
    }

    private static let bt = Widths(
        word: { CPU($0).testBit(OpCursor($1), BitTest.self, UInt16.self) },
        long: { CPU($0).testBit(OpCursor($1), BitTest.self, UInt32.self) },
        quad: { CPU($0).testBit(OpCursor($1), BitTest.self, UInt64.self) })

    private static let bts = Widths(
        word: { CPU($0).testBit(OpCursor($1), BitTestAndSet.self, UInt16.self) },
        long: { CPU($0).testBit(OpCursor($1), BitTestAndSet.self, UInt32.self) },
        quad: { CPU($0).testBit(OpCursor($1), BitTestAndSet.self, UInt64.self) })

    private static let btr = Widths(
        word: { CPU($0).testBit(OpCursor($1), BitTestAndReset.self, UInt16.self) },
        long: { CPU($0).testBit(OpCursor($1), BitTestAndReset.self, UInt32.self) },
        quad: { CPU($0).testBit(OpCursor($1), BitTestAndReset.self, UInt64.self) })

    private static let btc = Widths(
        word: { CPU($0).testBit(OpCursor($1), BitTestAndComplement.self, UInt16.self) },
        long: { CPU($0).testBit(OpCursor($1), BitTestAndComplement.self, UInt32.self) },
        quad: { CPU($0).testBit(OpCursor($1), BitTestAndComplement.self, UInt64.self) })
}
