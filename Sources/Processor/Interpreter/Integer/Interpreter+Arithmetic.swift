import X86

/// ADD, ADC, SUB, SBB, CMP, AND, OR, XOR, TEST. Intel SDM vol. 2; flags: vol. 1, 3.4.3.1.
protocol BinaryOperation {
    /// False for CMP and TEST.
    static var writes: Bool { get }
    /// The result alone.
    static func result<W: OperandWidth>(_ a: W, _ b: W, carry: Bool) -> W
    /// The flags of `a`, `b` and their result.
    static func setFlags<W: OperandWidth>(_ cpu: CPU, _ a: W, _ b: W, _ result: W)
}

extension BinaryOperation {
    @inline(__always) static var writes: Bool { true }
}

enum Add: BinaryOperation {
    @inline(__always) static func result<W: OperandWidth>(_ a: W, _ b: W, carry: Bool) -> W { a &+ b }
    @inline(__always) static func setFlags<W: OperandWidth>(_ cpu: CPU, _ a: W, _ b: W, _ result: W) {
        cpu.setFlagsAdding(a, b, result)
    }
}

enum AddWithCarry: BinaryOperation {
    @inline(__always) static func result<W: OperandWidth>(_ a: W, _ b: W, carry: Bool) -> W {
        a &+ b &+ (carry ? 1 : 0)
    }
    @inline(__always) static func setFlags<W: OperandWidth>(_ cpu: CPU, _ a: W, _ b: W, _ result: W) {
        cpu.setFlagsAdding(a, b, result)
    }
}

enum Subtract: BinaryOperation {
    @inline(__always) static func result<W: OperandWidth>(_ a: W, _ b: W, carry: Bool) -> W { a &- b }
    @inline(__always) static func setFlags<W: OperandWidth>(_ cpu: CPU, _ a: W, _ b: W, _ result: W) {
        cpu.setFlagsSubtracting(a, b, result)
    }
}

enum SubtractWithBorrow: BinaryOperation {
    @inline(__always) static func result<W: OperandWidth>(_ a: W, _ b: W, carry: Bool) -> W {
        a &- b &- (carry ? 1 : 0)
    }
    @inline(__always) static func setFlags<W: OperandWidth>(_ cpu: CPU, _ a: W, _ b: W, _ result: W) {
        cpu.setFlagsSubtracting(a, b, result)
    }
}

enum Compare: BinaryOperation {
    @inline(__always) static var writes: Bool { false }
    @inline(__always) static func result<W: OperandWidth>(_ a: W, _ b: W, carry: Bool) -> W { a &- b }
    @inline(__always) static func setFlags<W: OperandWidth>(_ cpu: CPU, _ a: W, _ b: W, _ result: W) {
        cpu.setFlagsSubtracting(a, b, result)
    }
}

enum And: BinaryOperation {
    @inline(__always) static func result<W: OperandWidth>(_ a: W, _ b: W, carry: Bool) -> W { a & b }
    @inline(__always) static func setFlags<W: OperandWidth>(_ cpu: CPU, _ a: W, _ b: W, _ result: W) {
        cpu.setFlagsLogic(result)
    }
}

enum Or: BinaryOperation {
    @inline(__always) static func result<W: OperandWidth>(_ a: W, _ b: W, carry: Bool) -> W { a | b }
    @inline(__always) static func setFlags<W: OperandWidth>(_ cpu: CPU, _ a: W, _ b: W, _ result: W) {
        cpu.setFlagsLogic(result)
    }
}

enum Xor: BinaryOperation {
    @inline(__always) static func result<W: OperandWidth>(_ a: W, _ b: W, carry: Bool) -> W { a ^ b }
    @inline(__always) static func setFlags<W: OperandWidth>(_ cpu: CPU, _ a: W, _ b: W, _ result: W) {
        cpu.setFlagsLogic(result)
    }
}

enum Test: BinaryOperation {
    @inline(__always) static var writes: Bool { false }
    @inline(__always) static func result<W: OperandWidth>(_ a: W, _ b: W, carry: Bool) -> W { a & b }
    @inline(__always) static func setFlags<W: OperandWidth>(_ cpu: CPU, _ a: W, _ b: W, _ result: W) {
        cpu.setFlagsLogic(result)
    }
}

extension CPU {
    /// op r, b.
    @inline(__always) private func operate<O: BinaryOperation, W: OperandWidth>(_ cursor: OpCursor, _: O.Type, _ b: W) {
        let a: W = register(cursor.op.destination)
        let result = O.result(a, b, carry: carryFlag)
        if O.writes { setRegister(cursor.op.destination, result) }
        O.setFlags(self, a, b, result)
    }

    /// op m, b.
    @inline(__always) private func operateOnMemory<O: BinaryOperation, W: OperandWidth>(
        _ cursor: OpCursor, _: O.Type, _ b: W
    ) -> UInt {
        let direct: DirectPlace<W>? = O.writes ? directOperand(written: cursor) : directOperand(read: cursor)
        guard let place = direct else { return operateOnMemorySlowly(cursor, O.self, b) }
        let a = place.value
        let result = O.result(a, b, carry: carryFlag)
        if O.writes { place.value = result }
        O.setFlags(self, a, b, result)
        return proceed(cursor)
    }

