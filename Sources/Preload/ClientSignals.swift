// The client's signal actions. Where it has a handler, or a signal may end a KVM_RUN, the kernel knows ours, which sees
// first whether a run is to end.

internal import Glibc
internal import SoftKVM
internal import Synchronization

/// What the client has said of each signal, and what the kernel was told.
@safe final class ClientSignals: @unchecked Sendable {
    static let shared = ClientSignals()

    private static let count = 65
    /// SA_RESETHAND, which the kernel is not told of: a signal that is put off is delivered twice.
    private static let once: UInt32 = 0x8000_0000
    private static let takesInformation: UInt64 = 1 << 63
    private static let isOnce: UInt64 = 1 << 62

    /// What a handler needs, in one word: the address of the client's, and two flags above it. 0 is the default action, 1 to
    /// ignore.
    private let handlers: UnsafeMutablePointer<Atomic<UInt64>>
    // SAFETY: `count` places each, for good; the actions are touched under `lock`, with every signal blocked.
    private let actions: UnsafeMutablePointer<sigaction>
    private let states: UnsafeMutablePointer<State>
    private let lock = SpinLock()

    private struct State {
        /// The kernel's action was read.
        var isKnown = false
        /// A KVM_SET_SIGNAL_MASK lets the signal end a run, though it has the default action.
        var endsRuns = false
        /// The hypervisor's handler of faults stands first, and hands on to `handFault`.
        var hasOurFirst = false
    }

    private init() {
        unsafe handlers = .allocate(capacity: ClientSignals.count)
        unsafe actions = .allocate(capacity: ClientSignals.count)
        unsafe states = .allocate(capacity: ClientSignals.count)
        unsafe actions.initialize(repeating: sigaction(), count: ClientSignals.count)
        unsafe states.initialize(repeating: State(), count: ClientSignals.count)
        for index in 0..<ClientSignals.count { unsafe (handlers + index).initialize(to: Atomic(0)) }
    }

    func forked() { lock.reset() }

    // MARK: sigaction

    /// `sigaction(2)` as the client sees it.
    func act(_ signal: Int32, _ new: UnsafePointer<sigaction>?, _ old: UnsafeMutablePointer<sigaction>?) -> Int32 {
        // What can't be caught, or is none: the C library's answer.
        guard signal > 0, signal < ClientSignals.count, signal != SIGKILL, signal != SIGSTOP else {
            return unsafe next.action(signal, new, old)
        }
        return withLock {
            guard learn(signal) else { return -1 }
            if let new = unsafe new, unsafe isOurs(new.pointee) { return unsafe putFirst(signal, new, old) }
            var former = unsafe actions[Int(signal)]
            if ClientSignals.servesOnce(former), unsafe handlers[Int(signal)].load(ordering: .relaxed) == 0 {
                // It has served.
                unsafe former.__sigaction_handler.sa_handler = nil
                unsafe actions[Int(signal)] = former
            }
            if let new = unsafe new {
                let wanted = unsafe new.pointee
                guard tell(signal, wanted) == 0 else { return -1 }
                unsafe actions[Int(signal)] = wanted
            }
            if let old = unsafe old { unsafe old.pointee = former }
            return 0
        }
    }

    /// `signal(3)`: the former handler, or SIG_ERR.
    func signal(_ signal: Int32, _ handler: UInt, flags: Int32) -> UInt {
        var wanted = sigaction()
        unsafe wanted.__sigaction_handler.sa_handler = unsafeBitCast(handler, to: __sighandler_t?.self)
        wanted.sa_flags = flags
        var former = sigaction()
        guard unsafe act(signal, &wanted, &former) == 0 else { return .max }
        return ClientSignals.address(former)
    }

