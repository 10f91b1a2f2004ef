// Integer arithmetic and logic, shifts and bits. Intel SDM vol. 2, chapters 3-5.

extension Assembler {
    // MARK: What more than one instruction needs

    /// An opcode whose lowest bit says that the operand is no byte.
    mutating func sized(
        _ opcode: Opcode, _ width: Width, _ reg: Field, _ rm: Field, immediate: Immediate = .none
    ) {
        encode(width == .byte ? opcode : opcode.setting(1), width, reg, rm, immediate: immediate)
    }

    mutating func sized(_ opcode: Opcode, _ width: Width, immediate: Immediate = .none) {
        encode(width == .byte ? opcode : opcode.setting(1), width, immediate: immediate)
    }

    /// An immediate of an operand of this width: four bytes at most, sign-extended.
    func immediate(_ value: Int64, _ width: Width) -> Immediate {
        Immediate(extended(value, width), min(Int(width.rawValue), 4))
    }

    /// The value's bits of this width, sign-extended; which 32 bits have to say.
    private func extended(_ value: Int64, _ width: Width) -> Int64 {
        if width == .quad {
            precondition(Int32(exactly: value) != nil, "an immediate has 32 bits, sign-extended")
            return value
        }
        let bits = Int64(width.rawValue) * 8
        precondition(-1 << (bits - 1)..<1 << bits ~= value, "an immediate of more bits than its operand")
        return (value << (64 - bits)) >> (64 - bits)
    }

    // MARK: The eight operations

    /// By their number in opcodes.
    public enum Operation: UInt8, Sendable, CaseIterable {
        case add, or, adc, sbb, and, sub, xor, cmp
    }

    /// The operation on a register or memory, and a register, memory or immediate.
    @inlinable public mutating func alu(
        _ operation: Operation, _ to: some Operand, _ from: some Operand, _ width: Width? = nil
    ) {
        write(operation, to.form, from.form, width)
    }

    @usableFromInline mutating func write(_ operation: Operation, _ to: Form, _ from: Form, _ width: Width?) {
        let width = width ?? natural
        let opcode = Opcode(operation.rawValue << 3)
        switch (to, from) {
        case (_, .immediate(let value)):
            let immediate = immediate(value, width)
            if width != .byte, Int8(exactly: immediate.value) != nil {
                encode(0x83, width, .digit(operation.rawValue), field(to, width), immediate: .init(immediate.value, 1))
            } else if case .general(.rax) = to {
                sized(opcode.setting(4), width, immediate: immediate)
            } else {
                sized(0x80, width, .digit(operation.rawValue), field(to, width), immediate: immediate)
            }
        case (_, .memory): sized(opcode.setting(2), width, field(to, width), field(from, width))
        default: sized(opcode, width, field(from, width), field(to, width))
        }
    }

    @inlinable public mutating func add(_ a: some Operand, _ b: some Operand, _ width: Width? = nil) {
        write(.add, a.form, b.form, width)
    }
    @inlinable public mutating func or(_ a: some Operand, _ b: some Operand, _ width: Width? = nil) {
        write(.or, a.form, b.form, width)
    }
    @inlinable public mutating func adc(_ a: some Operand, _ b: some Operand, _ width: Width? = nil) {
        write(.adc, a.form, b.form, width)
    }
    @inlinable public mutating func sbb(_ a: some Operand, _ b: some Operand, _ width: Width? = nil) {
        write(.sbb, a.form, b.form, width)
    }
    @inlinable public mutating func and(_ a: some Operand, _ b: some Operand, _ width: Width? = nil) {
        write(.and, a.form, b.form, width)
    }
    @inlinable public mutating func sub(_ a: some Operand, _ b: some Operand, _ width: Width? = nil) {
        write(.sub, a.form, b.form, width)
    }
    @inlinable public mutating func xor(_ a: some Operand, _ b: some Operand, _ width: Width? = nil) {
        write(.xor, a.form, b.form, width)
    }
    @inlinable public mutating func cmp(_ a: some Operand, _ b: some Operand, _ width: Width? = nil) {
        write(.cmp, a.form, b.form, width)
    }

