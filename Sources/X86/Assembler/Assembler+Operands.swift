extension Assembler {
    /// What an instruction works on: a register, memory or an immediate value.
    ///
    /// A width's sign does not matter to immediates: of a byte, -1 and 255 are one.
    public protocol Operand: Sendable {
        var form: Form { get }
    }

    /// Operands by kind.
    public enum Form: Sendable {
        case general(GeneralRegister)
        case highByte(HighByte)
        case segment(SegmentName)
        case vector(Vector)
        case memory(Memory)
        case immediate(Int64)
    }

    /// AH, CH, DH and BH, which instructions with a REX prefix don't have.
    public enum HighByte: UInt8, Sendable, CaseIterable {
        case ah = 4, ch, dh, bh
    }

    /// An MMX, XMM or YMM register; of 64, 128 or 256 bits.
    public struct Vector: Sendable, Hashable {
        public enum Bank: UInt8, Sendable { case mm, xmm, ymm }
        public let bank: Bank
        public let number: UInt8

        /// `number` is below 16; below 8 with `mm`.
        public init(_ bank: Bank, _ number: UInt8) {
            precondition(number < (bank == .mm ? 8 : 16), "no such register")
            self.bank = bank
            self.number = number
        }
    }

    /// base + index × scale + displacement, or a label's place.
    ///
    /// 16 bytes, since each operand of each instruction is one of these, or might be.
    public struct Memory: Sendable, Hashable {
        /// From -2³¹ to 2³¹ - 1.
        public var displacement: Int
        /// Below 0: none.
        @usableFromInline var labelIndex: Int32 = -1
        public var base: GeneralRegister?
        public var index: GeneralRegister?
        /// FS or GS (or another one in 32-bit code) instead of the segment that the base implies.
        public var segment: SegmentName?
        /// The scale's logarithm.
        @usableFromInline var shift: UInt8 = 0

        /// 1, 2, 4 or 8.
        @inlinable public var scale: Int { 1 << Int(shift) }
        /// RIP-relative: 64-bit code only, and without base and index.
        @inlinable public var label: Label? { labelIndex < 0 ? nil : Label(index: labelIndex) }

        /// Nothing but a displacement is an absolute address, sign-extended to 64 bits.
        @inlinable public init(
            _ base: GeneralRegister? = nil, index: GeneralRegister? = nil, scale: Int = 1, _ displacement: Int = 0
        ) {
            precondition(index != .rsp, "RSP can't be an index")
            precondition(scale & ~15 == 0 && scale.nonzeroBitCount == 1, "a scale is 1, 2, 4 or 8")
            self.base = base
            self.index = index
            shift = UInt8(truncatingIfNeeded: scale.trailingZeroBitCount)
            self.displacement = displacement
            // A base is shorter: but RBP as one would imply SS.
            guard base == nil, let index, index != .rbp, scale <= 2 else { return }
            self.base = index
            self.index = scale == 2 ? index : nil
            shift = 0
        }

        public init(_ label: Label, _ displacement: Int = 0) {
            self.init(nil, displacement)
            labelIndex = label.index
        }

        /// The same in another segment.
        @inlinable public func `in`(_ segment: SegmentName) -> Memory {
            var memory = self
            memory.segment = segment
            return memory
        }
    }
}

extension GeneralRegister: Assembler.Operand {
    @inlinable public var form: Assembler.Form { .general(self) }
}
extension Assembler.HighByte: Assembler.Operand {
    @inlinable public var form: Assembler.Form { .highByte(self) }
}
extension SegmentName: Assembler.Operand {
    @inlinable public var form: Assembler.Form { .segment(self) }
}
extension Assembler.Vector: Assembler.Operand {
    @inlinable public var form: Assembler.Form { .vector(self) }
}
extension Assembler.Memory: Assembler.Operand {
    @inlinable public var form: Assembler.Form { .memory(self) }
}
extension Int: Assembler.Operand {
    @inlinable public var form: Assembler.Form { .immediate(Int64(self)) }
}
extension UInt: Assembler.Operand {
    @inlinable public var form: Assembler.Form { .immediate(Int64(bitPattern: UInt64(self))) }
}
extension UInt64: Assembler.Operand {
    @inlinable public var form: Assembler.Form { .immediate(Int64(bitPattern: self)) }
}

