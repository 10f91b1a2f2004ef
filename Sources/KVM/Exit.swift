// Why a run ended, with what the guest wants and where the answer goes. Documentation/virt/kvm/api.rst, section 5.

public import KVMABI

/// The exit of a vCPU. An open set: reasons that are not named here are `.unknown`, with their raw payload.
///
/// It looks into the run area, and can't be kept beyond the next `run()`.
public enum Exit: ~Escapable {
    /// IN or INS: to be answered.
    case portIn(PortIn)
    /// OUT or OUTS.
    case portOut(PortOut)
    /// A read where no slot is: to be answered.
    case mmioRead(MMIORead)
    /// A write where no slot is, or to a read-only slot.
    case mmioWrite(MMIOWrite)
    /// HLT, without the in-kernel local APIC.
    case halt
    /// A triple fault, or the like: the processor has shut down.
    case shutdown
    /// An interrupt can be injected now, as `requestsInterruptWindow` asked.
    case interruptWindowOpen
    /// A kick, or a signal, ended the run: nothing is to be done.
    case interrupted
    /// `KVM_EXIT_INTR`: a signal, as older kernels put it.
    case signal
    /// `KVM_EXIT_NMI`.
    case nmi
    /// The guest changed CR8, without the in-kernel local APIC; see `cr8`.
    case setTPR
    /// RDMSR that was asked for with `userSpaceMSR`: to be answered.
    case rdmsr(MSRRead)
    /// WRMSR that was asked for with `userSpaceMSR`.
    case wrmsr(MSRWrite)
    /// A breakpoint or single step that guest debugging asked for.
    case debug(kvm_debug_exit_arch)
    /// An exception that guest debugging asked for.
    case exception(vector: UInt32, errorCode: UInt32)
    /// A hypercall that `exitHypercall` asked for: to be answered.
    case hypercall(Hypercall)
    /// The guest accessed the task priority register, as `setTPRAccessReporting` asked.
    case tprAccess(rip: UInt64, isWrite: Bool)
    /// The end of an interrupt of a level-triggered I/O APIC pin, with the split interrupt controllers.
    case ioapicEOI(vector: UInt8)
    /// Hyper-V's synthetic interrupt controller or hypercalls.
    case hyperV(HyperVExit)
    /// Xen's hypercalls: to be answered.
    case xen(XenExit)
    /// Shutdown, reset or crash, as the guest asked.
    case systemEvent(SystemEvent)
    /// The vCPU's dirty ring is to be harvested.
    case dirtyRingFull
    case apResetHold
    /// The guest locked the bus, as `busLockExit` asked.
    case busLock
    /// No event for a while, as `notifyExit` asked.
    case notify(flags: UInt32)
    /// The guest reached memory that it can't have.
    case memoryFault(kvm_memory_fault_exit)
    /// The processor refused the guest's state.
    case failEntry(hardwareReason: UInt64, cpu: UInt32)
    /// The hypervisor gave up.
    case internalError(InternalError)
    /// `KVM_EXIT_UNKNOWN`: the hardware's reason, which the hypervisor does not know.
    case hardware(reason: UInt64)
    /// A reason that has no name here.
    case unknown(UnknownExit)
}

extension Exit {
    /// The number that the hypervisor gave; `KVM_EXIT_INTR` for `.interrupted`.
    public var reason: ExitReason {
        switch self {
        case .portIn, .portOut: .io
        case .mmioRead, .mmioWrite: .mmio
        case .halt: .hlt
        case .shutdown: .shutdown
        case .interruptWindowOpen: .irqWindowOpen
        case .interrupted, .signal: .intr
        case .nmi: .nmi
        case .setTPR: .setTPR
        case .rdmsr: .x86RdMSR
        case .wrmsr: .x86WrMSR
        case .debug: .debug
        case .exception: .exception
        case .hypercall: .hypercall
        case .tprAccess: .tprAccess
        case .ioapicEOI: .ioapicEOI
        case .hyperV: .hyperV
        case .xen: .xen
        case .systemEvent: .systemEvent
        case .dirtyRingFull: .dirtyRingFull
        case .apResetHold: .apResetHold
        case .busLock: .x86BusLock
        case .notify: .notify
        case .memoryFault: .memoryFault
        case .failEntry: .failEntry
        case .internalError: .internalError
        case .hardware: .unknown
        case .unknown(let exit): exit.reason
        }
    }

    /// A copy of the payload's bytes, for exits that have one to look into; empty for the others. It may be kept.
    public var rawBytes: [UInt8] {
        switch self {
        case .portIn(let exit): exit.view.bytes(0, 16)
        case .portOut(let exit): exit.view.bytes(0, 16)
        case .mmioRead(let exit): exit.view.bytes(0, 24)
        case .mmioWrite(let exit): exit.view.bytes(0, 24)
        case .rdmsr(let exit): exit.view.bytes(0, 32)
        case .wrmsr(let exit): exit.view.bytes(0, 32)
        case .hypercall(let exit): exit.view.bytes(0, 72)
        case .hyperV(let exit): exit.view.bytes(0, RunArea.payloadSize)
        case .xen(let exit): exit.view.bytes(0, RunArea.payloadSize)
        case .systemEvent(let exit): exit.view.bytes(0, 8 + 16 * 8)
        case .internalError(let exit): exit.view.bytes(0, 8 + 16 * 8)
        case .unknown(let exit): exit.view.bytes(0, RunArea.payloadSize)
        default: []
        }
    }
}

/// A sight of the run area for as long as the vCPU is borrowed.
@safe struct PayloadView: ~Escapable {
    // SAFETY: the mapping outlives the vCPU's borrow, which this can't outlive; offsets are checked against `size`.
    let area: RunArea
    let size: Int

    @_lifetime(borrow cpu)
    init(_ cpu: borrowing VirtualCPU) {
        area = cpu.area
        size = cpu.areaSize
    }

    /// Reads a field of the payload, at an offset into it.
    func load<T: BitwiseCopyable>(_ offset: Int, as type: T.Type = T.self) -> T {
        area.load(RunArea.Offset.payload + offset)
    }

    func store<T: BitwiseCopyable>(_ value: T, _ offset: Int) {
        area.store(value, RunArea.Offset.payload + offset)
    }

    /// Copies a part of the payload.
    func bytes(_ offset: Int, _ count: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        for index in 0..<count { bytes.append(load(offset + index)) }
        return bytes
    }

    /// Copies words of the payload.
    func words(_ offset: Int, _ count: Int) -> [UInt64] {
        var words: [UInt64] = []
        for index in 0..<count { words.append(load(offset + index * 8)) }
        return words
    }

    /// Whether [offset, offset + count) of the run area is mapped.
    func contains(_ offset: UInt64, _ count: Int) -> Bool {
        count >= 0 && offset <= UInt64(size) && count <= size - Int(offset)
    }
}
