import X86

/// BMI1 and BMI2 but for TZCNT and MULX, ADCX and ADOX. Intel SDM vol. 2.
///
/// One body: an r/m operand, a register operand (of VEX.vvvv or ModRM.reg), a destination register.
protocol BitManipulation {
    /// `a`: the r/m operand; `b`: the register operand.
    static func apply<W: OperandWidth>(_ cpu: CPU, _ a: W, _ b: W) -> W
}

enum AndNot: BitManipulation {
    @inline(__always) static func apply<W: OperandWidth>(_ cpu: CPU, _ a: W, _ b: W) -> W {
        cpu.setFlagsLogic(~b & a)
        return ~b & a
    }
}

enum ResetLowestBit: BitManipulation {
    @inline(__always) static func apply<W: OperandWidth>(_ cpu: CPU, _ a: W, _ b: W) -> W {
        let result = a & (a &- 1)
        cpu.setFlags(result: result, carry: a == 0, overflow: false)
        return result
    }
}

enum MaskToLowestBit: BitManipulation {
    @inline(__always) static func apply<W: OperandWidth>(_ cpu: CPU, _ a: W, _ b: W) -> W {
        let result = a ^ (a &- 1)
        cpu.setFlags(result: result, carry: a == 0, overflow: false)
        return result
    }
}

enum IsolateLowestBit: BitManipulation {
    @inline(__always) static func apply<W: OperandWidth>(_ cpu: CPU, _ a: W, _ b: W) -> W {
        let result = a & (0 &- a)
        cpu.setFlags(result: result, carry: a != 0, overflow: false)
        return result
    }
}

enum ExtractField: BitManipulation {
    @inline(__always) static func apply<W: OperandWidth>(_ cpu: CPU, _ a: W, _ b: W) -> W {
        let start = Int(b & 0xFF)
        let length = Int((b &>> 8) & 0xFF)
        // Smart shifts: beyond the width there is nothing.
        let result = (a >> W(start)) & (length < W.bits ? (1 << W(length)) &- 1 : ~0)
        cpu.setFlagsLogic(result)
        return result
    }
}

enum ZeroHighBits: BitManipulation {
    @inline(__always) static func apply<W: OperandWidth>(_ cpu: CPU, _ a: W, _ b: W) -> W {
        let index = Int(b & 0xFF)
        let result = index < W.bits ? a & ((1 << W(index)) &- 1) : a
        cpu.setFlags(result: result, carry: index >= W.bits, overflow: false)
        return result
    }
}

/// `a` is the mask.
enum DepositBits: BitManipulation {
    @inline(__always) static func apply<W: OperandWidth>(_ cpu: CPU, _ a: W, _ b: W) -> W {
        var mask = a
        var bits = b
        var result: W = 0
        while mask != 0 {
            let lowest = mask & (0 &- mask)
            if bits & 1 != 0 { result |= lowest }
            bits &>>= 1
            mask ^= lowest
        }
        return result
    }
}

/// `a` is the mask.
enum ExtractBits: BitManipulation {
    @inline(__always) static func apply<W: OperandWidth>(_ cpu: CPU, _ a: W, _ b: W) -> W {
        var mask = a
        var result: W = 0
        var place: W = 1
        while mask != 0 {
            let lowest = mask & (0 &- mask)
            if b & lowest != 0 { result |= place }
            place &<<= 1
            mask ^= lowest
        }
        return result
    }
}

enum RotateRightWithoutFlags: BitManipulation {
    @inline(__always) static func apply<W: OperandWidth>(_ cpu: CPU, _ a: W, _ b: W) -> W {
        (a &>> b) | (a &<< (0 &- b))
    }
}

enum ShiftLeftWithoutFlags: BitManipulation {
    @inline(__always) static func apply<W: OperandWidth>(_ cpu: CPU, _ a: W, _ b: W) -> W { a &<< b }
}

