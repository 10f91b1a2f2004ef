/// General registers by their numbers.
struct RegisterSet: Sequence, ExpressibleByArrayLiteral {
    private var bits: UInt16 = 0

    init(arrayLiteral numbers: UInt8...) {
        for number in numbers { insert(number) }
    }

    init(_ number: UInt8) { insert(number) }

    static let all: RegisterSet = {
        var all: RegisterSet = []
        all.bits = .max
        return all
    }()

    mutating func insert(_ number: UInt8) { bits |= 1 << UInt16(number & 15) }
    mutating func formUnion(_ other: RegisterSet) { bits |= other.bits }
    func contains(_ number: UInt8) -> Bool { bits >> UInt16(number & 15) & 1 != 0 }
    /// Holds either; what is no general register it holds not.
    func contains(_ number: UInt8, or other: UInt8) -> Bool {
        number < 16 && contains(number) || other < 16 && contains(other)
    }
    var count: Int { bits.nonzeroBitCount }

    struct Iterator: IteratorProtocol {
        fileprivate var bits: UInt16

        /// The lowest first.
        mutating func next() -> UInt8? {
            guard bits != 0 else { return nil }
            defer { bits &= bits - 1 }
            return UInt8(bits.trailingZeroBitCount)
        }
    }

    func makeIterator() -> Iterator { Iterator(bits: bits) }
}
