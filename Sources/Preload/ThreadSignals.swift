// Signals that reach a thread inside the hypervisor are put off until it is outside again, so that the client's handler never
// meets a hypervisor half-way: it may jump out, end the thread, or ask for registers. Those that come in KVM_RUN end it with
// EINTR, as they do with the kernel. Cancellation is put off in the same way.
// Documentation/virt/kvm/api.rst, sections 4.10 (KVM_RUN) and 4.21 (KVM_SET_SIGNAL_MASK).

internal import Glibc
internal import KVMABI
internal import SoftKVM
internal import Synchronization

/// A set of signals as the kernel has it: bit n - 1 for signal n.
struct SignalMask {
    var bits: UInt64

    /// Those by which the processor says that an instruction has failed: blocked, they end the process.
    static let faults: UInt64 = [SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV].reduce(0) { $0 | 1 << UInt64($1 - 1) }

    /// KVM_SET_SIGNAL_MASK has succeeded with this argument: `struct kvm_signal_mask`, or null.
    static func note(_ argument: UInt, in entry: UnsafeMutablePointer<HandleEntry>) {
        // 32 bits of length, then the set, which the hypervisor has just read.
        guard argument != 0, let mask: UInt64 = try? ClientArgument(argument &+ 4).load() else {
            unsafe entry.pointee.hasSignalMask.store(false, ordering: .releasing)
            return
        }
        unsafe entry.pointee.signalMask.store(mask, ordering: .relaxed)
        unsafe entry.pointee.hasSignalMask.store(true, ordering: .releasing)
        ClientSignals.shared.take(allBut: mask)
    }

    static func noted(in entry: UnsafeMutablePointer<HandleEntry>) -> SignalMask? {
        guard unsafe entry.pointee.hasSignalMask.load(ordering: .acquiring) else { return nil }
        return SignalMask(bits: unsafe entry.pointee.signalMask.load(ordering: .relaxed))
    }

    /// Makes this the calling thread's mask, and gives back the one that it had. By the system call: the C library keeps two
    /// signals for itself, which it takes out of every set.
    func install() -> SignalMask {
        var wanted = bits
        var former: UInt64 = 0
        unsafe withUnsafePointer(to: &wanted) { wanted in
            unsafe withUnsafeMutablePointer(to: &former) { former in
                _ = next.system(
                    SystemCall.setMask, UInt(SIG_SETMASK), UInt(bitPattern: wanted), UInt(bitPattern: former), 8)
            }
        }
        return SignalMask(bits: former)
    }
}

/// One thread inside the hypervisor, as its signal handlers and those who cancel it see it.
///
/// Made for good, and used again when the thread has ended: whoever looks for a thread finds memory that is there.
@safe final class ThreadSignals: @unchecked Sendable {
    private let window = RunWindow()
    /// Whose it is: a `pthread_t`, or 0.
    private let owner = Atomic<UInt>(0)
    /// Of one thread and the handlers that interrupt it.
    private let state = Atomic<UInt8>(State.outside)
    private let isCancelled = Atomic<Bool>(false)
    /// The signals of `SignalMask.faults` that were sent meanwhile, which stay unblocked for those that are none.
    private let sentFaults = Atomic<UInt64>(0)
    // SAFETY: all of one thread and the handlers that interrupt it; the places of the faults are `faultPlaces`, for good.
    private let faults: UnsafeMutablePointer<siginfo_t>
    /// The mask that signals are put off from.
    private var putOffFrom = SignalMask(bits: 0)

    private static let faultPlaces = 32

    private enum State {
        static let outside: UInt8 = 0
        static let inside: UInt8 = 1
        /// And something was put off.
        static let waitedFor: UInt8 = 2
    }

    private init() {
        unsafe faults = .allocate(capacity: ThreadSignals.faultPlaces)
        unsafe faults.initialize(repeating: siginfo_t(), count: ThreadSignals.faultPlaces)
    }

    // MARK: Threads

    // SAFETY: a list that only grows at its head, of objects that are never freed.
    private nonisolated(unsafe) var following: Unmanaged<ThreadSignals>?
    private static let all = Atomic<UInt>(0)

    private static let key: pthread_key_t = {
        var key = pthread_key_t()
        unsafe pthread_key_create(&key) { value in
            guard let value = unsafe value else { return }
            unsafe Unmanaged<ThreadSignals>.fromOpaque(value).takeUnretainedValue().letGo()
        }
        return key
    }()

