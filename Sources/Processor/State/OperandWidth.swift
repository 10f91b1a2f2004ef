import GuestMemory

/// The widths that integer instructions come in: UInt8, UInt16, UInt32, UInt64.
protocol OperandWidth: FixedWidthInteger & UnsignedInteger & BitwiseCopyable & AtomicInteger {
    associatedtype Signed: FixedWidthInteger & SignedInteger & BitwiseCopyable
    static var bits: Int { get }
}

extension OperandWidth {
    @inline(__always) static var bytes: Int { bits / 8 }
    @inline(__always) static var signBit: Self { 1 << Self(truncatingIfNeeded: bits - 1) }
    @inline(__always) var isNegative: Bool { self & Self.signBit != 0 }
    @inline(__always) var signed: Signed { Signed(truncatingIfNeeded: self) }
    /// Sign-extended to 64 bits.
    @inline(__always) var extended: UInt64 {
        UInt64(bitPattern: Int64(truncatingIfNeeded: Signed(truncatingIfNeeded: self)))
    }
}

extension UInt8: OperandWidth { typealias Signed = Int8; @inline(__always) static var bits: Int { 8 } }
extension UInt16: OperandWidth { typealias Signed = Int16; @inline(__always) static var bits: Int { 16 } }
extension UInt32: OperandWidth { typealias Signed = Int32; @inline(__always) static var bits: Int { 32 } }
extension UInt64: OperandWidth { typealias Signed = Int64; @inline(__always) static var bits: Int { 64 } }
