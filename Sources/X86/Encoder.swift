/// A small encoder of 64-bit code: what the processor emits to run guest instructions on the host.
///
/// Registers are numbers 0…15 (`GeneralRegister` names them); memory is always base + 32-bit displacement.
/// Intel SDM vol. 2, 2.1 and 2.2.
public struct Encoder: Sendable {
    /// The code so far.
    public private(set) var bytes: [UInt8] = []

    public init() {}

    public mutating func append(_ byte: UInt8) { bytes.append(byte) }
    public mutating func append(_ more: [UInt8]) { bytes += more }

    /// A memory operand.
    public struct Memory: Sendable {
        public var base: GeneralRegister
        public var displacement: Int32
        public init(_ base: GeneralRegister, _ displacement: Int32 = 0) {
            self.base = base
            self.displacement = displacement
        }
    }

    // MARK: Building blocks

    private mutating func immediate(_ value: UInt64, bytes count: Int) {
        for index in 0..<count { bytes.append(UInt8(truncatingIfNeeded: value >> UInt64(index * 8))) }
    }

    /// Prefix, REX as needed, opcode, and a ModRM with memory. `byteRegister`: `register` is a byte register (SPL… want REX).
    public mutating func memory(
        prefix: UInt8? = nil, wide: Bool = false, opcode: [UInt8], register: UInt8, _ memory: Memory,
        byteRegister: Bool = false
    ) {
        if let prefix { bytes.append(prefix) }
        rex(wide: wide, register: register, index: 0, base: memory.base.rawValue, force: byteRegister && register > 3)
        bytes += opcode
        modRM(register: register, memory)
    }

    /// The same with a register as the second operand.
    public mutating func register(
        prefix: UInt8? = nil, wide: Bool = false, opcode: [UInt8], register: UInt8, _ rm: UInt8,
        byteRegister: Bool = false
    ) {
        if let prefix { bytes.append(prefix) }
        rex(wide: wide, register: register, index: 0, base: rm, force: byteRegister && (register > 3 || rm > 3))
        bytes += opcode
        bytes.append(0xC0 | (register & 7) << 3 | rm & 7)
    }

    private mutating func rex(wide: Bool, register: UInt8, index: UInt8, base: UInt8, force: Bool = false) {
        let rex = 0x40 | (wide ? 8 : 0) | (register & 8) >> 1 | (index & 8) >> 2 | (base & 8) >> 3
        if rex != 0x40 || force { bytes.append(rex) }
    }

    private mutating func modRM(register: UInt8, _ memory: Memory) {
        let base = memory.base.rawValue & 7
        let short = memory.displacement == 0 && base != 5
        let byte = Int8(exactly: memory.displacement)
        let mod: UInt8 = short ? 0 : byte != nil ? 0x40 : 0x80
        bytes.append(mod | (register & 7) << 3 | base)
        if base == 4 { bytes.append(0x24) }
        if short { return }
        if let byte {
            bytes.append(UInt8(bitPattern: byte))
        } else {
            immediate(UInt64(bitPattern: Int64(memory.displacement)), bytes: 4)
        }
    }

    // MARK: General registers

    /// MOV register, imm64 (shorter forms where they do).
    public mutating func mov(_ register: GeneralRegister, _ value: UInt64) {
        if value <= 0xFFFF_FFFF {
            rex(wide: false, register: 0, index: 0, base: register.rawValue)
            bytes.append(0xB8 | register.rawValue & 7)
            immediate(value, bytes: 4)
        } else {
            rex(wide: true, register: 0, index: 0, base: register.rawValue)
            bytes.append(0xB8 | register.rawValue & 7)
            immediate(value, bytes: 8)
        }
    }

    /// MOV between registers of 1, 2, 4 or 8 bytes.
    public mutating func mov(_ destination: GeneralRegister, _ source: GeneralRegister, size: UInt8 = 8) {
        register(
            prefix: size == 2 ? 0x66 : nil, wide: size == 8, opcode: [size == 1 ? 0x88 : 0x89],
            register: source.rawValue,
            destination.rawValue, byteRegister: size == 1)
    }

