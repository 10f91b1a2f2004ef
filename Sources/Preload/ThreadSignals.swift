// Signals that reach a thread inside KVM_RUN end it with EINTR, as they do with the kernel. They are put off until the run
// has returned, so that the client's handler never meets a hypervisor half-way: it may jump out, or ask for registers.
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

/// One thread's run, as its signal handlers see it.
@safe final class ThreadSignals: @unchecked Sendable {
    private let window = RunWindow()
    // SAFETY: of one thread and the handlers that interrupt it.
    private let isInRun = Atomic<Bool>(false)
    private let hasPutOff = Atomic<Bool>(false)
    private var outer: SignalMask?

    private static let key: pthread_key_t = {
        var key = pthread_key_t()
        unsafe pthread_key_create(&key) { value in
            if let value = unsafe value { unsafe Unmanaged<ThreadSignals>.fromOpaque(value).release() }
        }
        return key
    }()

    /// The calling thread's, made when it first runs a vCPU.
    static var current: ThreadSignals {
        if let present = ifPresent { return present }
        let made = ThreadSignals()
        unsafe pthread_setspecific(key, Unmanaged.passRetained(made).toOpaque())
        return made
    }

    static var ifPresent: ThreadSignals? {
        guard let value = unsafe pthread_getspecific(key) else { return nil }
        return unsafe Unmanaged<ThreadSignals>.fromOpaque(value).takeUnretainedValue()
    }

    /// Does a KVM_RUN, which the calling thread's signals end by the window that `body` is handed.
    /// - Parameter mask: KVM_SET_SIGNAL_MASK's, if there is one.
    static func duringRun<T>(_ mask: SignalMask?, _ body: (RunWindow) throws(Errno) -> T) throws(Errno) -> T {
        let thread = current
        thread.enterRun(mask)
        defer { thread.leaveRun() }
        return try body(thread.window)
    }

    /// From here on signals are put off and end the run.
    private func enterRun(_ mask: SignalMask?) {
        window.prepare()
        isInRun.store(true, ordering: .sequentiallyConsistent)
        outer = mask?.install()
    }

    /// The run has returned: the mask is as it was, and what was put off is delivered, if nothing blocks it.
    private func leaveRun() {
        isInRun.store(false, ordering: .sequentiallyConsistent)
        if let outer {
            self.outer = nil
            hasPutOff.store(false, ordering: .relaxed)
            _ = outer.install()
        } else if hasPutOff.exchange(false, ordering: .sequentiallyConsistent) {
            _ = putOffFrom.install()
        }
    }

    /// The mask that the run began with, where signals were put off.
    private var putOffFrom = SignalMask(bits: 0)

    /// In a handler: ends the run and leaves the signal waiting. False where no run is under way.
    func putOff(
        _ signal: Int32, _ information: UnsafeMutablePointer<siginfo_t>, _ context: UnsafeMutablePointer<ucontext_t>
    ) -> Bool {
        guard isInRun.load(ordering: .sequentiallyConsistent) else { return false }
        window.interrupt()
        // What the handler returns to has the signal blocked, so that it waits once it is queued again.
        let former = unsafe context.pointee.uc_sigmask.__val.0
        if !hasPutOff.exchange(true, ordering: .sequentiallyConsistent) {
            putOffFrom = SignalMask(bits: UInt64(former))
        }
        unsafe context.pointee.uc_sigmask.__val.0 = former | 1 << UInt(signal - 1)
        _ = next.system(
            SystemCall.queueSignal, UInt(getpid()), UInt(gettid()), UInt(signal), UInt(bitPattern: information))
        return true
    }
}
