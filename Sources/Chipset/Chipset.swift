// What KVM models inside the kernel for one VM: local APICs, I/O APIC, 8259 pair, 8254, GSI routing.
// The behaviour is that of Linux's arch/x86/kvm (lapic, ioapic, i8259, i8254, irq_comm); the registers are those of the
// Intel SDM vol. 3, ch. 11 (APIC), and of the 82093AA, 8259A and 8254 data sheets.


/// The interrupt controllers and timers of one VM, behind one lock. Every method may be called from any thread.
///
/// The callbacks given to ``init(mode:clock:wake:deadlineChanged:endOfInterrupt:)`` are called on the thread whose call
/// caused them, after the lock has been released: they may call back into the chipset.
///
/// A vCPU is named by the identifier that it was added with (KVM's vCPU id, which is also its initial APIC id). A method
/// that is given an unknown one does nothing and answers as if the vCPU had no APIC.
public final class Chipset: Sendable {
    /// Which controllers are modelled here.
    public enum Mode: Sendable, Equatable, Codable {
        /// Local APICs, I/O APIC and 8259 pair (KVM_CREATE_IRQCHIP), and the 8254 once ``createPIT(speaker:)`` is called.
        case full
        /// Local APICs only (KVM_CAP_SPLIT_IRQCHIP): the first `pins` GSIs are reserved for a user-space I/O APIC,
        /// whose level-triggered MSI routes report their EOIs as ``PendingEvents/ioapicEOI``.
        case split(pins: Int)
    }

    /// Who drives an interrupt line: the levels of all sources on one line are OR'ed.
    public struct Source: RawRepresentable, Sendable, Equatable {
        public var rawValue: UInt8
        /// Values above 31 are taken modulo 32.
        public init(rawValue: UInt8) { self.rawValue = rawValue }
        /// KVM_IRQ_LINE and plain irqfds.
        public static let userspace = Source(rawValue: 0)
        /// Irqfds with KVM_IRQFD_FLAG_RESAMPLE: this source's level falls by itself at the end of the interrupt.
        public static let resampler = Source(rawValue: 1)
        /// The 8254's channel 0.
        public static let pit = Source(rawValue: 2)
    }

    public let mode: Mode
    let clock: @Sendable () -> UInt64
    let wake: @Sendable (Int) -> Void
    let deadlineChanged: @Sendable () -> Void
    let endOfInterrupt: @Sendable (UInt32) -> Void

    /// - Parameters:
    ///   - clock: nanoseconds of a clock that never goes back (CLOCK_MONOTONIC).
    ///   - wake: told a vCPU's id when one of its ``VirtualCPUStatus/pending`` bits has become set; the bit is visible
    ///     before the call. Called outside the lock.
    ///   - deadlineChanged: ``nextDeadline`` is now earlier than what it last returned. Called outside the lock.
    ///   - endOfInterrupt: a GSI named to ``watchEndOfInterrupt(_:_:)`` was acknowledged at a controller; its
    ///     ``Source/resampler`` level is already low. Called outside the lock.
    public init(
        mode: Mode, clock: @escaping @Sendable () -> UInt64, wake: @escaping @Sendable (Int) -> Void,
        deadlineChanged: @escaping @Sendable () -> Void = {},
        endOfInterrupt: @escaping @Sendable (UInt32) -> Void = { _ in }
    ) {
        self.mode = mode
        self.clock = clock
        self.wake = wake
        self.deadlineChanged = deadlineChanged
        self.endOfInterrupt = endOfInterrupt
    }
}

// MARK: Time

extension Chipset {
    /// When ``advance(to:)`` next has something to do, in the clock's nanoseconds; nil when no timer is armed.
    public var nextDeadline: UInt64? { nil }

    /// Fires every timer whose deadline is not after `now` (nanoseconds of the clock).
    public func advance(to now: UInt64) {}
}

// MARK: Virtual CPUs

extension Chipset {
    /// Adds a vCPU in the state after power-up reset.
    /// - Returns: what its run loop looks at without a lock; nil if the id is taken or above 16383.
    public func addVirtualCPU(_ id: Int) -> VirtualCPUStatus? { nil }

    /// Resets a vCPU's local APIC: to power-up state, or, with `initialize`, as INIT does (APIC base and id stay).
    public func reset(_ vcpu: Int, initialize: Bool) {}

    /// What the vCPU's CPUID says that the APIC depends on (KVM_SET_CPUID2).
    public func setFeatures(_ vcpu: Int, _ features: ProcessorFeatures) {}

    /// The frequency of the vCPU's TSC, for TSC-deadline timers (KVM_SET_TSC_KHZ).
    public func setTSCFrequency(_ vcpu: Int, kilohertz: UInt32) {}

