// What answers: the software hypervisor of this process, made when the client first opens /dev/kvm.

internal import Glibc
internal import KVM2006
internal import KVMABI
internal import Processor
internal import SoftKVM
internal import Synchronization

/// The hypervisor and the handles that the client has of it.
final class Hypervisor: Sendable {
    private let endpoint: SoftwareEndpoint
    /// The machines of the first interface, by their handles' numbers.
    private let firsts = FirstMachines()
    private let watch: HandleWatch
    private let adoption = SpinLock()

    private init() throws(Errno) {
        do throws(ExecutorUnavailable) {
            endpoint = try SoftwareEndpoint(executor: ExecutorOptions(Settings.shared.executor))
        } catch {
            // The command has seen to it before; the client may run elsewhere than that, or less be allowed to it.
            Hypervisor.say("\(error)")
            throw .noSuchDevice
        }
        do throws(TranslationTrace.Failure) {
            if let path = Settings.shared.blockTrace { try TranslationTrace.writeListing(to: path) }
            if Settings.shared.wantsPerfMap { try TranslationTrace.writePerfMap(symbols: Settings.shared.symbols) }
        } catch {
            // The client runs all the same.
            Hypervisor.say("\(error)")
        }
        let endpoint = endpoint
        let firsts = firsts
        watch = try HandleWatch { found in
            if found.kind == .first { firsts.remove(found.handle) } else { endpoint.close(found.handle) }
        }
    }

    /// One line on the client's standard error.
    private static func say(_ text: String) {
        let line = Array("martlet: \(text)\n".utf8)
        _ = unsafe write(STDERR_FILENO, line, line.count)
    }

    // MARK: One for a process

    private static let lock = SpinLock()
    // SAFETY: nil, or the hypervisor, which is never freed; written under `lock`.
    private nonisolated(unsafe) static var present: Hypervisor?

    static func shared() throws(Errno) -> Hypervisor {
        if let present = ifPresent { return present }
        Process.making.lock()
        defer { Process.making.unlock() }
        if let present = ifPresent { return present }
        // A handler of the client's would meet what is half made. Faults are this library's own.
        let former = SignalMask(bits: ~SignalMask.faults).install()
        defer { _ = former.install() }
        SoftwareEndpoint.prepare()
        let made = try Hypervisor()
        made.rehearse()
        lock.withLock { unsafe present = made }
        return made
    }

    /// Whether a small machine has run. What that made is in the children of forks, too.
    private static let hasRehearsed = Atomic<Bool>(false)

    /// Runs a machine as the client will run its own: what the language's runtime makes at first use is there before a fork can
    /// meet it.
    private func rehearse() {
        guard !Hypervisor.hasRehearsed.load(ordering: .relaxed) else { return }
        let client = DescriptorEndpoint(self)
        let isDone =
            switch (Settings.shared.interface, Settings.shared.hypervisor) {
            case (.today, _): Rehearsal.perform(on: client)
            case (.first, .software):
                Rehearsal.perform(on: SignallingEndpoint(endpoint)) && FirstRehearsal.perform(by: client)
            case (.first, .kernel): FirstRehearsal.perform(by: client)
            }
        Hypervisor.hasRehearsed.store(isDone, ordering: .relaxed)
        if !isDone { Conversation.shared?.note("no machine could be run before the first: a fork may meet first uses") }
    }

    static var ifPresent: Hypervisor? { lock.withLock { unsafe present } }

    /// In the child of a fork: the parent's hypervisor is out of reach. Its memory is left alone, as whatever lock in it was
    /// held stays so.
    static func forked() {
        lock.reset()
        guard let left = unsafe present else { return }
        _ = unsafe Unmanaged.passRetained(left)
        unsafe present = nil
    }

    // MARK: Handles

    /// `open("/dev/kvm")`: a new descriptor.
    func open(flags: Int32) throws(Errno) -> Int32 {
        try Process.requests.pass { () throws(Errno) in try open(closesOnExec: flags & O_CLOEXEC != 0) }
    }

    private func open(closesOnExec: Bool) throws(Errno) -> Int32 {
        guard Settings.shared.interface == .first else {
            return try give(.system, try endpoint.open(), closesOnExec: closesOnExec)
        }
        let under: any Endpoint
        switch Settings.shared.hypervisor {
        case .software: under = SignallingEndpoint(endpoint)
        // By a name that is not taken for the client's.
        case .kernel: under = try KernelEndpoint(path: "/dev/./kvm")
        }
        return try give(.first, firsts.insert(try FirstInterface(under)), closesOnExec: closesOnExec)
    }

    /// A descriptor for a handle, which is the descriptor's from here on.
    private func give(_ kind: HandleKind, _ handle: Handle, closesOnExec: Bool) throws(Errno) -> Int32 {
        do throws(Errno) {
            let flags = UInt32(MFD_ALLOW_SEALING) | (closesOnExec ? UInt32(MFD_CLOEXEC) : 0)
            let descriptor = unsafe memfd_create(kind.name, flags)
            guard descriptor >= 0 else { throw Errno(rawValue: errno) }
            do throws(Errno) {
                _ = next.control(
                    descriptor, F_ADD_SEALS, UInt(F_SEAL_SEAL | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_WRITE))
                var status = stat()
                guard unsafe next.statusOf(descriptor, &status) == 0 else { throw Errno(rawValue: errno) }
                let place = try HandleTable.shared.insert(descriptor, status, kind, handle)
                do throws(Errno) {
                    try watch.add(descriptor, place)
                } catch {
                    HandleTable.shared.forget(descriptor)
                    _ = HandleTable.shared.remove(place)
                    throw error
                }
                return descriptor
            } catch {
                _ = next.close(descriptor)
                throw error
            }
        } catch {
            if kind == .first { firsts.remove(handle) } else { endpoint.close(handle) }
            throw error
        }
    }

