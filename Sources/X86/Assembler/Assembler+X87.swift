// x87 as far as code of our own loads and stores its state. Intel SDM vol. 2, chapter 3 and appendix B.17.

extension Assembler {
    /// Formats of memory operands, by their bits.
    public enum RealFormat: Sendable, CaseIterable { case real32, real64, real80 }
    public enum IntegerFormat: Sendable, CaseIterable { case integer16, integer32, integer64 }

    private mutating func x87(_ opcode: UInt8, _ digit: UInt8, _ memory: Memory) {
        encode(Opcode(opcode), plain, .digit(digit), .memory(memory))
    }

    public mutating func fld(_ from: Memory, _ format: RealFormat) {
        switch format {
        case .real32: x87(0xD9, 0, from)
        case .real64: x87(0xDD, 0, from)
        case .real80: x87(0xDB, 5, from)
        }
    }
    public mutating func fstp(_ to: Memory, _ format: RealFormat) {
        switch format {
        case .real32: x87(0xD9, 3, to)
        case .real64: x87(0xDD, 3, to)
        case .real80: x87(0xDB, 7, to)
        }
    }
    public mutating func fild(_ from: Memory, _ format: IntegerFormat) {
        switch format {
        case .integer16: x87(0xDF, 0, from)
        case .integer32: x87(0xDB, 0, from)
        case .integer64: x87(0xDF, 5, from)
        }
    }
    public mutating func fistp(_ to: Memory, _ format: IntegerFormat) {
        switch format {
        case .integer16: x87(0xDF, 3, to)
        case .integer32: x87(0xDB, 3, to)
        case .integer64: x87(0xDF, 7, to)
        }
    }

    /// With ST(`index`).
    public mutating func fld(st index: UInt8) { bytes(0xD9, 0xC0 | index & 7) }
    public mutating func fxch(st index: UInt8) { bytes(0xD9, 0xC8 | index & 7) }
    public mutating func fstp(st index: UInt8) { bytes(0xDD, 0xD8 | index & 7) }
    public mutating func ffree(st index: UInt8) { bytes(0xDD, 0xC0 | index & 7) }
    public mutating func fld1() { bytes(0xD9, 0xE8) }
    public mutating func fldz() { bytes(0xD9, 0xEE) }

    public mutating func fldcw(_ from: Memory) { x87(0xD9, 5, from) }
    public mutating func fnstcw(_ to: Memory) { x87(0xD9, 7, to) }
    public mutating func fnstsw(_ to: Memory) { x87(0xDD, 7, to) }
    /// To AX.
    public mutating func fnstsw() { bytes(0xDF, 0xE0) }
    public mutating func fldenv(_ from: Memory) { x87(0xD9, 4, from) }
    public mutating func fnstenv(_ to: Memory) { x87(0xD9, 6, to) }
    public mutating func frstor(_ from: Memory) { x87(0xDD, 4, from) }
    public mutating func fnsave(_ to: Memory) { x87(0xDD, 6, to) }
    public mutating func fninit() { bytes(0xDB, 0xE3) }
    public mutating func fnclex() { bytes(0xDB, 0xE2) }
    public mutating func fwait() { bytes(0x9B) }
}