    @inlinable public mutating func test(_ a: some Operand, _ b: some Operand, _ width: Width? = nil) {
        writeTest(a.form, b.form, width)
    }

    @usableFromInline mutating func writeTest(_ a: Form, _ b: Form, _ width: Width?) {
        let width = width ?? natural
        switch (a, b) {
        case (.general(.rax), .immediate(let value)): sized(0xA8, width, immediate: immediate(value, width))
        case (_, .immediate(let value)):
            sized(0xF6, width, .digit(0), field(a, width), immediate: immediate(value, width))
        case (_, .memory): sized(0x84, width, field(a, width), field(b, width))
        default: sized(0x84, width, field(b, width), field(a, width))
        }
    }

    // MARK: One operand

    private mutating func unary(_ opcode: Opcode, _ digit: UInt8, _ operand: some Operand, _ width: Width?) {
        let width = width ?? natural
        sized(opcode, width, .digit(digit), field(operand, width))
    }

    public mutating func inc(_ a: some Operand, _ width: Width? = nil) { count(0x40, 0, a, width) }
    public mutating func dec(_ a: some Operand, _ width: Width? = nil) { count(0x48, 1, a, width) }
    /// 40…4F, which in 64-bit code are REX prefixes.
    private mutating func count(_ short: Opcode, _ digit: UInt8, _ operand: some Operand, _ width: Width?) {
        if codeSize != .bits64, width != .byte, case .general(let register) = operand.form {
            encode(short, width ?? natural, low: .register(register.rawValue))
        } else {
            unary(0xFE, digit, operand, width)
        }
    }

    public mutating func not(_ a: some Operand, _ width: Width? = nil) { unary(0xF6, 2, a, width) }
    public mutating func neg(_ a: some Operand, _ width: Width? = nil) { unary(0xF6, 3, a, width) }
    public mutating func mul(_ a: some Operand, _ width: Width? = nil) { unary(0xF6, 4, a, width) }
    public mutating func imul(_ a: some Operand, _ width: Width? = nil) { unary(0xF6, 5, a, width) }
    public mutating func div(_ a: some Operand, _ width: Width? = nil) { unary(0xF6, 6, a, width) }
    public mutating func idiv(_ a: some Operand, _ width: Width? = nil) { unary(0xF6, 7, a, width) }

    public mutating func imul(_ to: GeneralRegister, _ from: some Operand, _ width: Width? = nil) {
        toRegister(.map0F(0xAF), to, from, width)
    }

    public mutating func imul(_ to: GeneralRegister, _ from: some Operand, by value: Int64, _ width: Width? = nil) {
        let width = width ?? natural
        let immediate = immediate(value, width)
        let isShort = Int8(exactly: immediate.value) != nil
        encode(
            isShort ? 0x6B : 0x69, width, field(to, width), field(from, width),
            immediate: .init(immediate.value, isShort ? 1 : immediate.size))
    }

    private mutating func toRegister(
        _ opcode: Opcode, _ to: GeneralRegister, _ from: some Operand, _ width: Width?
    ) {
        let width = width ?? natural
        encode(opcode, width, field(to, width), field(from, width))
    }

    /// CBW, CWDE and CDQE: AL, AX or EAX extended to this width.
    public mutating func cbw(_ width: Width? = nil) { encode(0x98, width ?? natural) }
    /// CWD, CDQ and CQO.
    public mutating func cwd(_ width: Width? = nil) { encode(0x99, width ?? natural) }

    // MARK: Shifts

    /// A shift by a constant or by CL.
    private mutating func shift(_ digit: UInt8, _ a: some Operand, _ count: some Operand, _ width: Width?) {
        let width = width ?? natural
        switch count.form {
        case .immediate(1): sized(0xD0, width, .digit(digit), field(a, width))
        case .immediate(let value): sized(0xC0, width, .digit(digit), field(a, width), immediate: .byte(value))
        case .general(.rcx): sized(0xD2, width, .digit(digit), field(a, width))
        default: preconditionFailure("a shift is by a constant or CL")
        }
    }

