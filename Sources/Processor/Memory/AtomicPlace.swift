import Synchronization

/// An integer in guest memory, for atomic access: guest atomics are host atomics.
///
/// SAFETY: made from host addresses of guest memory that hold a whole `T`. x86 makes LOCK'd accesses atomic at any alignment.
@safe struct AtomicPlace<T: OperandWidth> {
    private let pointer: UnsafeMutableRawPointer

    @inline(__always) init(_ pointer: UnsafeMutableRawPointer) { unsafe self.pointer = pointer }

    @inline(__always) func load() -> T { unsafe pointer.loadUnaligned(as: T.self) }

    /// Stores what is there.
    @inline(__always) func touch() {
        let value = load()
        _ = compareExchange(expected: value, desired: value)
    }

    /// LOCK CMPXCHG.
    @inline(__always) func compareExchange(expected: T, desired: T) -> (exchanged: Bool, original: T) {
        unsafe T.compareExchange(pointer, expected, desired)
    }
}

/// An integer whose atomic operations the host has (the standard library defines them type by type).
protocol AtomicInteger {
    static func compareExchange(_ place: UnsafeMutableRawPointer, _ expected: Self, _ desired: Self) -> (
        exchanged: Bool, original: Self
    )
}

extension UInt8: AtomicInteger {
    @inline(__always) static func compareExchange(_ place: UnsafeMutableRawPointer, _ expected: Self, _ desired: Self)
        -> (exchanged: Bool, original: Self)
    {
        unsafe place.assumingMemoryBound(to: Atomic<Self>.self).pointee
            .compareExchange(expected: expected, desired: desired, ordering: .sequentiallyConsistent)
    }
}

extension UInt16: AtomicInteger {
    @inline(__always) static func compareExchange(_ place: UnsafeMutableRawPointer, _ expected: Self, _ desired: Self)
        -> (exchanged: Bool, original: Self)
    {
        unsafe place.assumingMemoryBound(to: Atomic<Self>.self).pointee
            .compareExchange(expected: expected, desired: desired, ordering: .sequentiallyConsistent)
    }
}

extension UInt32: AtomicInteger {
    @inline(__always) static func compareExchange(_ place: UnsafeMutableRawPointer, _ expected: Self, _ desired: Self)
        -> (exchanged: Bool, original: Self)
    {
        unsafe place.assumingMemoryBound(to: Atomic<Self>.self).pointee
            .compareExchange(expected: expected, desired: desired, ordering: .sequentiallyConsistent)
    }
}

extension UInt64: AtomicInteger {
    @inline(__always) static func compareExchange(_ place: UnsafeMutableRawPointer, _ expected: Self, _ desired: Self)
        -> (exchanged: Bool, original: Self)
    {
        unsafe place.assumingMemoryBound(to: Atomic<Self>.self).pointee
            .compareExchange(expected: expected, desired: desired, ordering: .sequentiallyConsistent)
    }
}
