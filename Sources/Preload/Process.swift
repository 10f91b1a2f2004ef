// What changes when the client forks: the hypervisor's threads and memory stay behind with the parent.

internal import Glibc
internal import Synchronization

/// The process that this library is loaded into.
enum Process {
    private static let forks = Atomic<UInt32>(1)

    /// 1, and one more in the child of each fork.
    static var generation: UInt32 { forks.load(ordering: .relaxed) }

    /// Called once, before there is a second thread.
    static func watchForks() {
        pthread_atfork(nil, nil) {
            _ = Process.forks.wrappingAdd(1, ordering: .relaxed)
            HandleTable.shared.forked()
            Hypervisor.forked()
            ClientSignals.shared.forked()
        }
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
