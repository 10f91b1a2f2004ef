// The memory map that the kernel is told (ACPI 6.5, 15; "Query System Address Map"), and where boot data lies in
// the first megabyte.

internal import GuestMemory

/// What an address range is.
public enum MemoryKind: UInt32, Sendable {
    case ram = 1
    case reserved = 2
}

/// A range of the memory map.
public struct MemoryRange: Equatable, Sendable {
    public let base: UInt64
    public let size: UInt64
    public let kind: MemoryKind

    public init(base: UInt64, size: UInt64, kind: MemoryKind) {
        self.base = base
        self.size = size
        self.kind = kind
    }
}

/// Fixed places below 1 MiB.
enum LowMemory {
    /// Descriptor table for the entry into the kernel.
    static let gdt: UInt64 = 0x500
    /// BIOS data area: 0x1234 for a warm reset, 0 for a cold one. Linux writes it before it resets.
    static let resetFlag: UInt64 = 0x472
    /// `hvm_start_info`, with its module list and memory map after it.
    static let startInfo: UInt64 = 0x6000
    /// `boot_params`.
    static let bootParameters: UInt64 = 0x7000
    /// Page tables of the 64-bit entry: six pages.
    static let pageTables: UInt64 = 0x9000
    /// The stack's top, for kernels that want one before they set up their own.
    static let stackTop: UInt64 = 0x8ff0
    /// The command line, at most 64 KiB with its zero.
    static let commandLine: UInt64 = 0x2_0000
    static let commandLineCapacity = 0x1_0000
    /// Where usable low memory ends: the extended BIOS data area of a PC.
    static let end: UInt64 = 0x9_fc00
    /// The ACPI tables, where the RSDP is also looked for.
    static let tables: UInt64 = 0xe_0000
    static let tablesEnd: UInt64 = 0x10_0000
    /// From here RAM is the kernel's.
    static let highMemory: UInt64 = 0x10_0000
}

extension MachineMemory {
    /// The map, in the order of addresses.
    public var map: [MemoryRange] {
        var ranges = [
            MemoryRange(base: 0, size: LowMemory.end, kind: .ram),
            MemoryRange(base: LowMemory.end, size: 0xa_0000 - LowMemory.end, kind: .reserved),
            MemoryRange(
                base: LowMemory.tables, size: LowMemory.tablesEnd - LowMemory.tables, kind: .reserved),
        ]
        for region in regions {
            let base = max(region.base, LowMemory.highMemory)
            if region.end > base { ranges.append(.init(base: base, size: region.end - base, kind: .ram)) }
        }
        return ranges
    }
}
