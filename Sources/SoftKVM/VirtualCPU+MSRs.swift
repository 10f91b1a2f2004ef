// RDMSR, WRMSR, KVM_GET_MSRS and KVM_SET_MSRS of one vCPU: one pair of functions for guest and client.
// Intel SDM vol. 4, chapter 2; AMD APM vol. 2, appendix A; what a client may do beyond the guest is as in Linux.

internal import Chipset
internal import KVMABI
internal import Processor
internal import Synchronization
internal import X86

extension VirtualCPU {
    /// nil: no such MSR, or not for this guest.
    func readMSR(_ index: UInt32, fromHost: Bool) -> UInt64? {
        let state = processor.state
        switch MSR(index) {
        case .IA32_EFER: return state.efer
        case .IA32_STAR: return state.star
        case .IA32_LSTAR: return state.lstar
        case .IA32_CSTAR: return state.cstar
        case .IA32_FMASK: return state.sfmask
        case .IA32_FS_BASE: return state.segments[Int(SegmentName.fs.rawValue)].base
        case .IA32_GS_BASE: return state.segments[Int(SegmentName.gs.rawValue)].base
        case .IA32_KERNEL_GS_BASE: return state.kernelGSBase
        case .IA32_TSC_AUX: return fromHost || hasTSCAux ? state.tscAux : nil
        case .IA32_SYSENTER_CS: return state.sysenterCS
        case .IA32_SYSENTER_ESP: return state.sysenterESP
        case .IA32_SYSENTER_EIP: return state.sysenterEIP
        case .IA32_PAT: return state.pat
        case .IA32_DEBUGCTL: return state.debugControl
        case .IA32_MISC_ENABLE: return state.miscEnable
        case .IA32_XSS: return fromHost || cpuid.features1C & 1 << 26 != 0 ? state.xss : nil
        case .IA32_TIME_STAMP_COUNTER: return timeStampCounter
        case .IA32_TSC_ADJUST: return fromHost || cpuid.features7B & 2 != 0 ? msrs.tscAdjust : nil
        case .IA32_TSC_DEADLINE: return fromHost || hasTSCDeadline ? chipset?.tscDeadline(Int(id)) ?? 0 : nil
        case .IA32_APIC_BASE: return apicBase
        case .IA32_BIOS_SIGN_ID: return msrs.microcode
        case .IA32_ARCH_CAPABILITIES: return fromHost || cpuid.features7D & 1 << 29 != 0 ? msrs.archCapabilities : nil
        case .MSR_PLATFORM_INFO:
            return fromHost || machine.configuration.withLock { $0.platformInfoReadable } ? msrs.platformInfo : nil
        case .MSR_MISC_FEATURES_ENABLES: return msrs.miscFeatures
        case .MSR_SMI_COUNT: return msrs.smiCount
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
        return ModelSpecificRegisters.isInert(index) ? 0 : nil
    }

    private var hasTSCAux: Bool { cpuid.extended1D & 1 << 27 != 0 || cpuid.features7C & 1 << 22 != 0 }
    private var hasTSCDeadline: Bool { chipset != nil && cpuid.features1C & 1 << 24 != 0 }

    /// Whether a paravirtual MSR is there: always, unless the client enforces CPUID (KVM_CAP_ENFORCE_PV_FEATURE_CPUID).
    private func offers(_ feature: UInt32, _ fromHost: Bool) -> Bool {
        fromHost || !enforcesParavirtualFeatures || cpuid.paravirtual & feature != 0
    }

    private static func isCanonical(_ address: UInt64) -> Bool { UInt64(bitPattern: Int64(bitPattern: address << 16) >> 16) == address }

    /// false: no such MSR, or a value that it can't have.
    func writeMSR(_ index: UInt32, _ value: UInt64, fromHost: Bool) -> Bool {
        switch MSR(index) {
        case .IA32_EFER: return writeEFER(value, fromHost: fromHost)
        case .IA32_STAR: processor.state.star = value
        case .IA32_LSTAR:
            guard VirtualCPU.isCanonical(value) else { return false }
            processor.state.lstar = value
        case .IA32_CSTAR:
            guard VirtualCPU.isCanonical(value) else { return false }
            processor.state.cstar = value
        case .IA32_FMASK: processor.state.sfmask = value & 0xFFFF_FFFF
        case .IA32_FS_BASE:
            guard VirtualCPU.isCanonical(value) else { return false }
            processor.state.segments[Int(SegmentName.fs.rawValue)].base = value
        case .IA32_GS_BASE:
            guard VirtualCPU.isCanonical(value) else { return false }
            processor.state.segments[Int(SegmentName.gs.rawValue)].base = value
        case .IA32_KERNEL_GS_BASE:
            guard VirtualCPU.isCanonical(value) else { return false }
            processor.state.kernelGSBase = value
        case .IA32_TSC_AUX:
            guard fromHost || hasTSCAux, cpuid.isAMD || value >> 32 == 0 else { return false }
            processor.state.tscAux = value & 0xFFFF_FFFF
        case .IA32_SYSENTER_CS: processor.state.sysenterCS = value & 0xFFFF_FFFF
        case .IA32_SYSENTER_ESP:
            guard VirtualCPU.isCanonical(value) else { return false }
            processor.state.sysenterESP = value
        case .IA32_SYSENTER_EIP:
            guard VirtualCPU.isCanonical(value) else { return false }
            processor.state.sysenterEIP = value
        case .IA32_PAT:
            for byte in 0..<8 {
                let type = value >> UInt64(8 * byte) & 0xFF
                guard type < 8, 0xF3 & 1 << type != 0 else { return false }
            }
            processor.state.pat = value
        case .IA32_DEBUGCTL:
            guard value & ~3 == 0 else { return false }
            processor.state.debugControl = value
        case .IA32_MISC_ENABLE: processor.state.miscEnable = value
        case .IA32_XSS: return value == 0 && (fromHost || cpuid.features1C & 1 << 26 != 0)
        case .IA32_TIME_STAMP_COUNTER:
            if fromHost { synchronizeTSC(value) } else { adjustTSC(by: value &- timeStampCounter) }
        case .IA32_TSC_ADJUST:
            guard fromHost || cpuid.features7B & 2 != 0 else { return false }
            if fromHost { msrs.tscAdjust = value } else { adjustTSC(by: value &- msrs.tscAdjust) }
        case .IA32_TSC_DEADLINE:
            guard fromHost || hasTSCDeadline else { return false }
            chipset?.setTSCDeadline(Int(id), value, tsc: timeStampCounter)
        case .IA32_APIC_BASE: return setAPICBase(value, fromHost: fromHost)
        case .IA32_BIOS_SIGN_ID: if fromHost { msrs.microcode = value }
        case .IA32_BIOS_UPDT_TRIG, .AMD64_PATCH_LOADER, .VM_HSAVE_PA: break
        case .IA32_ARCH_CAPABILITIES:
            guard fromHost else { return false }
            msrs.archCapabilities = value
        case .MSR_PLATFORM_INFO:
            guard fromHost else { return false }
            msrs.platformInfo = value
        case .MSR_MISC_FEATURES_ENABLES: return value == 0
        case .MSR_SMI_COUNT:
            guard fromHost else { return false }
            msrs.smiCount = value
        case .IA32_PERF_CAPABILITIES: return fromHost && value == 0
        case .K7_HWCR:
            // FFDIS, IgnneEm and TlbCacheDis are ignored; McStatusWrEn and TscFreqSel are kept.
            let kept = value & ~(0x40 | 0x100 | 0x8)
            guard kept & ~(1 << 18 | 1 << 24) == 0 else { return false }
            msrs.hwcr = kept
        case .AMD64_DE_CFG:
            guard value & ~2 == 0 else { return false }
            msrs.deConfiguration = value
        case .KVM_WALL_CLOCK, .KVM_WALL_CLOCK_NEW:
            guard offers(index == 0x11 ? ParavirtualFeatures.clocksource : ParavirtualFeatures.clocksource2, fromHost) else { return false }
            msrs.wallClock = value
            if fromHost { doorbell.timeChanged() } else { writeWallClock() }
        case .KVM_SYSTEM_TIME, .KVM_SYSTEM_TIME_NEW:
            guard offers(index == 0x12 ? ParavirtualFeatures.clocksource : ParavirtualFeatures.clocksource2, fromHost) else { return false }
            msrs.systemTime = value
            msrs.usesOldClock = index == 0x12
            if fromHost { doorbell.timeChanged() } else { updateGuestTime() }
        default: return writeOtherMSR(index, value, fromHost: fromHost)
        }
        if fromHost { processor.stateChanged() }
        return true
    }

    private func writeOtherMSR(_ index: UInt32, _ value: UInt64, fromHost: Bool) -> Bool {
        if ModelSpecificRegisters.isMTRR(index) { return msrs.writeMTRR(index, value, physicalBits: guestPhysicalBits) }
        switch index {
        case 0x179: return fromHost && value == machineCheck.capability
        case 0x17A, 0x17B, 0x400..<0x480:
            return machineCheck.write(index, value, fromHost: fromHost, canWriteStatus: msrs.hwcr & 1 << 18 != 0)
        case 0x800...0x8FF: return chipset?.writeX2APIC(Int(id), msr: index, value: value) ?? false
        default: break
        }
        if let constant = ModelSpecificRegisters.constant(index) { return fromHost && value == constant }
        return ModelSpecificRegisters.isInert(index)
    }

    private func writeEFER(_ value: UInt64, fromHost: Bool) -> Bool {
        guard value & ~allowedEFER == 0 else { return false }
        let old = processor.state.efer
        if !fromHost {
            if value & EFER.NXE.rawValue != 0, cpuid.extended1D & 1 << 20 == 0 { return false }
            if value & (EFER([.LME, .LMA])).rawValue != 0, cpuid.extended1D & 1 << 29 == 0 { return false }
            if processor.state.cr0 & CR0.PG.rawValue != 0, (old ^ value) & EFER.LME.rawValue != 0 { return false }
        }
        processor.state.efer = value & ~EFER.LMA.rawValue | old & EFER.LMA.rawValue
        processor.stateChanged()
        return true
    }
}