    public mutating func rol(_ a: some Operand, _ count: some Operand, _ width: Width? = nil) {
        shift(0, a, count, width)
    }
    public mutating func ror(_ a: some Operand, _ count: some Operand, _ width: Width? = nil) {
        shift(1, a, count, width)
    }
    public mutating func rcl(_ a: some Operand, _ count: some Operand, _ width: Width? = nil) {
        shift(2, a, count, width)
    }
    public mutating func rcr(_ a: some Operand, _ count: some Operand, _ width: Width? = nil) {
        shift(3, a, count, width)
    }
    public mutating func shl(_ a: some Operand, _ count: some Operand, _ width: Width? = nil) {
        shift(4, a, count, width)
    }
    public mutating func shr(_ a: some Operand, _ count: some Operand, _ width: Width? = nil) {
        shift(5, a, count, width)
    }
    public mutating func sar(_ a: some Operand, _ count: some Operand, _ width: Width? = nil) {
        shift(7, a, count, width)
    }

    /// SHLD and SHRD by a constant or by CL.
    private mutating func doubleShift(
        _ opcode: UInt8, _ a: some Operand, _ b: GeneralRegister, _ count: some Operand, _ width: Width?
    ) {
        let width = width ?? natural
        switch count.form {
        case .immediate(let value):
            encode(.map0F(opcode), width, field(b, width), field(a, width), immediate: .byte(value))
        case .general(.rcx): encode(.map0F(opcode | 1), width, field(b, width), field(a, width))
        default: preconditionFailure("a shift is by a constant or CL")
        }
    }

    public mutating func shld(
        _ a: some Operand, _ b: GeneralRegister, _ count: some Operand, _ width: Width? = nil
    ) { doubleShift(0xA4, a, b, count, width) }
    public mutating func shrd(
        _ a: some Operand, _ b: GeneralRegister, _ count: some Operand, _ width: Width? = nil
    ) { doubleShift(0xAC, a, b, count, width) }

    // MARK: Bits

    /// By a register (in memory, of any reach) or a constant.
    private mutating func bit(_ digit: UInt8, _ a: some Operand, _ number: some Operand, _ width: Width?) {
        let width = width ?? natural
        if case .immediate(let value) = number.form {
            encode(.map0F(0xBA), width, .digit(digit), field(a, width), immediate: .byte(value))
        } else {
            encode(.map0F(0x83 | digit << 3), width, field(number, width), field(a, width))
        }
    }

    public mutating func bt(_ a: some Operand, _ number: some Operand, _ width: Width? = nil) {
        bit(4, a, number, width)
    }
    public mutating func bts(_ a: some Operand, _ number: some Operand, _ width: Width? = nil) {
        bit(5, a, number, width)
    }
    public mutating func btr(_ a: some Operand, _ number: some Operand, _ width: Width? = nil) {
        bit(6, a, number, width)
    }
    public mutating func btc(_ a: some Operand, _ number: some Operand, _ width: Width? = nil) {
        bit(7, a, number, width)
    }

    public mutating func bsf(_ to: GeneralRegister, _ from: some Operand, _ width: Width? = nil) {
        toRegister(.map0F(0xBC), to, from, width)
    }
    public mutating func bsr(_ to: GeneralRegister, _ from: some Operand, _ width: Width? = nil) {
        toRegister(.map0F(0xBD), to, from, width)
    }
    public mutating func tzcnt(_ to: GeneralRegister, _ from: some Operand, _ width: Width? = nil) {
        toRegister(.map0F(0xBC, .pF3), to, from, width)
    }
    public mutating func lzcnt(_ to: GeneralRegister, _ from: some Operand, _ width: Width? = nil) {
        toRegister(.map0F(0xBD, .pF3), to, from, width)
    }
    public mutating func popcnt(_ to: GeneralRegister, _ from: some Operand, _ width: Width? = nil) {
        toRegister(.map0F(0xB8, .pF3), to, from, width)
    }
    public mutating func adcx(_ to: GeneralRegister, _ from: some Operand, _ width: Width? = nil) {
        toRegister(.map0F38(0xF6, .p66), to, from, width)
    }
    public mutating func adox(_ to: GeneralRegister, _ from: some Operand, _ width: Width? = nil) {
        toRegister(.map0F38(0xF6, .pF3), to, from, width)
    }

