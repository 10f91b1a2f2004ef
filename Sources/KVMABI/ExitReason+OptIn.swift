// What a client has done where it is given an exit: the rule by which the interface grows without breaking a client that is
// older than an exit. Documentation/virt/kvm/api.rst, sections 5 and 7.

/// The exits of the base interface, which every client has to understand.
@frozen public enum BaseExit: UInt32, CaseIterable, Sendable {
    case unknown = 0
    case io = 2
    case mmio = 6
    case shutdown = 8
    case failEntry = 9
    case intr = 10
    case internalError = 17
    /// Beside `EFAULT` or `EHWPOISON` only, by which KVM_RUN has always failed there.
    case memoryFault = 39
}

/// What an exit is asked for with.
public enum ExitOptIn: Hashable, Sendable {
    /// Nothing: the exit is of the base interface.
    case base
    /// Nothing; it ends with `KVM_CREATE_IRQCHIP` or `KVM_CAP_SPLIT_IRQCHIP`, by which the hypervisor has the local APIC.
    case noLocalAPIC
    /// `kvm_run.request_interrupt_window`.
    case interruptWindowRequest
    /// `KVM_ENABLE_CAP` of one of these, with one of `bits` in the first argument; nil: with any argument.
    case capability([Capability], bits: UInt64?)
    /// An ioctl, and what in its argument.
    case request(Request, String)
    /// x86 has nothing that asks for it, and never gives it.
    case never
}

extension ExitReason {
    @inlinable public init(_ exit: BaseExit) { self.init(rawValue: exit.rawValue) }

    /// What this exit is asked for with; a reason that has no name here is never asked for.
    public var optIn: ExitOptIn {
        switch self {
        case _ where BaseExit(rawValue: rawValue) != nil: .base
        case .hlt, .setTPR: .noLocalAPIC
        case .irqWindowOpen: .interruptWindowRequest
        case .debug, .exception: .request(.setGuestDebug, "KVM_GUESTDBG_ENABLE")
        case .tprAccess: .request(.tprAccessReporting, "enabled")
        case .hypercall: .capability([.exitHypercall], bits: 1 << 12)
        case .x86RdMSR, .x86WrMSR: .capability([.x86UserSpaceMSR], bits: 7)
        case .ioapicEOI: .capability([.splitIRQCHIP], bits: nil)
        case .dirtyRingFull: .capability([.dirtyLogRing, .dirtyLogRingAcqRel], bits: nil)
        case .x86BusLock: .capability([.x86BusLockExit], bits: 2)
        case .notify: .capability([.x86NotifyVmexit], bits: 1)
        case .hyperV: .capability([.hypervSynic, .hypervSynic2], bits: nil)
        case .systemEvent: .request(.setCPUID2, "Hyper-V's leaves")
        case .xen: .request(.xenHVMConfig, "KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL")
        case .apResetHold: .request(.createVM, "KVM_X86_SEV_ES_VM")
        case .tdx: .request(.createVM, "KVM_X86_TDX_VM")
        default: .never
        }
    }
}
