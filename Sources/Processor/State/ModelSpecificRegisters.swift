import X86

/// The MSRs that the processor holds itself, with the checks that RDMSR, WRMSR and KVM_GET_MSRS, KVM_SET_MSRS share.
/// All others belong to the host. Intel SDM vol. 4, chapter 2; vol. 3, 5.8.8 (SYSCALL), 11.12.4 (PAT); AMD APM vol. 2.
extension VirtualProcessor {
    /// Reads an MSR without asking any filter; `.invalid` where there is none.
    public func readMSR(_ index: UInt32) -> MSRAnswer {
        if let value = heldMSR(MSR(index)) { return .value(value) }
        let answer = host.readMSR(index)
        if answer == .invalid, MSR(index) == .IA32_TIME_STAMP_COUNTER { return .value(host.timeStampCounter) }
        return answer
    }

    /// Whether the guest's CPUID has the MSR; a client reaches it all the same.
    func isOffered(_ index: UInt32) -> Bool {
        switch MSR(index) {
        case .IA32_XSS: host.cpuid(leaf: 0xD, subleaf: 1).eax & 1 << 3 != 0
        case .IA32_TSC_AUX:
            // RDTSCP, RDPID.
            host.cpuid(leaf: 0x8000_0001, subleaf: 0).edx & 1 << 27 != 0
                || host.cpuid(leaf: 7, subleaf: 0).ecx & 1 << 22 != 0
        default: true
        }
    }

    private func heldMSR(_ msr: MSR) -> UInt64? {
        switch msr {
        case .IA32_EFER: cpu.state.efer
        case .IA32_STAR: cpu.state.star
        case .IA32_LSTAR: cpu.state.lstar
        case .IA32_CSTAR: cpu.state.cstar
        case .IA32_FMASK: cpu.state.sfmask
        case .IA32_FS_BASE: cpu[segment: .fs].base
        case .IA32_GS_BASE: cpu[segment: .gs].base
        case .IA32_KERNEL_GS_BASE: cpu.state.kernelGSBase
        case .IA32_TSC_AUX: cpu.state.tscAux
        case .IA32_SYSENTER_CS: cpu.state.sysenterCS
        case .IA32_SYSENTER_ESP: cpu.state.sysenterESP
        case .IA32_SYSENTER_EIP: cpu.state.sysenterEIP
        case .IA32_PAT: cpu.state.pat
        case .IA32_DEBUGCTL: cpu.state.debugControl
        case .IA32_MISC_ENABLE: cpu.state.miscEnable
        case .IA32_XSS: cpu.state.xss
        default: nil
        }
    }

    /// Writes an MSR without asking any filter. `hostInitiated`: by the client, who may restore what a guest can't write.
    public func writeMSR(_ index: UInt32, _ value: UInt64, hostInitiated: Bool) -> MSRAnswer {
        guard hostInitiated || isOffered(index) else { return .invalid }
        switch MSR(index) {
        case .IA32_EFER: return writeEFER(value, hostInitiated: hostInitiated)
        case .IA32_STAR: cpu.state.star = value
        case .IA32_LSTAR: return VirtualProcessor.set(&cpu.state.lstar, canonical: value)
        case .IA32_CSTAR: return VirtualProcessor.set(&cpu.state.cstar, canonical: value)
        case .IA32_FMASK: cpu.state.sfmask = value & 0xFFFF_FFFF
        case .IA32_FS_BASE:
            guard CPU.isCanonical(value) else { return .invalid }
            cpu[segment: .fs].base = value
        case .IA32_GS_BASE:
            guard CPU.isCanonical(value) else { return .invalid }
            cpu[segment: .gs].base = value
        case .IA32_KERNEL_GS_BASE: return VirtualProcessor.set(&cpu.state.kernelGSBase, canonical: value)
        case .IA32_TSC_AUX:
            // Reserved with Intel's processors, ignored by AMD's.
            guard isAMD || value >> 32 == 0 else { return .invalid }
            cpu.state.tscAux = value & 0xFFFF_FFFF
        case .IA32_SYSENTER_CS: cpu.state.sysenterCS = value & 0xFFFF_FFFF
        case .IA32_SYSENTER_ESP: return setSystemEnter(&cpu.state.sysenterESP, value, hostInitiated)
        case .IA32_SYSENTER_EIP: return setSystemEnter(&cpu.state.sysenterEIP, value, hostInitiated)
        case .IA32_PAT:
            guard VirtualProcessor.isValidPAT(value) else { return .invalid }
            cpu.state.pat = value
        case .IA32_DEBUGCTL:
            // LBR and BTF are taken and have no effect.
            guard value & ~3 == 0 else { return .invalid }
            cpu.state.debugControl = value
        case .IA32_MISC_ENABLE: cpu.state.miscEnable = value
        case .IA32_XSS:
            let supported = host.cpuid(leaf: 0xD, subleaf: 1)
            guard value & ~(UInt64(supported.edx) << 32 | UInt64(supported.ecx)) == 0 else { return .invalid }
            cpu.state.xss = value
        default:
            let answer = host.writeMSR(index, value)
            guard answer == .invalid, MSR(index) == .IA32_TIME_STAMP_COUNTER else { return answer }
            host.timeStampCounter = value
        }
        return .done
    }

    private static func set(_ place: inout UInt64, canonical value: UInt64) -> MSRAnswer {
        guard CPU.isCanonical(value) else { return .invalid }
        place = value
        return .done
    }

    /// AMD's processors, which have no SYSENTER in long mode, make no demands; a client's value is made canonical as well.
    private func setSystemEnter(_ place: inout UInt64, _ value: UInt64, _ hostInitiated: Bool) -> MSRAnswer {
        guard isAMD || hostInitiated || CPU.isCanonical(value) else { return .invalid }
        place = UInt64(bitPattern: Int64(bitPattern: value << 16) >> 16)
        return .done
    }

    /// Each of the eight fields is 0, 1, 4, 5, 6 or 7.
    private static func isValidPAT(_ value: UInt64) -> Bool {
        value & 0xF8F8_F8F8_F8F8_F8F8 == 0 && (value & 0x0202_0202_0202_0202) << 1 & ~value & 0x0404_0404_0404_0404 == 0
    }

    private func writeEFER(_ value: UInt64, hostInitiated: Bool) -> MSRAnswer {
        let old = EFER(rawValue: cpu.state.efer)
        var new = EFER(rawValue: value)
        var allowed: EFER = [.SCE, .LME, .LMA, .NXE]
        if !hostInitiated {
            let features = host.cpuid(leaf: 0x8000_0001, subleaf: 0)
            if features.edx & 1 << 20 == 0 { allowed.remove(.NXE) }
            if features.edx & 1 << 29 == 0 { allowed.subtract([.LME, .LMA]) }
            if features.edx & 1 << 25 != 0 { allowed.insert(.FFXSR) }
        } else {
            allowed.formUnion([.FFXSR, .TCE])
        }
        guard new.isSubset(of: allowed) else { return .invalid }
        if !hostInitiated {
            // LME is fixed while paging is on.
            if cpu.isPaging, new.contains(.LME) != old.contains(.LME) { return .invalid }
        }
        // LMA is the processor's own.
        new.remove(.LMA)
        new.formUnion(old.intersection(.LMA))
        cpu.state.efer = new.rawValue
        if new.symmetricDifference(old) != [] {
            if !new.symmetricDifference(old).isDisjoint(with: [.NXE, .LMA]) { tlb.flushAll(cpu) }
            cpu.updateMode()
        }
        return .done
    }
}