    // MARK: BMI: 32 or 64 bits, the flags mostly left alone

    /// `to` in ModRM.reg, `rm` in ModRM.rm, `vvvv` in VEX.vvvv.
    private mutating func bmi(
        _ opcode: Opcode, _ to: Field, vvvv: GeneralRegister? = nil, _ rm: some Operand, _ width: Width?,
        immediate: Immediate = .none
    ) {
        let width = width ?? natural
        precondition(width == .long || width == .quad, "BMI has no such width")
        encodeVEX(
            opcode, w: width == .quad, to, vvvv: .register(vvvv?.rawValue ?? 0), field(rm, width), immediate: immediate)
    }

    public mutating func pext(
        _ to: GeneralRegister, _ from: GeneralRegister, _ mask: some Operand, _ width: Width? = nil
    ) { bmi(.map0F38(0xF5, .pF3), .register(to.rawValue), vvvv: from, mask, width) }
    public mutating func pdep(
        _ to: GeneralRegister, _ from: GeneralRegister, _ mask: some Operand, _ width: Width? = nil
    ) { bmi(.map0F38(0xF5, .pF2), .register(to.rawValue), vvvv: from, mask, width) }
    public mutating func andn(
        _ to: GeneralRegister, _ inverted: GeneralRegister, _ from: some Operand, _ width: Width? = nil
    ) { bmi(.map0F38(0xF2), .register(to.rawValue), vvvv: inverted, from, width) }
    /// Its two results are of RDX and `from`.
    public mutating func mulx(
        _ high: GeneralRegister, _ low: GeneralRegister, _ from: some Operand, _ width: Width? = nil
    ) { bmi(.map0F38(0xF6, .pF2), .register(high.rawValue), vvvv: low, from, width) }
    public mutating func rorx(_ to: GeneralRegister, _ from: some Operand, _ count: Int, _ width: Width? = nil) {
        bmi(.map0F3A(0xF0, .pF2), .register(to.rawValue), from, width, immediate: .byte(count))
    }
    public mutating func shlx(
        _ to: GeneralRegister, _ from: some Operand, _ count: GeneralRegister, _ width: Width? = nil
    ) { bmi(.map0F38(0xF7, .p66), .register(to.rawValue), vvvv: count, from, width) }
    public mutating func shrx(
        _ to: GeneralRegister, _ from: some Operand, _ count: GeneralRegister, _ width: Width? = nil
    ) { bmi(.map0F38(0xF7, .pF2), .register(to.rawValue), vvvv: count, from, width) }
    public mutating func sarx(
        _ to: GeneralRegister, _ from: some Operand, _ count: GeneralRegister, _ width: Width? = nil
    ) { bmi(.map0F38(0xF7, .pF3), .register(to.rawValue), vvvv: count, from, width) }
    public mutating func bextr(
        _ to: GeneralRegister, _ from: some Operand, _ range: GeneralRegister, _ width: Width? = nil
    ) { bmi(.map0F38(0xF7), .register(to.rawValue), vvvv: range, from, width) }
    public mutating func bzhi(
        _ to: GeneralRegister, _ from: some Operand, _ index: GeneralRegister, _ width: Width? = nil
    ) { bmi(.map0F38(0xF5), .register(to.rawValue), vvvv: index, from, width) }
    public mutating func blsr(_ to: GeneralRegister, _ from: some Operand, _ width: Width? = nil) {
        bmi(.map0F38(0xF3), .digit(1), vvvv: to, from, width)
    }
    public mutating func blsmsk(_ to: GeneralRegister, _ from: some Operand, _ width: Width? = nil) {
        bmi(.map0F38(0xF3), .digit(2), vvvv: to, from, width)
    }
    public mutating func blsi(_ to: GeneralRegister, _ from: some Operand, _ width: Width? = nil) {
        bmi(.map0F38(0xF3), .digit(3), vvvv: to, from, width)
    }
}
