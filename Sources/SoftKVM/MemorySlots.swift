// Memory slots: KVM_SET_USER_MEMORY_REGION(2) and the dirty log. Documentation/virt/kvm/api.rst, sections 4.8, 4.35, 4.117
// and 4.140. The order of checks is that of virt/kvm/kvm_main.c.

internal import GuestMemory
internal import KVMABI

/// One slot as the client set it.
struct MemorySlot {
    var guestAddress: UInt64
    var size: UInt64
    var userAddress: UInt64
    var flags: UInt32
    var pages: PageRecords

    var isLogging: Bool { flags & MemorySlots.logDirtyPages != 0 }
    var userEnd: UInt64 { userAddress + size }

    /// What the processors see; nil at a null address.
    func region(_ number: UInt32) -> MemoryRegion? {
        guard let host = unsafe UnsafeMutableRawPointer(bitPattern: UInt(userAddress)) else { return nil }
        return unsafe MemoryRegion(
            base: guestAddress, size: size, host: host, readOnly: flags & MemorySlots.readOnly != 0, slot: number,
            pages: pages)
    }
}

extension Array {
    /// The number of the first element of which `isBefore` does not hold, where it holds of all before that and of none behind.
    func partitioned(_ isBefore: (Element) -> Bool) -> Int {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if isBefore(self[middle]) { low = middle + 1 } else { high = middle }
        }
        return low
    }
}

/// The slots of one VM. Changed under the VM's lock only.
struct MemorySlots {
    /// KVM_USER_MEM_SLOTS: three of 32,767 are KVM's own.
    static let limit = 32764
    static let logDirtyPages: UInt32 = 1
    static let readOnly: UInt32 = 2
    private static let maximumPages: UInt64 = 1 << 31 - 1
    /// The end of what the kernel gives a process.
    private static let userLimit: UInt64 = 0x7FFF_FFFF_F000

    private(set) var slots: [UInt16: MemorySlot] = [:]
    /// By guest address, where they are disjoint.
    private var order: [Place] = []
    /// The client's memory behind them.
    private var memory = SharedMemory()
    private let highestPage: UInt64

    private struct Place {
        var start: UInt64
        var end: UInt64
        var slot: UInt16
    }

    init(physicalAddressBits: UInt8) { highestPage = 1 << (UInt64(max(physicalAddressBits, 36)) - 12) - 1 }

    struct Change {
        var slot: UInt32
        var flags: UInt32
        var guestAddress: UInt64
        var size: UInt64
        var userAddress: UInt64
    }

    /// What a change of the table is for the processors.
    struct Effect {
        /// Where the region begins that is no more.
        var removed: UInt64?
        var added: MemoryRegion?
        /// What was decoded has lost its marks.
        var dropsCode = false
    }

    /// Checks and carries out a change of the table, at a cost that hardly knows how many slots there are.
    mutating func apply(_ change: Change, dirtyAtFirst: Bool) throws(Errno) -> Effect {
        let id = UInt16(truncatingIfNeeded: change.slot)
        guard Int(id) < MemorySlots.limit else { throw .invalidArgument }
        guard change.flags & ~(MemorySlots.logDirtyPages | MemorySlots.readOnly) == 0 else { throw .invalidArgument }
        guard change.size & 4095 == 0, change.guestAddress & 4095 == 0, change.userAddress & 4095 == 0 else {
            throw .invalidArgument
        }
        let (userEnd, userWraps) = change.userAddress.addingReportingOverflow(change.size)
        guard !userWraps, userEnd <= MemorySlots.userLimit else { throw .invalidArgument }
        // One address space: there is no SMM.
        guard change.slot >> 16 == 0 else { throw .invalidArgument }
        guard !change.guestAddress.addingReportingOverflow(change.size).overflow else { throw .invalidArgument }
        let pageCount = change.size >> 12
        guard pageCount <= MemorySlots.maximumPages else { throw .invalidArgument }
        let old = slots[id]
        var effect = Effect()
        if pageCount == 0 {
            guard let old else { throw .invalidArgument }
            slots[id] = nil
            order.remove(at: index(of: old.guestAddress))
            memory.remove(id, old)
            effect.removed = old.guestAddress
            return effect
        }
        if let old {
            guard change.userAddress == old.userAddress, change.size == old.size,
                (change.flags ^ old.flags) & MemorySlots.readOnly == 0
            else { throw .invalidArgument }
            if change.guestAddress == old.guestAddress && change.flags == old.flags { return effect }
        }
        let isPlaced = old?.guestAddress != change.guestAddress
        if isPlaced {
            guard isFree(change.guestAddress, change.guestAddress + change.size, for: id) else { throw .fileExists }
            guard (change.guestAddress >> 12) + pageCount - 1 <= highestPage else { throw .invalidArgument }
        }
        guard let pages = old?.pages ?? PageRecords(pageCount: Int(pageCount)) else { throw .outOfMemory }
        let slot = MemorySlot(
            guestAddress: change.guestAddress, size: change.size, userAddress: change.userAddress, flags: change.flags,
            pages: pages)
        if old == nil { effect.dropsCode = try memory.add(id, slot, among: slots) }
        if slot.isLogging != (old?.isLogging ?? false) {
            // A log begins clean, or with every page in it (KVM_DIRTY_LOG_INITIALLY_SET).
            pages.isLogging = slot.isLogging
            pages.setDirty(slot.isLogging && dirtyAtFirst)
        }
        slots[id] = slot
        guard isPlaced else { return effect }
        if let old {
            order.remove(at: index(of: old.guestAddress))
            effect.removed = old.guestAddress
        }
        let place = Place(start: slot.guestAddress, end: slot.guestAddress + slot.size, slot: id)
        order.insert(place, at: index(of: slot.guestAddress))
        effect.added = slot.region(UInt32(id))
        return effect
    }

    /// The number of the first slot, by guest address, that begins at `address` or above.
    private func index(of address: UInt64) -> Int { order.partitioned { $0.start < address } }

    /// Whether no slot but `id` has a place in [start, end).
    private func isFree(_ start: UInt64, _ end: UInt64, for id: UInt16) -> Bool {
        var index = order.partitioned { $0.end <= start }
        while index < order.count, order[index].start < end {
            if order[index].slot != id { return false }
            index += 1
        }
        return true
    }

    /// The slot whose log is asked for.
    /// - Throws: EINVAL for a number that no slot can have; ENOENT where there is no log.
    func logged(_ number: UInt32) throws(Errno) -> MemorySlot {
        guard number >> 16 == 0, Int(number) < MemorySlots.limit else { throw .invalidArgument }
        guard let slot = slots[UInt16(truncatingIfNeeded: number)], slot.isLogging else { throw .noSuchFile }
        return slot
    }
}
