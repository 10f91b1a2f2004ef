import X86

/// DAA, DAS, AAA, AAS, AAM, AAD. Intel SDM vol. 2. Flags that the manual leaves undefined are as Intel's processors have them
/// where that is known, else clear.
extension CPU {
    private static var al: UInt16 { CPUState.offset(ofRegister: 0) }
    private var al: UInt8 {
        get { register(CPU.al) }
        nonmutating set { setRegister(CPU.al, newValue) }
    }
    private var ax: UInt16 {
        get { register(CPU.al) }
        nonmutating set { setRegister(CPU.al, newValue) }
    }

    /// DAA, or DAS where `subtracting`.
    func adjustDecimal(_ cursor: OpCursor, subtracting: Bool) -> UInt {
        let old = al
        let oldCarry = carryFlag
        let low = old & 15 > 9 || adjustFlag
        let high = old > 0x99 || oldCarry
        let step: UInt8 = (low ? 6 : 0) &+ (high ? 0x60 : 0)
        let result = subtracting ? old &- step : old &+ step
        al = result
        let carry = high || (subtracting && low && old < 6)
        setFlags(result: result, carry: carry, overflow: false, adjust: low)
        return proceed(cursor)
    }

    /// AAA, or AAS where `subtracting`.
    func adjustASCII(_ cursor: OpCursor, subtracting: Bool) -> UInt {
        let adjusts = al & 15 > 9 || adjustFlag
        if adjusts { ax = subtracting ? ax &- 0x106 : ax &+ 0x106 }
        al = al & 15
        setFlags(result: al, carry: adjusts, overflow: false, adjust: adjusts)
        return proceed(cursor)
    }

    func adjustAfterMultiplying(_ cursor: OpCursor) -> UInt {
        let base = UInt8(truncatingIfNeeded: cursor.op.immediate)
        guard base != 0 else { return stopped(.divideError) }
        let (quotient, remainder) = al.quotientAndRemainder(dividingBy: base)
        ax = UInt16(quotient) << 8 | UInt16(remainder)
        setFlags(result: remainder, carry: false, overflow: false)
        return proceed(cursor)
    }

    func adjustBeforeDividing(_ cursor: OpCursor) -> UInt {
        let result = al &+ UInt8(truncatingIfNeeded: ax >> 8) &* UInt8(truncatingIfNeeded: cursor.op.immediate)
        ax = UInt16(result)
        setFlags(result: result, carry: false, overflow: false)
        return proceed(cursor)
    }
}

extension Interpreter {
    static let decimal: [(Mnemonic, Lowering.Lowerer)] = [
        (.daa, { l in l.use { CPU($0).adjustDecimal(OpCursor($1), subtracting: false) } }),
        (.das, { l in l.use { CPU($0).adjustDecimal(OpCursor($1), subtracting: true) } }),
        (.aaa, { l in l.use { CPU($0).adjustASCII(OpCursor($1), subtracting: false) } }),
        (.aas, { l in l.use { CPU($0).adjustASCII(OpCursor($1), subtracting: true) } }),
        (.aam, { l in l.use { CPU($0).adjustAfterMultiplying(OpCursor($1)) } }),
        (.aad, { l in l.use { CPU($0).adjustBeforeDividing(OpCursor($1)) } }),
    ]
}