    static var ifPresent: ThreadSignals? {
        guard let value = unsafe pthread_getspecific(key) else { return nil }
        return unsafe Unmanaged<ThreadSignals>.fromOpaque(value).takeUnretainedValue()
    }

    /// The calling thread's, taken or made when it is first inside.
    private static var current: ThreadSignals {
        if let present = ifPresent { return present }
        let own = pthread_self()
        let taken = find { $0.owner.compareExchange(expected: 0, desired: own, ordering: .acquiring).exchanged }
        let current = taken ?? make(own)
        unsafe pthread_setspecific(key, Unmanaged.passUnretained(current).toOpaque())
        return current
    }

    private static func make(_ owner: UInt) -> ThreadSignals {
        let made = ThreadSignals()
        made.owner.store(owner, ordering: .relaxed)
        let place = unsafe UInt(bitPattern: Unmanaged.passRetained(made).toOpaque())
        var head = all.load(ordering: .acquiring)
        while true {
            unsafe made.following = unsafe UnsafeRawPointer(bitPattern: head).map { unsafe Unmanaged.fromOpaque($0) }
            let (isFirst, now) = all.compareExchange(expected: head, desired: place, ordering: .acquiringAndReleasing)
            if isFirst { return made }
            head = now
        }
    }

    private static func find(_ matches: (ThreadSignals) -> Bool) -> ThreadSignals? {
        var place = unsafe UnsafeRawPointer(bitPattern: all.load(ordering: .acquiring)).map {
            unsafe Unmanaged<ThreadSignals>.fromOpaque($0)
        }
        while let here = unsafe place {
            let thread = unsafe here.takeUnretainedValue()
            if matches(thread) { return thread }
            unsafe place = thread.following
        }
        return nil
    }

    /// The thread has ended.
    private func letGo() {
        state.store(State.outside, ordering: .relaxed)
        isCancelled.store(false, ordering: .relaxed)
        sentFaults.store(0, ordering: .relaxed)
        window.prepare()
        owner.store(0, ordering: .releasing)
    }

    /// In the child of a fork, which has one thread.
    static func forked() {
        let own = pthread_self()
        _ = find { thread in
            let owner = thread.owner.load(ordering: .relaxed)
            if owner != 0, owner != own { thread.letGo() }
            return false
        }
    }

    // MARK: Inside

    /// Does what the thread does inside the hypervisor, and nothing else meanwhile: no handler runs, and nobody cancels it.
    ///
    /// What came meanwhile comes at the very end of this, when nothing of the hypervisor's is held, so that the thread need not
    /// come back from it.
    static func inside<Result>(_ body: () -> Result) -> Result {
        // First the handlers: one that jumped out from here on would leave the thread as what can't be cancelled.
        guard enter() else { return body() }
        let cancellation = Cancellation.disable()
        let result = body()
        leave(cancellation)
        return result
    }

    /// False where the thread is inside already.
    private static func enter() -> Bool {
        let thread = current
        guard thread.state.load(ordering: .relaxed) == State.outside else { return false }
        thread.state.store(State.inside, ordering: .sequentiallyConsistent)
        return true
    }

    /// The last step is one from which the thread need not come back.
    private static func leave(_ cancellation: Int32) {
        let isCancelled = ifPresent?.isCancelled.load(ordering: .sequentiallyConsistent) ?? false
        if isCancelled { Cancellation.act(cancellation) } else { Cancellation.restore(cancellation) }
        if let mask = stepOutside() { deliver(mask) }
    }

    /// - Returns: the mask by which the signals come that were put off, with all of them blocked until then; nil where none was.
    private static func stepOutside() -> SignalMask? {
        guard let thread = ifPresent else { return nil }
        thread.window.prepare()
        let (isLeft, _) = thread.state.compareExchange(
            expected: State.inside, desired: State.outside, ordering: .sequentiallyConsistent)
        if isLeft { return nil }
        _ = SignalMask(bits: .max).install()
        thread.window.prepare()
        thread.state.store(State.outside, ordering: .sequentiallyConsistent)
        return thread.putOffFrom
    }

    private static func deliver(_ mask: SignalMask) {
        while let (signal, place) = unsafe nextFault() {
            _ = next.system(
                SystemCall.queueSignal, UInt(getpid()), UInt(gettid()), UInt(signal), UInt(bitPattern: place))
        }
        _ = mask.install()
    }

