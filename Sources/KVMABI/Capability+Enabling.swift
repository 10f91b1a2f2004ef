// Which capabilities have to be turned on, and on which handle; the others are there without. Source: the cases of
// KVM_ENABLE_CAP in arch/x86/kvm/x86.c and virt/kvm/kvm_main.c of Linux 6.18.

extension Capability {
    /// The handle whose `KVM_ENABLE_CAP` turns this on; nil for what needs no turning on.
    public var enabledOn: HandleKind? {
        switch self {
        case .disableQuirks, .disableQuirks2, .splitIRQCHIP, .x2apicAPI, .x86DisableExits, .msrPlatformInfo,
            .exceptionPayload, .x86TripleFaultEvent, .x86UserSpaceMSR, .x86BusLockExit, .sgxAttribute,
            .vmCopyEncContextFrom, .vmMoveEncContextFrom, .exitHypercall, .exitOnEmulationFailure, .pmuCapability,
            .maxVCPUID, .x86NotifyVmexit, .vmDisableNXHugePages, .x86APICBusCyclesNs, .manualDirtyLogProtect2,
            .haltPoll,
            .dirtyLogRing, .dirtyLogRingAcqRel, .dirtyLogRingWithBitmap:
            .machine
        case .hypervSynic, .hypervSynic2, .hypervEnlightenedVmcs, .hypervDirectTlbflush, .hypervEnforceCPUID,
            .enforcePVFeatureCPUID:
            .vcpu
        default: nil
        }
    }
}
