/// A decoded instruction: pure values, everything that executors, disassembler and encoder need.
///
/// Intel SDM vol. 2, chapter 2 (instruction format); AMD APM vol. 3, chapter 1.
public struct Instruction: Sendable {
    /// The row of the opcode table that the bytes matched.
    public var row: UInt16 = 0
    public var mnemonic: Mnemonic = .invalid
    /// Bytes from the first prefix to the end of the last immediate, 1…15.
    public var length: UInt8 = 0
    public var prefixes: Prefixes = []
    /// Effective operand size in bytes: 2, 4 or 8 (defaults and 64-bit defaults of near branches and stack forms applied).
    public var operandSize: UInt8 = 4
    /// Effective address size in bytes: 2, 4 or 8.
    public var addressSize: UInt8 = 8
    /// Vector length in bytes of a VEX form: 16 or 32; 16 for legacy SSE; 0 for none.
    public var vectorLength: UInt8 = 0
    /// The last opcode byte and the map that it is from.
    public var opcode: UInt8 = 0
    public var map: OpcodeMap = .oneByte
    public var hasModRM = false
    public var modRM: UInt8 = 0
    /// REX/VEX extension bits: R, X, B as 0 or 8 to be added to register numbers; W as a bit.
    public var rexR: UInt8 = 0
    public var rexX: UInt8 = 0
    public var rexB: UInt8 = 0
    public var rexW = false
    /// A REX prefix was present (so that encodings 4…7 of byte registers are SPL, BPL, SIL, DIL).
    public var hasREX = false
    /// VEX.vvvv as a register number.
    public var vexRegister: UInt8 = 0
    /// The memory operand, valid when an operand is `.memory`.
    public var memory = MemoryOperand()
    /// Explicit and implicit operands in Intel order, destination first.
    public var operands: InlineArray<4, Operand> = .init(repeating: .none)
    public var operandCount: UInt8 = 0
    /// The immediate, sign-extended to 64 bits where the form sign-extends, else zero-extended; relative
    /// branches: the displacement, sign-extended (not yet added to RIP).
    public var immediate: UInt64 = 0
    /// The second immediate: ENTER's level, a far pointer's selector.
    public var immediate2: UInt16 = 0

    public init() {}
}

/// Prefixes as met (mandatory ones are folded into the row and not repeated here).
public struct Prefixes: OptionSet, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    public static let lock = Prefixes(rawValue: 1)
    /// F3.
    public static let rep = Prefixes(rawValue: 2)
    /// F2.
    public static let repne = Prefixes(rawValue: 4)
    public static let operandSize = Prefixes(rawValue: 8)
    public static let addressSize = Prefixes(rawValue: 16)
    public static let segment = Prefixes(rawValue: 32)
    public static let vex = Prefixes(rawValue: 64)
}

public enum OpcodeMap: UInt8, Sendable {
    case oneByte, map0F, map0F38, map0F3A
}

/// Segment registers by their encoding in instructions, then the system ones in the order of `CPUState`.
public enum SegmentName: UInt8, Sendable, CaseIterable {
    case es, cs, ss, ds, fs, gs, ldtr, tr
}

/// base + index × scale + displacement in a segment. Register numbers 0…15, or one of the constants.
public struct MemoryOperand: Sendable {
    public static let noRegister: UInt8 = 0xFF
    /// RIP-relative: the displacement counts from the end of the instruction.
    public static let ripRegister: UInt8 = 0xFE

    public var base: UInt8 = MemoryOperand.noRegister
    /// Of a gather: the number of the vector register of indices.
    public var index: UInt8 = MemoryOperand.noRegister
    /// Shift of the index: 0…3.
    public var scale: UInt8 = 0
    /// The effective segment: the override or the default (SS for rSP/rBP bases). Set, too, for the implicit operands of string
    /// sources, XLAT and MASKMOVQ; string destinations are always in ES.
    public var segment: SegmentName = .ds
    /// Sign-extended displacement; the full 64-bit offset for moffs forms.
    public var displacement: Int64 = 0

    public init() {}
}

/// One operand. `size` is in bytes.
public enum Operand: Sendable, Equatable {
    case none
    /// A general register 0…15 of `size` 1, 2, 4, 8; byte registers AH, CH, DH, BH are `highByte` 0…3.
    case register(UInt8, size: UInt8)
    case highByte(UInt8)
    case segment(SegmentName)
    case control(UInt8)
    case debug(UInt8)
    case mmx(UInt8)
    /// XMM or YMM 0…15 by `size` 16 or 32 (the register's width as operand; scalar forms are 16).
    case vector(UInt8, size: UInt8)
    /// ST(i).
    case x87(UInt8)
    /// `Instruction.memory`; `size` 0 where no data is accessed (LEA, INVLPG, prefetches) and for images whose size isn't the
    /// encoding's matter (FXSAVE, XSAVE and their kin).
    case memory(size: UInt8)
    case immediate(size: UInt8)
    case relative(size: UInt8)
    /// ptr16:16, ptr16:32: offset in `immediate`, selector in `immediate2`.
    case farPointer
    /// [rSI] in the effective segment, [rDI] in ES: the implicit operands of string instructions.
    case stringSource(size: UInt8)
    case stringDestination(size: UInt8)
}

/// What the decoder must know of the processor's mode. Intel SDM vol. 3, 2.2 and 3.5.
public struct CodeSize: Sendable, Hashable, RawRepresentable {
    /// 2: 16-bit code; 4: 32-bit code (protected or compatibility mode); 8: 64-bit mode.
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    public static let bits16 = CodeSize(rawValue: 2)
    public static let bits32 = CodeSize(rawValue: 4)
    public static let bits64 = CodeSize(rawValue: 8)
}

/// Why bytes are no instruction.
public enum DecodeError: Error, Sendable, Equatable {
    /// More bytes are needed than were given: the caller fetches the next page, or faults there.
    case truncated
    /// Longer than 15 bytes: #GP(0).
    case tooLong
    /// No such encoding in this mode: #UD.
    case invalid
}
