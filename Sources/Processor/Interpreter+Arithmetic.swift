import X86

/// ADD, ADC, SUB, SBB, CMP, AND, OR, XOR, TEST. Intel SDM vol. 2.
protocol BinaryOperation {
    /// The result, with the flags set.
    static func apply<W: OperandWidth>(_ cpu: CPU, _ a: W, _ b: W) -> W
}

enum Add: BinaryOperation {
    @inline(__always) static func apply<W: OperandWidth>(_ cpu: CPU, _ a: W, _ b: W) -> W {
        let result = a &+ b
        cpu.setFlagsAdding(a, b, result)
        return result
    }
}

enum AddWithCarry: BinaryOperation {
    @inline(__always) static func apply<W: OperandWidth>(_ cpu: CPU, _ a: W, _ b: W) -> W {
        let result = a &+ b &+ (cpu.carryFlag ? 1 : 0)
        cpu.setFlagsAdding(a, b, result)
        return result
    }
}

enum Subtract: BinaryOperation {
    @inline(__always) static func apply<W: OperandWidth>(_ cpu: CPU, _ a: W, _ b: W) -> W {
        let result = a &- b
        cpu.setFlagsSubtracting(a, b, result)
        return result
    }
}

enum SubtractWithBorrow: BinaryOperation {
    @inline(__always) static func apply<W: OperandWidth>(_ cpu: CPU, _ a: W, _ b: W) -> W {
        let result = a &- b &- (cpu.carryFlag ? 1 : 0)
        cpu.setFlagsSubtracting(a, b, result)
        return result
    }
}

enum And: BinaryOperation {
    @inline(__always) static func apply<W: OperandWidth>(_ cpu: CPU, _ a: W, _ b: W) -> W {
        cpu.setFlagsLogic(a & b)
        return a & b
    }
}

enum Or: BinaryOperation {
    @inline(__always) static func apply<W: OperandWidth>(_ cpu: CPU, _ a: W, _ b: W) -> W {
        cpu.setFlagsLogic(a | b)
        return a | b
    }
}

enum Xor: BinaryOperation {
    @inline(__always) static func apply<W: OperandWidth>(_ cpu: CPU, _ a: W, _ b: W) -> W {
        cpu.setFlagsLogic(a ^ b)
        return a ^ b
    }
}

extension CPU {
    /// op r, r.
    @inline(__always) func binary<O: BinaryOperation, W: OperandWidth>(_ op: UInt, _: O.Type, rr: W.Type) -> UInt {
        let cursor = OpCursor(op)
        let result = O.apply(self, register(cursor.op.destination, as: W.self), register(cursor.op.source, as: W.self))
        setRegister(cursor.op.destination, result)
        return cursor.next
    }

    /// op r, imm.
    @inline(__always) func binary<O: BinaryOperation, W: OperandWidth>(_ op: UInt, _: O.Type, ri: W.Type) -> UInt {
        let cursor = OpCursor(op)
        let result = O.apply(self, register(cursor.op.destination, as: W.self), W(truncatingIfNeeded: cursor.op.immediate))
        setRegister(cursor.op.destination, result)
        return cursor.next
    }

    /// op r, m.
    @inline(__always) func binary<O: BinaryOperation, W: OperandWidth>(_ op: UInt, _: O.Type, rm: W.Type) -> UInt {
        let cursor = OpCursor(op)
        return instruction(cursor) { () throws(Stop) in
            let source: W = try readOperand(cursor)
            setRegister(cursor.op.destination, O.apply(self, register(cursor.op.destination, as: W.self), source))
        }
    }
}

/// The handlers of one binary operation by form and width.
struct BinaryForms {
    var rr: Widths
    var ri: Widths
    var rm: Widths
}

extension Interpreter {
    static let arithmetic: [(Mnemonic, Lowering.Lowerer)] = [
        (.add, { lower(&$0, add) })
    ]

    private static let add = BinaryForms(
        rr: Widths(
            byte: { CPU($0).binary($1, Add.self, rr: UInt8.self) }, word: { CPU($0).binary($1, Add.self, rr: UInt16.self) },
            long: { CPU($0).binary($1, Add.self, rr: UInt32.self) }, quad: { CPU($0).binary($1, Add.self, rr: UInt64.self) }),
        ri: Widths(
            byte: { CPU($0).binary($1, Add.self, ri: UInt8.self) }, word: { CPU($0).binary($1, Add.self, ri: UInt16.self) },
            long: { CPU($0).binary($1, Add.self, ri: UInt32.self) }, quad: { CPU($0).binary($1, Add.self, ri: UInt64.self) }),
        rm: Widths(
            byte: { CPU($0).binary($1, Add.self, rm: UInt8.self) }, word: { CPU($0).binary($1, Add.self, rm: UInt16.self) },
            long: { CPU($0).binary($1, Add.self, rm: UInt32.self) }, quad: { CPU($0).binary($1, Add.self, rm: UInt64.self) }))

    private static func lower(_ l: inout Lowering, _ forms: BinaryForms) -> Bool {
        let size = l.size(of: l.operand0)
        guard let destination = l.offset(of: l.operand0) else { return false }
        l.op.destination = destination
        let handler: Op.Handler?
        if let source = l.offset(of: l.operand1) {
            l.op.source = source
            handler = forms.rr[size]
        } else if l.isImmediate(l.operand1) {
            handler = forms.ri[size]
        } else {
            handler = forms.rm[size]
        }
        guard let handler else { return false }
        l.op.handler = handler
        return true
    }
}
