public import Synchronization

/// An integer in memory that others change meanwhile, for access in one piece: guest atomics are host atomics.
///
/// Loads are sequentially consistent and stores release, both of which cost an x86 host nothing.
///
/// SAFETY: made from an address with a whole `T`, which stays mapped while it is used. x86 makes LOCK'd accesses atomic at any
/// alignment, others where they are aligned.
@safe public struct AtomicPlace<T: AtomicInteger> {
    @usableFromInline let pointer: UnsafeMutableRawPointer

    @inlinable @inline(__always) public init(_ pointer: UnsafeMutableRawPointer) { unsafe self.pointer = pointer }

    @inlinable @inline(__always) public func load() -> T { unsafe T.load(pointer) }

    @inlinable @inline(__always) public func store(_ value: T) { unsafe T.store(value, pointer) }

    /// A store that is seen before the loads that follow it are made: XCHG.
    @inlinable @inline(__always) public func storeInOrder(_ value: T) { unsafe T.storeInOrder(value, pointer) }

    /// LOCK CMPXCHG.
    @inlinable @inline(__always) public func compareExchange(expected: T, desired: T) -> (exchanged: Bool, original: T)
    {
        unsafe T.compareExchange(pointer, expected, desired)
    }

    /// Stores what is there.
    @inlinable @inline(__always) public func touch() {
        let value = load()
        _ = compareExchange(expected: value, desired: value)
    }
}

/// An integer whose atomic operations the host has. The standard library defines them type by type, so that nothing generic can
/// call them: this is their one list.
public protocol AtomicInteger: FixedWidthInteger, BitwiseCopyable {
    static func load(_ place: UnsafeMutableRawPointer) -> Self
    static func store(_ value: Self, _ place: UnsafeMutableRawPointer)
    static func storeInOrder(_ value: Self, _ place: UnsafeMutableRawPointer)
    static func compareExchange(_ place: UnsafeMutableRawPointer, _ expected: Self, _ desired: Self) -> (
        exchanged: Bool, original: Self
    )
}

extension UnsafeMutableRawPointer {
    @inlinable @inline(__always) func atomic<T>(_ type: T.Type) -> UnsafeMutablePointer<Atomic<T>> {
        unsafe assumingMemoryBound(to: Atomic<T>.self)
    }
}

extension UInt8: AtomicInteger {
    @inlinable @inline(__always) public static func load(_ place: UnsafeMutableRawPointer) -> Self {
        unsafe place.atomic(Self.self).pointee.load(ordering: .sequentiallyConsistent)
    }
    @inlinable @inline(__always) public static func store(_ value: Self, _ place: UnsafeMutableRawPointer) {
        unsafe place.atomic(Self.self).pointee.store(value, ordering: .releasing)
    }
    @inlinable @inline(__always) public static func storeInOrder(_ value: Self, _ place: UnsafeMutableRawPointer) {
        unsafe place.atomic(Self.self).pointee.store(value, ordering: .sequentiallyConsistent)
    }
    @inlinable @inline(__always) public static func compareExchange(
        _ place: UnsafeMutableRawPointer, _ expected: Self, _ desired: Self
    ) -> (exchanged: Bool, original: Self) {
        unsafe place.atomic(Self.self).pointee
            .compareExchange(expected: expected, desired: desired, ordering: .sequentiallyConsistent)
    }
}

extension UInt16: AtomicInteger {
    @inlinable @inline(__always) public static func load(_ place: UnsafeMutableRawPointer) -> Self {
        unsafe place.atomic(Self.self).pointee.load(ordering: .sequentiallyConsistent)
    }
    @inlinable @inline(__always) public static func store(_ value: Self, _ place: UnsafeMutableRawPointer) {
        unsafe place.atomic(Self.self).pointee.store(value, ordering: .releasing)
    }
    @inlinable @inline(__always) public static func storeInOrder(_ value: Self, _ place: UnsafeMutableRawPointer) {
        unsafe place.atomic(Self.self).pointee.store(value, ordering: .sequentiallyConsistent)
    }
    @inlinable @inline(__always) public static func compareExchange(
        _ place: UnsafeMutableRawPointer, _ expected: Self, _ desired: Self
    ) -> (exchanged: Bool, original: Self) {
        unsafe place.atomic(Self.self).pointee
            .compareExchange(expected: expected, desired: desired, ordering: .sequentiallyConsistent)
    }
}

extension UInt32: AtomicInteger {
    @inlinable @inline(__always) public static func load(_ place: UnsafeMutableRawPointer) -> Self {
        unsafe place.atomic(Self.self).pointee.load(ordering: .sequentiallyConsistent)
    }
    @inlinable @inline(__always) public static func store(_ value: Self, _ place: UnsafeMutableRawPointer) {
        unsafe place.atomic(Self.self).pointee.store(value, ordering: .releasing)
    }
    @inlinable @inline(__always) public static func storeInOrder(_ value: Self, _ place: UnsafeMutableRawPointer) {
        unsafe place.atomic(Self.self).pointee.store(value, ordering: .sequentiallyConsistent)
    }
    @inlinable @inline(__always) public static func compareExchange(
        _ place: UnsafeMutableRawPointer, _ expected: Self, _ desired: Self
    ) -> (exchanged: Bool, original: Self) {
        unsafe place.atomic(Self.self).pointee
            .compareExchange(expected: expected, desired: desired, ordering: .sequentiallyConsistent)
    }
}

extension UInt64: AtomicInteger {
    @inlinable @inline(__always) public static func load(_ place: UnsafeMutableRawPointer) -> Self {
        unsafe place.atomic(Self.self).pointee.load(ordering: .sequentiallyConsistent)
    }
    @inlinable @inline(__always) public static func store(_ value: Self, _ place: UnsafeMutableRawPointer) {
        unsafe place.atomic(Self.self).pointee.store(value, ordering: .releasing)
    }
    @inlinable @inline(__always) public static func storeInOrder(_ value: Self, _ place: UnsafeMutableRawPointer) {
        unsafe place.atomic(Self.self).pointee.store(value, ordering: .sequentiallyConsistent)
    }
    @inlinable @inline(__always) public static func compareExchange(
        _ place: UnsafeMutableRawPointer, _ expected: Self, _ desired: Self
    ) -> (exchanged: Bool, original: Self) {
        unsafe place.atomic(Self.self).pointee
            .compareExchange(expected: expected, desired: desired, ordering: .sequentiallyConsistent)
    }
}