enum ShiftRightWithoutFlags: BitManipulation {
    @inline(__always) static func apply<W: OperandWidth>(_ cpu: CPU, _ a: W, _ b: W) -> W { a &>> b }
}

enum ShiftRightArithmeticWithoutFlags: BitManipulation {
    @inline(__always) static func apply<W: OperandWidth>(_ cpu: CPU, _ a: W, _ b: W) -> W {
        W(truncatingIfNeeded: a.signed &>> b.signed)
    }
}

enum AddWithCarryAlone: BitManipulation {
    @inline(__always) static func apply<W: OperandWidth>(_ cpu: CPU, _ a: W, _ b: W) -> W {
        let (sum, first) = b.addingReportingOverflow(a)
        let (result, second) = sum.addingReportingOverflow(cpu.carryFlag ? 1 : 0)
        cpu.setCarryAndOverflow(first || second, cpu.overflowFlag)
        return result
    }
}

enum AddWithOverflowAlone: BitManipulation {
    @inline(__always) static func apply<W: OperandWidth>(_ cpu: CPU, _ a: W, _ b: W) -> W {
        let (sum, first) = b.addingReportingOverflow(a)
        let (result, second) = sum.addingReportingOverflow(cpu.overflowFlag ? 1 : 0)
        cpu.setCarryAndOverflow(cpu.carryFlag, first || second)
        return result
    }
}

extension CPU {
    /// The register operand's offset is in `op.immediate`; for RORX (`op.detail` set) the operand itself is there.
    @inline(__always) func manipulate<O: BitManipulation, W: OperandWidth>(_ cursor: OpCursor, _: O.Type, _: W.Type)
        -> UInt
    {
        straight(cursor) { () throws(Stop) in
            let a: W = try readSource(cursor)
            let b: W =
                cursor.op.detail != 0
                ? W(truncatingIfNeeded: cursor.op.immediate) : register(UInt16(truncatingIfNeeded: cursor.op.immediate))
            setRegister(cursor.op.destination, O.apply(self, a, b))
        }
    }
}

extension Interpreter {
    static let bitManipulations: [(Mnemonic, Lowering.Lowerer)] = [
        (.andn, { lowerManipulation(&$0, andn, $0.operand2, $0.operand1) }),
        (.pdep, { lowerManipulation(&$0, pdep, $0.operand2, $0.operand1) }),
        (.pext, { lowerManipulation(&$0, pext, $0.operand2, $0.operand1) }),
        (.bextr, { lowerManipulation(&$0, bextr, $0.operand1, $0.operand2) }),
        (.bzhi, { lowerManipulation(&$0, bzhi, $0.operand1, $0.operand2) }),
        (.shlx, { lowerManipulation(&$0, shlx, $0.operand1, $0.operand2) }),
        (.shrx, { lowerManipulation(&$0, shrx, $0.operand1, $0.operand2) }),
        (.sarx, { lowerManipulation(&$0, sarx, $0.operand1, $0.operand2) }),
        (.rorx, { lowerManipulation(&$0, rorx, $0.operand1, $0.operand2) }),
        (.blsr, { lowerManipulation(&$0, blsr, $0.operand1, $0.operand0) }),
        (.blsi, { lowerManipulation(&$0, blsi, $0.operand1, $0.operand0) }),
        (.blsmsk, { lowerManipulation(&$0, blsmsk, $0.operand1, $0.operand0) }),
        (.adcx, { lowerManipulation(&$0, adcx, $0.operand1, $0.operand0) }),
        (.adox, { lowerManipulation(&$0, adox, $0.operand1, $0.operand0) }),
    ]

    /// The destination comes first; then the r/m operand and the register or immediate, given by `a` and `b`.
    private static func lowerManipulation(_ l: inout Lowering, _ widths: Widths, _ a: Operand, _ b: Operand) -> Bool {
        guard let destination = l.offset(of: l.operand0) else { return false }
        l.op.destination = destination
        l.setSource(a)
        if let register = l.offset(of: b) {
            l.op.immediate = UInt64(register)
        } else {
            l.op.detail = 1
        }
        return l.use(widths[l.size(of: l.operand0)])
    }

