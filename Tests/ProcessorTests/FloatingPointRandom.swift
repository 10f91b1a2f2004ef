/// Numbers for floating-point tests: random ones and edges, from a seed.
struct FloatingPointRandom {
    private var seed: UInt64

    init(_ seed: UInt64) { self.seed = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }

    mutating func next() -> UInt64 {
        seed ^= seed << 13
        seed ^= seed >> 7
        seed ^= seed << 17
        return seed &* 0x2545_F491_4F6C_DD1D
    }

    mutating func below(_ limit: UInt64) -> UInt64 { (next() >> 11) % limit }

    private static let singles: [UInt32] = [
        0, 0x8000_0000, 0x3F80_0000, 0xBF80_0000, 0x7F80_0000, 0xFF80_0000, 0x7FC0_0000, 0xFFC0_0001, 0x7F80_0001,
        0xFF81_2345, 1,
        0x8000_0001, 0x007F_FFFF, 0x0080_0000, 0x7F7F_FFFF, 0xFF7F_FFFF, 0x4F00_0000, 0xCF00_0000, 0x3F00_0000,
        0x4B00_0001, 0x3380_0000,
    ]
    private static let doubles: [UInt64] = [
        0, 1 << 63, 0x3FF0_0000_0000_0000, 0xBFF0_0000_0000_0000, 0x7FF0_0000_0000_0000, 0xFFF0_0000_0000_0000,
        0x7FF8_0000_0000_0000,
        0x7FF0_0000_0000_0001, 0xFFF4_0000_0000_0000, 1, 0x800F_FFFF_FFFF_FFFF, 0x0010_0000_0000_0000,
        0x7FEF_FFFF_FFFF_FFFF,
        0x41E0_0000_0000_0000, 0xC1E0_0000_0020_0000, 0x43E0_0000_0000_0000, 0xC3E0_0000_0000_0000,
        0x3FE0_0000_0000_0000,
        0x36A0_0000_0000_0000, 0x380F_FFFF_FFFF_FFFF, 0x47EF_FFFF_F000_0000, 0x3FB9_9999_9999_999A,
    ]

    /// Eight bytes: bits, two single-precision or one double-precision number.
    mutating func word() -> UInt64 {
        switch below(4) {
        case 0: return next()
        case 1: return UInt64(single()) | UInt64(single()) << 32
        case 2: return FloatingPointRandom.doubles[Int(below(UInt64(FloatingPointRandom.doubles.count)))]
        default:
            // Numbers near one, so that sums and products are ordinary.
            let bits = next()
            return below(2) == 0
                ? bits & 0x800F_FFFF_FFFF_FFFF | (0x3FD + below(6)) << 52
                : bits & 0x807F_FFFF_807F_FFFF | (0x7D + below(5)) << 23 | (0x7D + below(5)) << 55
        }
    }

    mutating func single() -> UInt32 {
        FloatingPointRandom.singles[Int(below(UInt64(FloatingPointRandom.singles.count)))]
    }

    /// A double extended-precision number: significand, sign and exponent.
    mutating func extended() -> (UInt64, UInt64) {
        let sign = below(2) << 15
        switch below(12) {
        case 0: return (0, sign)
        case 1: return (1 << 63, sign | 0x7FFF)
        case 2: return (3 << 62 | next() >> 2, sign | 0x7FFF)
        case 3: return (1 << 63 | (next() >> 2) | 1, sign | 0x7FFF)
        case 4: return (next() >> 1 | 1, sign)
        case 5: return (next() >> 1, sign | 0x3FFF)
        case 6: return (1 << 63, sign | 0x3FFF)
        case 7: return (1 << 63 | next(), sign | 0x7FFE)
        case 8: return (1 << 63 | next(), sign | 1)
        default: return (1 << 63 | next(), sign | (0x3FF0 + below(32)))
        }
    }
}
