// A vCPU: running it. Its state is in the extensions beside this file.
// Documentation/virt/kvm/api.rst, sections 4.10 (KVM_RUN) and 5.

public import KVMABI

/// A virtual processor. One thread at a time runs it; others reach it through its `KickHandle`.
///
/// `run()` takes the vCPU exclusively and `exit` borrows it, so that what an exit points to can't be read or answered
/// once the next run has begun: that does not compile.
@safe public struct VirtualCPU: ~Copyable, Sendable {
    let connection: Connection
    let core: MachineCore
    // SAFETY: mapped from init to deinit, `areaSize` bytes.
    let area: RunArea
    let areaSize: Int
    /// Ends `run()` from another thread.
    public let kickHandle: KickHandle
    /// The number it was created with.
    public let id: UInt32
    /// KVM_RUN returned EINTR: the run area's reason is not this exit's.
    private var interrupted = false

    init(_ connection: Connection, _ core: MachineCore, id: UInt32) throws(KVMError) {
        guard core.runAreaSize >= MemoryLayout<kvm_run>.size else { throw .notMapped(.invalidArgument) }
        do throws(Errno) {
            area = unsafe RunArea(try connection.endpoint.map(connection.handle, length: core.runAreaSize, offset: 0))
        } catch {
            throw .notMapped(error)
        }
        self.connection = connection
        self.core = core
        self.id = id
        areaSize = core.runAreaSize
        kickHandle = KickHandle(connection.endpoint, connection.handle, area)
    }

    deinit {
        kickHandle.retire()
        unsafe connection.endpoint.unmap(area.base, length: areaSize)
    }

    /// `KVM_RUN`: runs the guest until it needs the client; `exit` says why.
    ///
    /// A kick is the exit `.interrupted`; on the kernel's hypervisor a handled signal is, too. The software hypervisor goes on
    /// after a signal's handler, as the thread does: who wants the run to end kicks. A memory fault that the hypervisor
    /// describes is the exit `.memoryFault`.
    /// - Throws: `KVMError.failed(.run, …)`: `EFAULT` if slot memory is not accessible any more.
    public mutating func run() throws(KVMError) {
        while true {
            do throws(Errno) {
                _ = try connection.endpoint.ioctl(connection.handle, .run, 0)
                interrupted = false
                return
            } catch {
                if error == .tryAgain { continue }
                try stopped(error)
                return
            }
        }
    }

    /// KVM_RUN failed; some failures are exits.
    private mutating func stopped(_ error: Errno) throws(KVMError) {
        switch error {
        case .interrupted:
            _ = area.takeImmediateExit()
            interrupted = true
        case .badAddress where area.exitReason == .memoryFault, .hardwarePoison where area.exitReason == .memoryFault:
            interrupted = false
        default:
            throw .failed(.run, error)
        }
    }

    /// Completes the access that the last exit was about, without running on: RIP and registers are then exact, to be
    /// compared or saved.
    public mutating func complete() throws(KVMError) {
        area.setImmediateExit()
        try run()
    }

    /// Why the last `run()` ended. To be read, and answered, before the next one.
    public var exit: Exit {
        @_lifetime(borrow self)
        get {
            if interrupted { return .interrupted }
            return switch area.exitReason {
            case .io:
                payload(0, as: UInt8.self) == UInt8(KVM_EXIT_IO_IN) ? .portIn(PortIn(self)) : .portOut(PortOut(self))
            case .mmio:
                payload(20, as: UInt8.self) == 0 ? .mmioRead(MMIORead(self)) : .mmioWrite(MMIOWrite(self))
            case .hlt: .halt
            case .irqWindowOpen: .interruptWindowOpen
            case .shutdown: .shutdown
            case .intr: .signal
            case .nmi: .nmi
            case .setTPR: .setTPR
            case .x86RdMSR: .rdmsr(MSRRead(self))
            case .x86WrMSR: .wrmsr(MSRWrite(self))
            case .debug: .debug(payload(0))
            case .exception: .exception(vector: payload(0), errorCode: payload(4))
            case .failEntry: .failEntry(hardwareReason: payload(0), cpu: payload(8))
            case .internalError: .internalError(InternalError(self))
            case .systemEvent: .systemEvent(SystemEvent(self))
            case .hypercall: .hypercall(Hypercall(self))
            case .tprAccess: .tprAccess(rip: payload(0), isWrite: payload(8, as: UInt32.self) != 0)
            case .ioapicEOI: .ioapicEOI(vector: payload(0))
            case .hyperV: .hyperV(HyperVExit(self))
            case .xen: .xen(XenExit(self))
            case .dirtyRingFull: .dirtyRingFull
            case .apResetHold: .apResetHold
            case .x86BusLock: .busLock
            case .notify: .notify(flags: payload(0))
            case .memoryFault: .memoryFault(payload(0))
            case .unknown: .hardware(reason: payload(0))
            default: .unknown(UnknownExit(self))
            }
        }
    }

