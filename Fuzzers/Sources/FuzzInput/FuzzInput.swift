/// An input, read from its start as values; zeros where it has ended. So each byte string means something, and libFuzzer's
/// mutations of it mean something near.
public struct FuzzInput {
    public let bytes: [UInt8]
    public private(set) var position = 0

    public init(_ bytes: [UInt8]) { self.bytes = bytes }

    // SAFETY: libFuzzer hands over `size` bytes that live as long as the call.
    public init(_ data: UnsafePointer<UInt8>?, _ size: Int) {
        unsafe self.init([UInt8](UnsafeBufferPointer(start: data, count: size)))
    }

    public var isAtEnd: Bool { position >= bytes.count }
    public var rest: ArraySlice<UInt8> { bytes[min(position, bytes.count)...] }

    public mutating func byte() -> UInt8 {
        guard position < bytes.count else { return 0 }
        defer { position += 1 }
        return bytes[position]
    }

    /// Little-endian.
    public mutating func integer<T: FixedWidthInteger>(_: T.Type = T.self) -> T {
        var value: T = 0
        for index in 0..<T.bitWidth / 8 { value |= T(truncatingIfNeeded: byte()) << T(truncatingIfNeeded: index * 8) }
        return value
    }

    public mutating func take(_ count: Int) -> ArraySlice<UInt8> {
        let slice = rest.prefix(count)
        position += slice.count
        return slice
    }
}

/// Ends the process with `message` where something is not as it must be: a finding.
@inline(__always) public func require(_ condition: Bool, _ message: @autoclosure () -> String) {
    if !condition { report(message()) }
}

@inline(never) public func report(_ message: String) -> Never { fatalError(message) }
