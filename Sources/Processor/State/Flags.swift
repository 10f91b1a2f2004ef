/// Status flags, lazily: an instruction leaves its result and carry vector, and a flag is computed when it is read.
///
/// - ZF: `lazyResult == 0`. SF: its sign (the result is kept sign-extended to 64 bits), flipped by `lazySignFlip`.
/// - PF: parity of `lazyParity`. AF: bit 3 of `lazyAdjust`.
/// - CF: bit 63 of `lazyCarry`; OF: bit 63 xor bit 62 (the carries out of and into the sign bit).
///
/// Intel SDM vol. 1, 3.4.3.1.
extension CPU {
    /// After an operation with `result` and carry vector `carries` (bit n: carry or borrow out of bit n).
    @inline(__always) func setFlags<W: OperandWidth>(result: W, carries: W) {
        unsafe pointer.pointee.lazyResult = result.extended
        unsafe pointer.pointee.lazyCarry = UInt64(truncatingIfNeeded: carries) << UInt64(64 - W.bits)
        unsafe pointer.pointee.lazyParity = UInt8(truncatingIfNeeded: result)
        unsafe pointer.pointee.lazyAdjust = UInt8(truncatingIfNeeded: carries)
        unsafe pointer.pointee.lazySignFlip = 0
    }

    /// ADD, ADC: `result` = a + b (+ carry).
    @inline(__always) func setFlagsAdding<W: OperandWidth>(_ a: W, _ b: W, _ result: W) {
        setFlags(result: result, carries: (a & b) | ((a | b) & ~result))
    }

    /// SUB, SBB, CMP: `result` = a − b (− borrow).
    @inline(__always) func setFlagsSubtracting<W: OperandWidth>(_ a: W, _ b: W, _ result: W) {
        setFlags(result: result, carries: (~a & b) | ((~a | b) & result))
    }

    /// AND, OR, XOR, TEST: CF, OF and AF clear.
    @inline(__always) func setFlagsLogic<W: OperandWidth>(_ result: W) {
        setFlags(result: result, carries: 0)
    }

    /// The flags of `result` with CF and OF (and AF) as given.
    @inline(__always) func setFlags<W: OperandWidth>(result: W, carry: Bool, overflow: Bool, adjust: Bool = false) {
        unsafe pointer.pointee.lazyResult = result.extended
        unsafe pointer.pointee.lazyCarry = CPU.carryWord(carry, overflow)
        unsafe pointer.pointee.lazyParity = UInt8(truncatingIfNeeded: result)
        unsafe pointer.pointee.lazyAdjust = adjust ? 8 : 0
        unsafe pointer.pointee.lazySignFlip = 0
    }

    @inline(__always) private static func carryWord(_ carry: Bool, _ overflow: Bool) -> UInt64 {
        (carry ? 1 << 63 : 0) | (carry != overflow ? 1 << 62 : 0)
    }

    @inline(__always) var carryFlag: Bool { unsafe pointer.pointee.lazyCarry >> 63 != 0 }
    @inline(__always) var overflowFlag: Bool {
        unsafe (pointer.pointee.lazyCarry ^ (pointer.pointee.lazyCarry << 1)) >> 63 != 0
    }
    @inline(__always) var zeroFlag: Bool { unsafe pointer.pointee.lazyResult == 0 }
    @inline(__always) var signFlag: Bool {
        unsafe (pointer.pointee.lazyResult >> 63 != 0) != (pointer.pointee.lazySignFlip != 0)
    }
    @inline(__always) var parityFlag: Bool { unsafe pointer.pointee.lazyParity.nonzeroBitCount & 1 == 0 }
    @inline(__always) var adjustFlag: Bool { unsafe pointer.pointee.lazyAdjust & 8 != 0 }

    /// Replaces CF and OF alone.
    @inline(__always) func setCarryAndOverflow(_ carry: Bool, _ overflow: Bool) {
        unsafe pointer.pointee.lazyCarry = CPU.carryWord(carry, overflow)
    }

    /// Replaces CF alone.
    @inline(__always) func setCarry(_ carry: Bool) { setCarryAndOverflow(carry, overflowFlag) }

    /// CF, PF, AF, ZF, SF and OF at their places in RFLAGS.
    var statusFlags: UInt64 {
        (carryFlag ? 1 : 0) | (parityFlag ? 1 << 2 : 0) | (adjustFlag ? 1 << 4 : 0) | (zeroFlag ? 1 << 6 : 0)
            | (signFlag ? 1 << 7 : 0) | (overflowFlag ? 1 << 11 : 0)
    }

    static let statusMask: UInt64 = 0x8D5

    /// Sets all six from their places in RFLAGS.
    func setStatusFlags(_ flags: UInt64) {
        let zero = flags & 1 << 6 != 0
        state.lazyResult = zero ? 0 : 1
        state.lazySignFlip = flags & 1 << 7 != 0 ? 1 : 0
        state.lazyParity = flags & 1 << 2 != 0 ? 0 : 1
        state.lazyAdjust = flags & 1 << 4 != 0 ? 8 : 0
        state.lazyCarry = CPU.carryWord(flags & 1 != 0, flags & 1 << 11 != 0)
    }

    /// RFLAGS whole.
    var rflags: UInt64 {
        get { state.systemFlags & ~CPU.statusMask | 2 | statusFlags }
        nonmutating set {
            setStatusFlags(newValue)
            state.systemFlags = newValue & ~CPU.statusMask | 2
        }
    }

    /// Condition codes 0…15 of Jcc, SETcc, CMOVcc. Intel SDM vol. 1, appendix B.
    @inline(__always) func condition(_ code: UInt8) -> Bool {
        let holds =
            switch code >> 1 {
            case 0: overflowFlag
            case 1: carryFlag
            case 2: zeroFlag
            case 3: carryFlag || zeroFlag
            case 4: signFlag
            case 5: parityFlag
            case 6: signFlag != overflowFlag
            default: zeroFlag || signFlag != overflowFlag
            }
        return holds != (code & 1 != 0)
    }
}