    /// MOV register, [memory].
    public mutating func load(_ register: GeneralRegister, _ source: Memory, size: UInt8 = 8) {
        memory(
            prefix: size == 2 ? 0x66 : nil, wide: size == 8, opcode: [size == 1 ? 0x8A : 0x8B],
            register: register.rawValue, source, byteRegister: size == 1)
    }

    /// MOV [memory], register.
    public mutating func store(_ register: GeneralRegister, _ destination: Memory, size: UInt8 = 8) {
        memory(
            prefix: size == 2 ? 0x66 : nil, wide: size == 8, opcode: [size == 1 ? 0x88 : 0x89],
            register: register.rawValue, destination, byteRegister: size == 1)
    }

    /// MOVZX register, byte or word [memory].
    public mutating func loadZeroExtended(_ register: GeneralRegister, _ source: Memory, size: UInt8) {
        memory(opcode: [0x0F, size == 1 ? 0xB6 : 0xB7], register: register.rawValue, source)
    }

    /// LEA.
    public mutating func lea(_ register: GeneralRegister, _ source: Memory) {
        memory(wide: true, opcode: [0x8D], register: register.rawValue, source)
    }

    /// Arithmetic and logic by /digit.
    public enum Operation: UInt8, Sendable {
        case add, or, adc, sbb, and, sub, xor, cmp
    }

    public mutating func alu(
        _ operation: Operation, _ destination: GeneralRegister, _ source: GeneralRegister, size: UInt8 = 8
    ) {
        register(
            prefix: size == 2 ? 0x66 : nil, wide: size == 8, opcode: [operation.rawValue << 3 | (size == 1 ? 0 : 1)],
            register: source.rawValue, destination.rawValue, byteRegister: size == 1)
    }

    /// With an immediate, sign-extended; 4 or 8 bytes.
    public mutating func alu(_ operation: Operation, _ destination: GeneralRegister, _ value: Int32, size: UInt8 = 8) {
        register(wide: size == 8, opcode: [0x81], register: operation.rawValue, destination.rawValue)
        immediate(UInt64(bitPattern: Int64(value)), bytes: 4)
    }

    /// Register with [memory].
    public mutating func alu(_ operation: Operation, _ destination: GeneralRegister, _ source: Memory, size: UInt8 = 8)
    {
        memory(
            prefix: size == 2 ? 0x66 : nil, wide: size == 8, opcode: [operation.rawValue << 3 | (size == 1 ? 2 : 3)],
            register: destination.rawValue, source, byteRegister: size == 1)
    }

    // MARK: Stack, flags, control

    public mutating func push(_ register: GeneralRegister) {
        rex(wide: false, register: 0, index: 0, base: register.rawValue)
        bytes.append(0x50 | register.rawValue & 7)
    }
    public mutating func pop(_ register: GeneralRegister) {
        rex(wide: false, register: 0, index: 0, base: register.rawValue)
        bytes.append(0x58 | register.rawValue & 7)
    }
    /// PUSH and POP of [memory].
    public mutating func push(_ source: Memory) { memory(opcode: [0xFF], register: 6, source) }
    public mutating func pop(_ destination: Memory) { memory(opcode: [0x8F], register: 0, destination) }
    public mutating func pushfq() { bytes.append(0x9C) }
    public mutating func popfq() { bytes.append(0x9D) }
    public mutating func lahf() { bytes.append(0x9F) }
    public mutating func sahf() { bytes.append(0x9E) }
    public mutating func setcc(_ condition: Condition, _ destination: GeneralRegister) {
        register(opcode: [0x0F, 0x90 | condition.rawValue], register: 0, destination.rawValue, byteRegister: true)
    }
    public mutating func ret() { bytes.append(0xC3) }
    public mutating func call(_ target: GeneralRegister) { register(opcode: [0xFF], register: 2, target.rawValue) }
    public mutating func jmp(_ target: GeneralRegister) { register(opcode: [0xFF], register: 4, target.rawValue) }
    public mutating func call(_ target: Memory) { memory(opcode: [0xFF], register: 2, target) }
    public mutating func jmp(_ target: Memory) { memory(opcode: [0xFF], register: 4, target) }
    /// Conditional and unconditional near jumps by a displacement from their end.
    public mutating func jcc(_ condition: Condition, displacement: Int32) {
        bytes += [0x0F, 0x80 | condition.rawValue]
        immediate(UInt64(bitPattern: Int64(displacement)), bytes: 4)
    }
    public mutating func jmp(displacement: Int32) {
        bytes.append(0xE9)
        immediate(UInt64(bitPattern: Int64(displacement)), bytes: 4)
    }
    public mutating func ud2() { bytes += [0x0F, 0x0B] }

