// Reading little-endian fields out of a file's bytes. What lies outside the file is nil, never a trap.

struct ByteReader: Sendable {
    let bytes: ArraySlice<UInt8>

    init(_ bytes: [UInt8]) { self.bytes = bytes[...] }
    init(_ bytes: ArraySlice<UInt8>) { self.bytes = bytes }

    var count: Int { bytes.count }

    /// The bytes of [offset, offset + count), if all of them are there.
    func slice(_ offset: UInt64, _ count: UInt64) -> ArraySlice<UInt8>? {
        let size = UInt64(bytes.count)
        guard offset <= size, count <= size - offset else { return nil }
        let start = bytes.startIndex + Int(offset)
        return bytes[start..<(start + Int(count))]
    }

    /// The integer at `offset`.
    func load<T: FixedWidthInteger & UnsignedInteger>(_ offset: UInt64, as type: T.Type = T.self) -> T? {
        guard let field = slice(offset, UInt64(T.bitWidth / 8)) else { return nil }
        var value: T = 0
        for byte in field.reversed() { value = value << 8 | T(byte) }
        return value
    }
}

/// Rounds up to a multiple of a power of two; nil where that overflows.
func aligned(_ value: UInt64, to alignment: UInt64) -> UInt64? {
    let (sum, overflow) = value.addingReportingOverflow(alignment &- 1)
    return overflow ? nil : sum & ~(alignment &- 1)
}

/// Little-endian bytes of an integer.
func littleEndianBytes<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
    (0..<T.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> T($0 * 8)) }
}
