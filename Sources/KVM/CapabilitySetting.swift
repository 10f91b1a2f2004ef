// The capabilities that have to be turned on, with their arguments. Each opts in to what it names and nothing else.
// Documentation/virt/kvm/api.rst, sections 6 and 7.

public import KVMABI

/// What `enable` takes: a capability and its arguments.
public struct CapabilitySetting: Sendable {
    public let capability: Capability
    public let flags: UInt32
    public let arguments: (UInt64, UInt64, UInt64, UInt64)
    /// Bits of the first argument that `KVM_CHECK_EXTENSION` must report.
    public let bits: UInt64

    /// Any capability.
    /// - Parameter bits: bits that must be among those that `KVM_CHECK_EXTENSION` reports.
    public init(
        _ capability: Capability, _ arguments: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0), flags: UInt32 = 0,
        bits: UInt64 = 0
    ) {
        self.capability = capability
        self.arguments = arguments
        self.flags = flags
        self.bits = bits
    }

    private static func mask(_ capability: Capability, _ mask: UInt64) -> CapabilitySetting {
        CapabilitySetting(capability, (mask, 0, 0, 0), bits: mask)
    }

    private static func value(_ capability: Capability, _ value: UInt64) -> CapabilitySetting {
        CapabilitySetting(capability, (value, 0, 0, 0))
    }

    /// Why an MSR access comes to the client (`KVM_MSR_EXIT_REASON_*`).
    public struct MSRExit: OptionSet, Hashable, Sendable {
        public let rawValue: UInt32
        public init(rawValue: UInt32) { self.rawValue = rawValue }
        /// The access is architecturally invalid.
        public static let invalid = MSRExit(rawValue: 1 << 0)
        /// The hypervisor does not know the MSR.
        public static let unknown = MSRExit(rawValue: 1 << 1)
        /// The MSR filter denies it.
        public static let filter = MSRExit(rawValue: 1 << 2)
    }

    /// Instructions that need not leave the guest (`KVM_X86_DISABLE_EXITS_*`).
    public struct DisabledExits: OptionSet, Hashable, Sendable {
        public let rawValue: UInt64
        public init(rawValue: UInt64) { self.rawValue = rawValue }
        public static let mwait = DisabledExits(rawValue: 1 << 0)
        public static let hlt = DisabledExits(rawValue: 1 << 1)
        public static let pause = DisabledExits(rawValue: 1 << 2)
        public static let cState = DisabledExits(rawValue: 1 << 3)
    }

    /// Exits `.rdmsr` and `.wrmsr` for accesses that would otherwise raise #GP.
    public static func userSpaceMSR(_ reasons: MSRExit) -> CapabilitySetting {
        value(.x86UserSpaceMSR, UInt64(reasons.rawValue))
    }
    /// Local APICs in the hypervisor, I/O APIC and PIC in the client.
    /// - Parameter pins: routes reserved for the client's I/O APIC; 24 suits one.
    public static func splitIRQChip(pins: Int = 24) -> CapabilitySetting {
        value(.splitIRQCHIP, UInt64(truncatingIfNeeded: pins))
    }
    /// 32-bit APIC ids and no broadcast quirk, as `KVM_X2APIC_API_*`.
    public static func x2APIC(flags: UInt64) -> CapabilitySetting { mask(.x2apicAPI, flags) }
    /// Pending exceptions keep their payload (CR2, DR6) beside them in the vCPU events.
    public static var exceptionPayload: CapabilitySetting { value(.exceptionPayload, 1) }
    /// The dirty log is cleared by `clearDirtyLog` only.
    /// - Parameter initiallySet: all pages begin dirty.
    public static func manualDirtyLogProtect(initiallySet: Bool = false) -> CapabilitySetting {
        mask(.manualDirtyLogProtect2, initiallySet ? 3 : 1)
    }
    /// The highest vCPU id will be below this.
    public static func maxVCPUID(_ limit: UInt32) -> CapabilitySetting { value(.maxVCPUID, UInt64(limit)) }
    public static func disableExits(_ exits: DisabledExits) -> CapabilitySetting {
        mask(.x86DisableExits, exits.rawValue)
    }
    /// Turns off historic misbehaviour, as `KVM_X86_QUIRK_*`.
    public static func disableQuirks(_ quirks: UInt64) -> CapabilitySetting { mask(.disableQuirks2, quirks) }
    /// Exits for these hypercalls, a bit for each number.
    public static func exitHypercall(_ mask: UInt64) -> CapabilitySetting {
        CapabilitySetting.mask(.exitHypercall, mask)
    }
    /// Dirty pages are reported in a ring for each vCPU, of this many bytes.
    public static func dirtyLogRing(bytes: Int) -> CapabilitySetting {
        value(.dirtyLogRingAcqRel, UInt64(truncatingIfNeeded: bytes))
    }
    /// Exits `.busLock` when the guest locks the bus.
    public static var busLockExit: CapabilitySetting { mask(.x86BusLockExit, 2) }
    /// How long a halted vCPU may be polled for, in nanoseconds.
    public static func haltPoll(nanoseconds: UInt32) -> CapabilitySetting { value(.haltPoll, UInt64(nanoseconds)) }
    /// A pending triple fault is part of the vCPU events.
    public static var tripleFaultEvent: CapabilitySetting { value(.x86TripleFaultEvent, 1) }
    /// An instruction that can't be emulated is an exit even where #UD would have been raised.
    public static var exitOnEmulationFailure: CapabilitySetting { value(.exitOnEmulationFailure, 1) }
    /// Exits `.notify` when the guest takes no event for this many TSC ticks.
    public static func notifyExit(window: UInt32) -> CapabilitySetting {
        value(.x86NotifyVmexit, UInt64(window) << 32 | 3)
    }
    /// No performance counters for the guest.
    public static var disablePMU: CapabilitySetting { mask(.pmuCapability, 1) }
    /// The period of the APIC bus, in nanoseconds.
    public static func apicBusCycle(nanoseconds: UInt64) -> CapabilitySetting {
        value(.x86APICBusCyclesNs, nanoseconds)
    }
    /// Huge pages of the host stay executable.
    public static var disableNXHugePages: CapabilitySetting { value(.vmDisableNXHugePages, 0) }
    /// Whether the guest may read MSR_PLATFORM_INFO.
    public static func platformInfoMSR(_ readable: Bool) -> CapabilitySetting {
        value(.msrPlatformInfo, readable ? 1 : 0)
    }
    /// Of a vCPU: KVM's paravirtual features that CPUID does not show raise #GP.
    public static var enforcePVFeatures: CapabilitySetting { value(.enforcePVFeatureCPUID, 1) }
}
