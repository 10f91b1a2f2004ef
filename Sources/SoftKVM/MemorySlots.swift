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
    private let highestPage: UInt64

    init(physicalAddressBits: UInt8) { highestPage = 1 << (UInt64(max(physicalAddressBits, 36)) - 12) - 1 }

    struct Change {
        var slot: UInt32
        var flags: UInt32
        var guestAddress: UInt64
        var size: UInt64
        var userAddress: UInt64
    }

    /// Checks and carries out a change of the table.
    /// - Returns: false where nothing changes.
    mutating func apply(_ change: Change, dirtyAtFirst: Bool) throws(Errno) -> Bool {
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
        if pageCount == 0 {
            guard old != nil else { throw .invalidArgument }
            slots[id] = nil
            return true
        }
        if let old {
            guard change.userAddress == old.userAddress, change.size == old.size,
                (change.flags ^ old.flags) & MemorySlots.readOnly == 0
            else { throw .invalidArgument }
            if change.guestAddress == old.guestAddress && change.flags == old.flags { return false }
        }
        if old?.guestAddress != change.guestAddress {
            for (other, slot) in slots where other != id {
                if change.guestAddress < slot.guestAddress + slot.size
                    && slot.guestAddress < change.guestAddress + change.size
                {
                    throw .fileExists
                }
            }
            guard (change.guestAddress >> 12) + pageCount - 1 <= highestPage else { throw .invalidArgument }
        }
        guard let pages = old?.pages ?? PageRecords(pageCount: Int(pageCount)) else { throw .outOfMemory }
        let slot = MemorySlot(
            guestAddress: change.guestAddress, size: change.size, userAddress: change.userAddress, flags: change.flags,
            pages: pages)
        var changed = slots
        changed[id] = slot
        try MemorySlots.shareCode(changed)
        if slot.isLogging != (old?.isLogging ?? false) {
            // A log begins clean, or with every page in it (KVM_DIRTY_LOG_INITIALLY_SET).
            for word in 0..<pages.dirtyWordCount { _ = pages.takeDirty(word: word) }
            pages.isLogging = slot.isLogging
            if slot.isLogging, dirtyAtFirst {
                for page in 0..<pages.pageCount { pages.markDirty(page) }
            }
        }
        slots = changed
        return true
    }

    /// Code that is decoded through one slot may be changed through another that shows the same memory.
    private static func shareCode(_ slots: [UInt16: MemorySlot]) throws(Errno) {
        let sorted = slots.values.sorted { $0.userAddress < $1.userAddress }
        var first = 0
        while first < sorted.count {
            let start = sorted[first].userAddress
            var end = start + sorted[first].size
            var next = first + 1
            while next < sorted.count, sorted[next].userAddress < end {
                end = max(end, sorted[next].userAddress + sorted[next].size)
                next += 1
            }
            try shareCode(sorted[first..<next], start, end)
            first = next
        }
    }

    /// The same for slots of one stretch of memory.
    private static func shareCode(_ slots: ArraySlice<MemorySlot>, _ start: UInt64, _ end: UInt64) throws(Errno) {
        guard slots.count > 1, let code = slots.first?.pages.code else { return }
        let places = slots.map { Int(($0.userAddress - start) >> 12) }
        let offset = slots.first?.pages.firstCodePage ?? 0
        let isShared = zip(slots, places).allSatisfy {
            $0.pages.code === code && $0.pages.firstCodePage == offset + $1
        }
        if isShared { return }
        guard let all = CodeLines(pageCount: Int((end - start) >> 12)) else { throw .outOfMemory }
        for (slot, place) in zip(slots, places) { slot.pages.use(all, from: place) }
    }

    /// What the processors see.
    var regions: [MemoryRegion] {
        slots.compactMap { id, slot in
            guard let host = unsafe UnsafeMutableRawPointer(bitPattern: UInt(slot.userAddress)) else { return nil }
            return unsafe MemoryRegion(
                base: slot.guestAddress, size: slot.size, host: host, readOnly: slot.flags & MemorySlots.readOnly != 0,
                slot: UInt32(id), pages: slot.pages)
        }
    }

    /// The slot whose log is asked for.
    /// - Throws: EINVAL for a number that no slot can have; ENOENT where there is no log.
    func logged(_ number: UInt32) throws(Errno) -> MemorySlot {
        guard number >> 16 == 0, Int(number) < MemorySlots.limit else { throw .invalidArgument }
        guard let slot = slots[UInt16(truncatingIfNeeded: number)], slot.isLogging else { throw .noSuchFile }
        return slot
    }
}
