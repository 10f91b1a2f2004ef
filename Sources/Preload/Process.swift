// What changes when the client forks: the hypervisor's threads and memory stay behind with the parent.

internal import Glibc
internal import Synchronization

/// The process that this library is loaded into.
enum Process {
    private static let forks = Atomic<UInt32>(1)

    /// 1, and one more in the child of each fork.
    static var generation: UInt32 { forks.load(ordering: .relaxed) }

    /// Held while things are made that every hypervisor shares, which a fork waits for: Swift makes such a thing once, and the
    /// child of a fork amid it would wait for ever for a thread that it does not have.
    static let making = ForkLock()

    /// Called once, before there is a second thread.
    static func watchForks() {
        _ = making
        pthread_atfork({ Process.making.lock() }, { Process.making.unlock() }) {
            Process.making.reset()
            _ = Process.forks.wrappingAdd(1, ordering: .relaxed)
            HandleTable.shared.forked()
            Hypervisor.forked()
            ClientSignals.shared.forked()
        }
    }
}

/// A lock that is held across a fork, whose holder may fork (in a handler, say).
@safe struct ForkLock: Sendable {
    // SAFETY: allocated and initialised once, never freed; only the C library reaches it.
    private nonisolated(unsafe) let mutex: UnsafeMutablePointer<pthread_mutex_t>

    init() {
        unsafe mutex = .allocate(capacity: 1)
        unsafe mutex.initialize(to: pthread_mutex_t())
        reset()
    }

    func lock() { unsafe pthread_mutex_lock(mutex) }
    func unlock() { unsafe pthread_mutex_unlock(mutex) }

    /// In the child, to which the C library's idea of the holder doesn't apply.
    func reset() {
        var attributes = pthread_mutexattr_t()
        unsafe pthread_mutexattr_init(&attributes)
        unsafe pthread_mutexattr_settype(&attributes, Int32(PTHREAD_MUTEX_RECURSIVE))
        unsafe pthread_mutex_init(mutex, &attributes)
    }
}

/// A lock for a few instructions, which the child of a fork can take away from a thread that it does not have.
struct SpinLock: ~Copyable, Sendable {
    private let isHeld = Atomic<Bool>(false)

    func withLock<T, E: Error>(_ body: () throws(E) -> T) throws(E) -> T {
        while isHeld.exchange(true, ordering: .acquiring) { sched_yield() }
        defer { isHeld.store(false, ordering: .releasing) }
        return try body()
    }

    func reset() { isHeld.store(false, ordering: .releasing) }
}