    /// The signals that are not in a KVM_SET_SIGNAL_MASK end runs, and stay for the client to take: whatever their action.
    func take(allBut mask: UInt64) {
        withLock {
            for signal in 1..<Int32(ClientSignals.count) where mask & 1 << UInt64(signal - 1) == 0 {
                guard signal != SIGKILL, signal != SIGSTOP, unsafe !states[Int(signal)].endsRuns else { continue }
                guard learn(signal) else { continue }
                unsafe states[Int(signal)].endsRuns = true
                // Only what is blocked outside of runs stays; other signals do then what they always did.
                _ = unsafe tell(signal, actions[Int(signal)])
            }
        }
    }

    private func withLock<T>(_ body: () -> T) -> T {
        let former = SignalMask(bits: .max).install()
        defer { _ = former.install() }
        return lock.withLock(body)
    }

    private static func address(_ action: sigaction) -> UInt {
        unsafe unsafeBitCast(action.__sigaction_handler.sa_handler, to: UInt.self)
    }

    private static func servesOnce(_ action: sigaction) -> Bool {
        UInt32(bitPattern: action.sa_flags) & once != 0
    }

    /// What the kernel has, before it is told anything.
    private func learn(_ signal: Int32) -> Bool {
        guard unsafe !states[Int(signal)].isKnown else { return true }
        guard unsafe next.action(signal, nil, actions + Int(signal)) == 0 else { return false }
        unsafe states[Int(signal)].isKnown = true
        return true
    }

    /// Tells the kernel of the client's action.
    private func tell(_ signal: Int32, _ action: sigaction) -> Int32 {
        let address = ClientSignals.address(action)
        var word = UInt64(address)
        if action.sa_flags & SA_SIGINFO != 0 { word |= ClientSignals.takesInformation }
        if address > 1, ClientSignals.servesOnce(action) { word |= ClientSignals.isOnce }
        let state = unsafe states[Int(signal)]
        var told = action
        if address > 1 || address == 0 && state.endsRuns && ClientSignals.isFatal(signal) {
            unsafe told.__sigaction_handler.sa_sigaction = { unsafe ClientSignals.handle($0, $1, $2) }
            told.sa_flags |= SA_SIGINFO
            told.sa_flags &= Int32(bitPattern: ~ClientSignals.once)
        }
        // The handler may be needed as soon as the kernel knows.
        unsafe handlers[Int(signal)].store(word, ordering: .sequentiallyConsistent)
        return state.hasOurFirst ? 0 : unsafe next.action(signal, &told, nil)
    }

    /// Whether the default action ends the process: other defaults (to ignore, to stop, to go on) are the kernel's.
    private static func isFatal(_ signal: Int32) -> Bool {
        ![SIGCHLD, SIGURG, SIGWINCH, SIGCONT, SIGTSTP, SIGTTIN, SIGTTOU].contains(signal)
    }

    // MARK: The hypervisor's own handlers

    /// Where the object that holds an address was loaded.
    private static func object(holding address: UInt) -> UInt? {
        var information = unsafe Dl_info()
        guard unsafe dladdr(UnsafeRawPointer(bitPattern: address), &information) != 0 else { return nil }
        return unsafe UInt(bitPattern: information.dli_fbase)
    }

    private static let library: UInt? = {
        let here: @convention(c) (Int32, UnsafeMutablePointer<siginfo_t>?, UnsafeMutableRawPointer?) -> Void = {
            unsafe ClientSignals.handle($0, $1, $2)
        }
        return object(holding: unsafe unsafeBitCast(here, to: UInt.self))
    }()

    /// Whether the handler is of this library: the hypervisor's, of faults behind the guest's memory.
    private func isOurs(_ action: sigaction) -> Bool {
        let address = ClientSignals.address(action)
        return address > 1 && ClientSignals.object(holding: address) == ClientSignals.library
    }