    /// Which vCPU is the bootstrap processor (KVM_SET_BOOT_CPU_ID); 0 at first. Before any vCPU is added.
    public func setBootProcessor(_ id: Int) {}

    /// KVM_CAP_X2APIC_API: 32-bit ids in MSI address_hi and in the APIC page; no broadcast by 0xFF to x2APICs.
    public func setX2APICFormat(wideIDs: Bool, broadcastQuirkDisabled: Bool) {}

    /// KVM_X86_QUIRK_LINT0_REENABLED and KVM_X86_QUIRK_LAPIC_MMIO_HOLE; both on at first.
    public func setQuirks(lint0Reenabled: Bool, mmioHole: Bool) {}

    /// Reads the APIC page (the 4 KiB at ``VirtualCPUStatus/apicPage``). Sizes are 1, 2, 4 or 8 bytes.
    /// - Returns: the value; all ones when the xAPIC is disabled or in x2APIC mode (without the MMIO-hole quirk: nil, the
    ///   access goes to user space).
    public func readAPIC(_ vcpu: Int, offset: UInt32, size: Int) -> UInt64? { nil }

    /// Writes the APIC page; only aligned 4-byte writes have an effect.
    /// - Returns: false if the access goes to user space.
    public func writeAPIC(_ vcpu: Int, offset: UInt32, size: Int, value: UInt64) -> Bool { false }

    /// Reads MSR 0x800–0x8FF. nil means #GP.
    public func readX2APIC(_ vcpu: Int, msr: UInt32) -> UInt64? { nil }

    /// Writes MSR 0x800–0x8FF. false means #GP.
    public func writeX2APIC(_ vcpu: Int, msr: UInt32, value: UInt64) -> Bool { false }

    /// IA32_APIC_BASE.
    public func apicBase(_ vcpu: Int) -> UInt64 { 0 }

    /// Writes IA32_APIC_BASE. false means #GP (from the guest) or EINVAL (from the host, which may make any transition
    /// between valid modes).
    public func setAPICBase(_ vcpu: Int, _ value: UInt64, fromHost: Bool) -> Bool { false }

    /// CR8: the task priority's upper four bits.
    public func cr8(_ vcpu: Int) -> UInt64 { 0 }

    public func setCR8(_ vcpu: Int, _ value: UInt64) {}

    /// IA32_TSC_DEADLINE; 0 unless the timer is in TSC-deadline mode and armed.
    public func tscDeadline(_ vcpu: Int) -> UInt64 { 0 }

    /// Writes IA32_TSC_DEADLINE (ignored unless the timer is in TSC-deadline mode). `tsc` is the guest's TSC now.
    public func setTSCDeadline(_ vcpu: Int, _ value: UInt64, tsc: UInt64) {}

    /// Whether ``acknowledge(_:)`` would give a vector: the exact answer to the hint ``PendingEvents/interrupt``.
    public func hasInterrupt(_ vcpu: Int) -> Bool { false }

    /// The interrupt acknowledge cycle: the 8259's vector (through LINT0 as ExtINT, or an APIC that is disabled) first,
    /// then the local APIC's highest vector above the processor priority. nil if there is none.
    public func acknowledge(_ vcpu: Int) -> UInt8? { nil }

    /// Takes what is pending besides interrupts; it is pending no more.
    public func takeEvents(_ vcpu: Int) -> VirtualCPUEvents { VirtualCPUEvents() }

    /// What ``takeEvents(_:)`` would take.
    public func pendingEvents(_ vcpu: Int) -> VirtualCPUEvents { VirtualCPUEvents() }

    /// Takes only an INIT and a SIPI (the vCPU is not ready for the others).
    public func takeStartup(_ vcpu: Int) -> VirtualCPUEvents { VirtualCPUEvents() }

    /// Makes events pending as if they had arrived (KVM_SET_VCPU_EVENTS, KVM_SET_MP_STATE, KVM_SMI).
    public func post(_ vcpu: Int, _ events: VirtualCPUEvents) {}

    /// KVM_NMI, and the NMI that a device sends.
    public func sendNMI(_ vcpu: Int) {}

    /// Whether the vCPU takes interrupts of the 8259 now (APIC disabled, or LINT0 unmasked as ExtINT).
    public func acceptsExternalInterrupt(_ vcpu: Int) -> Bool { false }

    /// KVM_INTERRUPT in split mode: the vector that a user-space 8259 gives. false (EEXIST) if one is pending already.
    public func setExternalInterrupt(_ vcpu: Int, vector: UInt8) -> Bool { false }

