// RDMSR, WRMSR, KVM_GET_MSRS and KVM_SET_MSRS of one vCPU: one pair of functions for guest and client.
// Intel SDM vol. 4, chapter 2; AMD APM vol. 2, appendix A; what a client may do beyond the guest is as in Linux.

internal import Chipset
internal import KVMABI
internal import Processor
internal import Synchronization
internal import X86

extension VirtualCPU {
    /// The MSRs that live in the processor's state: it reads and writes them for the guest, and checks for both.
    static func isHeldByProcessor(_ index: UInt32) -> Bool {
        switch MSR(index) {
        case .IA32_EFER, .IA32_STAR, .IA32_LSTAR, .IA32_CSTAR, .IA32_FMASK, .IA32_FS_BASE, .IA32_GS_BASE,
            .IA32_KERNEL_GS_BASE,
            .IA32_TSC_AUX, .IA32_SYSENTER_CS, .IA32_SYSENTER_ESP, .IA32_SYSENTER_EIP, .IA32_PAT, .IA32_DEBUGCTL,
            .IA32_MISC_ENABLE, .IA32_XSS:
            true
        default: false
        }
    }

    /// nil: no such MSR, or not for this guest.
    func readMSR(_ index: UInt32, fromHost: Bool) -> UInt64? {
        if VirtualCPU.isHeldByProcessor(index) {
            guard fromHost, case .value(let value) = processor.readMSR(index) else { return nil }
            return value
        }
        switch MSR(index) {
        case .IA32_TIME_STAMP_COUNTER: return timeStampCounter
        case .IA32_TSC_ADJUST: return fromHost || cpuid.features7B & 2 != 0 ? msrs.tscAdjust : nil
        case .IA32_TSC_DEADLINE: return fromHost || hasTSCDeadline ? chipset?.tscDeadline(Int(id)) ?? 0 : nil
        case .IA32_APIC_BASE: return apicBase
        case .IA32_BIOS_SIGN_ID: return msrs.microcode
        case .IA32_ARCH_CAPABILITIES: return fromHost || cpuid.features7D & 1 << 29 != 0 ? msrs.archCapabilities : nil
        case .MSR_PLATFORM_INFO:
            return fromHost || machine.enabled(.msrPlatformInfo) != 0 ? msrs.platformInfo : nil
        case .MSR_MISC_FEATURES_ENABLES: return msrs.miscFeatures
        case .MSR_SMI_COUNT: return msrs.smiCount
        case .IA32_POWER_CTL: return msrs.powerControl
        case .FAM10H_MMIO_CONF_BASE: return 0
        case .IA32_PERF_CAPABILITIES: return fromHost || cpuid.features1C & 1 << 15 != 0 ? 0 : nil
        case .K7_HWCR: return msrs.hwcr
        case .AMD64_DE_CFG: return msrs.deConfiguration
        case .KVM_WALL_CLOCK: return offers(ParavirtualFeatures.clocksource, fromHost) ? msrs.wallClock : nil
        case .KVM_SYSTEM_TIME: return offers(ParavirtualFeatures.clocksource, fromHost) ? msrs.systemTime : nil
        case .KVM_WALL_CLOCK_NEW: return offers(ParavirtualFeatures.clocksource2, fromHost) ? msrs.wallClock : nil
        case .KVM_SYSTEM_TIME_NEW: return offers(ParavirtualFeatures.clocksource2, fromHost) ? msrs.systemTime : nil
        default: break
        }
        if ModelSpecificRegisters.isMTRR(index) { return msrs.readMTRR(index) }
        if let value = machineCheck.read(index, fromHost: fromHost) { return value }
        if 0x800...0x8FF ~= index { return chipset?.readX2APIC(Int(id), msr: index) }
        if let value = ModelSpecificRegisters.constant(index) { return value }
        return ModelSpecificRegisters.inert(index)
    }

    private var hasTSCDeadline: Bool { chipset != nil && cpuid.features1C & 1 << 24 != 0 }

    /// Whether a paravirtual MSR is there: always, unless the client enforces CPUID (KVM_CAP_ENFORCE_PV_FEATURE_CPUID).
    private func offers(_ feature: UInt32, _ fromHost: Bool) -> Bool {
        fromHost || !enforcesParavirtualFeatures || cpuid.paravirtual & feature != 0
    }

