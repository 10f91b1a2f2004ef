// What the guest's processor is: CPUID, MSRs, the TSC, machine checks, attributes.
// Documentation/virt/kvm/api.rst, sections 4.18 to 4.20, 4.46, 4.55, 4.56, 4.80, 4.104 to 4.107.

public import KVMABI

extension VirtualCPU {
    /// `KVM_SET_CPUID2`: what CPUID tells the guest.
    public func setCPUID(_ entries: [kvm_cpuid_entry2]) throws(KVMError) {
        let buffer = VariableLengthBuffer(.cpuid, entries)
        try connection.call(.setCPUID2, buffer.address)
    }

    /// `KVM_GET_CPUID2`: what was set.
    public func cpuid() throws(KVMError) -> [kvm_cpuid_entry2] {
        try connection.list(.getCPUID2, .cpuid, capacity: 128)
    }

    /// `KVM_GET_MSRS`: the MSRs up to the first that the hypervisor does not know; fewer than asked for if there is one.
    public func msrs(_ indices: [UInt32]) throws(KVMError) -> [kvm_msr_entry] { try connection.msrs(indices) }

    /// `KVM_SET_MSRS`: writes until one is refused.
    /// - Returns: how many were written; the entry of that index is the refused one, if it is less than the count.
    @discardableResult
    public func setMSRs(_ entries: [kvm_msr_entry]) throws(KVMError) -> Int {
        var start = 0
        while start < entries.count {
            let part = entries[start..<min(start + 256, entries.count)]
            let buffer = VariableLengthBuffer(.msrs, part)
            let done = Int(try connection.call(.setMSRS, buffer.address))
            start += done
            if done < part.count { break }
        }
        return start
    }

    /// One MSR.
    /// - Throws: `KVMError.refusedMSR` if the hypervisor does not know it.
    public func msr(_ index: UInt32) throws(KVMError) -> UInt64 {
        guard let entry = try msrs([index]).first else { throw .refusedMSR(.getMSRS, index: index) }
        return entry.data
    }

    /// Writes one MSR.
    /// - Throws: `KVMError.refusedMSR` if the hypervisor does not know it or refuses the value.
    public func setMSR(_ index: UInt32, to value: UInt64) throws(KVMError) {
        guard try setMSRs([kvm_msr_entry(index: index, reserved: 0, data: value)]) == 1 else {
            throw .refusedMSR(.setMSRS, index: index)
        }
    }

    /// `KVM_GET_TSC_KHZ`: the frequency of the guest's TSC.
    public var tscKHz: Int32 {
        get throws(KVMError) { try connection.call(.getTSCKHz) }
    }

    /// `KVM_SET_TSC_KHZ`.
    public func setTSCKHz(_ frequency: UInt32) throws(KVMError) { try connection.call(.setTSCKHz, UInt(frequency)) }

    /// `KVM_KVMCLOCK_CTRL`: tells the guest that it was stopped, so that its watchdogs don't bark.
    public func noteClockStopped() throws(KVMError) { try connection.call(.kvmclockCtrl) }

    /// `KVM_X86_SETUP_MCE`: MCG_CAP, within what the system's `machineCheckCapabilities` allow; its low byte is the
    /// number of banks.
    public func setUpMachineChecks(_ capabilities: UInt64) throws(KVMError) {
        try connection.set(.x86SetupMCE, capabilities)
    }

    /// `KVM_X86_SET_MCE`: injects a machine check.
    public func injectMachineCheck(_ check: kvm_x86_mce) throws(KVMError) { try connection.set(.x86SetMCE, check) }

    /// `KVM_TRANSLATE`: a linear address through the guest's page tables.
    public func translate(_ linearAddress: UInt64) throws(KVMError) -> kvm_translation {
        var translation = kvm_translation()
        translation.linear_address = linearAddress
        try connection.exchange(.translate, &translation)
        return translation
    }

    /// `KVM_HAS_DEVICE_ATTR` on this vCPU.
    public func hasAttribute(group: UInt32, _ attribute: UInt64) -> Bool {
        connection.hasAttribute(group: group, attribute)
    }
    /// `KVM_GET_DEVICE_ATTR` on this vCPU, for instance `KVM_VCPU_TSC_OFFSET`.
    public func attribute(group: UInt32, _ attribute: UInt64) throws(KVMError) -> UInt64 {
        try connection.attribute(group: group, attribute)
    }
    /// `KVM_SET_DEVICE_ATTR` on this vCPU.
    public func setAttribute(group: UInt32, _ attribute: UInt64, to value: UInt64) throws(KVMError) {
        try connection.setAttribute(group: group, attribute, to: value)
    }
}

extension VirtualMachine {
    /// `KVM_HAS_DEVICE_ATTR` on this machine.
    public func hasAttribute(group: UInt32, _ attribute: UInt64) -> Bool {
        core.connection.hasAttribute(group: group, attribute)
    }
    /// `KVM_GET_DEVICE_ATTR` on this machine.
    public func attribute(group: UInt32, _ attribute: UInt64) throws(KVMError) -> UInt64 {
        try core.connection.attribute(group: group, attribute)
    }
    /// `KVM_SET_DEVICE_ATTR` on this machine.
    public func setAttribute(group: UInt32, _ attribute: UInt64, to value: UInt64) throws(KVMError) {
        try core.connection.setAttribute(group: group, attribute, to: value)
    }
}