    /// KVM_HC_KICK_CPU: makes the vCPU with this APIC id leave HLT.
    public func unhalt(apicID: UInt32) {}

    /// KVM_HC_SEND_IPI: sends `icr` to the vCPUs whose APIC ids are `minimum` plus the set bits of `bitmap`.
    /// - Returns: to how many it was delivered, or −22 (EINVAL).
    public func sendIPIs(bitmap: [UInt64], minimum: UInt32, icr: UInt32) -> Int { 0 }
}

// MARK: Interrupt lines and messages

extension Chipset {
    /// Sets one source's level on a GSI.
    /// - Returns: as KVM_IRQ_LINE_STATUS: −1 ignored or masked, 0 coalesced with one that is pending, otherwise to how
    ///   many destinations it went.
    @discardableResult
    public func setLine(_ gsi: UInt32, level: Bool, source: Source = .userspace, wantsStatus: Bool = false) -> Int { -1 }

    /// KVM_SIGNAL_MSI: `address` is address_hi and address_lo together.
    /// - Returns: to how many vCPUs it went, −1 none, −22 (EINVAL) a malformed address.
    @discardableResult
    public func deliverMSI(address: UInt64, data: UInt32) -> Int { -1 }

    /// Raises an irqfd: a pulse on an irqchip GSI, a message on an MSI GSI.
    public func pulse(_ gsi: UInt32, source: Source = .userspace) {}

    /// Replaces the routing table (KVM_SET_GSI_ROUTING). At first it is KVM's default in full mode, empty in split mode.
    /// - Throws: ``GSIRouting/Refusal`` (all are EINVAL); the old table then stays.
    public func setRouting(_ entries: [GSIRouting.Entry]) throws(GSIRouting.Refusal) {}

    /// The routing table as it was set.
    public var routing: [GSIRouting.Entry] { [] }

    /// Whether `endOfInterrupt` is called for a GSI.
    public func watchEndOfInterrupt(_ gsi: UInt32, _ enabled: Bool) {}
}

// MARK: Ports and memory-mapped registers

extension Chipset {
    /// Whether any port here is one of the chipset's: a quick test, without the lock, before the others.
    public static func mayOwn(port: UInt16) -> Bool { false }

    /// IN of 1, 2 or 4 bytes. nil: not a port of the chipset (nor wholly inside one device), the access goes to user space.
    public func readPort(_ port: UInt16, size: Int) -> UInt32? { nil }

    /// OUT of 1, 2 or 4 bytes. false: the access goes to user space.
    public func writePort(_ port: UInt16, size: Int, value: UInt32) -> Bool { false }

    /// Reads the I/O APIC. nil: the address is not inside it.
    public func readMMIO(_ address: UInt64, size: Int) -> UInt64? { nil }

    /// Writes the I/O APIC. false: the address is not inside it.
    public func writeMMIO(_ address: UInt64, size: Int, value: UInt64) -> Bool { false }
}

// MARK: Whole state, as the ioctls see it

extension Chipset {
    /// KVM_GET_LAPIC: the 1024 bytes of the register page. nil for an unknown vCPU.
    public func localAPICPage(_ vcpu: Int) -> [UInt8]? { nil }

    /// KVM_SET_LAPIC. `tsc` is the guest's TSC now. false (EINVAL): not 1024 bytes, or an x2APIC id that is not the vCPU's.
    public func setLocalAPICPage(_ vcpu: Int, _ page: [UInt8], tsc: UInt64) -> Bool { false }

    /// KVM_GET_IRQCHIP of one 8259; nil in split mode.
    public func pic(_ chip: PICState.Chip) -> PICState? { nil }
    public func setPIC(_ chip: PICState.Chip, _ state: PICState) -> Bool { false }

    /// KVM_GET_IRQCHIP of the I/O APIC; nil in split mode.
    public func ioapic() -> IOAPICState? { nil }
    public func setIOAPIC(_ state: IOAPICState) -> Bool { false }

    /// KVM_CREATE_PIT2. `speaker` is KVM_PIT_SPEAKER_DUMMY: port 0x61 is modelled too.
    /// - Returns: false if there is one already (EEXIST) or the mode is split (ENOENT).
    public func createPIT(speaker: Bool) -> Bool { false }
    public var hasPIT: Bool { false }

    /// KVM_GET_PIT2; nil without a PIT.
    public func pit() -> PITState? { nil }
    /// KVM_SET_PIT2.
    public func setPIT(_ state: PITState) -> Bool { false }

    /// KVM_REINJECT_CONTROL: whether ticks that the guest missed are delivered later; on at first.
    public func setPITReinjection(_ enabled: Bool) -> Bool { false }
}
