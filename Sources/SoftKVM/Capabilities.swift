// What is offered beyond the base set: what KVM_CHECK_EXTENSION answers and what KVM_ENABLE_CAP takes. What is not in this
// table reads 0 and can't be enabled. Documentation/virt/kvm/api.rst, sections 4.4 and 6 to 8.

internal import Glibc
internal import KVMABI

/// One capability, as it is offered.
struct CapabilityOffer: Sendable {
    enum Answer: Sendable, ExpressibleByIntegerLiteral {
        case value(Int32)
        /// As many as the host has processors.
        case processors

        init(integerLiteral value: Int32) { self = .value(value) }
    }

    /// Which first arguments KVM_ENABLE_CAP takes.
    enum Argument: Sendable {
        /// These bits, which replace those of an earlier call.
        case bits(UInt64)
        /// These bits, which stay on.
        case stickyBits(UInt64)
        case oneOf([UInt64])
        case atMost(UInt64)
        /// A power of two of bytes, a page at least, in the low 32 bits, which alone count.
        case ringSize(atMost: Int)
        /// Any.
        case any

        /// What another is refused with.
        func refusal(of value: UInt64) -> Errno? {
            switch self {
            case .bits(let bits), .stickyBits(let bits): return value & ~bits == 0 ? nil : .invalidArgument
            case .oneOf(let values): return values.contains(value) ? nil : .invalidArgument
            case .atMost(let limit): return value <= limit ? nil : .invalidArgument
            case .ringSize(let limit):
                let size = UInt32(truncatingIfNeeded: value)
                guard size >= 4096, size.nonzeroBitCount == 1 else { return .invalidArgument }
                return Int(size) <= limit ? nil : .argumentListTooLong
            case .any: return nil
            }
        }
    }

    let capability: Capability
    let answer: Answer
    /// What turns it on, on the handle that `Capability.enabledOn` names; nil where it needs no turning on.
    let argument: Argument?

    init(_ capability: Capability, _ answer: Answer = 1, taking argument: Argument? = nil) {
        self.capability = capability
        self.answer = answer
        self.argument = argument
    }
}

enum Capabilities {
    /// Most vCPUs, and one more than the highest vCPU id.
    static let maximumVCPUs = 1024
    static let maximumVCPUID: UInt = 4096
    /// KVM_CLOCK_TSC_STABLE, _REALTIME, _HOST_TSC.
    static let clockFlags: UInt32 = 2 | 4 | hostTSCFlag
    static let hostTSCFlag: UInt32 = 8
    /// KVM_GUESTDBG_*: enable, single-step, software and hardware breakpoints, injected #DB and #BP, BLOCKIRQ.
    private static let guestDebug: Int32 = 3 | 0x10000 | 0x20000 | 0x40000 | 0x80000 | 0x100000

    private static let ring = CapabilityOffer.Answer.value(Int32(DirtyRing.maximumSize))
    private static let ringSize = CapabilityOffer.Argument.ringSize(atMost: DirtyRing.maximumSize)