    /// Swift's runtime, which is here for this library alone, may have handlers that write a report of a crash. Before the
    /// client's first instruction they go: its crashes are its own.
    func removeRuntimesHandlers() {
        let runtime = ClientSignals.object(holding: unsafe unsafeBitCast(Int.self as Any.Type, to: UInt.self))
        for signal in [SIGQUIT, SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGTRAP] {
            var present = sigaction()
            guard unsafe next.action(signal, nil, &present) == 0, ClientSignals.address(present) > 1,
                let owner = ClientSignals.object(holding: ClientSignals.address(present)),
                owner == runtime || owner == ClientSignals.library
            else { continue }
            var byDefault = sigaction()
            _ = unsafe next.action(signal, &byDefault, nil)
            unsafe states[Int(signal)] = State()
        }
    }

    private func putFirst(
        _ signal: Int32, _ new: UnsafePointer<sigaction>, _ old: UnsafeMutablePointer<sigaction>?
    ) -> Int32 {
        guard unsafe next.action(signal, new, nil) == 0 else { return -1 }
        unsafe states[Int(signal)].hasOurFirst = true
        _ = unsafe tell(signal, actions[Int(signal)])
        if let old = unsafe old {
            unsafe old.pointee = sigaction()
            unsafe old.pointee.sa_flags = SA_SIGINFO
            unsafe old.pointee.__sigaction_handler.sa_sigaction = { unsafe ClientSignals.handle($0, $1, $2) }
        }
        return 0
    }

    // MARK: Delivery

    /// What the kernel calls. Takes no lock and allocates nothing.
    private static func handle(
        _ signal: Int32, _ information: UnsafeMutablePointer<siginfo_t>?, _ raw: UnsafeMutableRawPointer?
    ) {
        let error = errno
        defer { errno = error }
        guard let information = unsafe information, let raw = unsafe raw else { return }
        let isFault = unsafe ClientSignals.isFault(signal, information)
        let context = unsafe raw.assumingMemoryBound(to: ucontext_t.self)
        if !isFault, let thread = ThreadSignals.ifPresent, unsafe thread.putOff(signal, information, context) { return }
        unsafe ClientSignals.shared.deliver(signal, information, raw)
    }

    /// Of an instruction: not sent, and no news of bad memory that nobody has touched yet.
    private static func isFault(_ signal: Int32, _ information: UnsafeMutablePointer<siginfo_t>) -> Bool {
        let code = unsafe information.pointee.si_code
        return SignalMask.faults & 1 << UInt64(signal - 1) != 0 && code > 0
            && !(signal == SIGBUS && code == BUS_MCEERR_AO)
    }

    private func deliver(
        _ signal: Int32, _ information: UnsafeMutablePointer<siginfo_t>, _ context: UnsafeMutableRawPointer
    ) {
        let word = unsafe handlers[Int(signal)].load(ordering: .sequentiallyConsistent)
        let address = UInt(word & ~(ClientSignals.takesInformation | ClientSignals.isOnce))
        if word & ClientSignals.isOnce != 0 {
            unsafe handlers[Int(signal)].store(0, ordering: .sequentiallyConsistent)
        }
        guard address > 1 else {
            let isFault = unsafe ClientSignals.isFault(signal, information)
            if address == 1, !isFault { return }
            // The default action, by the kernel: when the access is made again for a fault, at once for what was sent.
            var byDefault = sigaction()
            _ = unsafe next.action(signal, &byDefault, nil)
            if !isFault || signal != SIGSEGV && signal != SIGBUS {
                _ = next.system(
                    SystemCall.queueSignal, UInt(getpid()), UInt(gettid()), UInt(signal),
                    UInt(bitPattern: information))
            }
            return
        }
        if word & ClientSignals.takesInformation != 0 {
            typealias Handler =
                @convention(c) (Int32, UnsafeMutablePointer<siginfo_t>?, UnsafeMutableRawPointer?) -> Void
            unsafe unsafeBitCast(address, to: Handler.self)(signal, information, context)
        } else {
            typealias Handler = @convention(c) (Int32) -> Void
            unsafe unsafeBitCast(address, to: Handler.self)(signal)
        }
    }
}
