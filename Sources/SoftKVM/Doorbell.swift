// How other threads reach a vCPU: requests to its processor while it runs guest code, and a semaphore while it waits.

internal import Chipset
internal import Glibc
internal import Processor
internal import Synchronization

/// One vCPU's doorbell. Every method may be called from any thread; `kick` also from a signal handler.
@safe final class Doorbell: @unchecked Sendable {
    // SAFETY: `request` is the processor's one method for any thread, and the only one that is called here; the
    // semaphore is initialised in init and destroyed in deinit.
    private let processor: VirtualProcessor
    private let semaphore: UnsafeMutablePointer<sem_t>
    /// What the chipset has for this vCPU; nil without one.
    let status: VirtualCPUStatus?

    private let kicked = Atomic<Bool>(false)
    private let asleep = Atomic<Bool>(false)
    private let hasStaleTime = Atomic<Bool>(true)
    private let stoodStill = Atomic<Bool>(false)
    /// The vCPU is inside `VirtualProcessor.run`. Written by its own thread; see `WorldStop`.
    let isInGuest = Atomic<Bool>(false)

    init(_ processor: VirtualProcessor, status: VirtualCPUStatus?) {
        self.processor = processor
        self.status = status
        unsafe semaphore = .allocate(capacity: 1)
        unsafe semaphore.initialize(to: sem_t())
        unsafe sem_init(semaphore, 0, 0)
    }

    deinit {
        unsafe sem_destroy(semaphore)
        unsafe semaphore.deallocate()
    }

    /// Ends the KVM_RUN in progress with EINTR.
    func kick() {
        kicked.store(true, ordering: .sequentiallyConsistent)
        processor.request(.leave)
        rouse()
    }

    /// A kick that came before this is forgotten.
    func forgetKick() {
        if kicked.load(ordering: .relaxed) { kicked.store(false, ordering: .sequentiallyConsistent) }
        processor.withdraw(.leave)
    }

    var isKicked: Bool { kicked.load(ordering: .acquiring) }

    /// Takes the vCPU out of guest code to its run loop, and goes on.
    func call() {
        processor.request(.leave)
        rouse()
    }

    /// kvm-clock's parameters have changed: the vCPU shows them to its guest before it runs on.
    func timeChanged() {
        hasStaleTime.store(true, ordering: .sequentiallyConsistent)
        call()
    }

    /// The guest did not run for a while: it is told of that with its clock.
    func timeStoodStill() {
        stoodStill.store(true, ordering: .sequentiallyConsistent)
        timeChanged()
    }

    /// Whether it has to be told so, to be asked by who does it.
    func takeStandstill() -> Bool { stoodStill.exchange(false, ordering: .sequentiallyConsistent) }

    /// Whether the time was changed since this was last asked.
    func takeTimeChange() -> Bool {
        hasStaleTime.load(ordering: .relaxed) && hasStaleTime.exchange(false, ordering: .sequentiallyConsistent)
    }

    func request(_ what: ExitRequest) {
        processor.request(what)
        rouse()
    }

    /// Whether the vCPU runs guest code with a request that it has not served. One that does not serves it when it enters.
    func owes(_ what: ExitRequest) -> Bool {
        processor.isRequested(what) && isInGuest.load(ordering: .sequentiallyConsistent)
    }

    /// The chipset has something for the vCPU.
    func chipsetEvent() {
        let pending = status?.pending ?? []
        if pending.contains(.interrupt) { processor.request(.interrupt) }
        if !pending.subtracting(.interrupt).isEmpty { processor.request(.leave) }
        rouse()
    }

    private func rouse() {
        if asleep.exchange(false, ordering: .acquiringAndReleasing) { unsafe sem_post(semaphore) }
    }

    /// Waits on the vCPU's own thread until `condition` holds; it is looked at again after each ring.
    func wait(until condition: () -> Bool) {
        while true {
            asleep.store(true, ordering: .sequentiallyConsistent)
            if condition() {
                // A post that was on its way is taken as a spurious ring by the next wait.
                asleep.store(false, ordering: .sequentiallyConsistent)
                return
            }
            unsafe sem_wait(semaphore)
        }
    }
}