    static let offers: [CapabilityOffer] = [
        // Handles
        .init(.checkExtensionVM), .init(.enableCap), .init(.enableCapVM), .init(.immediateExit), .init(.syncRegs, 7),
        .init(.nrVcpus, .processors), .init(.maxVcpus, .value(Int32(maximumVCPUs))),
        .init(.maxVCPUID, .value(Int32(maximumVCPUID)), taking: .atMost(UInt64(maximumVCPUID))),
        .init(.binaryStatsFD), .init(.deviceCtrl), .init(.vcpuAttributes), .init(.sysAttributes),

        // Memory
        .init(.userMemory), .init(.userMemory2), .init(.nrMemslots, .value(Int32(MemorySlots.limit))),
        .init(.readonlyMem), .init(.syncMMU),
        .init(.destroyMemoryRegionWorks), .init(.joinMemoryRegionsWorks), .init(.memoryFaultInfo),
        .init(.mmuShadowCacheControl),
        .init(.setTSSAddr), .init(.setIdentityMapAddr), .init(.coalescedMMIO, 2), .init(.coalescedPIO),
        // KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE, and with it _INITIALLY_SET.
        .init(.manualDirtyLogProtect2, 3, taking: .oneOf([0, 1, 3])),
        // By either name: on x86 stores are seen in order.
        .init(.dirtyLogRing, ring, taking: ringSize), .init(.dirtyLogRingAcqRel, ring, taking: ringSize),

        // Interrupts
        .init(.irqchip), .init(.pit), .init(.pit2), .init(.pitState2), .init(.reinjectControl), .init(.setBootCPUID),
        .init(.irqRouting, 4096), .init(.irqInjectStatus), .init(.signalMSI), .init(.ioapicPolarityIgnored),
        .init(.irqfd), .init(.irqfdResample), .init(.ioeventfd), .init(.ioeventfdNoLength), .init(.ioeventfdAnyLength),
        .init(.splitIRQCHIP, taking: .atMost(4096)), .init(.vapic), .init(.userNMI),
        // KVM_X2APIC_API_USE_32BIT_IDS and _DISABLE_BROADCAST_QUIRK.
        .init(.x2apicAPI, 3, taking: .stickyBits(3)),

        // The processor
        .init(.extCPUID), .init(.extEmulCPUID), .init(.getMSRFeatures), .init(.mpState), .init(.vcpuEvents),
        .init(.xsave),
        .init(.xsave2, 4096), .init(.xcrs), .init(.debugregs), .init(.sregs2), .init(.setGuestDebug),
        .init(.setGuestDebug2, .value(guestDebug)), .init(.x86RobustSinglestep), .init(.mce, 32),
        .init(.internalErrorData), .init(.exitOnEmulationFailure, taking: .oneOf([0, 1])),
        .init(.exceptionPayload, taking: .any), .init(.x86TripleFaultEvent, taking: .any), .init(.hlt),
        .init(.msrPlatformInfo, taking: .any), .init(.x86MSRFilter), .init(.systemEventData),
        // KVM_MSR_EXIT_REASON_INVAL, _UNKNOWN, _FILTER.
        .init(.x86UserSpaceMSR, taking: .bits(7)),
        // KVM_HC_MAP_GPA_RANGE.
        .init(.exitHypercall, 4096, taking: .bits(1 << 12)),
        // KVM_X86_DISABLE_EXITS_HLT. PAUSE never exits, MONITOR and MWAIT don't either.
        .init(.x86DisableExits, 2, taking: .stickyBits(2)),
        .init(.disableQuirks, taking: .any),
        .init(.disableQuirks2, .value(Int32(Quirks.all.rawValue)), taking: .stickyBits(Quirks.all.rawValue)),

        // Time, and what the guest knows of its hypervisor
        .init(.tscControl), .init(.vmTSCControl), .init(.getTSCKHz), .init(.tscDeadlineTimer),
        .init(.adjustClock, .value(Int32(clockFlags))), .init(.clocksource), .init(.kvmclockCtrl), .init(.nopIoDelay),
        .init(.enforcePVFeatureCPUID, taking: .any),
    ]

    private static let byCapability: [Capability: CapabilityOffer] =
        Dictionary(uniqueKeysWithValues: offers.map { ($0.capability, $0) })

    static func offer(_ capability: Capability) -> CapabilityOffer? { byCapability[capability] }

    /// KVM_CHECK_EXTENSION.
    static func value(_ capability: UInt) -> Int32 {
        guard let number = UInt32(exactly: capability), let offer = offer(Capability(rawValue: number)) else {
            return 0
        }
        switch offer.answer {
        case .value(let value): return value
        case .processors:
            return Int32(clamping: max(1, min(sysconf(Int32(_SC_NPROCESSORS_ONLN)), maximumVCPUs)))
        }
    }

    /// KVM_ENABLE_CAP: struct kvm_enable_cap { cap, flags, args[4], pad[64] }.
    /// - Returns: what is to be turned on, and the first argument.
    static func enabling(
        _ argument: ClientArgument, on handle: HandleKind
    ) throws(Errno) -> (capability: Capability, value: UInt64) {
        let record = Record(try argument.loadBytes(104))
        let capability = Capability(rawValue: record.load(0))
        let value: UInt64 = record.load(8)
        guard record.load(4, as: UInt32.self) == 0, capability.enabledOn == handle,
            let accepted = offer(capability)?.argument
        else { throw .invalidArgument }
        if let refusal = accepted.refusal(of: value) { throw refusal }
        return (capability, value)
    }
}
