// Why KVM_RUN returned: the number in `kvm_run.exit_reason`. Documentation/virt/kvm/api.rst, section 5.

/// The number of an exit reason. An open set: a number that has no name here keeps its value.
public struct ExitReason: Hashable, Sendable, RawRepresentable {
    public var rawValue: UInt32

    @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }

    public static var unknown: ExitReason { ExitReason(rawValue: 0) }
    public static var exception: ExitReason { ExitReason(rawValue: 1) }
    public static var io: ExitReason { ExitReason(rawValue: 2) }
    public static var hypercall: ExitReason { ExitReason(rawValue: 3) }
    public static var debug: ExitReason { ExitReason(rawValue: 4) }
    public static var hlt: ExitReason { ExitReason(rawValue: 5) }
    public static var mmio: ExitReason { ExitReason(rawValue: 6) }
    public static var irqWindowOpen: ExitReason { ExitReason(rawValue: 7) }
    public static var shutdown: ExitReason { ExitReason(rawValue: 8) }
    public static var failEntry: ExitReason { ExitReason(rawValue: 9) }
    public static var intr: ExitReason { ExitReason(rawValue: 10) }
    public static var setTPR: ExitReason { ExitReason(rawValue: 11) }
    public static var tprAccess: ExitReason { ExitReason(rawValue: 12) }
    public static var nmi: ExitReason { ExitReason(rawValue: 16) }
    public static var internalError: ExitReason { ExitReason(rawValue: 17) }
    public static var watchdog: ExitReason { ExitReason(rawValue: 21) }
    public static var systemEvent: ExitReason { ExitReason(rawValue: 24) }
    public static var ioapicEOI: ExitReason { ExitReason(rawValue: 26) }
    public static var hyperV: ExitReason { ExitReason(rawValue: 27) }
    public static var x86RdMSR: ExitReason { ExitReason(rawValue: 29) }
    public static var x86WrMSR: ExitReason { ExitReason(rawValue: 30) }
    public static var dirtyRingFull: ExitReason { ExitReason(rawValue: 31) }
    public static var apResetHold: ExitReason { ExitReason(rawValue: 32) }
    public static var x86BusLock: ExitReason { ExitReason(rawValue: 33) }
    public static var xen: ExitReason { ExitReason(rawValue: 34) }
    public static var notify: ExitReason { ExitReason(rawValue: 37) }
    public static var memoryFault: ExitReason { ExitReason(rawValue: 39) }
    public static var tdx: ExitReason { ExitReason(rawValue: 40) }

    /// The macro's name, for instance `KVM_EXIT_IO`, or `exit 999` for a number that has none.
    public var name: String {
        for (number, name) in ExitReason.names where number == rawValue { return "KVM_EXIT_\(name)" }
        return "exit \(rawValue)"
    }

    /// Every reason that concerns x86, with its name less the prefix `KVM_EXIT_`.
    public static let names: [(number: UInt32, name: String)] = [
        (0, "UNKNOWN"), (1, "EXCEPTION"), (2, "IO"), (3, "HYPERCALL"), (4, "DEBUG"), (5, "HLT"), (6, "MMIO"),
        (7, "IRQ_WINDOW_OPEN"), (8, "SHUTDOWN"), (9, "FAIL_ENTRY"), (10, "INTR"), (11, "SET_TPR"),
        (12, "TPR_ACCESS"), (16, "NMI"), (17, "INTERNAL_ERROR"), (21, "WATCHDOG"), (24, "SYSTEM_EVENT"),
        (26, "IOAPIC_EOI"), (27, "HYPERV"), (29, "X86_RDMSR"), (30, "X86_WRMSR"), (31, "DIRTY_RING_FULL"),
        (32, "AP_RESET_HOLD"), (33, "X86_BUS_LOCK"), (34, "XEN"), (37, "NOTIFY"), (39, "MEMORY_FAULT"), (40, "TDX"),
    ]
}

extension ExitReason: CustomStringConvertible {
    public var description: String { name }
}