    /// false: no such MSR, or a value that it can't have.
    func writeMSR(_ index: UInt32, _ value: UInt64, fromHost: Bool) -> Bool {
        if VirtualCPU.isHeldByProcessor(index) {
            // The guest's own writes end in the processor; what comes here, it has refused.
            guard fromHost, processor.writeMSR(index, value, hostInitiated: true) == .done else { return false }
            processor.stateChanged()
            return true
        }
        switch MSR(index) {
        case .IA32_TIME_STAMP_COUNTER:
            if fromHost { synchronizeTSC(value) } else { adjustTSC(by: value &- timeStampCounter) }
        case .IA32_TSC_ADJUST:
            guard fromHost || cpuid.features7B & 2 != 0 else { return false }
            if fromHost { msrs.tscAdjust = value } else { adjustTSC(by: value &- msrs.tscAdjust) }
        case .IA32_TSC_DEADLINE:
            guard fromHost || hasTSCDeadline else { return false }
            let now = timeStampCounter
            if !fromHost, value != 0, now > value, now - value >= UInt64(tsc.kilohertz) * 1000 {
                // It was reckoned before the guest stood still, and fires at once.
                doorbell.timeStoodStill()
            }
            chipset?.setTSCDeadline(Int(id), value, tsc: now)
        case .IA32_APIC_BASE: return setAPICBase(value, fromHost: fromHost)
        case .IA32_BIOS_SIGN_ID: if fromHost { msrs.microcode = value }
        case .IA32_BIOS_UPDT_TRIG, .AMD64_PATCH_LOADER: break
        case .IA32_ARCH_CAPABILITIES:
            guard fromHost else { return false }
            msrs.archCapabilities = value
        case .MSR_PLATFORM_INFO:
            guard fromHost else { return false }
            msrs.platformInfo = value
        // No CPUID faulting, and no PCI configuration space in memory, to turn on.
        case .MSR_MISC_FEATURES_ENABLES, .FAM10H_MMIO_CONF_BASE: return value == 0
        case .MSR_SMI_COUNT:
            guard fromHost else { return false }
            msrs.smiCount = value
        case .IA32_POWER_CTL: msrs.powerControl = value
        case .IA32_PERF_CAPABILITIES: return fromHost && value == 0
        case .K7_HWCR:
            // FFDIS, IgnneEm and TlbCacheDis are ignored; McStatusWrEn and TscFreqSel are kept.
            let kept = value & ~(0x40 | 0x100 | 0x8)
            guard kept & ~(1 << 18 | 1 << 24) == 0 else { return false }
            msrs.hwcr = kept
        case .AMD64_DE_CFG:
            guard msrs.deConfiguration != nil, value & ~2 == 0 else { return false }
            msrs.deConfiguration = value
        case .KVM_WALL_CLOCK, .KVM_WALL_CLOCK_NEW:
            guard offers(index == 0x11 ? ParavirtualFeatures.clocksource : ParavirtualFeatures.clocksource2, fromHost)
            else { return false }
            msrs.wallClock = value
            if fromHost { doorbell.timeChanged() } else { writeWallClock() }
        case .KVM_SYSTEM_TIME, .KVM_SYSTEM_TIME_NEW:
            guard offers(index == 0x12 ? ParavirtualFeatures.clocksource : ParavirtualFeatures.clocksource2, fromHost)
            else { return false }
            msrs.systemTime = value
            msrs.usesOldClock = index == 0x12
            if fromHost { doorbell.timeChanged() } else { updateGuestTime() }
        default: return writeOtherMSR(index, value, fromHost: fromHost)
        }
        return true
    }

    private func writeOtherMSR(_ index: UInt32, _ value: UInt64, fromHost: Bool) -> Bool {
        if ModelSpecificRegisters.isMTRR(index) { return msrs.writeMTRR(index, value, physicalBits: guestPhysicalBits) }
        switch index {
        case 0x17A, 0x17B, 0x400..<0x480:
            return machineCheck.write(index, value, fromHost: fromHost, canWriteStatus: msrs.hwcr & 1 << 18 != 0)
        case 0x800...0x8FF: return chipset?.writeX2APIC(Int(id), msr: index, value: value) ?? false
        default: break
        }
        if ModelSpecificRegisters.inert(index) != nil { return true }
        // What can't be written otherwise takes from a client what it reads: state that was saved is state that can be restored.
        return fromHost && value == readMSR(index, fromHost: true)
    }
}
