import FuzzInput

extension PagingCase {
    /// In each mode a path of pages for everyone, with accesses of each kind by it; then one bit of it changed.
    static var seeds: [[UInt8]] {
        (0..<4 as Range<UInt8>).flatMap { mode in
            [0, 0x1F].flatMap { controls in [0, 3].map { seed(mode: mode, controls: controls, cpl: $0) } }
                + (0..<16).map { seed(mode: mode, controls: 0x1F, cpl: 0, spoiling: $0) }
        }
    }

    private static func seed(mode: UInt8, controls: UInt8, cpl: UInt8, spoiling bit: UInt64? = nil) -> [UInt8] {
        var seed = [mode | controls << 2, cpl, 40, 1, 0]
        for linear in [0x1234 as UInt64, 0x40_2000, 0x8765_4FFC] {
            seed += [0] + bytes(linear)
            for level in 0..<4 as Range<UInt64> {
                var entry = 0x7 | (level + 2) << 12
                if level == 2, linear == 0x40_2000 { entry |= 0x80 }
                if let bit, level == 3 { entry ^= 1 << (bit * 4 + 1) }
                seed += bytes(entry) + [0]
            }
        }
        for operation: UInt8 in [2, 3, 4, 5, 6] {
            for path in 0..<3 as Range<UInt8> { seed += [operation, path, 0x10, 0, 0x33] }
        }
        return seed
    }
}
