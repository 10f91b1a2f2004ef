internal import TestSupport

/// Numbers with a liking for the values at which arithmetic changes.
public struct OracleRandom: RandomNumberGenerator, Sendable {
    private var source: SplitMix64

    public init(seed: UInt64) { source = SplitMix64(seed: seed &* 0xD1B5_4A32_D192_ED03 ^ 0x1234_5678) }

    public mutating func next() -> UInt64 { source.next() }

    /// 0 ..< bound, by the high half of a product.
    public mutating func below(_ bound: Int) -> Int {
        Int(truncatingIfNeeded: next().multipliedFullWidth(by: UInt64(bound)).high)
    }

    public mutating func chance(_ percent: Int) -> Bool { below(100) < percent }
    public mutating func byte() -> UInt8 { UInt8(truncatingIfNeeded: next() >> 32) }

    public mutating func pick<T>(_ list: [T]) -> T { list[below(list.count)] }

    /// An integer: edges, small ones, sparse ones, and any.
    public mutating func value() -> UInt64 {
        switch below(8) {
        case 0: return UInt64(below(17)) &- 8
        case 1: return (1 as UInt64) << UInt64(below(64))
        case 2: return ((1 as UInt64) << UInt64(below(64))) &- 1
        case 3: return OracleRandom.edges[below(OracleRandom.edges.count)]
        case 4: return next() >> UInt64(below(64))
        case 5: return floatingPoint()
        default: return next()
        }
    }

    /// Integers at which signs, carries and widths turn.
    static let edges: [UInt64] = [
        0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x1_0000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0x1_0000_0000,
        0x7FFF_FFFF_FFFF_FFFF, 0x8000_0000_0000_0000, 0x5555_5555_5555_5555, 0xAAAA_AAAA_AAAA_AAAA,
        0x8080_8080_8080_8080,
        0x7F7F_7F7F_7F7F_7F7F, 0x8000_8000_8000_8000, 0x8000_0000_8000_0000, 0x0F0F_0F0F_0F0F_0F0F, .max,
    ]

    /// A double, or two singles: zeroes, ones, infinities, NaNs of both kinds, tiny and huge ones, integers, any.
    public mutating func floatingPoint() -> UInt64 {
        let doubles: [UInt64] = [
            0, 0x8000_0000_0000_0000, 0x3FF0_0000_0000_0000, 0xBFF0_0000_0000_0000, 0x7FF0_0000_0000_0000,
            0xFFF0_0000_0000_0000, 0x7FF8_0000_0000_0000, 0x7FF0_0000_0000_0001, 0xFFF4_0000_0000_0123, 1,
            0x000F_FFFF_FFFF_FFFF, 0x0010_0000_0000_0000, 0x7FEF_FFFF_FFFF_FFFF, 0x41DF_FFFF_FFC0_0000,
            0x43E0_0000_0000_0000, 0xC1E0_0000_0000_0000, 0x3FE0_0000_0000_0000, 0x4008_0000_0000_0000,
        ]
        let singles: [UInt64] = [
            0, 0x8000_0000, 0x3F80_0000, 0xBF80_0000, 0x7F80_0000, 0xFF80_0000, 0x7FC0_0000, 0x7F80_0001, 0xFFA0_0123,
            1,
            0x7F_FFFF, 0x80_0000, 0x7F7F_FFFF, 0x4F00_0000, 0x5F00_0000, 0xCF00_0000, 0x3F00_0000, 0x4049_0FDB,
        ]
        switch below(5) {
        case 0: return pick(doubles)
        case 1: return pick(singles) | pick(singles) << 32
        case 2: return (0x3C0 + UInt64(below(0x80))) << 52 | next() >> 12 | next() & 1 << 63
        case 3:
            let exponents = (UInt64(0x70 + below(0x20)) << 23, UInt64(0x70 + below(0x20)) << 55)
            return exponents.0 | exponents.1 | next() & 0x807F_FFFF_807F_FFFF
        default: return next()
        }
    }

    /// An 80-bit extended value: mantissa, sign and exponent. Intel SDM vol. 1, 8.2, the unsupported formats among them.
    public mutating func extended() -> (UInt64, UInt64) {
        let sign = UInt64(below(2)) << 15
        switch below(8) {
        case 0: return (0, sign)
        case 1: return (1 << 63, sign | 0x7FFF)
        case 2: return (next() | 1 << 63, sign | 0x7FFF)
        case 3: return (next() >> UInt64(1 + below(63)), sign)
        case 4: return (next(), sign | UInt64(below(0x8000)))
        default: return (next() | 1 << 63, sign | UInt64(0x3FFF - 40 + below(110)))
        }
    }
}
