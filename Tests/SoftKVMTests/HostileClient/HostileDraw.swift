// Random choices of a hostile client: repeated by the seed, with a liking for what goes wrong.

import TestSupport

struct HostileDraw: RandomNumberGenerator {
    private var source: SplitMix64

    init(seed: UInt64) { source = SplitMix64(seed: seed &* 0x9E37_79B9_7F4A_7C15) }

    mutating func next() -> UInt64 { source.next() }

    mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(max(1, bound))) }
    mutating func chance(_ percent: Int) -> Bool { below(100) < percent }
    mutating func pick<T>(_ choices: [T]) -> T? { choices.isEmpty ? nil : choices[below(choices.count)] }

    private static let edges: [UInt64] = [
        0, 1, 2, 3, 8, 0x1F, 0x20, 0xFF, 0x1000, 0xF_F000, 0x10_0000, 0x7FFF_FFFF, 0x8000_0000, 0xFEE0_0000,
        0xFFFF_FFFF,
        1 << 32, 1 << 47, 1 << 52, .max, .max - 0xFFF, 1 << 63,
    ]

    mutating func value() -> UInt64 {
        switch below(8) {
        case 0: next()
        case 1: next() >> UInt64(below(64))
        case 2: 1 << UInt64(below(64))
        case 3, 4: HostileDraw.edges[below(HostileDraw.edges.count)]
        default: UInt64(below(8))
        }
    }

    mutating func bytes(_ count: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count {
            let value = value()
            let width = [1, 2, 4, 8][below(4)]
            bytes += (0..<width).map { UInt8(truncatingIfNeeded: value >> UInt64(8 * $0)) }
        }
        return Array(bytes.prefix(count))
    }
}
