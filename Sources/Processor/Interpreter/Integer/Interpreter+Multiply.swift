import X86

/// MUL, IMUL, DIV, IDIV, MULX. Intel SDM vol. 2.
///
/// CF and OF of a product say that its upper half holds more than the lower one's extension. The other flags, undefined by the
/// manual, are those of the lower half for products; quotients leave the flags alone.
extension CPU {
    private static var al: UInt16 { CPUState.offset(ofRegister: 0) }
    private static var ah: UInt16 { CPUState.offset(ofHighByte: 0) }
    private static var accumulator: UInt16 { CPUState.offset(ofRegister: 0) }
    private static var data: UInt16 { CPUState.offset(ofRegister: 2) }

    /// Puts high:low into rDX:rAX or AH:AL.
    @inline(__always) private func setPair<W: OperandWidth>(_ high: W, _ low: W) {
        setRegister(CPU.accumulator, low)
        setRegister(W.bits == 8 ? CPU.ah : CPU.data, high)
    }

    @inline(__always) func multiply<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        return straight(cursor) { () throws(Stop) in
            let factor: W = try readSource(cursor)
            let product = register(CPU.accumulator, as: W.self).multipliedFullWidth(by: factor)
            let low = W(truncatingIfNeeded: product.low)
            setPair(product.high, low)
            setFlags(result: low, carry: product.high != 0, overflow: product.high != 0)
        }
    }

    @inline(__always) func multiplySigned<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        return straight(cursor) { () throws(Stop) in
            let factor: W = try readSource(cursor)
            let product = register(CPU.accumulator, as: W.self).signed.multipliedFullWidth(by: factor.signed)
            let low = W(truncatingIfNeeded: product.low)
            let high = W(truncatingIfNeeded: product.high)
            setPair(high, low)
            let exceeds = high != (low.isNegative ? ~W(0) : W(0))
            setFlags(result: low, carry: exceeds, overflow: exceeds)
        }
    }

    /// IMUL r, r/m.
    @inline(__always) func multiplyTruncating<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        return straight(cursor) { () throws(Stop) in
            multiply(cursor, try readSource(cursor, as: W.self), register(cursor.op.destination))
        }
    }

    /// IMUL r, r/m, imm.
    @inline(__always) func multiplyImmediate<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        return straight(cursor) { () throws(Stop) in
            multiply(cursor, try readSource(cursor, as: W.self), W(truncatingIfNeeded: cursor.op.immediate))
        }
    }

    @inline(__always) private func multiply<W: OperandWidth>(_ cursor: OpCursor, _ a: W, _ b: W) {
        let (product, exceeds) = a.signed.multipliedReportingOverflow(by: b.signed)
        let result = W(truncatingIfNeeded: product)
        setRegister(cursor.op.destination, result)
        setFlags(result: result, carry: exceeds, overflow: exceeds)
    }

    /// MULX: high half to `op.destination`, low half to the register at `op.immediate`, no flags.
    @inline(__always) func multiplyWithoutFlags<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        return straight(cursor) { () throws(Stop) in
            let product = register(CPU.data, as: W.self).multipliedFullWidth(by: try readSource(cursor, as: W.self))
            setRegister(UInt16(truncatingIfNeeded: cursor.op.immediate), W(truncatingIfNeeded: product.low))
            setRegister(cursor.op.destination, product.high)
        }
    }

    // MARK: Division

    @inline(__always) func divide<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        return straight(cursor) { () throws(Stop) in
            let divisor: W = try readSource(cursor)
            let low: W = register(CPU.accumulator)
            let high: W = register(W.bits == 8 ? CPU.ah : CPU.data)
            // A quotient too large for its register, division by zero among it.
            guard high < divisor else { throw .divideError }
            if high == 0 {
                setPair(low % divisor, low / divisor)
            } else {
                let (quotient, remainder) = CPU.quotient(high, low, divisor)
                setPair(remainder, quotient)
            }
        }
    }

    @inline(__always) func divideSigned<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        return straight(cursor) { () throws(Stop) in
            let divisor: W = try readSource(cursor)
            let low: W = register(CPU.accumulator)
            let high: W = register(W.bits == 8 ? CPU.ah : CPU.data)
            let isNegative = high.isNegative
            // On magnitudes: the dividend's is two words long.
            let lowMagnitude = isNegative ? 0 &- low : low
            let highMagnitude = isNegative ? ~high &+ (low == 0 ? 1 : 0) : high
            let magnitude = divisor.isNegative ? 0 &- divisor : divisor
            guard highMagnitude < magnitude else { throw .divideError }
            let quotient: W
            let remainder: W
            if highMagnitude == 0 {
                (quotient, remainder) = lowMagnitude.quotientAndRemainder(dividingBy: magnitude)
            } else {
                (quotient, remainder) = CPU.quotient(highMagnitude, lowMagnitude, magnitude)
            }
            let negates = isNegative != divisor.isNegative
            guard quotient <= (negates ? W.signBit : W.signBit &- 1) else { throw .divideError }
            setPair(isNegative ? 0 &- remainder : remainder, negates ? 0 &- quotient : quotient)
        }
    }

    /// high:low ÷ divisor, where high < divisor.
    @inline(__always) private static func quotient<W: OperandWidth>(_ high: W, _ low: W, _ divisor: W) -> (W, W) {
        if W.bits < 64 {
            let dividend = UInt64(truncatingIfNeeded: high) << UInt64(W.bits) | UInt64(truncatingIfNeeded: low)
            let (quotient, remainder) = dividend.quotientAndRemainder(dividingBy: UInt64(truncatingIfNeeded: divisor))
            return (W(truncatingIfNeeded: quotient), W(truncatingIfNeeded: remainder))
        }
        let (quotient, remainder) = UInt64(truncatingIfNeeded: divisor)
            .dividingFullWidth((UInt64(truncatingIfNeeded: high), UInt64(truncatingIfNeeded: low)))
        return (W(truncatingIfNeeded: quotient), W(truncatingIfNeeded: remainder))
    }
}