// MARK: Names, where any operand is taken

extension Assembler.Operand where Self == GeneralRegister {
    @_disfavoredOverload public static var rax: Self { GeneralRegister.rax }
    @_disfavoredOverload public static var rcx: Self { GeneralRegister.rcx }
    @_disfavoredOverload public static var rdx: Self { GeneralRegister.rdx }
    @_disfavoredOverload public static var rbx: Self { GeneralRegister.rbx }
    @_disfavoredOverload public static var rsp: Self { GeneralRegister.rsp }
    @_disfavoredOverload public static var rbp: Self { GeneralRegister.rbp }
    @_disfavoredOverload public static var rsi: Self { GeneralRegister.rsi }
    @_disfavoredOverload public static var rdi: Self { GeneralRegister.rdi }
    @_disfavoredOverload public static var r8: Self { GeneralRegister.r8 }
    @_disfavoredOverload public static var r9: Self { GeneralRegister.r9 }
    @_disfavoredOverload public static var r10: Self { GeneralRegister.r10 }
    @_disfavoredOverload public static var r11: Self { GeneralRegister.r11 }
    @_disfavoredOverload public static var r12: Self { GeneralRegister.r12 }
    @_disfavoredOverload public static var r13: Self { GeneralRegister.r13 }
    @_disfavoredOverload public static var r14: Self { GeneralRegister.r14 }
    @_disfavoredOverload public static var r15: Self { GeneralRegister.r15 }
    /// The count of a shift.
    @_disfavoredOverload public static var cl: Self { GeneralRegister.rcx }
}

extension Assembler.Operand where Self == Assembler.HighByte {
    @_disfavoredOverload public static var ah: Self { Assembler.HighByte.ah }
    @_disfavoredOverload public static var ch: Self { Assembler.HighByte.ch }
    @_disfavoredOverload public static var dh: Self { Assembler.HighByte.dh }
    @_disfavoredOverload public static var bh: Self { Assembler.HighByte.bh }
}

extension Assembler.Operand where Self == SegmentName {
    @_disfavoredOverload public static var es: Self { SegmentName.es }
    @_disfavoredOverload public static var cs: Self { SegmentName.cs }
    @_disfavoredOverload public static var ss: Self { SegmentName.ss }
    @_disfavoredOverload public static var ds: Self { SegmentName.ds }
    @_disfavoredOverload public static var fs: Self { SegmentName.fs }
    @_disfavoredOverload public static var gs: Self { SegmentName.gs }
}

extension Assembler.Operand where Self == Assembler.Vector {
    public static func mm(_ number: UInt8) -> Self { Assembler.Vector(.mm, number) }
    public static func xmm(_ number: UInt8) -> Self { Assembler.Vector(.xmm, number) }
    public static func ymm(_ number: UInt8) -> Self { Assembler.Vector(.ymm, number) }
}

extension Assembler.Vector {
    public static func mm(_ number: UInt8) -> Self { Self(.mm, number) }
    public static func xmm(_ number: UInt8) -> Self { Self(.xmm, number) }
    public static func ymm(_ number: UInt8) -> Self { Self(.ymm, number) }
}

extension Assembler.Operand where Self == Assembler.Memory {
    /// [base + index × scale + displacement]
    @inlinable public static func at(
        _ base: GeneralRegister, index: GeneralRegister? = nil, scale: Int = 1, _ displacement: Int = 0
    ) -> Self {
        Assembler.Memory(base, index: index, scale: scale, displacement)
    }

    /// [index × scale + displacement]
    public static func at(index: GeneralRegister, scale: Int = 1, _ displacement: Int = 0) -> Self {
        Assembler.Memory(nil, index: index, scale: scale, displacement)
    }

    /// The memory at a label, or so many bytes behind it.
    public static func at(_ label: Assembler.Label, _ displacement: Int = 0) -> Self {
        Assembler.Memory(label, displacement)
    }

    /// The memory at an address below 2³¹, or in the topmost 2 GiB.
    public static func absolute(_ address: Int) -> Self { Assembler.Memory(nil, address) }
}
