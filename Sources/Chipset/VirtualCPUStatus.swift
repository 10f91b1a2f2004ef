// What a vCPU's run loop looks at between blocks: without a lock, and cheap.

internal import Synchronization

/// Reasons for a vCPU to look at its chipset.
public struct PendingEvents: OptionSet, Sendable, Equatable, Codable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// ``Chipset/acknowledge(_:)`` has a vector for this vCPU.
    public static let interrupt = PendingEvents(rawValue: 1 << 0)
    public static let nmi = PendingEvents(rawValue: 1 << 1)
    public static let initialize = PendingEvents(rawValue: 1 << 2)
    public static let startUp = PendingEvents(rawValue: 1 << 3)
    public static let systemManagement = PendingEvents(rawValue: 1 << 4)
    /// A paravirtual kick: HLT ends without an interrupt.
    public static let unhalt = PendingEvents(rawValue: 1 << 5)
    /// Split mode: an EOI that the user-space I/O APIC must hear of (KVM_EXIT_IOAPIC_EOI).
    public static let ioapicEOI = PendingEvents(rawValue: 1 << 6)
    /// With the task priority mirrored in guest memory: the mirror has to be read, and shown what is requested.
    public static let taskPriority = PendingEvents(rawValue: 1 << 7)
}

/// Events other than interrupts, as ``Chipset/takeEvents(_:)`` hands them over.
public struct VirtualCPUEvents: Sendable, Equatable, Codable {
    /// How many NMIs, at most two.
    public var nmis: UInt8 = 0
    /// INIT: the vCPU resets, then calls ``Chipset/reset(_:initialize:)``. It comes before a start-up in the same set.
    public var initialize = false
    /// The vector of a start-up IPI; it counts only if the vCPU waits for one.
    public var startUp: UInt8?
    public var systemManagement = false
    public var unhalt = false
    /// The vector whose EOI the user-space I/O APIC must hear of.
    public var ioapicEOI: UInt8?
    /// The mirror of the task priority has to be looked at.
    public var taskPriority = false

    public init() {}

    public var isEmpty: Bool { self == VirtualCPUEvents() }
}

/// One vCPU's view of its pending events, and where its APIC page is. Readable from any thread without a lock.
public final class VirtualCPUStatus: Sendable {
    public let id: Int
    let bits = Atomic<UInt32>(0)
    let page = Atomic<UInt64>(0xFEE0_0000)

    init(id: Int) { self.id = id }

    /// What is pending. A bit that is set may be gone when it is asked for; one that is not set will be announced by the
    /// chipset's `wake`.
    public var pending: PendingEvents { PendingEvents(rawValue: bits.load(ordering: .acquiring)) }

    /// The guest-physical address of the 4 KiB APIC page.
    public var apicPage: UInt64 { page.load(ordering: .relaxed) }
}

/// What a vCPU's CPUID says that its local APIC depends on.
public struct ProcessorFeatures: Sendable, Equatable, Codable {
    /// CPUID.01H:ECX.x2APIC[21].
    public var x2APIC: Bool
    /// CPUID.01H:ECX.TSC-Deadline[24].
    public var tscDeadline: Bool
    /// Width of a guest-physical address: bits above are reserved in IA32_APIC_BASE.
    public var physicalAddressBits: UInt8

    public init(x2APIC: Bool, tscDeadline: Bool, physicalAddressBits: UInt8) {
        self.x2APIC = x2APIC
        self.tscDeadline = tscDeadline
        self.physicalAddressBits = physicalAddressBits
    }
}
