extension Assembler {
    /// An instruction's bytes while it is put together: 16 at most.
    struct InstructionBytes {
        /// The first in the lowest bits.
        private(set) var bits: UInt128 = 0
        private(set) var count = 0

        @inline(__always)
        mutating func append(_ byte: UInt8) {
            bits |= UInt128(truncatingIfNeeded: byte) &<< UInt128(truncatingIfNeeded: count &* 8)
            count &+= 1
        }

        /// The low `size` bytes of `value`, 8 at most, the lowest first.
        @inline(__always)
        mutating func append(_ value: Int64, _ size: Int) {
            guard size > 0 else { return }
            let low = UInt64(bitPattern: value) & (UInt64.max &>> UInt64(truncatingIfNeeded: 64 &- size &* 8))
            bits |= UInt128(truncatingIfNeeded: low) &<< UInt128(truncatingIfNeeded: count &* 8)
            count &+= size
        }
    }
}
