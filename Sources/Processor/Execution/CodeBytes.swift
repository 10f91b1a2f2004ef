/// The bytes of code at a place: 15 at most, as many as an instruction has.
struct CodeBytes: BitwiseCopyable {
    /// The first in the lowest bits; 0 behind the last.
    private(set) var bits: UInt128 = 0
    private(set) var count = 0

    init() {}

    /// - Parameter place: 16 bytes can be read there.
    @unsafe init(_ place: UnsafeRawPointer, count: Int) {
        self.init(bits: unsafe UInt128(littleEndian: place.loadUnaligned(as: UInt128.self)), count: count)
    }

    private init(bits: UInt128, count: Int) {
        self.count = max(0, min(count, 15))
        self.bits = bits & (1 << UInt128(self.count * 8) - 1)
    }

    func prefix(_ count: Int) -> CodeBytes { CodeBytes(bits: bits, count: min(count, self.count)) }

    func dropFirst(_ count: Int) -> CodeBytes {
        CodeBytes(bits: bits >> UInt128(count * 8), count: self.count - count)
    }

    /// These and those behind them.
    func followed(by more: CodeBytes) -> CodeBytes {
        CodeBytes(bits: bits | more.bits << UInt128(count * 8), count: count + more.count)
    }

    var array: [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: bits >> UInt128($0 * 8)) } }
}

extension CodeBytes: Equatable {
    static func == (a: CodeBytes, b: CodeBytes) -> Bool { a.bits == b.bits && a.count == b.count }
}
