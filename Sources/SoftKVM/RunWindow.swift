// How a signal handler ends the KVM_RUN of the thread that it interrupts. Documentation/virt/kvm/api.rst, section 4.10.

internal import Glibc
internal import Synchronization

/// One thread's way into `KVM_RUN`. A thread has one, which it passes with each run.
@safe public final class RunWindow: @unchecked Sendable {
    // SAFETY: zero, or the doorbell of the vCPU that the thread runs, which lives for as long as it is here.
    private let doorbell = Atomic<UInt>(0)
    private let isInterrupted = Atomic<Bool>(false)
    /// How many other threads are about to ring the doorbell, which is not let go of meanwhile.
    private let ringing = Atomic<Int32>(0)

    public init() {}

    /// Ends the run that the thread is in, or about to enter since `prepare()`, with `EINTR`. For a signal handler on the
    /// thread: takes no lock and allocates nothing.
    public func interrupt() {
        isInterrupted.store(true, ordering: .sequentiallyConsistent)
        let address = doorbell.load(ordering: .sequentiallyConsistent)
        guard let pointer = unsafe UnsafeRawPointer(bitPattern: address) else { return }
        unsafe Unmanaged<Doorbell>.fromOpaque(pointer)._withUnsafeGuaranteedRef { $0.kick() }
    }

    /// The same from another thread.
    public func interruptFromOutside() {
        ringing.add(1, ordering: .sequentiallyConsistent)
        interrupt()
        ringing.subtract(1, ordering: .sequentiallyConsistent)
    }

    /// Forgets earlier interruptions.
    public func prepare() { isInterrupted.store(false, ordering: .sequentiallyConsistent) }

    /// False when the run has been interrupted already.
    func enter(_ bell: Doorbell) -> Bool {
        let address = unsafe UInt(bitPattern: Unmanaged.passUnretained(bell).toOpaque())
        doorbell.store(address, ordering: .sequentiallyConsistent)
        return !isInterrupted.load(ordering: .sequentiallyConsistent)
    }

    func leave() {
        doorbell.store(0, ordering: .sequentiallyConsistent)
        while ringing.load(ordering: .sequentiallyConsistent) != 0 { sched_yield() }
    }
}
