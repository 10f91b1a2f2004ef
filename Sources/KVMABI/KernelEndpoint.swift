// The kernel's hypervisor behind /dev/kvm. The one place where KVM's system calls are made, and where a thread inside
// KVM_RUN is interrupted. Documentation/virt/kvm/api.rst, sections 2, 4.10 and 5 (`immediate_exit`).

internal import Glibc
internal import Synchronization

/// `/dev/kvm`, or another device file that answers as it does.
@safe public final class KernelEndpoint: Endpoint {
    private let path: String
    /// The real-time signal that ends a KVM_RUN; its handler does nothing.
    public let kickSignal: Int32
    // SAFETY: 1,024 pointers, each null or to a table of `runnersPerTable` runners, allocated once and freed in deinit.
    private nonisolated(unsafe) let tables: UnsafeMutablePointer<Atomic<UInt>>

    private static var tableCount: Int { 1024 }
    private static var runnersPerTable: Int { 1024 }

    /// Which thread is inside KVM_RUN with a vCPU.
    private struct Runner: ~Copyable {
        /// Its id, or 0.
        let thread = Atomic<Int32>(0)
        /// How many kicks are being sent. The thread does not leave before they are, so that none hits a later thread
        /// that was given the same id.
        let kicks = Atomic<Int32>(0)
        /// The last thread seen here: its signal mask has been looked after.
        let prepared = Atomic<Int32>(0)
    }

    /// - Parameters:
    ///   - path: the device file.
    ///   - kickSignal: the signal that interrupts a vCPU's thread; by default the first real-time signal whose
    ///     disposition is still the default one. An empty handler is installed, and only over the default disposition.
    /// - Throws: `EBUSY` if the signal asked for, or every real-time signal, is in other use.
    public init(path: String = "/dev/kvm", kickSignal: Int32? = nil) throws(Errno) {
        let candidates = kickSignal.map { $0...$0 } ?? (__libc_current_sigrtmin()...__libc_current_sigrtmax())
        guard let signal = candidates.first(where: KernelEndpoint.claim) else { throw .busy }
        self.path = path
        self.kickSignal = signal
        unsafe tables = .allocate(capacity: KernelEndpoint.tableCount)
        for index in 0..<KernelEndpoint.tableCount { unsafe (tables + index).initialize(to: Atomic(0)) }
    }

    deinit {
        for index in 0..<KernelEndpoint.tableCount {
            let table = unsafe UnsafeMutablePointer<Runner>(bitPattern: tables[index].load(ordering: .relaxed))
            if let table = unsafe table {
                unsafe table.deinitialize(count: KernelEndpoint.runnersPerTable)
                unsafe table.deallocate()
            }
        }
        unsafe tables.deinitialize(count: KernelEndpoint.tableCount)
        unsafe tables.deallocate()
    }

    /// Installs the empty handler if the signal has the default disposition; true if it is installed, now or before.
    private static func claim(_ signal: Int32) -> Bool {
        var present = sigaction()
        guard unsafe sigaction(signal, nil, &present) == 0 else { return false }
        let ours: @convention(c) (Int32) -> Void = emptyHandler
        guard let handler = unsafe present.__sigaction_handler.sa_handler else {  // SIG_DFL is null.
            var wanted = sigaction()
            unsafe wanted.__sigaction_handler.sa_handler = ours
            wanted.sa_flags = SA_RESTART
            return unsafe sigaction(signal, &wanted, nil) == 0
        }
        return unsafe unsafeBitCast(handler, to: UInt.self) == unsafeBitCast(ours, to: UInt.self)
    }