    // MARK: Floating point and vectors

    /// MOVUPS xmm, [memory] and back.
    public mutating func movups(_ vector: UInt8, _ source: Memory) {
        memory(opcode: [0x0F, 0x10], register: vector, source)
    }
    public mutating func movups(_ destination: Memory, _ vector: UInt8) {
        memory(opcode: [0x0F, 0x11], register: vector, destination)
    }
    /// VMOVUPS ymm (or xmm, which clears the upper half), [memory] and back.
    public mutating func vmovups(_ vector: UInt8, _ source: Memory, wide: Bool = true) {
        vex(opcode: 0x10, register: vector, source, wide: wide)
    }
    public mutating func vmovups(_ destination: Memory, _ vector: UInt8, wide: Bool = true) {
        vex(opcode: 0x11, register: vector, destination, wide: wide)
    }
    private mutating func vex(opcode: UInt8, register: UInt8, _ operand: Memory, wide: Bool) {
        bytes += [
            0xC4, (register & 8 != 0 ? 0 : 0x80) | 0x40 | (operand.base.rawValue & 8 != 0 ? 0 : 0x20) | 1,
            0x78 | (wide ? 4 : 0), opcode,
        ]
        modRM(register: register, operand)
    }
    public mutating func vzeroupper() { bytes += [0xC5, 0xF8, 0x77] }
    /// MOVQ mm, [memory] and back.
    public mutating func movq(mmx register: UInt8, _ source: Memory) {
        memory(opcode: [0x0F, 0x6F], register: register, source)
    }
    public mutating func movq(_ destination: Memory, mmx register: UInt8) {
        memory(opcode: [0x0F, 0x7F], register: register, destination)
    }
    public mutating func emms() { bytes += [0x0F, 0x77] }
    public mutating func ldmxcsr(_ source: Memory) { memory(opcode: [0x0F, 0xAE], register: 2, source) }
    public mutating func stmxcsr(_ destination: Memory) { memory(opcode: [0x0F, 0xAE], register: 3, destination) }
    /// FXSAVE64 and FXRSTOR64.
    public mutating func fxsave(_ destination: Memory) {
        memory(wide: true, opcode: [0x0F, 0xAE], register: 0, destination)
    }
    public mutating func fxrstor(_ source: Memory) { memory(wide: true, opcode: [0x0F, 0xAE], register: 1, source) }
    /// FLD and FSTP of ten bytes.
    public mutating func fld80(_ source: Memory) { memory(opcode: [0xDB], register: 5, source) }
    public mutating func fstp80(_ destination: Memory) { memory(opcode: [0xDB], register: 7, destination) }
    public mutating func fldcw(_ source: Memory) { memory(opcode: [0xD9], register: 5, source) }
    public mutating func fnstcw(_ destination: Memory) { memory(opcode: [0xD9], register: 7, destination) }
    public mutating func fnstsw(_ destination: Memory) { memory(opcode: [0xDD], register: 7, destination) }
    public mutating func fldenv(_ source: Memory) { memory(opcode: [0xD9], register: 4, source) }
    public mutating func fnstenv(_ destination: Memory) { memory(opcode: [0xD9], register: 6, destination) }
    public mutating func frstor(_ source: Memory) { memory(opcode: [0xDD], register: 4, source) }
    public mutating func fnsave(_ destination: Memory) { memory(opcode: [0xDD], register: 6, destination) }
    public mutating func fninit() { bytes += [0xDB, 0xE3] }
    public mutating func fnclex() { bytes += [0xDB, 0xE2] }
}
