// How an ioctl of KVM is numbered: type 0xAE, a number, a direction and the size of its argument
// (include/uapi/asm-generic/ioctl.h; the function-like macros of <linux/kvm.h> are not imported into Swift).

/// The number of an ioctl, with its direction and the size of its argument inside.
public struct Request: Hashable, Sendable, RawRepresentable {
    public var rawValue: UInt

    @inlinable public init(rawValue: UInt) { self.rawValue = rawValue }

    /// Which way the argument's data moves, seen from the client. Some requests of KVM have it the wrong way round,
    /// which is part of their number.
    public struct Direction: OptionSet, Hashable, Sendable {
        public var rawValue: UInt
        @inlinable public init(rawValue: UInt) { self.rawValue = rawValue }
        /// `_IOW`: the client hands data over.
        @inlinable public static var write: Direction { Direction(rawValue: 1) }
        /// `_IOR`: the client receives data.
        @inlinable public static var read: Direction { Direction(rawValue: 2) }
    }

    /// `KVMIO`, the type byte of every request of KVM.
    @inlinable public static var type: UInt { 0xae }

    /// Bits 0 to 7: the number proper.
    @inlinable public var number: UInt { rawValue & 0xff }
    /// Bits 16 to 29: the size of the fixed part of the argument, in bytes.
    @inlinable public var size: Int { Int((rawValue >> 16) & 0x3fff) }
    /// Bits 30 and 31.
    @inlinable public var direction: Direction { Direction(rawValue: (rawValue >> 30) & 3) }

    @inlinable init(number: UInt, _ direction: Direction, size: Int) {
        rawValue =
            direction.rawValue << 30 | (UInt(bitPattern: size) & 0x3fff) << 16 | Request.type << 8 | number & 0xff
    }

    /// `_IO`: the argument is a value, or none.
    @inlinable static func plain(_ number: UInt) -> Request { Request(number: number, [], size: 0) }
    /// `_IOR`.
    @inlinable static func read<T>(_ number: UInt, _ type: T.Type) -> Request {
        Request(number: number, .read, size: MemoryLayout<T>.size)
    }
    /// `_IOW`.
    @inlinable static func write<T>(_ number: UInt, _ type: T.Type) -> Request {
        Request(number: number, .write, size: MemoryLayout<T>.size)
    }
    /// `_IOWR`.
    @inlinable static func exchange<T>(_ number: UInt, _ type: T.Type) -> Request {
        Request(number: number, [.read, .write], size: MemoryLayout<T>.size)
    }

    /// The macro's name, for instance `KVM_GET_REGS`, or the number in hexadecimal when it is none of ours.
    public var name: String {
        for row in Request.all where row.request == self { return row.name.description }
        return "ioctl 0x" + String(rawValue, radix: 16)
    }
}

extension Request: CustomStringConvertible {
    public var description: String { name }
}
