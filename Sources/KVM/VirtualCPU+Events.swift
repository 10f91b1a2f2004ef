// Interrupts, exceptions and debugging of a vCPU.
// Documentation/virt/kvm/api.rst, sections 4.16, 4.21, 4.31, 4.32, 4.37 to 4.41, 4.62 to 4.64, 4.87 and 4.96.

public import KVMABI

/// What a vCPU is waiting for (`KVM_MP_STATE_*`).
public struct MultiprocessorState: Hashable, Sendable, RawRepresentable {
    public var rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    public static let runnable = MultiprocessorState(rawValue: 0)
    /// An application processor that has not had INIT.
    public static let uninitialized = MultiprocessorState(rawValue: 1)
    /// It has had INIT and waits for SIPI.
    public static let initReceived = MultiprocessorState(rawValue: 2)
    public static let halted = MultiprocessorState(rawValue: 3)
    public static let sipiReceived = MultiprocessorState(rawValue: 4)
}

/// What guest debugging stops at (`KVM_SET_GUEST_DEBUG`).
public struct GuestDebugging: Sendable {
    /// After each instruction.
    public var singleStep = false
    /// At `int3`, before the guest's handler.
    public var softwareBreakpoints = false
    /// No interrupts while stepping.
    public var blocksInterrupts = false
    /// DR0 to DR3, for breakpoints and watchpoints of the client's own.
    public var addresses: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
    /// DR7 that goes with them; nil leaves the guest's own in force.
    public var dr7: UInt64?

    public init() {}

    /// Stops after each instruction.
    public static var singleStepping: GuestDebugging {
        var debugging = GuestDebugging()
        debugging.singleStep = true
        return debugging
    }

    /// Stops before the instruction at a linear address.
    public static func breakpoint(at address: UInt64) -> GuestDebugging {
        var debugging = GuestDebugging()
        debugging.addresses.0 = address
        debugging.dr7 = 0x402  // G0, execution, and the bit that is always set
        return debugging
    }
}

extension VirtualCPU {
    /// `KVM_INTERRUPT`: injects an external interrupt; without the in-kernel local APIC, when `isReadyForInterrupt`.
    public func interrupt(_ vector: UInt8) throws(KVMError) {
        try connection.set(.interrupt, kvm_interrupt(irq: UInt32(vector)))
    }

    /// `KVM_NMI`.
    public func injectNMI() throws(KVMError) { try connection.call(.nmi) }

    /// `KVM_SMI`: a system management interrupt.
    public func injectSMI() throws(KVMError) { try connection.call(.smi) }

    /// `KVM_GET_MP_STATE`.
    public func multiprocessorState() throws(KVMError) -> MultiprocessorState {
        MultiprocessorState(rawValue: try connection.get(.getMPState, kvm_mp_state()).mp_state)
    }

    /// `KVM_SET_MP_STATE`.
    public func setMultiprocessorState(_ state: MultiprocessorState) throws(KVMError) {
        try connection.set(.setMPState, kvm_mp_state(mp_state: state.rawValue))
    }

    /// `KVM_GET_VCPU_EVENTS`: exceptions, interrupts and NMIs that are pending or being delivered, and shadows.
    public func events() throws(KVMError) -> kvm_vcpu_events { try connection.get(.getVCPUEvents, kvm_vcpu_events()) }
    /// `KVM_SET_VCPU_EVENTS`; `flags` says which fields count.
    public func setEvents(_ events: kvm_vcpu_events) throws(KVMError) { try connection.set(.setVCPUEvents, events) }

    /// `KVM_GET_LAPIC`: the registers of the local APIC, as its page shows them.
    public func localAPIC() throws(KVMError) -> kvm_lapic_state { try connection.get(.getLAPIC, kvm_lapic_state()) }
    /// `KVM_SET_LAPIC`.
    public func setLocalAPIC(_ state: kvm_lapic_state) throws(KVMError) { try connection.set(.setLAPIC, state) }

    /// `KVM_TPR_ACCESS_REPORTING`: whether accesses to the task priority register are exits.
    public func setTPRAccessReporting(_ enabled: Bool) throws(KVMError) {
        var control = kvm_tpr_access_ctl()
        control.enabled = enabled ? 1 : 0
        try connection.set(.tprAccessReporting, control)
    }

    /// `KVM_SET_VAPIC_ADDR`: where in guest memory the task priority is mirrored; 0 for nowhere.
    public func setVAPICAddress(_ address: UInt64) throws(KVMError) {
        try connection.set(.setVAPICAddr, kvm_vapic_addr(vapic_addr: address))
    }

    /// `KVM_SET_GUEST_DEBUG`; nil ends it.
    public func setDebugging(_ debugging: GuestDebugging?) throws(KVMError) {
        var argument = kvm_guest_debug()
        if let debugging {
            argument.control = 1
            if debugging.singleStep { argument.control |= 1 << 1 }
            if debugging.softwareBreakpoints { argument.control |= 1 << 16 }
            if debugging.blocksInterrupts { argument.control |= 1 << 20 }
            if let dr7 = debugging.dr7 {
                argument.control |= 1 << 17
                let (a, b, c, d) = debugging.addresses
                argument.arch.debugreg = (a, b, c, d, 0, 0, 0, dr7)
            }
        }
        try connection.set(.setGuestDebug, argument)
    }

    /// `KVM_SET_SIGNAL_MASK`: the signals that are blocked while the guest runs, signal 1 in bit 0; nil for the thread's own.
    ///
    /// One that the thread blocks, and the mask does not, ends a run with `.interrupted`. The software hypervisor looks for
    /// such signals when a run begins, not while it goes on.
    public func setSignalMask(_ mask: UInt64?) throws(KVMError) {
        guard let mask else {
            try connection.call(.setSignalMask, 0)
            return
        }
        let bytes = (0..<8).map { UInt8(truncatingIfNeeded: mask >> UInt64($0 * 8)) }
        let buffer = VariableLengthBuffer(.signalMask, bytes)
        try connection.call(.setSignalMask, buffer.address)
    }
}
