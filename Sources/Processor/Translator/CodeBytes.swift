import X86

/// The bytes of code at a place: 15 at most, as many as an instruction has.
struct CodeBytes: BitwiseCopyable {
    /// The first in the lowest bits; 0 behind the last.
    private var bits: UInt128 = 0
    private(set) var count = 0

    init() {}

    /// - Parameter place: 16 bytes can be read there.
    @unsafe init(_ place: UnsafeRawPointer, count: Int) {
        self.init(bits: unsafe UInt128(littleEndian: place.loadUnaligned(as: UInt128.self)), count: count)
    }

    private init(bits: UInt128, count: Int) {
        self.bits = bits & (1 << UInt128(count * 8) - 1)
        self.count = count
    }

    func prefix(_ count: Int) -> CodeBytes { CodeBytes(bits: bits, count: min(count, self.count)) }

    func dropFirst(_ count: Int) -> CodeBytes {
        CodeBytes(bits: bits >> UInt128(count * 8), count: max(0, self.count - count))
    }

    /// These and those behind them.
    func followed(by more: CodeBytes) -> CodeBytes {
        CodeBytes(bits: bits | more.bits << UInt128(count * 8), count: min(15, count + more.count))
    }

    var array: [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: bits >> UInt128($0 * 8)) } }

    func decoded(_ mode: CodeMode) throws(DecodeError) -> Instruction {
        try Decoder.decode(
            window: bits, count: count, codeSize: CodeSize(rawValue: mode.codeSize),
            realOrV86: mode.contains(.realOrV86), vendor: mode.contains(.amd) ? .amd : .intel)
    }
}

extension CodeBytes: Equatable {
    static func == (a: CodeBytes, b: CodeBytes) -> Bool { a.bits == b.bits && a.count == b.count }
}