    private func payload<T: BitwiseCopyable>(_ offset: Int, as type: T.Type = T.self) -> T {
        area.load(RunArea.Offset.payload + offset)
    }

    // MARK: The run area

    /// Without the in-kernel local APIC: asks for the exit `.interruptWindowOpen`.
    public var requestsInterruptWindow: Bool {
        get { area.requestInterruptWindow }
        nonmutating set { area.requestInterruptWindow = newValue }
    }
    /// Without the in-kernel local APIC: an interrupt can be injected now.
    public var isReadyForInterrupt: Bool { area.readyForInterruptInjection }
    /// RFLAGS.IF as of the last exit.
    public var interruptFlag: Bool { area.interruptFlag }
    /// `kvm_run.flags`: in system management mode, or with a bus lock.
    public var runFlags: UInt16 { area.flags }
    /// The task priority, CR8. Without the in-kernel local APIC what is set here is the guest's at the next run.
    public var cr8: UInt64 {
        get { area.cr8 }
        nonmutating set { area.cr8 = newValue }
    }
    /// The APIC's base MSR, likewise.
    public var apicBase: UInt64 {
        get { area.apicBase }
        nonmutating set { area.apicBase = newValue }
    }

    /// The raw bytes of the run area: `struct kvm_run`, the port data, the coalesced ring.
    public func withRunArea<Result, Failure: Error>(
        _ body: (UnsafeMutableRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        unsafe try body(UnsafeMutableRawBufferPointer(start: area.base, count: areaSize))
    }

    /// The writes that were gathered instead of being exits, oldest first; the ring is emptied.
    public func coalescedWrites() -> [kvm_coalesced_mmio] {
        let offset = core.coalescedPage * 4096
        guard core.coalescedPage > 0, offset + 4096 <= areaSize else { return [] }
        let capacity = UInt32((4096 - 8) / MemoryLayout<kvm_coalesced_mmio>.stride)
        var writes: [kvm_coalesced_mmio] = []
        var first: UInt32 = area.load(offset)
        let last: UInt32 = area.load(offset + 4)
        guard first < capacity, last < capacity else { return [] }
        while first != last {
            let entry = offset + 8 + Int(first) * MemoryLayout<kvm_coalesced_mmio>.stride
            writes.append(unsafe area.base.load(fromByteOffset: entry, as: kvm_coalesced_mmio.self))
            first = (first + 1) % capacity
        }
        area.store(first, offset)
        return writes
    }

    /// `KVM_CHECK_EXTENSION` of its machine, for a vCPU's own capabilities.
    public func check(_ capability: Capability) throws(KVMError) -> Int { try core.connection.check(capability) }

    /// `KVM_ENABLE_CAP` on this vCPU.
    /// - Throws: `KVMError.notOffered` if the machine does not offer the capability.
    public func enable(_ setting: CapabilitySetting) throws(KVMError) {
        try connection.enable(setting, offered: check(setting.capability))
    }

    /// Any request of this vCPU, its argument as the kernel sees it.
    ///
    /// An argument that is an address must be valid for what the request reads and writes.
    @unsafe @discardableResult
    public func request(_ request: Request, _ argument: UInt = 0) throws(KVMError) -> Int32 {
        try connection.call(request, argument)
    }

    /// The vCPU's handle at its endpoint; valid while the vCPU lives.
    public var handle: Handle { connection.handle }
}