extension Interpreter {
    static let products: [(Mnemonic, Lowering.Lowerer)] = [
        (.mul, { lowerSource(&$0, mul) }), (.div, { lowerSource(&$0, div) }), (.idiv, { lowerSource(&$0, idiv) }),
        (.imul, { lowerMultiplication(&$0) }), (.mulx, { lowerMulx(&$0) }),
    ]

    /// For instructions with one explicit operand, a source.
    private static func lowerSource(_ l: inout Lowering, _ widths: Widths) -> Bool {
        l.setSource(l.operand0)
        return l.use(widths[l.size(of: l.operand0)])
    }

    private static func lowerMultiplication(_ l: inout Lowering) -> Bool {
        if l.instruction.operandCount == 1 { return lowerSource(&l, imul) }
        guard let destination = l.offset(of: l.operand0) else { return false }
        l.op.destination = destination
        l.setSource(l.operand1)
        return l.use((l.isImmediate(l.operand2) ? imulImmediate : imulTruncating)[l.size(of: l.operand0)])
    }

    private static func lowerMulx(_ l: inout Lowering) -> Bool {
        guard let high = l.offset(of: l.operand0), let low = l.offset(of: l.operand1) else { return false }
        l.op.destination = high
        l.op.immediate = UInt64(low)
        l.setSource(l.operand2)
        return l.use(mulx[l.size(of: l.operand0)])
    }

    private static let mul = Widths(
        byte: { CPU($0).multiply(OpCursor($1), UInt8.self) },
        word: { CPU($0).multiply(OpCursor($1), UInt16.self) },
        long: { CPU($0).multiply(OpCursor($1), UInt32.self) },
        quad: { CPU($0).multiply(OpCursor($1), UInt64.self) })

    private static let imul = Widths(
        byte: { CPU($0).multiplySigned(OpCursor($1), UInt8.self) },
        word: { CPU($0).multiplySigned(OpCursor($1), UInt16.self) },
        long: { CPU($0).multiplySigned(OpCursor($1), UInt32.self) },
        quad: { CPU($0).multiplySigned(OpCursor($1), UInt64.self) })

    private static let div = Widths(
        byte: { CPU($0).divide(OpCursor($1), UInt8.self) },
        word: { CPU($0).divide(OpCursor($1), UInt16.self) },
        long: { CPU($0).divide(OpCursor($1), UInt32.self) },
        quad: { CPU($0).divide(OpCursor($1), UInt64.self) })

    private static let idiv = Widths(
        byte: { CPU($0).divideSigned(OpCursor($1), UInt8.self) },
        word: { CPU($0).divideSigned(OpCursor($1), UInt16.self) },
        long: { CPU($0).divideSigned(OpCursor($1), UInt32.self) },
        quad: { CPU($0).divideSigned(OpCursor($1), UInt64.self) })

    private static let imulTruncating = Widths(
        word: { CPU($0).multiplyTruncating(OpCursor($1), UInt16.self) },
        long: { CPU($0).multiplyTruncating(OpCursor($1), UInt32.self) },
        quad: { CPU($0).multiplyTruncating(OpCursor($1), UInt64.self) })

    private static let imulImmediate = Widths(
        word: { CPU($0).multiplyImmediate(OpCursor($1), UInt16.self) },
        long: { CPU($0).multiplyImmediate(OpCursor($1), UInt32.self) },
        quad: { CPU($0).multiplyImmediate(OpCursor($1), UInt64.self) })

    private static let mulx = Widths(
        long: { CPU($0).multiplyWithoutFlags(OpCursor($1), UInt32.self) },
        quad: { CPU($0).multiplyWithoutFlags(OpCursor($1), UInt64.self) })
}
