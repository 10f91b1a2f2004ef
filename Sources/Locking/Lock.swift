public import Glibc

/// A value that one thread at a time reaches, as with the standard library's `Mutex`, that the child of a fork can use as well.
///
/// The standard library's remembers its thread by a number that stays the parent's in a child: there the kernel refuses it once
/// two threads contend. Hypervisors in other programs' processes have to live with forks.
@frozen @safe public struct Lock<Value>: ~Copyable, @unchecked Sendable {
    // SAFETY: both are initialised from init to deinit, and never move; `value` is reached with `mutex` locked only.
    @usableFromInline let mutex: UnsafeMutablePointer<pthread_mutex_t>
    @usableFromInline let value: UnsafeMutablePointer<Value>

    @inlinable public init(_ value: consuming sending Value) {
        unsafe mutex = .allocate(capacity: 1)
        unsafe mutex.initialize(to: pthread_mutex_t())
        unsafe pthread_mutex_init(mutex, nil)
        unsafe self.value = .allocate(capacity: 1)
        unsafe self.value.initialize(to: value)
    }

    @inlinable deinit {
        unsafe value.deinitialize(count: 1)
        unsafe value.deallocate()
        unsafe pthread_mutex_destroy(mutex)
        unsafe mutex.deallocate()
    }

    /// Runs `body` while no other thread does; not from inside itself.
    @inlinable public borrowing func withLock<Result: ~Copyable, Failure: Error>(
        _ body: (inout Value) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        unsafe pthread_mutex_lock(mutex)
        defer { unsafe pthread_mutex_unlock(mutex) }
        return unsafe try body(&value.pointee)
    }

    /// In the child of a fork, while it has one thread: nobody holds it, and this is its value. The former one, which a thread
    /// that only the parent has may have been changing, is left as it is and not freed.
    @inlinable public borrowing func startAgain(_ value: consuming sending Value) {
        unsafe pthread_mutex_init(mutex, nil)
        unsafe self.value.initialize(to: value)
    }
}
