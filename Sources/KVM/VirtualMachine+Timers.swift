// Time: the 8254 inside the hypervisor, kvm-clock and the TSC's frequency.
// Documentation/virt/kvm/api.rst, sections 4.29, 4.30, 4.55, 4.56, 4.71 and 4.72.

public import KVMABI

extension VirtualMachine {
    /// `KVM_CREATE_PIT2`: the 8254; after the interrupt controllers.
    /// - Parameter speaker: port 0x61 is the hypervisor's too.
    public func createPIT(speaker: Bool = false) throws(KVMError) {
        var configuration = kvm_pit_config()
        configuration.flags = speaker ? UInt32(KVM_PIT_SPEAKER_DUMMY) : 0
        try core.connection.set(.createPIT2, configuration)
    }

    /// `KVM_GET_PIT2`.
    public func pit() throws(KVMError) -> kvm_pit_state2 { try core.connection.get(.getPIT2, kvm_pit_state2()) }

    /// `KVM_SET_PIT2`.
    public func setPIT(_ state: kvm_pit_state2) throws(KVMError) { try core.connection.set(.setPIT2, state) }

    /// `KVM_REINJECT_CONTROL`: whether ticks that the guest missed are made up for.
    public func setPITReinjection(_ reinject: Bool) throws(KVMError) {
        var control = kvm_reinject_control()
        control.pit_reinject = reinject ? 1 : 0
        try core.connection.set(.reinjectControl, control)
    }

    /// `KVM_GET_CLOCK`: kvm-clock, in nanoseconds.
    public func clock() throws(KVMError) -> kvm_clock_data { try core.connection.get(.getClock, kvm_clock_data()) }

    /// `KVM_SET_CLOCK`.
    public func setClock(_ data: kvm_clock_data) throws(KVMError) { try core.connection.set(.setClock, data) }

    /// `KVM_GET_TSC_KHZ` on the machine: what new vCPUs get.
    public var tscKHz: Int32 {
        get throws(KVMError) { try core.connection.call(.getTSCKHz) }
    }

    /// `KVM_SET_TSC_KHZ` on the machine.
    public func setTSCKHz(_ frequency: UInt32) throws(KVMError) {
        try core.connection.call(.setTSCKHz, UInt(frequency))
    }
}