    private static func nextFault() -> (signal: Int32, information: UnsafeMutablePointer<siginfo_t>)? {
        guard let thread = ifPresent else { return nil }
        let faults = thread.sentFaults.load(ordering: .sequentiallyConsistent)
        guard faults != 0 else { return nil }
        let place = faults.trailingZeroBitCount
        thread.sentFaults.bitwiseAnd(~(1 << UInt64(place)), ordering: .sequentiallyConsistent)
        return unsafe (Int32(place) + 1, thread.faults + place)
    }

    /// Does a KVM_RUN, which the calling thread's signals end by the window that `body` is handed. Inside.
    /// - Parameter mask: KVM_SET_SIGNAL_MASK's, if there is one.
    static func duringRun<T>(_ mask: SignalMask?, _ body: (RunWindow) throws(Errno) -> T) throws(Errno) -> T {
        let thread = current
        guard let mask else { return try body(thread.window) }
        let outer = mask.install()
        defer {
            // What was put off comes now if the outer mask lets it, and is put off from that one until the thread is outside.
            thread.putOffFrom = outer
            _ = outer.install()
        }
        return try body(thread.window)
    }

    // MARK: Who comes meanwhile

    /// In a handler: ends a run and leaves the signal waiting. False where the thread is not inside.
    func putOff(
        _ signal: Int32, _ information: UnsafeMutablePointer<siginfo_t>, _ context: UnsafeMutablePointer<ucontext_t>
    ) -> Bool {
        let before = state.load(ordering: .sequentiallyConsistent)
        guard before != State.outside else { return false }
        window.interrupt()
        let former = unsafe context.pointee.uc_sigmask.__val.0
        if before & State.waitedFor == 0 {
            putOffFrom = SignalMask(bits: UInt64(former))
            state.store(before | State.waitedFor, ordering: .sequentiallyConsistent)
        }
        let bit: UInt64 = 1 << UInt64(signal - 1)
        if SignalMask.faults & bit != 0 {
            unsafe faults[Int(signal - 1)] = information.pointee
            sentFaults.bitwiseOr(bit, ordering: .sequentiallyConsistent)
            return true
        }
        // What the handler returns to has the signal blocked, so that it waits once it is queued again.
        unsafe context.pointee.uc_sigmask.__val.0 = former | UInt(bit)
        _ = next.system(
            SystemCall.queueSignal, UInt(getpid()), UInt(gettid()), UInt(signal), UInt(bitPattern: information))
        return true
    }

    /// Cancels a thread by `cancel`: a run that it is in ends.
    static func cancelling(_ thread: UInt, _ cancel: () -> Int32) -> Int32 {
        // Told of it before, where it is known, as it may leave at any time; and ended behind it, when there is something to see.
        note(thread)
        let result = cancel()
        if result == 0 { note(thread)?.window.interruptFromOutside() }
        return result
    }

    @discardableResult
    private static func note(_ thread: UInt) -> ThreadSignals? {
        let found = find { $0.owner.load(ordering: .acquiring) == thread }
        found?.isCancelled.store(true, ordering: .sequentiallyConsistent)
        return found
    }
}

/// Whether the calling thread can be cancelled. The C library's functions that the hypervisor uses are cancellation points, and
/// its requests are none.
enum Cancellation {
    /// - Returns: the state that it was in.
    static func disable() -> Int32 {
        var former: Int32 = 0
        unsafe pthread_setcancelstate(Int32(PTHREAD_CANCEL_DISABLE), &former)
        return former
    }

    static func restore(_ state: Int32) { pthread_setcancelstate(state, nil) }

    /// The same for a thread that was cancelled meanwhile: one that may be at any time ends here, as a cancelled thread ends. Not
    /// every C library sees to that when the state is restored.
    static func act(_ state: Int32) {
        var type: Int32 = 0
        unsafe pthread_setcanceltype(Int32(PTHREAD_CANCEL_DEFERRED), &type)
        pthread_setcancelstate(state, nil)
        guard type == Int32(PTHREAD_CANCEL_ASYNCHRONOUS) else { return }
        pthread_testcancel()
        pthread_setcanceltype(type, nil)
    }

    static func putOff<Result>(_ body: () -> Result) -> Result {
        let state = disable()
        let result = body()
        restore(state)
        return result
    }
}
