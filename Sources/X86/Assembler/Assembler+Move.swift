// MOV and its kin, the stack, exchanges and strings. Intel SDM vol. 2, chapters 3-5.

extension Assembler {
    /// MOV of general registers, memory and immediates; of segment registers from and to them.
    @inlinable public mutating func mov(_ to: some Operand, _ from: some Operand, _ width: Width? = nil) {
        writeMove(to.form, from.form, width)
    }

    @usableFromInline mutating func writeMove(_ to: Form, _ from: Form, _ width: Width?) {
        let width = width ?? natural
        switch (to, from) {
        case (.general(let register), .immediate(let value)): mov(register, value, width)
        case (_, .immediate(let value)):
            sized(0xC6, width, .digit(0), field(to, width), immediate: immediate(value, width))
        case (.memory(let place), .general(.rax)) where isOffset(place): sized(0xA2, width, immediate: offset(place))
        case (.general(.rax), .memory(let place)) where isOffset(place): sized(0xA0, width, immediate: offset(place))
        case (.segment, _): encode(0x8E, plain, field(to, .word), field(from, .word))
        case (.memory, .segment): encode(0x8C, plain, field(from, .word), field(to, .word))
        case (_, .segment): encode(0x8C, width == .quad ? .long : width, field(from, .word), field(to, width))
        case (_, .memory): sized(0x8A, width, field(to, width), field(from, width))
        default: sized(0x88, width, field(from, width), field(to, width))
        }
    }

    /// An address that narrow code has a shorter MOV of AL, AX and EAX for.
    private func isOffset(_ memory: Memory) -> Bool {
        let isPlain = memory.base == nil && memory.index == nil && memory.segment == nil
        return isPlain && (codeSize == .bits32 || isShortAbsolute(memory))
    }
    private func offset(_ memory: Memory) -> Immediate {
        Immediate(Int64(memory.displacement), codeSize == .bits16 ? 2 : 4)
    }

    private mutating func mov(_ register: GeneralRegister, _ value: Int64, _ width: Width) {
        let low = field(register, width)
        switch width {
        case .byte: encode(0xB0, width, low: low, immediate: immediate(value, width))
        // The upper half becomes 0.
        case .quad where UInt32(exactly: value) != nil: encode(0xB8, .long, low: low, immediate: .init(value, 4))
        case .quad where Int32(exactly: value) != nil: encode(0xC7, width, .digit(0), low, immediate: .init(value, 4))
        case .quad: encode(0xB8, width, low: low, immediate: .init(value, 8))
        default: encode(0xB8, width, low: low, immediate: immediate(value, width))
        }
    }

    /// MOV between a general register and a control register.
    public mutating func mov(_ to: GeneralRegister, control number: UInt8) { control(0x20, number, to) }
    public mutating func mov(control number: UInt8, _ from: GeneralRegister) { control(0x22, number, from) }
    private mutating func control(_ opcode: UInt8, _ number: UInt8, _ register: GeneralRegister) {
        encode(.map0F(opcode), plain, .register(number), .register(register.rawValue))
    }

    /// MOVZX from a byte or word.
    public mutating func movzx(
        _ to: GeneralRegister, _ from: some Operand, from narrow: Width, _ width: Width? = nil
    ) {
        encode(extending(0xB6, narrow), width ?? natural, .register(to.rawValue), field(from, narrow))
    }

    /// MOVSX from a byte or word, and MOVSXD.
    public mutating func movsx(
        _ to: GeneralRegister, _ from: some Operand, from narrow: Width, _ width: Width? = nil
    ) {
        let opcode = narrow == .long ? 0x63 : extending(0xBE, narrow)
        encode(opcode, width ?? natural, .register(to.rawValue), field(from, narrow))
    }

    private func extending(_ opcode: UInt8, _ narrow: Width) -> Opcode {
        precondition(narrow == .byte || narrow == .word, "nothing to extend")
        return .map0F(opcode | (narrow == .word ? 1 : 0))
    }

