// KVM_SET_CPUID, KVM_SET_CPUID2, KVM_GET_CPUID2. Documentation/virt/kvm/api.rst, sections 4.20, 4.42, 4.43.

internal import X86
internal import Chipset
internal import KVMABI
internal import Processor
internal import Synchronization

extension VirtualCPU {
    /// struct kvm_cpuid2 { nent, padding, entries }.
    func setCPUID(_ argument: ClientArgument) throws(Errno) {
        let count: UInt32 = try argument.load()
        guard count <= GuestCPUID.limit else { throw .argumentListTooLong }
        try take(try argument.advanced(by: 8).loadArray(Int(count)))
    }

    /// struct kvm_cpuid: entries of 24 bytes, without subleaves.
    func setOldCPUID(_ argument: ClientArgument) throws(Errno) {
        let count: UInt32 = try argument.load()
        guard count <= GuestCPUID.limit else { throw .argumentListTooLong }
        let old: [kvm_cpuid_entry] = try argument.advanced(by: 8).loadArray(Int(count))
        try take(
            old.map { old in
                var entry = kvm_cpuid_entry2()
                entry.function = old.function
                entry.eax = old.eax
                entry.ebx = old.ebx
                entry.ecx = old.ecx
                entry.edx = old.edx
                return entry
            })
    }

    private func take(_ entries: [kvm_cpuid_entry2]) throws(Errno) {
        let new = try GuestCPUID(entries, haltsAlone: machine.enabled(.x86DisableExits) & DisabledExits.halt != 0)
        if hasRun {
            // A vCPU that has run keeps what it has; setting the same again is fine.
            guard new.isSame(as: cpuid, cpuidDynamics) else { throw .invalidArgument }
            return
        }
        cpuid = new
        chipset?.setFeatures(
            Int(id),
            ProcessorFeatures(
                x2APIC: new.features1C & 1 << 21 != 0, tscDeadline: new.features1C & 1 << 24 != 0,
                physicalAddressBits: guestPhysicalBits))
        processor.stateChanged()
    }

    func getCPUID(_ argument: ClientArgument) throws(Errno) {
        let room: UInt32 = try argument.load()
        guard room >= cpuid.entries.count else { throw .argumentListTooLong }
        let entries = cpuid.entries(cpuidDynamics)
        try argument.advanced(by: 8).storeArray(entries)
        try argument.store(UInt32(entries.count))
    }

    var cpuidDynamics: GuestCPUID.Dynamics {
        let state = processor.state
        let followsMiscEnable = machine.hasDisabled(.miscEnableNoMWAIT)
        return GuestCPUID.Dynamics(
            osxsave: state.cr4 & 1 << 18 != 0, apicEnabled: apicBase & 1 << 11 != 0, xcr0: state.xcr0, xss: state.xss,
            mwait: followsMiscEnable ? state.miscEnable & 1 << 18 != 0 : nil)
    }
}
