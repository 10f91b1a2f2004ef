import X86

/// INC, DEC, NEG, NOT. Intel SDM vol. 2.
protocol UnaryOperation {
    static func result<W: OperandWidth>(_ a: W) -> W
    static func setFlags<W: OperandWidth>(_ cpu: CPU, _ a: W, _ result: W)
}

enum Increment: UnaryOperation {
    @inline(__always) static func result<W: OperandWidth>(_ a: W) -> W { a &+ 1 }
    @inline(__always) static func setFlags<W: OperandWidth>(_ cpu: CPU, _ a: W, _ result: W) {
        let carry = cpu.carryFlag
        cpu.setFlags(result: result, carry: carry, overflow: result == W.signBit, adjust: result & 15 == 0)
    }
}

enum Decrement: UnaryOperation {
    @inline(__always) static func result<W: OperandWidth>(_ a: W) -> W { a &- 1 }
    @inline(__always) static func setFlags<W: OperandWidth>(_ cpu: CPU, _ a: W, _ result: W) {
        let carry = cpu.carryFlag
        cpu.setFlags(result: result, carry: carry, overflow: a == W.signBit, adjust: a & 15 == 0)
    }
}

enum Negate: UnaryOperation {
    @inline(__always) static func result<W: OperandWidth>(_ a: W) -> W { 0 &- a }
    @inline(__always) static func setFlags<W: OperandWidth>(_ cpu: CPU, _ a: W, _ result: W) {
        cpu.setFlagsSubtracting(0, a, result)
    }
}

enum Not: UnaryOperation {
    @inline(__always) static func result<W: OperandWidth>(_ a: W) -> W { ~a }
    @inline(__always) static func setFlags<W: OperandWidth>(_ cpu: CPU, _ a: W, _ result: W) {}
}

extension CPU {
    /// op r.
    @inline(__always) func unaryRegister<O: UnaryOperation, W: OperandWidth>(_ cursor: OpCursor, _: O.Type, _: W.Type)
        -> UInt
    {
        let a: W = register(cursor.op.destination)
        let result = O.result(a)
        setRegister(cursor.op.destination, result)
        O.setFlags(self, a, result)
        return proceed(cursor)
    }

    /// op m, LOCK'd or not.
    @inline(__always) func unaryMemory<O: UnaryOperation, W: OperandWidth>(_ cursor: OpCursor, _: O.Type, _: W.Type)
        -> UInt
    {
        return straight(cursor) { () throws(Stop) in
            let a: W = try modifyDestination(cursor) { O.result($0) }
            O.setFlags(self, a, O.result(a))
        }
    }
}

/// The handlers of an operation that differ by place and width.
struct PlaceForms: Sendable {
    var register: Widths
    var memory: Widths

    /// Chooses by the first operand of `l`, a destination.
    func lowerDestination(_ l: inout Lowering) -> Bool {
        l.setDestination(l.operand0)
        let size = l.size(of: l.operand0)
        return l.use(l.op.extra == OperandPlace.register ? register[size] : memory[size])
    }
}

extension Interpreter {
    static let unary: [(Mnemonic, Lowering.Lowerer)] = [
        (.inc, { inc.lowerDestination(&$0) }), (.dec, { dec.lowerDestination(&$0) }),
        (.neg, { neg.lowerDestination(&$0) }), (.not, { not.lowerDestination(&$0) }),
    ]

    static let inc = PlaceForms(
        register: Widths(
            byte: { CPU($0).unaryRegister(OpCursor($1), Increment.self, UInt8.self) },
            word: { CPU($0).unaryRegister(OpCursor($1), Increment.self, UInt16.self) },
            long: { CPU($0).unaryRegister(OpCursor($1), Increment.self, UInt32.self) },
            quad: { CPU($0).unaryRegister(OpCursor($1), Increment.self, UInt64.self) }),
        memory: Widths(
            byte: { CPU($0).unaryMemory(OpCursor($1), Increment.self, UInt8.self) },
            word: { CPU($0).unaryMemory(OpCursor($1), Increment.self, UInt16.self) },
            long: { CPU($0).unaryMemory(OpCursor($1), Increment.self, UInt32.self) },
            quad: { CPU($0).unaryMemory(OpCursor($1), Increment.self, UInt64.self) }))

    static let dec = PlaceForms(
        register: Widths(
            byte: { CPU($0).unaryRegister(OpCursor($1), Decrement.self, UInt8.self) },
            word: { CPU($0).unaryRegister(OpCursor($1), Decrement.self, UInt16.self) },
            long: { CPU($0).unaryRegister(OpCursor($1), Decrement.self, UInt32.self) },
            quad: { CPU($0).unaryRegister(OpCursor($1), Decrement.self, UInt64.self) }),
        memory: Widths(
            byte: { CPU($0).unaryMemory(OpCursor($1), Decrement.self, UInt8.self) },
            word: { CPU($0).unaryMemory(OpCursor($1), Decrement.self, UInt16.self) },
            long: { CPU($0).unaryMemory(OpCursor($1), Decrement.self, UInt32.self) },
            quad: { CPU($0).unaryMemory(OpCursor($1), Decrement.self, UInt64.self) }))

    static let neg = PlaceForms(
        register: Widths(
            byte: { CPU($0).unaryRegister(OpCursor($1), Negate.self, UInt8.self) },
            word: { CPU($0).unaryRegister(OpCursor($1), Negate.self, UInt16.self) },
            long: { CPU($0).unaryRegister(OpCursor($1), Negate.self, UInt32.self) },
            quad: { CPU($0).unaryRegister(OpCursor($1), Negate.self, UInt64.self) }),
        memory: Widths(
            byte: { CPU($0).unaryMemory(OpCursor($1), Negate.self, UInt8.self) },
            word: { CPU($0).unaryMemory(OpCursor($1), Negate.self, UInt16.self) },
            long: { CPU($0).unaryMemory(OpCursor($1), Negate.self, UInt32.self) },
            quad: { CPU($0).unaryMemory(OpCursor($1), Negate.self, UInt64.self) }))

    static let not = PlaceForms(
        register: Widths(
            byte: { CPU($0).unaryRegister(OpCursor($1), Not.self, UInt8.self) },
            word: { CPU($0).unaryRegister(OpCursor($1), Not.self, UInt16.self) },
            long: { CPU($0).unaryRegister(OpCursor($1), Not.self, UInt32.self) },
            quad: { CPU($0).unaryRegister(OpCursor($1), Not.self, UInt64.self) }),
        memory: Widths(
            byte: { CPU($0).unaryMemory(OpCursor($1), Not.self, UInt8.self) },
            word: { CPU($0).unaryMemory(OpCursor($1), Not.self, UInt16.self) },
            long: { CPU($0).unaryMemory(OpCursor($1), Not.self, UInt32.self) },
            quad: { CPU($0).unaryMemory(OpCursor($1), Not.self, UInt64.self) }))
}