    @inline(never) private func operateOnMemorySlowly<O: BinaryOperation, W: OperandWidth>(
        _ cursor: OpCursor, _: O.Type, _ b: W
    ) -> UInt {
        straight(cursor) { () throws(Stop) in try changeMemory(cursor, O.self, b) }
    }

    @inline(__always) private func changeMemory<O: BinaryOperation, W: OperandWidth>(
        _ cursor: OpCursor, _: O.Type, _ b: W
    ) throws(Stop) {
        let carry = carryFlag
        let a: W
        if O.writes {
            a = try modifyMemory(cursor) { O.result($0, b, carry: carry) }
        } else {
            a = try readOperand(cursor)
        }
        O.setFlags(self, a, b, O.result(a, b, carry: carry))
    }

    /// op r, r.
    @inline(__always) func rr<O: BinaryOperation, W: OperandWidth>(_ cursor: OpCursor, _: O.Type, _: W.Type) -> UInt {
        operate(cursor, O.self, register(cursor.op.source, as: W.self))
        return proceed(cursor)
    }

    /// op r, imm.
    @inline(__always) func ri<O: BinaryOperation, W: OperandWidth>(_ cursor: OpCursor, _: O.Type, _: W.Type) -> UInt {
        operate(cursor, O.self, W(truncatingIfNeeded: cursor.op.immediate))
        return proceed(cursor)
    }

    /// op r, m.
    @inline(__always) func rm<O: BinaryOperation, W: OperandWidth>(_ cursor: OpCursor, _: O.Type, _: W.Type) -> UInt {
        guard let place = directOperand(read: cursor, W.self) else { return rmSlowly(cursor, O.self, W.self) }
        operate(cursor, O.self, place.value)
        return proceed(cursor)
    }

    @inline(never) private func rmSlowly<O: BinaryOperation, W: OperandWidth>(_ cursor: OpCursor, _: O.Type, _: W.Type)
        -> UInt
    {
        straight(cursor) { () throws(Stop) in
            operate(cursor, O.self, try readOperand(cursor, as: W.self))
        }
    }

    /// op m, r.
    @inline(__always) func mr<O: BinaryOperation, W: OperandWidth>(_ cursor: OpCursor, _: O.Type, _: W.Type) -> UInt {
        operateOnMemory(cursor, O.self, register(cursor.op.source, as: W.self))
    }

    /// op m, imm.
    @inline(__always) func mi<O: BinaryOperation, W: OperandWidth>(_ cursor: OpCursor, _: O.Type, _: W.Type) -> UInt {
        operateOnMemory(cursor, O.self, W(truncatingIfNeeded: cursor.op.immediate))
    }

    /// LOCK op m, r or imm (`op.detail` non-zero).
    @inline(__always) func locked<O: BinaryOperation, W: OperandWidth>(_ cursor: OpCursor, _: O.Type, _: W.Type) -> UInt
    {
        return straight(cursor) { () throws(Stop) in
            let b: W = cursor.op.detail != 0 ? W(truncatingIfNeeded: cursor.op.immediate) : register(cursor.op.source)
            let carry = carryFlag
            let linear = try linearAddress(cursor, size: W.bytes, .write)
            let a: W = try modifyLockedMemory(at: linear, cursor.op.segment) { O.result($0, b, carry: carry) }
            O.setFlags(self, a, b, O.result(a, b, carry: carry))
        }
    }
}

/// The handlers of one binary operation by form and width.
struct BinaryForms: Sendable {
    var rr: Widths
    var ri: Widths
    var rm: Widths
    var mr: Widths
    var mi: Widths
    var locked = Widths()

    /// Chooses by the operands of `l`.
    func lower(_ l: inout Lowering) -> Bool {
        let size = l.size(of: l.operand0)
        if let destination = l.offset(of: l.operand0) {
            l.op.destination = destination
            if let source = l.offset(of: l.operand1) {
                l.op.source = source
                return l.use(rr[size])
            }
            return l.use(l.isImmediate(l.operand1) ? ri[size] : rm[size])
        }
        if let source = l.offset(of: l.operand1) {
            l.op.source = source
        } else {
            l.op.detail = 1
        }
        if l.op.prefixes.contains(.lock) { return l.use(locked[size]) }
        return l.use(l.op.detail != 0 ? mi[size] : mr[size])
    }
}

extension Interpreter {
    static let arithmetic: [(Mnemonic, Lowering.Lowerer)] = [
        (.add, { add.lower(&$0) }), (.adc, { adc.lower(&$0) }), (.sub, { sub.lower(&$0) }), (.sbb, { sbb.lower(&$0) }),
        (.cmp, { cmp.lower(&$0) }), (.and, { and.lower(&$0) }), (.or, { or.lower(&$0) }), (.xor, { xor.lower(&$0) }),
        (.test, { test.lower(&$0) }),
    ]
}
