// Encoding the ACPI Machine Language (ACPI 6.5, 20.2): as much as a small machine's DSDT takes.

/// An encoded term list.
struct AML {
    private(set) var bytes: [UInt8] = []

    /// Name (name, integer).
    mutating func name(_ name: String, _ value: UInt64) {
        bytes.append(0x08)
        bytes += AML.path(name)
        bytes += AML.integer(value)
    }

    /// Name (name, EISAID (id)).
    mutating func name(_ name: String, eisaID id: String) {
        bytes.append(0x08)
        bytes += AML.path(name)
        bytes += AML.dword(AML.compressed(id))
    }

    /// Name (name, Package {integers}).
    mutating func name(_ name: String, package values: [UInt64]) {
        bytes.append(0x08)
        bytes += AML.path(name)
        bytes.append(0x12)
        bytes += AML.withLength([UInt8(truncatingIfNeeded: values.count)] + values.flatMap(AML.integer))
    }

    /// Name (name, Buffer {contents}).
    mutating func name(_ name: String, buffer contents: [UInt8]) {
        bytes.append(0x08)
        bytes += AML.path(name)
        bytes.append(0x11)
        bytes += AML.withLength(AML.integer(UInt64(contents.count)) + contents)
    }

    /// Scope (path) {body}.
    mutating func scope(_ path: String, _ body: (inout AML) -> Void) {
        bytes.append(0x10)
        bytes += AML.withLength(AML.path(path) + AML.encode(body))
    }

    /// Device (name) {body}.
    mutating func device(_ name: String, _ body: (inout AML) -> Void) {
        bytes += [0x5b, 0x82]
        bytes += AML.withLength(AML.segment(name) + AML.encode(body))
    }

    static func encode(_ body: (inout AML) -> Void) -> [UInt8] {
        var aml = AML()
        body(&aml)
        return aml.bytes
    }

    /// A name segment: four characters, filled up with underscores.
    private static func segment(_ name: String) -> [UInt8] {
        var bytes = Array(name.utf8.prefix(4))
        while bytes.count < 4 { bytes.append(UInt8(ascii: "_")) }
        return bytes
    }

    /// `\` and one segment.
    private static func path(_ path: String) -> [UInt8] {
        path.hasPrefix("\\") ? [0x5c] + segment(String(path.dropFirst())) : segment(path)
    }

    /// The shortest encoding of an integer (ACPI 6.5, 20.2.3).
    private static func integer(_ value: UInt64) -> [UInt8] {
        switch value {
        case 0: [0x00]
        case 1: [0x01]
        case 2...0xff: [0x0a] + littleEndianBytes(UInt8(value))
        case 0x100...0xffff: [0x0b] + littleEndianBytes(UInt16(value))
        case 0x1_0000...0xffff_ffff: [0x0c] + littleEndianBytes(UInt32(value))
        default: [0x0e] + littleEndianBytes(value)
        }
    }

    private static func dword(_ value: UInt32) -> [UInt8] { [0x0c] + littleEndianBytes(value) }

    /// PkgLength, which counts itself, before what it measures (ACPI 6.5, 20.2.4).
    static func withLength(_ contents: [UInt8]) -> [UInt8] {
        if contents.count + 1 < 0x40 { return [UInt8(contents.count + 1)] + contents }
        var size = 2
        while size < 4 && contents.count + size >= 1 << (4 + 8 * (size - 1)) { size += 1 }
        let total = contents.count + size
        var length = [UInt8((size - 1) << 6 | total & 0x0f)]
        for index in 1..<size { length.append(UInt8(truncatingIfNeeded: total >> (8 * index - 4))) }
        return length + contents
    }

    /// An EISA id such as PNP0501 as a number (ACPI 6.5, 19.3.4): three letters of five bits, four hexadecimal digits,
    /// big-endian.
    static func compressed(_ id: String) -> UInt32 {
        let characters = Array(id.utf8)
        guard characters.count == 7, let digits = UInt32(id.suffix(4), radix: 16) else { return 0 }
        let letters = characters.prefix(3).reduce(0 as UInt32) { $0 << 5 | UInt32($1 & 0x1f) }
        return (letters << 16 | digits).byteSwapped
    }
}

/// Resource descriptors (ACPI 6.5, 6.4).
enum AMLResource {
    /// IO (Decode16, first, first, 1, count).
    static func ports(_ first: UInt16, _ count: UInt8) -> [UInt8] {
        [0x47, 0x01] + littleEndianBytes(first) + littleEndianBytes(first) + [0x01, count]
    }

    /// IRQNoFlags () {irq}.
    static func interrupt(_ irq: UInt32) -> [UInt8] { [0x22] + littleEndianBytes(1 << UInt16(irq & 15) as UInt16) }

    /// The end tag, with a checksum that says it was not computed.
    static let end: [UInt8] = [0x79, 0x00]
}
