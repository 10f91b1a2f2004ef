/// Writes machine code of our own: an instruction is a method, its operands in Intel's order.
///
///     let code = Assembler.code { a in
///         let again = a.here()
///         a.add(.at(.rdi, index: .rcx, scale: 8), .rax)
///         a.dec(.rcx)
///         a.jcc(.nz, again)
///         a.ret()
///     }
///
/// An operand's width is the last argument, where it is not the code's own (64 bits in 64-bit code). Of an instruction's
/// encodings the shortest is taken, of jumps, too. What no encoding has is a mistake of the program, and ends it.
///
/// There is one encoder of instructions: what was decoded is written again, with other registers, by `reencode`, which
/// shares the few functions of `Assembler+Encoding.swift` with all the rest.
/// Intel SDM vol. 2, chapter 2.
public struct Assembler: Sendable {
    /// What the code runs as. Code of 16 and 32 bits has the first eight registers only, and 32-bit addresses.
    public let codeSize: CodeSize

    /// All but the jumps to labels, whose lengths are known at the end; behind it room for more.
    private(set) var written: [UInt8] = []
    /// How much of it is code.
    private(set) var position = 0
    var places: [Place] = []
    var jumps: [Jump] = []
    var references: [Reference] = []

    public init(_ codeSize: CodeSize = .bits64) {
        self.codeSize = codeSize
    }

    /// The bytes that `write` writes.
    public static func code(_ codeSize: CodeSize = .bits64, _ write: (inout Assembler) -> Void) -> [UInt8] {
        var assembler = Assembler(codeSize)
        write(&assembler)
        return assembler.finished().bytes
    }

    /// Forgets all code and labels, but keeps the memory that they took.
    public mutating func removeAll() {
        position = 0
        places.removeAll(keepingCapacity: true)
        jumps.removeAll(keepingCapacity: true)
        references.removeAll(keepingCapacity: true)
    }

    /// Bytes as they are.
    public mutating func bytes(_ bytes: UInt8...) { self.bytes(bytes) }
    public mutating func bytes(_ bytes: some Sequence<UInt8>) { for byte in bytes { self.byte(byte) } }

    mutating func byte(_ byte: UInt8) {
        var code = InstructionBytes()
        code.append(byte)
        write(code)
    }

    /// Adds an instruction.
    mutating func write(_ code: InstructionBytes) {
        if written.count &- position < 16 {
            written.append(contentsOf: repeatElement(0, count: max(512, written.count)))
        }
        let position = position
        // SAFETY: the bounds are checked.
        unsafe written.withUnsafeMutableBytes {
            unsafe $0.storeBytes(of: code.bits.littleEndian, toByteOffset: position, as: UInt128.self)
        }
        self.position = position &+ code.count
    }

    /// The width of registers that the code has of itself.
    var natural: Width { codeSize == .bits64 ? .quad : codeSize == .bits32 ? .long : .word }

    /// The width that needs no prefix.
    var plain: Width { codeSize == .bits16 ? .word : .long }

    /// Widths of integer operands, in bytes.
    public enum Width: UInt8, Sendable, CaseIterable {
        case byte = 1, word = 2, long = 4, quad = 8
    }
}
