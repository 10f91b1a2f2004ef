import X86

/// The x87 part of the FXSAVE image: FCW, FSW, abridged FTW, FOP, FIP, FDP, ST(0)…ST(7). Intel SDM vol. 1, 8.1 and 10.5.1.
///
/// FIP and FDP are kept as the 64-bit form has them, or with the selector in bits 32…47 as the 32-bit form has them.
extension CPU {
    @inline(__always) var x87ControlWord: UInt16 {
        get { UInt16(truncatingIfNeeded: state.xsave[0]) }
        nonmutating set { state.xsave[0] = state.xsave[0] & ~0xFFFF | UInt64(newValue) }
    }

    @inline(__always) var x87StatusWord: UInt16 {
        get { UInt16(truncatingIfNeeded: state.xsave[0] >> 16) }
        nonmutating set { state.xsave[0] = state.xsave[0] & ~0xFFFF_0000 | UInt64(newValue) << 16 }
    }

    /// A bit for each physical register that is not empty.
    var x87Tags: UInt8 { UInt8(truncatingIfNeeded: state.xsave[0] >> 32) }
    func setTags(_ tags: UInt8) { state.xsave[0] = state.xsave[0] & ~0xFFFF_0000_0000 | UInt64(tags) << 32 }

    /// The last instruction's opcode: 11 bits.
    var x87Opcode: UInt16 {
        get { UInt16(truncatingIfNeeded: state.xsave[0] >> 48) & 0x7FF }
        nonmutating set { state.xsave[0] = state.xsave[0] & ~(0xFFFF << 48) | UInt64(newValue & 0x7FF) << 48 }
    }

    var x87InstructionPointer: UInt64 {
        get { state.xsave[1] }
        nonmutating set { state.xsave[1] = newValue }
    }

    var x87DataPointer: UInt64 {
        get { state.xsave[2] }
        nonmutating set { state.xsave[2] = newValue }
    }

    @inline(__always) var x87Top: Int { Int(x87StatusWord >> 11) & 7 }

    /// ST(i): the significand, then sign and exponent.
    func stackRegister(_ index: Int) -> (UInt64, UInt16) {
        let place = 4 + (index & 7) * 2
        return (state.xsave[place], UInt16(truncatingIfNeeded: state.xsave[place + 1]))
    }

    func setStackRegister(_ index: Int, _ value: (UInt64, UInt16)) {
        let place = 4 + (index & 7) * 2
        state.xsave[place] = value.0
        state.xsave[place + 1] = UInt64(value.1)
    }

    /// Moves the top of the stack, each physical register keeping what it has.
    func rotateStack(toTop newTop: Int = 0) {
        let shift = newTop - x87Top
        guard shift != 0 else { return }
        let old = state.xsave
        for index in 0..<8 {
            let from = (index + shift) & 7
            state.xsave[4 + index * 2] = old[4 + from * 2]
            state.xsave[5 + index * 2] = old[5 + from * 2]
        }
        x87StatusWord = x87StatusWord & ~0x3800 | UInt16(newTop & 7) << 11
    }

    /// Moves ST(i) to ST(i + count), around the stack.
    func shiftStack(by count: Int) {
        let old = stackSlots
        var new = stackSlots
        for index in 0..<8 { new[(index + count) & 7] = old[index] }
        stackSlots = new
    }

    private var stackSlots: InlineArray<8, SIMD2<UInt64>> {
        get {
            unsafe UnsafeRawPointer(pointer).load(
                fromByteOffset: CPUState.x87Offset, as: InlineArray<8, SIMD2<UInt64>>.self)
        }
        nonmutating set {
            unsafe UnsafeMutableRawPointer(pointer).storeBytes(
                of: newValue, toByteOffset: CPUState.x87Offset, as: InlineArray<8, SIMD2<UInt64>>.self)
        }
    }

    @inline(__always) func setTop(_ top: Int, tags: Int) {
        state.xsave[0] =
            state.xsave[0] & ~0xFF_3800_0000 | UInt64(truncatingIfNeeded: top & 7) << 27 | UInt64(
                truncatingIfNeeded: tags & 0xFF) << 32
    }

    /// The summary (ES) and busy bits follow flags and masks.
    func updateSummary() {
        let pending = x87StatusWord & ~x87ControlWord & 0x3F != 0
        x87StatusWord = x87StatusWord & 0x7F7F | (pending ? 0x8080 : 0)
    }

    /// FLDCW: reserved bits read as the processor has them.
    func loadControlWord(_ word: UInt16) {
        x87ControlWord = word & 0x1F3F | 0x40
        updateSummary()
    }

    /// FNINIT. The data registers keep their bits.
    func initializeX87() {
        rotateStack()
        state.xsave[0] = 0x37F
        state.xsave[1] = 0
        state.xsave[2] = 0
    }

    /// The tag word in full: two bits for each physical register. Intel SDM vol. 1, 8.1.7.
    var fullTagWord: UInt16 {
        var word: UInt16 = 0
        let top = x87Top, tags = x87Tags
        for physical in 0..<8 {
            let tag: UInt16
            if tags >> UInt8(physical) & 1 == 0 {
                tag = 3
            } else {
                let (significand, head) = stackRegister(physical - top)
                let exponent = head & 0x7FFF
                if exponent == 0 {
                    tag = significand == 0 ? 1 : 2
                } else {
                    tag = exponent == 0x7FFF || significand >> 63 == 0 ? 2 : 0
                }
            }
            word |= tag << UInt16(physical * 2)
        }
        return word
    }

    /// From a full tag word.
    func setTags(full word: UInt16) {
        var tags: UInt8 = 0
        for physical in 0..<8 where word >> UInt16(physical * 2) & 3 != 3 { tags |= 1 << UInt8(physical) }
        setTags(tags)
    }
}
