internal import Glibc

/// Memory that a client shows to a guest: an anonymous, page-aligned mapping of its own, zeroed, given back in `deinit`.
///
/// It is shared with the guest's vCPUs and with devices on other threads. An integer that is aligned to its size is loaded and
/// stored in one piece, with the ordering that is asked for, as a ring's index must be; anything else is copied, and a copy that
/// races with the guest holds bytes of before and after, as on hardware. Each access is bounds-checked and never traps.
@safe public final class GuestMemory: Sendable {
    /// Why memory could not be made or reached.
    public enum Failure: Error, Sendable, Equatable, CustomStringConvertible {
        /// The size is zero or no multiple of 4096.
        case badSize(Int)
        /// The host refused the mapping, with its errno.
        case notMapped(size: Int, errno: Int32)
        /// An access to [offset, offset + count) of a memory of `size` bytes.
        case outOfBounds(offset: UInt64, count: Int, size: Int)

        public var description: String {
            switch self {
            case .badSize(let size): "guest memory of \(size) bytes: the size must be a positive multiple of 4096"
            case .notMapped(let size, let errno):
                "guest memory of \(size) bytes can't be mapped (errno \(errno)): give the guest less"
            case .outOfBounds(let offset, let count, let size):
                "access of \(count) bytes at 0x\(String(offset, radix: 16)) is outside a guest memory of \(size) bytes"
            }
        }
    }

    /// Bytes; a multiple of 4096.
    public let size: Int
    // SAFETY: valid for `size` bytes from init to deinit; nothing else unmaps it.
    private nonisolated(unsafe) let base: UnsafeMutableRawPointer

    public init(size: Int) throws(Failure) {
        guard size > 0, size % 4096 == 0 else { throw .badSize(size) }
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
        guard let base = unsafe mmap(nil, size, PROT_READ | PROT_WRITE, flags, -1, 0), unsafe base != MAP_FAILED else {
            throw .notMapped(size: size, errno: errno)
        }
        self.size = size
        unsafe self.base = base
    }

    deinit { unsafe munmap(base, size) }

    /// Where the memory lies in this process; valid while this object lives.
    @unsafe public var hostAddress: UnsafeMutableRawPointer { unsafe base }

    private func place(_ offset: UInt64, _ count: Int) throws(Failure) -> UnsafeMutableRawPointer {
        guard count >= 0, offset <= UInt64(size), UInt64(count) <= UInt64(size) - offset else {
            throw .outOfBounds(offset: offset, count: count, size: size)
        }
        return unsafe base + Int(offset)
    }

    /// Copies `bytes` to `offset`.
    public func write(_ bytes: some Collection<UInt8>, at offset: UInt64) throws(Failure) {
        let count = bytes.count
        let target = unsafe try place(offset, count)
        let buffer = unsafe UnsafeMutableRawBufferPointer(start: target, count: count)
        unsafe buffer.copyBytes(from: bytes)
    }

    /// A copy of `count` bytes from `offset`.
    public func read(count: Int, at offset: UInt64) throws(Failure) -> [UInt8] {
        let source = unsafe try place(offset, count)
        return unsafe [UInt8](UnsafeRawBufferPointer(start: source, count: count))
    }

    /// The little-endian integer at `offset`. Aligned to its size, up to 8 bytes, it is loaded in one piece, and then as strongly
    /// as any `ordering` asks.
    public func load<T: FixedWidthInteger & BitwiseCopyable>(
        _ type: T.Type = T.self, at offset: UInt64, ordering: LoadOrdering = .relaxed
    ) throws(Failure) -> T {
        let source = unsafe try place(offset, MemoryLayout<T>.size)
        func load<W: AtomicInteger>(_: W.Type) -> T {
            T(littleEndian: T(truncatingIfNeeded: unsafe AtomicPlace<W>(source).load()))
        }
        switch unsafe GuestMemory.wordSize(T.self, at: source) {
        case 1: return load(UInt8.self)
        case 2: return load(UInt16.self)
        case 4: return load(UInt32.self)
        case 8: return load(UInt64.self)
        default: return unsafe T(littleEndian: source.loadUnaligned(as: T.self))
        }
    }

    /// Stores `value` little-endian at `offset`. Aligned to its size it is stored in one piece.
    public func store<T: FixedWidthInteger & BitwiseCopyable>(
        _ value: T, at offset: UInt64, ordering: StoreOrdering = .relaxed
    ) throws(Failure) {
        let target = unsafe try place(offset, MemoryLayout<T>.size)
        func store<W: AtomicInteger>(_: W.Type) {
            let place = unsafe AtomicPlace<W>(target), word = W(truncatingIfNeeded: value.littleEndian)
            if ordering == .sequentiallyConsistent { place.storeInOrder(word) } else { place.store(word) }
        }
        switch unsafe GuestMemory.wordSize(T.self, at: target) {
        case 1: store(UInt8.self)
        case 2: store(UInt16.self)
        case 4: store(UInt32.self)
        case 8: store(UInt64.self)
        default: unsafe target.storeBytes(of: value.littleEndian, as: T.self)
        }
    }

    /// The size of an integer that an access can reach in one piece; nil where it can't.
    private static func wordSize<T: BitwiseCopyable>(_: T.Type, at place: UnsafeMutableRawPointer) -> Int? {
        let size = MemoryLayout<T>.size
        return size <= 8 && UInt(bitPattern: place) & UInt(size - 1) == 0 ? size : nil
    }

    /// What lies from `offset` on, and nothing else.
    public func view(at offset: UInt64, count: Int) throws(Failure) -> GuestView {
        _ = unsafe try place(offset, count)
        return GuestView(self, start: offset, count: count)
    }
}
