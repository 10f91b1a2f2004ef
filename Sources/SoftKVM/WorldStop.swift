// Stopping every vCPU of a VM at a boundary, while slots change, dirty bits are cleared or a split lock is carried out.

internal import Glibc
internal import Locking
internal import Synchronization

/// One VM's gate between its vCPUs and guest code. A vCPU passes it on each entry with two atomic operations; while the
/// world is stopped it waits there, without returning to its client.
@safe final class WorldStop: @unchecked Sendable {
    // SAFETY: initialised in init, destroyed in deinit; they guard nothing but the state below.
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let changed: UnsafeMutablePointer<pthread_cond_t>
    private let stopping = Atomic<Bool>(false)
    private let bells = Lock<[Doorbell]>([])

    init() {
        unsafe mutex = .allocate(capacity: 1)
        unsafe mutex.initialize(to: pthread_mutex_t())
        unsafe pthread_mutex_init(mutex, nil)
        unsafe changed = .allocate(capacity: 1)
        unsafe changed.initialize(to: pthread_cond_t())
        unsafe pthread_cond_init(changed, nil)
    }

    deinit {
        unsafe pthread_cond_destroy(changed)
        unsafe pthread_mutex_destroy(mutex)
        unsafe changed.deallocate()
        unsafe mutex.deallocate()
    }

    func add(_ bell: Doorbell) { bells.withLock { $0.append(bell) } }

    /// Calls `body` for every vCPU but one.
    func forEach(except own: Doorbell?, _ body: (Doorbell) -> Void) {
        bells.withLock { bells in
            for bell in bells where bell !== own { body(bell) }
        }
    }

    /// Before guest code runs, on the vCPU's thread.
    func enter(_ bell: Doorbell) {
        while true {
            bell.isInGuest.store(true, ordering: .sequentiallyConsistent)
            if !stopping.load(ordering: .sequentiallyConsistent) { return }
            leave(bell)
            unsafe pthread_mutex_lock(mutex)
            while stopping.load(ordering: .relaxed) { unsafe pthread_cond_wait(changed, mutex) }
            unsafe pthread_mutex_unlock(mutex)
        }
    }

    /// After guest code ran.
    func leave(_ bell: Doorbell) {
        bell.isInGuest.store(false, ordering: .sequentiallyConsistent)
        if stopping.load(ordering: .sequentiallyConsistent) {
            unsafe pthread_mutex_lock(mutex)
            unsafe pthread_cond_broadcast(changed)
            unsafe pthread_mutex_unlock(mutex)
        }
    }

    /// Runs `body` while no vCPU runs guest code.
    func whileStopped(_ body: () -> Void) {
        stop()
        body()
        resume()
    }

    /// Returns once no vCPU runs guest code; none does until `resume`. `own` is the calling thread's vCPU if it is inside guest
    /// code: while it waits for its turn others may have theirs.
    func stop(own: Doorbell? = nil) {
        if let own { leave(own) }
        unsafe pthread_mutex_lock(mutex)
        while stopping.load(ordering: .relaxed) { unsafe pthread_cond_wait(changed, mutex) }
        stopping.store(true, ordering: .sequentiallyConsistent)
        let others = bells.withLock { $0.filter { $0 !== own } }
        for bell in others where bell.isInGuest.load(ordering: .sequentiallyConsistent) { bell.call() }
        while others.contains(where: { $0.isInGuest.load(ordering: .sequentiallyConsistent) }) {
            unsafe pthread_cond_wait(changed, mutex)
        }
        unsafe pthread_mutex_unlock(mutex)
    }

    /// Ends what `stop` began: `own` is inside guest code again, and the others go on.
    func resume(own: Doorbell? = nil) {
        unsafe pthread_mutex_lock(mutex)
        if let own { own.isInGuest.store(true, ordering: .sequentiallyConsistent) }
        stopping.store(false, ordering: .sequentiallyConsistent)
        unsafe pthread_cond_broadcast(changed)
        unsafe pthread_mutex_unlock(mutex)
    }
}