    /// A descriptor that may have been a handle's last is closed.
    static func descriptorClosed() { ThreadSignals.inside { _ = ifPresent?.descriptorClosed() } }
    func descriptorClosed() { watch.drain() }

    // MARK: Requests

    /// `ioctl` on the handle that a descriptor names.
    static func ioctl(
        _ descriptor: Int32, _ found: FoundHandle, _ request: Request, _ argument: UInt
    ) throws(Errno) -> Int32 {
        let hypervisor = try shared()
        if found.isOfThisProcess { return try hypervisor.ioctl(found, request, argument) }
        let adopted = try Process.requests.pass { () throws(Errno) in try hypervisor.adopt(descriptor) }
        return try hypervisor.ioctl(adopted, request, argument)
    }

    /// The handle behind a descriptor that a fork has left to this process. A machine is of the process that made it; the
    /// device is everyone's, and opened again.
    private func adopt(_ descriptor: Int32) throws(Errno) -> FoundHandle {
        try adoption.withLock { () throws(Errno) in
            guard let found = HandleTable.shared.find(descriptor), found.kind == .system else { throw .ioError }
            if found.isOfThisProcess { return found }
            let handle = try endpoint.open()
            do throws(Errno) {
                try watch.add(descriptor, found.place)
            } catch {
                endpoint.close(handle)
                throw error
            }
            return HandleTable.shared.adopt(found, handle)
        }
    }

    /// `ioctl` on a handle of this process.
    func ioctl(_ found: FoundHandle, _ request: Request, _ argument: UInt) throws(Errno) -> Int32 {
        let runs =
            switch found.kind {
            case .vcpu: request == .run
            case .first: request.rawValue == UInt(FirstRequest.run.rawValue)
            case .system, .machine: false
            }
        guard !runs else { return try answer(found, request, argument) }
        return try Process.requests.pass { () throws(Errno) in try answer(found, request, argument) }
    }

    private func answer(_ found: FoundHandle, _ request: Request, _ argument: UInt) throws(Errno) -> Int32 {
        let handle = found.handle
        switch (found.kind, request) {
        case (.first, _):
            guard let machine = firsts[handle] else { throw .badFileDescriptor }
            return try machine.ioctl(request: UInt32(truncatingIfNeeded: request.rawValue), argument: argument)
        case (.system, .createVM):
            let made = Handle(rawValue: try endpoint.ioctl(handle, request, argument))
            return try give(.machine, made, closesOnExec: true)
        case (.machine, .createVCPU):
            let made = Handle(rawValue: try endpoint.ioctl(handle, request, argument))
            return try give(.vcpu, made, closesOnExec: true)
        case (.vcpu, .run):
            let mask = unsafe SignalMask.noted(in: found.entry)
            return try ThreadSignals.duringRun(mask) { (window) throws(Errno) in
                try endpoint.ioctl(handle, .run, argument, window: window)
            }
        case (.vcpu, .setSignalMask):
            let result = try endpoint.ioctl(handle, request, argument)
            unsafe SignalMask.note(argument, in: found.entry)
            return result
        default: return try endpoint.ioctl(handle, request, argument)
        }
    }

    /// `mmap` of a handle.
    static func map(
        _ found: FoundHandle, at address: UnsafeMutableRawPointer?, length: Int, protection: Int32, flags: Int32,
        offset: Int
    ) throws(Errno) -> UnsafeMutableRawPointer {
        guard found.kind == .vcpu || found.kind == .first else { throw .noSuchDevice }
        guard found.isOfThisProcess else { throw .ioError }
        return unsafe try shared().map(
            found, at: address, length: length, protection: protection, flags: flags, offset: offset)
    }

    func map(
        _ found: FoundHandle, at address: UnsafeMutableRawPointer?, length: Int, protection: Int32, flags: Int32,
        offset: Int
    ) throws(Errno) -> UnsafeMutableRawPointer {
        unsafe try Process.requests.pass { () throws(Errno) in
            let pieces: [MappingPiece]
            if found.kind == .first {
                guard let machine = firsts[found.handle] else { throw .badFileDescriptor }
                pieces = try machine.place(offset: offset, length: length)
            } else {
                // A handle is of a file system without programs.
                guard protection & PROT_EXEC == 0 else { throw .notPermitted }
                let kinds: Int32 = 15
                pieces = try endpoint.pieces(
                    found.handle, length: length, offset: offset, isShared: flags & kinds != MAP_PRIVATE)
            }
            return unsafe try pieces.map(at: address, protection: protection, flags: flags, by: next.map)
        }
    }
}

extension HandleKind {
    /// As /proc shows the kernel's.
    var name: String {
        switch self {
        case .system: "kvm"
        case .machine, .first: "kvm-vm"
        case .vcpu: "kvm-vcpu"
        }
    }
}
