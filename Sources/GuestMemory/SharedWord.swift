internal import Synchronization

/// What a load of shared memory sees.
public enum LoadOrdering: Sendable, CaseIterable {
    case relaxed
    /// With it everything that was stored before the store which it sees was made with `releasing`.
    case acquiring
    /// Ordered with all others of the kind.
    case sequentiallyConsistent
}

/// When a store to shared memory is seen.
public enum StoreOrdering: Sendable, CaseIterable {
    case relaxed
    /// After everything before it.
    case releasing
    /// Ordered with all others of the kind: before the loads that follow, too.
    case sequentiallyConsistent
}

/// An integer of 1, 2, 4 or 8 bytes in shared memory, aligned to its size, for access in one piece.
///
/// SAFETY: made from an address with as many bytes, which stay mapped while it is used.
@safe struct SharedWord {
    private let pointer: UnsafeMutableRawPointer
    private let size: Int

    /// Nil where an access can't be in one piece.
    init?(_ pointer: UnsafeMutableRawPointer, size: Int) {
        guard size <= 8, size & (size - 1) == 0, UInt(bitPattern: pointer) & UInt(size - 1) == 0 else {
            return nil
        }
        unsafe self.pointer = pointer
        self.size = size
    }

    func load(_ ordering: LoadOrdering) -> UInt64 {
        switch size {
        case 1: UInt64(unsafe atomic(UInt8.self).pointee.load(in: ordering))
        case 2: UInt64(unsafe atomic(UInt16.self).pointee.load(in: ordering))
        case 4: UInt64(unsafe atomic(UInt32.self).pointee.load(in: ordering))
        default: unsafe atomic(UInt64.self).pointee.load(in: ordering)
        }
    }

    func store(_ value: UInt64, _ ordering: StoreOrdering) {
        switch size {
        case 1: unsafe atomic(UInt8.self).pointee.store(UInt8(truncatingIfNeeded: value), in: ordering)
        case 2: unsafe atomic(UInt16.self).pointee.store(UInt16(truncatingIfNeeded: value), in: ordering)
        case 4: unsafe atomic(UInt32.self).pointee.store(UInt32(truncatingIfNeeded: value), in: ordering)
        default: unsafe atomic(UInt64.self).pointee.store(value, in: ordering)
        }
    }

    private func atomic<T>(_ type: T.Type) -> UnsafeMutablePointer<Atomic<T>> {
        unsafe pointer.assumingMemoryBound(to: Atomic<T>.self)
    }
}

extension Atomic where Value == UInt8 {
    fileprivate func load(in ordering: LoadOrdering) -> Value {
        switch ordering {
        case .relaxed: load(ordering: .relaxed)
        case .acquiring: load(ordering: .acquiring)
        case .sequentiallyConsistent: load(ordering: .sequentiallyConsistent)
        }
    }

    fileprivate func store(_ value: Value, in ordering: StoreOrdering) {
        switch ordering {
        case .relaxed: store(value, ordering: .relaxed)
        case .releasing: store(value, ordering: .releasing)
        case .sequentiallyConsistent: store(value, ordering: .sequentiallyConsistent)
        }
    }
}

extension Atomic where Value == UInt16 {
    fileprivate func load(in ordering: LoadOrdering) -> Value {
        switch ordering {
        case .relaxed: load(ordering: .relaxed)
        case .acquiring: load(ordering: .acquiring)
        case .sequentiallyConsistent: load(ordering: .sequentiallyConsistent)
        }
    }

    fileprivate func store(_ value: Value, in ordering: StoreOrdering) {
        switch ordering {
        case .relaxed: store(value, ordering: .relaxed)
        case .releasing: store(value, ordering: .releasing)
        case .sequentiallyConsistent: store(value, ordering: .sequentiallyConsistent)
        }
    }
}

extension Atomic where Value == UInt32 {
    fileprivate func load(in ordering: LoadOrdering) -> Value {
        switch ordering {
        case .relaxed: load(ordering: .relaxed)
        case .acquiring: load(ordering: .acquiring)
        case .sequentiallyConsistent: load(ordering: .sequentiallyConsistent)
        }
    }

    fileprivate func store(_ value: Value, in ordering: StoreOrdering) {
        switch ordering {
        case .relaxed: store(value, ordering: .relaxed)
        case .releasing: store(value, ordering: .releasing)
        case .sequentiallyConsistent: store(value, ordering: .sequentiallyConsistent)
        }
    }
}

extension Atomic where Value == UInt64 {
    fileprivate func load(in ordering: LoadOrdering) -> Value {
        switch ordering {
        case .relaxed: load(ordering: .relaxed)
        case .acquiring: load(ordering: .acquiring)
        case .sequentiallyConsistent: load(ordering: .sequentiallyConsistent)
        }
    }

    fileprivate func store(_ value: Value, in ordering: StoreOrdering) {
        switch ordering {
        case .relaxed: store(value, ordering: .relaxed)
        case .releasing: store(value, ordering: .releasing)
        case .sequentiallyConsistent: store(value, ordering: .sequentiallyConsistent)
        }
    }
}
