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

    /// Held by each request other than KVM_RUN: a fork waits until those of other threads are answered, since what they are the
    /// first to use is made in the same way.
    static let requests = ForkGate()

    /// Called once, before there is a second thread.
    static func watchForks() {
        _ = making
        _ = requests
        pthread_atfork(
            {
                Process.making.lock()
                Process.requests.shut()
            },
            {
                Process.requests.open()
                Process.making.unlock()
            }
        ) {
            Process.requests.reset()
            Process.making.reset()
            _ = Process.forks.wrappingAdd(1, ordering: .relaxed)
            HandleTable.shared.forked()
            Hypervisor.forked()
            ClientSignals.shared.forked()
            ThreadSignals.forked()
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

/// What a fork waits for, but not for ever, and what goes on side by side.
///
/// A request can wait for a vCPU that runs as long as its guest likes, and a handler that interrupts one can fork.
@safe struct ForkGate: Sendable {
    /// In nanoseconds: many times what a request takes that does not wait for a vCPU.
    private static let patience = 100_000_000

    private struct Forks {
        /// That are under way: a handler may fork in the midst of one.
        var depth = 0
        var isShut = false
    }

    // SAFETY: both allocated and initialised once, never freed; only the C library reaches `lock`, and `forks` is of the
    // thread that forks, one at a time by `Process.making`.
    private nonisolated(unsafe) let lock: UnsafeMutablePointer<pthread_rwlock_t>
    private nonisolated(unsafe) let forks: UnsafeMutablePointer<Forks>

    init() {
        unsafe lock = .allocate(capacity: 1)
        unsafe lock.initialize(to: pthread_rwlock_t())
        unsafe forks = .allocate(capacity: 1)
        unsafe forks.initialize(to: Forks())
        reset()
    }

    /// Does what a fork is to wait for.
    func pass<T, E: Error>(_ body: () throws(E) -> T) throws(E) -> T {
        // Not if this thread is about to fork, in whose midst a handler asks.
        let isHeld = unsafe pthread_rwlock_rdlock(lock) == 0
        // The child of a handler's fork comes back here, too, and holds nothing.
        let generation = Process.generation
        defer { if isHeld, Process.generation == generation { unsafe pthread_rwlock_unlock(lock) } }
        return try body()
    }

    /// Before a fork.
    func shut() {
        unsafe forks.pointee.depth += 1
        guard unsafe forks.pointee.depth == 1 else { return }
        var end = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &end)
        end.tv_nsec += ForkGate.patience
        if end.tv_nsec >= 1_000_000_000 { (end.tv_sec, end.tv_nsec) = (end.tv_sec + 1, end.tv_nsec - 1_000_000_000) }
        unsafe forks.pointee.isShut = pthread_rwlock_clockwrlock(lock, CLOCK_MONOTONIC, &end) == 0
    }

    /// After it, in the parent.
    func open() {
        unsafe forks.pointee.depth -= 1
        guard unsafe forks.pointee.depth == 0, unsafe forks.pointee.isShut else { return }
        unsafe forks.pointee.isShut = false
        unsafe pthread_rwlock_unlock(lock)
    }

    /// In the child, to which the C library's idea of the holder doesn't apply.
    func reset() {
        unsafe forks.pointee = Forks()
        unsafe pthread_rwlock_init(lock, nil)
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
