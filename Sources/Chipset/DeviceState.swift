// The devices' registers as KVM's ioctls carry them: every field of the kernel's structures, under the kernel's names in
// Swift's spelling.

/// One 8259: struct kvm_pic_state.
public struct PICState: Sendable, Equatable, Codable {
    /// KVM_IRQCHIP_PIC_MASTER and KVM_IRQCHIP_PIC_SLAVE.
    public enum Chip: Int, Sendable, Codable, CaseIterable { case primary, secondary }

    public var lastIRR: UInt8 = 0
    public var irr: UInt8 = 0
    public var imr: UInt8 = 0
    public var isr: UInt8 = 0
    public var priorityAdd: UInt8 = 0
    public var irqBase: UInt8 = 0
    public var readRegisterSelect: UInt8 = 0
    public var poll: UInt8 = 0
    public var specialMask: UInt8 = 0
    public var initState: UInt8 = 0
    public var autoEOI: UInt8 = 0
    public var rotateOnAutoEOI: UInt8 = 0
    public var specialFullyNestedMode: UInt8 = 0
    public var init4: UInt8 = 0
    public var elcr: UInt8 = 0
    public var elcrMask: UInt8 = 0

    public init() {}
}

/// The I/O APIC: struct kvm_ioapic_state.
public struct IOAPICState: Sendable, Equatable, Codable {
    public static let pinCount = 24

    public var baseAddress: UInt64 = 0xFEC0_0000
    public var ioregsel: UInt32 = 0
    public var id: UInt32 = 0
    public var irr: UInt32 = 0
    /// The 24 redirection entries, as 64-bit registers. A shorter array is filled up with zeros, a longer one cut.
    public var redirectionTable = [UInt64](repeating: 0, count: 24)

    public init() {}
}

/// The 8254: struct kvm_pit_state2.
public struct PITState: Sendable, Equatable, Codable {
    /// struct kvm_pit_channel_state.
    public struct Channel: Sendable, Equatable, Codable {
        /// The initial count, 1...0x10000.
        public var count: UInt32 = 0
        public var latchedCount: UInt16 = 0
        public var countLatched: UInt8 = 0
        public var statusLatched: UInt8 = 0
        public var status: UInt8 = 0
        public var readState: UInt8 = 0
        public var writeState: UInt8 = 0
        public var writeLatch: UInt8 = 0
        public var rwMode: UInt8 = 0
        public var mode: UInt8 = 0
        public var bcd: UInt8 = 0
        public var gate: UInt8 = 0
        /// When counting began, in the chipset clock's nanoseconds.
        public var countLoadTime: Int64 = 0

        public init() {}
    }

    /// KVM_PIT_FLAGS_HPET_LEGACY: channel 0 does not interrupt.
    public static let hpetLegacy: UInt32 = 1
    /// KVM_PIT_FLAGS_SPEAKER_DATA_ON.
    public static let speakerDataOn: UInt32 = 2

    /// Three channels. A shorter array is filled up with fresh channels, a longer one cut.
    public var channels = [Channel](repeating: Channel(), count: 3)
    public var flags: UInt32 = 0

    public init() {}
}