    public mutating func lea(_ to: GeneralRegister, _ address: Memory, _ width: Width? = nil) {
        encode(0x8D, width ?? natural, .register(to.rawValue), .memory(address))
    }

    public mutating func cmovcc(
        _ condition: Condition, _ to: GeneralRegister, _ from: some Operand, _ width: Width? = nil
    ) {
        let width = width ?? natural
        encode(.map0F(0x40 | condition.rawValue), width, field(to, width), field(from, width))
    }

    public mutating func setcc(_ condition: Condition, _ to: some Operand) {
        encode(.map0F(0x90 | condition.rawValue), .byte, .digit(0), field(to, .byte))
    }

    public mutating func bswap(_ register: GeneralRegister, _ width: Width? = nil) {
        encode(.map0F(0xC8), width ?? natural, low: .register(register.rawValue))
    }

    public mutating func movbe(_ to: some Operand, _ from: some Operand, _ width: Width? = nil) {
        let width = width ?? natural
        if case .memory = to.form {
            encode(.map0F38(0xF1), width, field(from, width), field(to, width))
        } else {
            encode(.map0F38(0xF0), width, field(to, width), field(from, width))
        }
    }

    // MARK: Exchanges

    public mutating func xchg(_ first: some Operand, _ second: GeneralRegister, _ width: Width? = nil) {
        let width = width ?? natural
        switch first.form {
        // 90 is NOP, where XCHG EAX, EAX would clear the upper half.
        case .general(.rax) where width != .byte && !(second == .rax && width == .long):
            encode(0x90, width, low: .register(second.rawValue))
        case .general(let other) where width != .byte && other != second && second == .rax:
            encode(0x90, width, low: .register(other.rawValue))
        default: sized(0x86, width, field(second, width), field(first, width))
        }
    }

    public mutating func cmpxchg(_ place: some Operand, _ desired: GeneralRegister, _ width: Width? = nil) {
        let width = width ?? natural
        sized(.map0F(0xB0), width, field(desired, width), field(place, width))
    }

    public mutating func xadd(_ place: some Operand, _ addend: GeneralRegister, _ width: Width? = nil) {
        let width = width ?? natural
        sized(.map0F(0xC0), width, field(addend, width), field(place, width))
    }

    public mutating func cmpxchg8b(_ place: Memory) { encode(.map0F(0xC7), plain, .digit(1), .memory(place)) }
    public mutating func cmpxchg16b(_ place: Memory) { encode(.map0F(0xC7), .quad, .digit(1), .memory(place)) }

    // MARK: The stack

    /// PUSH and POP of what the code's stack has: 64 bits in 64-bit code.
    public mutating func push(_ source: some Operand) {
        switch source.form {
        case .general(let register): encode(0x50, plain, low: .register(register.rawValue))
        case .immediate(let value):
            if Int8(exactly: value) != nil {
                encode(0x6A, plain, immediate: .init(value, 1))
            } else {
                encode(0x68, plain, immediate: immediate(value, natural))
            }
        default: encode(0xFF, plain, .digit(6), field(source, natural))
        }
    }

    public mutating func pop(_ destination: some Operand) {
        if case .general(let register) = destination.form {
            encode(0x58, plain, low: .register(register.rawValue))
        } else {
            encode(0x8F, plain, .digit(0), field(destination, natural))
        }
    }

    public mutating func pushf() { bytes(0x9C) }
    public mutating func popf() { bytes(0x9D) }
    public mutating func leave() { bytes(0xC9) }

    // MARK: Strings

    public mutating func movs(_ width: Width) { sized(0xA4, width) }
    public mutating func cmps(_ width: Width) { sized(0xA6, width) }
    public mutating func stos(_ width: Width) { sized(0xAA, width) }
    public mutating func lods(_ width: Width) { sized(0xAC, width) }
    public mutating func scas(_ width: Width) { sized(0xAE, width) }
    /// Before a string instruction.
    public mutating func rep() { bytes(0xF3) }
    public mutating func repne() { bytes(0xF2) }
    /// Before an instruction that may be locked.
    public mutating func lock() { byte(0xF0) }
}
