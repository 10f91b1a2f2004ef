// Sizes as people write them: 512M, 1G, 65536K, or bytes.

internal import ArgumentParser

/// A size in bytes.
struct MemorySize: CustomStringConvertible {
    let bytes: UInt64

    init(bytes: UInt64) { self.bytes = bytes }

    /// From an option's text.
    init(option text: String) throws {
        guard let size = MemorySize(text) else {
            throw ValidationError("it is no size: give for example 512M or 2G")
        }
        self = size
    }

    private init?(_ argument: String) {
        let units: [Character: UInt64] = ["K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40]
        var digits = argument[...]
        if digits.last == "B" || digits.last == "b" { digits = digits.dropLast() }
        if digits.last == "i" { digits = digits.dropLast() }
        var unit: UInt64 = 1
        if let last = digits.last, let value = units[Character(last.uppercased())] {
            unit = value
            digits = digits.dropLast()
        } else if digits.count != argument.count {
            return nil
        }
        guard !digits.isEmpty, digits.allSatisfy({ $0.isASCII && $0.isNumber }), let number = UInt64(digits) else {
            return nil
        }
        let (bytes, overflow) = number.multipliedReportingOverflow(by: unit)
        guard !overflow else { return nil }
        self.bytes = bytes
    }

    /// As the help shows a default.
    var description: String { "\(bytes >> 20)M" }
}
