/// A stretch of guest memory: what a device is given of a ring or a buffer, from where nothing outside can be reached.
///
/// Offsets count from its start; errors tell its size.
public struct GuestView: Sendable {
    private let memory: GuestMemory
    private let start: UInt64
    /// Bytes.
    public let count: Int

    /// The caller has checked that it lies in the memory.
    init(_ memory: GuestMemory, start: UInt64, count: Int) {
        self.memory = memory
        self.start = start
        self.count = count
    }

    private func check(_ offset: UInt64, _ length: Int) throws(GuestMemory.Failure) -> UInt64 {
        guard length >= 0, offset <= UInt64(count), UInt64(length) <= UInt64(count) - offset else {
            throw .outOfBounds(offset: offset, count: length, size: count)
        }
        return start + offset
    }

    /// A part of it.
    public func view(at offset: UInt64, count: Int) throws(GuestMemory.Failure) -> GuestView {
        GuestView(memory, start: try check(offset, count), count: count)
    }

    /// As `GuestMemory.load`. What is aligned counts in guest memory, not in the view.
    public func load<T: FixedWidthInteger & BitwiseCopyable>(
        _ type: T.Type = T.self, at offset: UInt64, ordering: LoadOrdering = .relaxed
    ) throws(GuestMemory.Failure) -> T {
        try memory.load(type, at: try check(offset, MemoryLayout<T>.size), ordering: ordering)
    }

    /// As `GuestMemory.store`.
    public func store<T: FixedWidthInteger & BitwiseCopyable>(
        _ value: T, at offset: UInt64, ordering: StoreOrdering = .relaxed
    ) throws(GuestMemory.Failure) {
        try memory.store(value, at: try check(offset, MemoryLayout<T>.size), ordering: ordering)
    }

    /// A copy of `count` bytes from `offset`.
    public func read(count: Int, at offset: UInt64 = 0) throws(GuestMemory.Failure) -> [UInt8] {
        try memory.read(count: count, at: try check(offset, count))
    }

    /// Copies `bytes` to `offset`.
    public func write(_ bytes: some Collection<UInt8>, at offset: UInt64 = 0) throws(GuestMemory.Failure) {
        try memory.write(bytes, at: try check(offset, bytes.count))
    }
}
