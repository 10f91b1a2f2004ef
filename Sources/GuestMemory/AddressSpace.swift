internal import Synchronization

/// The guest-physical address space as a hypervisor sees it: disjoint regions of host memory, ordered by address.
///
/// vCPUs read it without a lock while they run. It is changed (`insert`, `remove`, `replaceRegions`) only while every vCPU of
/// the VM is stopped at a boundary, and each vCPU then drops what it cached (`VirtualProcessor.flushTranslations`).
@safe public final class AddressSpace: @unchecked Sendable {
    // SAFETY: `storage` has room for `capacity` regions and holds `count` initialised ones; it is changed only while no vCPU
    // runs (see above).
    private var storage: UnsafeMutablePointer<MemoryRegion>
    private var capacity = 0
    public private(set) var count = 0
    /// Counts the changes after which what was kept of a region may refer to nothing any more.
    public private(set) var version: UInt64 = 0
    /// Pages that have begun to hold decoded code.
    public let codePages = CodePageCount()

    public init() { unsafe storage = .allocate(capacity: 0) }

    deinit {
        unsafe storage.deinitialize(count: count)
        unsafe storage.deallocate()
    }

    /// Takes over `regions` (disjoint; any order) in place of all there are. The bookkeeping of each belongs to whoever made it.
    public func replaceRegions(_ regions: [MemoryRegion]) {
        unsafe storage.deinitialize(count: count)
        count = 0
        for region in regions { insert(region) }
        version &+= 1
    }

    /// Adds a region, which overlaps none that is there. What was kept of those stays true.
    public func insert(_ region: MemoryRegion) {
        if count == capacity {
            let larger = max(16, capacity * 2)
            let room = UnsafeMutablePointer<MemoryRegion>.allocate(capacity: larger)
            unsafe room.moveInitialize(from: storage, count: count)
            unsafe storage.deallocate()
            unsafe storage = room
            capacity = larger
        }
        let index = indexAbove(region.base)
        unsafe (storage + index + 1).moveInitialize(from: storage + index, count: count - index)
        unsafe (storage + index).initialize(to: region)
        count += 1
    }

    /// Takes away the region that begins at `base`; without effect where none does.
    public func remove(at base: UInt64) {
        let index = indexAbove(base) - 1
        guard index >= 0, unsafe storage[index].base == base else { return }
        unsafe (storage + index).deinitialize(count: 1)
        unsafe (storage + index).moveInitialize(from: storage + index + 1, count: count - index - 1)
        count -= 1
        version &+= 1
    }

    /// What was decoded from the regions is to be decoded again.
    public func dropCode() { version &+= 1 }

    /// The number of the first region that begins above `address`.
    private func indexAbove(_ address: UInt64) -> Int {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if unsafe storage[middle].base <= address { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// The region that holds guest-physical `address`.
    public func region(at address: UInt64) -> UnsafeMutablePointer<MemoryRegion>? {
        let index = indexAbove(address)
        guard index > 0 else { return nil }
        let candidate = unsafe storage + (index - 1)
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