    public func open() throws(Errno) -> Handle {
        let descriptor = unsafe Glibc.open(path, O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 else { throw Errno(rawValue: errno) }
        return Handle(rawValue: descriptor)
    }

    public func ioctl(_ handle: Handle, _ request: Request, _ argument: UInt) throws(Errno) -> Int32 {
        if request == .run { return try run(handle, argument) }
        let result = KernelEndpoint.systemCall(handle, request, argument)
        guard result >= 0 else { throw Errno(rawValue: errno) }
        return result
    }

    /// The overlay's `ioctl` takes an address or no third argument, which is 0.
    private static func systemCall(_ handle: Handle, _ request: Request, _ argument: UInt) -> Int32 {
        guard let address = unsafe UnsafeMutableRawPointer(bitPattern: argument) else {
            return Glibc.ioctl(handle.rawValue, request.rawValue)
        }
        return unsafe Glibc.ioctl(handle.rawValue, request.rawValue, address)
    }

    public func map(_ handle: Handle, length: Int, offset: Int) throws(Errno) -> UnsafeMutableRawPointer {
        let address = unsafe mmap(nil, length, PROT_READ | PROT_WRITE, MAP_SHARED, handle.rawValue, offset)
        guard let address = unsafe address, unsafe address != MAP_FAILED else { throw Errno(rawValue: errno) }
        return unsafe address
    }

    public func unmap(_ address: UnsafeMutableRawPointer, length: Int) {
        unsafe munmap(address, length)
    }

    public func close(_ handle: Handle) {
        Glibc.close(handle.rawValue)
    }

    // MARK: KVM_RUN and the kick

    /// KVM_RUN with the calling thread on record. A kick before the record is seen by the kernel as `immediate_exit`; one
    /// after it comes as a signal, which either interrupts the ioctl or, just before it, leaves `immediate_exit` to end it.
    private func run(_ handle: Handle, _ argument: UInt) throws(Errno) -> Int32 {
        let runner = unsafe try runner(handle, create: true)
        guard let runner = unsafe runner else { throw .badFileDescriptor }
        let thread = gettid()
        if unsafe runner.pointee.prepared.load(ordering: .relaxed) != thread {
            unblockKickSignal()
            unsafe runner.pointee.prepared.store(thread, ordering: .relaxed)
        }
        unsafe runner.pointee.thread.store(thread, ordering: .sequentiallyConsistent)
        let result = KernelEndpoint.systemCall(handle, .run, argument)
        let error = errno
        unsafe runner.pointee.thread.store(0, ordering: .sequentiallyConsistent)
        while unsafe runner.pointee.kicks.load(ordering: .sequentiallyConsistent) != 0 { sched_yield() }
        guard result >= 0 else { throw Errno(rawValue: error) }
        return result
    }

    public func kick(_ vcpu: Handle) {
        guard let runner = unsafe (try? runner(vcpu, create: false)) ?? nil else { return }
        unsafe runner.pointee.kicks.add(1, ordering: .sequentiallyConsistent)
        let thread = unsafe runner.pointee.thread.load(ordering: .sequentiallyConsistent)
        if thread != 0 { _ = tgkill(getpid(), thread, kickSignal) }
        unsafe runner.pointee.kicks.subtract(1, ordering: .sequentiallyConsistent)
    }

    /// A thread that blocks the signal could not be kicked.
    private func unblockKickSignal() {
        var set = sigset_t()
        unsafe sigemptyset(&set)
        unsafe sigaddset(&set, kickSignal)
        unsafe pthread_sigmask(SIG_UNBLOCK, &set, nil)
    }

    /// The runner of a descriptor. Tables are made as needed and never replaced, so that no lock is taken.
    private func runner(_ handle: Handle, create: Bool) throws(Errno) -> UnsafeMutablePointer<Runner>? {
        let index = Int(handle.rawValue)
        let slot = index / KernelEndpoint.runnersPerTable
        guard index >= 0 else { throw .badFileDescriptor }
        guard slot < KernelEndpoint.tableCount else { throw .tooManyOpenFiles }
        var word = unsafe tables[slot].load(ordering: .acquiring)
        if word == 0 {
            guard create else { return nil }
            let table = UnsafeMutablePointer<Runner>.allocate(capacity: KernelEndpoint.runnersPerTable)
            for entry in 0..<KernelEndpoint.runnersPerTable { unsafe (table + entry).initialize(to: Runner()) }
            let mine = UInt(bitPattern: table)
            let (won, present) = unsafe tables[slot].compareExchange(
                expected: 0, desired: mine, ordering: .acquiringAndReleasing)
            if won {
                word = mine
            } else {
                unsafe table.deinitialize(count: KernelEndpoint.runnersPerTable)
                unsafe table.deallocate()
                word = present
            }
        }
        let table = unsafe UnsafeMutablePointer<Runner>(bitPattern: word)
        return unsafe table.map { unsafe $0 + index % KernelEndpoint.runnersPerTable }
    }
}

/// The kick signal's handler: that a system call was interrupted is all it is for.
private func emptyHandler(_ signal: Int32) {}