    private static let andn = Widths(
        long: { CPU($0).manipulate(OpCursor($1), AndNot.self, UInt32.self) },
        quad: { CPU($0).manipulate(OpCursor($1), AndNot.self, UInt64.self) })

    private static let blsr = Widths(
        long: { CPU($0).manipulate(OpCursor($1), ResetLowestBit.self, UInt32.self) },
        quad: { CPU($0).manipulate(OpCursor($1), ResetLowestBit.self, UInt64.self) })

    private static let blsmsk = Widths(
        long: { CPU($0).manipulate(OpCursor($1), MaskToLowestBit.self, UInt32.self) },
        quad: { CPU($0).manipulate(OpCursor($1), MaskToLowestBit.self, UInt64.self) })

    private static let blsi = Widths(
        long: { CPU($0).manipulate(OpCursor($1), IsolateLowestBit.self, UInt32.self) },
        quad: { CPU($0).manipulate(OpCursor($1), IsolateLowestBit.self, UInt64.self) })

    private static let bextr = Widths(
        long: { CPU($0).manipulate(OpCursor($1), ExtractField.self, UInt32.self) },
        quad: { CPU($0).manipulate(OpCursor($1), ExtractField.self, UInt64.self) })

    private static let bzhi = Widths(
        long: { CPU($0).manipulate(OpCursor($1), ZeroHighBits.self, UInt32.self) },
        quad: { CPU($0).manipulate(OpCursor($1), ZeroHighBits.self, UInt64.self) })

    private static let pdep = Widths(
        long: { CPU($0).manipulate(OpCursor($1), DepositBits.self, UInt32.self) },
        quad: { CPU($0).manipulate(OpCursor($1), DepositBits.self, UInt64.self) })

    private static let pext = Widths(
        long: { CPU($0).manipulate(OpCursor($1), ExtractBits.self, UInt32.self) },
        quad: { CPU($0).manipulate(OpCursor($1), ExtractBits.self, UInt64.self) })

    private static let rorx = Widths(
        long: { CPU($0).manipulate(OpCursor($1), RotateRightWithoutFlags.self, UInt32.self) },
        quad: { CPU($0).manipulate(OpCursor($1), RotateRightWithoutFlags.self, UInt64.self) })

    private static let shlx = Widths(
        long: { CPU($0).manipulate(OpCursor($1), ShiftLeftWithoutFlags.self, UInt32.self) },
        quad: { CPU($0).manipulate(OpCursor($1), ShiftLeftWithoutFlags.self, UInt64.self) })

    private static let shrx = Widths(
        long: { CPU($0).manipulate(OpCursor($1), ShiftRightWithoutFlags.self, UInt32.self) },
        quad: { CPU($0).manipulate(OpCursor($1), ShiftRightWithoutFlags.self, UInt64.self) })

    private static let sarx = Widths(
        long: { CPU($0).manipulate(OpCursor($1), ShiftRightArithmeticWithoutFlags.self, UInt32.self) },
        quad: { CPU($0).manipulate(OpCursor($1), ShiftRightArithmeticWithoutFlags.self, UInt64.self) })

    private static let adcx = Widths(
        long: { CPU($0).manipulate(OpCursor($1), AddWithCarryAlone.self, UInt32.self) },
        quad: { CPU($0).manipulate(OpCursor($1), AddWithCarryAlone.self, UInt64.self) })

    private static let adox = Widths(
        long: { CPU($0).manipulate(OpCursor($1), AddWithOverflowAlone.self, UInt32.self) },
        quad: { CPU($0).manipulate(OpCursor($1), AddWithOverflowAlone.self, UInt64.self) })
}
