import X86

extension BlockCache {
    /// A block while it is decoded: its ops, where they will stay, and what was read of the code.
    @safe struct Draft {
        static let mostOps = 65
        private static let opsSize = mostOps * MemoryLayout<Op>.stride

        // SAFETY: in the arena, with room for the ops, for as many instructions' bytes behind them and for what more `CodeBytes` reads.
        private let ops: UnsafeMutablePointer<Op>
        private let bytes: UnsafeMutableRawPointer
        /// Ops.
        private(set) var count = 0
        /// Bytes that were read.
        private(set) var read = 0

        @unsafe init(_ place: UnsafeMutableRawPointer) {
            unsafe ops = place.assumingMemoryBound(to: Op.self)
            unsafe bytes = place + Draft.opsSize
        }

        var first: Op { unsafe ops.pointee }

        mutating func append(_ op: Op) {
            precondition(count < Draft.mostOps, "a block of too many ops")
            unsafe (ops + count).initialize(to: op)
            count += 1
        }

        /// Reads the code up to a number of bytes, each of them once.
        @unsafe mutating func read(_ code: UnsafeRawPointer, to end: Int) {
            guard end > read else { return }
            precondition(end <= Draft.mostOps * 15, "a block of too many bytes")
            unsafe (bytes + read).copyMemory(from: code + read, byteCount: end - read)
            read = end
        }

        func code(at offset: Int, count: Int) -> CodeBytes {
            precondition(offset >= 0 && offset + count <= read, "bytes that were read")
            return unsafe CodeBytes(bytes + offset, count: count)
        }

        /// The first bytes, to behind the ops.
        func moveBytes(_ count: Int) {
            unsafe UnsafeMutableRawPointer(ops + self.count).copyMemory(from: bytes, byteCount: min(count, read))
        }
    }
}
