internal import Synchronization

/// The guest-physical address space as a hypervisor sees it: disjoint regions of host memory, ordered by address.
///
/// vCPUs read it without a lock while they run. It is changed (`replaceRegions`, `setLogging`) only while every vCPU of
/// the VM is stopped at a boundary, and each vCPU then drops what it cached (`VirtualProcessor.flushTranslations`).
@safe public final class AddressSpace: @unchecked Sendable {
    // SAFETY: `storage` holds `count` initialised regions; it is replaced only while no vCPU runs (see above).
    private var storage: UnsafeMutablePointer<MemoryRegion>
    public private(set) var count = 0
    /// Counts `replaceRegions`: what was kept of an earlier version's regions refers to nothing any more.
    public private(set) var version: UInt64 = 0
    /// Pages that have begun to hold decoded code.
    public let codePages = CodePageCount()

    public init() { unsafe storage = .allocate(capacity: 0) }

    deinit {
        unsafe storage.deinitialize(count: count)
        unsafe storage.deallocate()
    }

    /// Takes over `regions` (disjoint; any order). The bookkeeping of each belongs to whoever made it.
    public func replaceRegions(_ regions: [MemoryRegion]) {
        let sorted = regions.sorted { $0.base < $1.base }
        unsafe storage.deinitialize(count: count)
        unsafe storage.deallocate()
        unsafe storage = .allocate(capacity: sorted.count)
        unsafe storage.initialize(from: sorted, count: sorted.count)
        count = sorted.count
        version &+= 1
    }

    /// The region that holds guest-physical `address`.
    public func region(at address: UInt64) -> UnsafeMutablePointer<MemoryRegion>? {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if unsafe storage[middle].base <= address { low = middle + 1 } else { high = middle }
        }
        guard low > 0 else { return nil }
        let candidate = unsafe storage + (low - 1)
        return unsafe address &- candidate.pointee.base < candidate.pointee.size ? candidate : nil
    }

    /// Whether a host address lies in one of the regions; async-signal-safe.
    public func holds(hostAddress: UInt) -> Bool {
        for index in 0..<count {
            let start = unsafe UInt(bitPattern: storage[index].host)
            if hostAddress >= start, unsafe hostAddress - start < UInt(storage[index].size) { return true }
        }
        return false
    }

    /// The regions in order of address.
    public var regions: [MemoryRegion] { (0..<count).map { unsafe storage[$0] } }
}

/// One region: `size` bytes of guest-physical memory at `base`, shown from host memory.
@safe public struct MemoryRegion: @unchecked Sendable {
    /// Guest-physical address and size in bytes; multiples of 4096.
    public let base: UInt64
    public let size: UInt64
    // SAFETY: valid for `size` bytes as long as the region is in an address space; its owner sees to that.
    @unsafe public let host: UnsafeMutableRawPointer
    /// Writes by the guest leave as MMIO (KVM_MEM_READONLY).
    public let readOnly: Bool
    /// The slot (with address space in the high half) that the region comes from.
    public let slot: UInt32
    /// What is known of each page; see `PageRecords`.
    public let pages: PageRecords

    public init(
        base: UInt64, size: UInt64, host: UnsafeMutableRawPointer, readOnly: Bool, slot: UInt32, pages: PageRecords
    ) {
        self.base = base
        self.size = size
        unsafe self.host = host
        self.readOnly = readOnly
        self.slot = slot
        self.pages = pages
    }
}

/// How often pages of an address space have begun to hold decoded code while another vCPU ran that might have a write
/// translation of them, and whether a vCPU is about to say so.
@safe public final class CodePageCount: Sendable {
    /// The count above, the vCPUs that are marking in the low 16 bits.
    private let value = Atomic<UInt64>(0)

    public struct Reading: Equatable, Sendable {
        fileprivate var value: UInt64
        public var isBeingMarked: Bool { value & 0xFFFF != 0 }
        public static let none = Reading(value: 0)
    }

    public var current: Reading { Reading(value: value.load(ordering: .acquiring)) }

    /// Before lines are marked: who sees the marks sees this.
    public func beginMarking() { _ = value.wrappingAdd(1, ordering: .sequentiallyConsistent) }

    /// After the other vCPUs were told. `isAwaited`: one of them was running.
    public func endMarking(isAwaited: Bool) {
        _ = value.wrappingAdd(isAwaited ? 0xFFFF : UInt64.max, ordering: .sequentiallyConsistent)
    }
}
