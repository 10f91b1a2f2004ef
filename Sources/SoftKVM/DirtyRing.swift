// Dirty rings: each vCPU tells its client, page by page, what it has written to. Documentation/virt/kvm/api.rst, section 8.29;
// virt/kvm/dirty_ring.c.

internal import Glibc
internal import GuestMemory
internal import KVMABI
internal import Locking
internal import Processor
internal import Synchronization

/// One vCPU's ring, in a memory file that the client maps. An entry is `struct kvm_dirty_gfn`: flags, slot, page.
///
/// The vCPU's thread pushes; KVM_RESET_DIRTY_RINGS takes back what the client has harvested, one call at a time.
@safe final class DirtyRing: @unchecked Sendable {
    /// KVM_DIRTY_LOG_PAGE_OFFSET: where a vCPU's handle shows the ring.
    static let firstPage = 64
    static let entrySize = 16
    /// KVM_DIRTY_RING_MAX_ENTRIES.
    static let maximumSize = 65536 * entrySize
    /// KVM_DIRTY_RING_RSVD_ENTRIES: what one instruction may still push when the ring counts as full.
    private static let reserve: UInt32 = 64

    private enum Flag {
        static let dirty: UInt32 = 1
        static let reset: UInt32 = 2
        static let both: UInt32 = 3
    }

    /// A page by slot and number inside it.
    struct Page: Hashable {
        var slot: UInt32
        var number: UInt64
    }

    private let file: MemoryFile
    let size: Int
    // SAFETY: `size` mapped bytes from init to deinit. The client writes to them at any time: only flags count, each read
    // once, and slot and page are checked by whoever uses them.
    private let entries: UnsafeMutableRawPointer
    private let count: UInt32
    /// How many entries were pushed, and how many taken back, modulo 2³².
    private let pushed = Atomic<UInt32>(0)
    private let taken = Atomic<UInt32>(0)
    /// Pages for which the ring had no room.
    private let waiting = Lock<[Page]>([])

    /// - Throws: the errno of the failing system call.
    init(size: Int) throws(Errno) {
        self.size = size
        count = UInt32(size / DirtyRing.entrySize)
        file = try MemoryFile("kvm-dirty-ring", size: size)
        unsafe entries = try file.map(size)
    }

    deinit { unsafe munmap(entries, size) }

    /// Pages of the handle that show the ring.
    func piece(pages: Range<Int>) -> MappingPiece {
        MappingPiece(
            of: file.descriptor, owner: self, length: pages.count * 4096,
            offset: (pages.lowerBound - DirtyRing.firstPage) * 4096)
    }

    // MARK: The vCPU's side

    private var used: UInt32 { pushed.load(ordering: .relaxed) &- taken.load(ordering: .acquiring) }

    /// The client is to harvest before the vCPU runs on.
    var isFull: Bool { used >= count - DirtyRing.reserve }

    func push(_ page: Page) {
        guard used < count else {
            waiting.withLock { $0.append(page) }
            return
        }
        let next = pushed.load(ordering: .relaxed)
        let entry = unsafe entry(next)
        unsafe entry.storeBytes(of: page.slot, toByteOffset: 4, as: UInt32.self)
        unsafe entry.storeBytes(of: page.number, toByteOffset: 8, as: UInt64.self)
        unsafe flags(entry).pointee.store(Flag.dirty, ordering: .releasing)
        pushed.store(next &+ 1, ordering: .releasing)
    }

    // MARK: KVM_RESET_DIRTY_RINGS

    /// Takes back the entries that the client has marked, in their order, up to the first that it has not.
    func takeHarvested() -> [Page] {
        var pages: [Page] = []
        var next = taken.load(ordering: .relaxed)
        while next != pushed.load(ordering: .acquiring) {
            let entry = unsafe entry(next)
            let flags = unsafe flags(entry)
            guard unsafe flags.pointee.load(ordering: .acquiring) & Flag.both & Flag.reset != 0 else { break }
            pages.append(
                Page(
                    slot: unsafe entry.load(fromByteOffset: 4, as: UInt32.self),
                    number: unsafe entry.load(fromByteOffset: 8, as: UInt64.self)))
            unsafe flags.pointee.store(0, ordering: .releasing)
            next &+= 1
            taken.store(next, ordering: .releasing)
        }
        return pages
    }

    /// While the vCPU does not run: what had no room goes into the ring.
    func pushWaiting() {
        let pages = waiting.withLock { waiting in
            let room = min(waiting.count, Int(count - used))
            let pages = Array(waiting.prefix(room))
            waiting.removeFirst(room)
            return pages
        }
        for page in pages { push(page) }
    }

    private func entry(_ index: UInt32) -> UnsafeMutableRawPointer {
        unsafe entries + Int(index & (count - 1)) * DirtyRing.entrySize
    }

    private func flags(_ entry: UnsafeMutableRawPointer) -> UnsafeMutablePointer<Atomic<UInt32>> {
        unsafe entry.assumingMemoryBound(to: Atomic<UInt32>.self)
    }
}

extension VirtualCPU {
    /// A page of a slot that is logged was clean until now. On the vCPU's thread.
    func pageDirtied(slot: UInt32, page: Int) {
        guard let dirtyRing else { return }
        dirtyRing.push(DirtyRing.Page(slot: slot, number: UInt64(page)))
        if dirtyRing.isFull { processor.request(.leave) }
    }
}

extension VirtualMachine {
    /// How many bytes each vCPU's ring has; 0 where pages are logged in bitmaps.
    var dirtyRingSize: UInt64 {
        configuration.withLock {
            max($0.enabled[.dirtyLogRing] ?? 0, $0.enabled[.dirtyLogRingAcqRel] ?? 0) & 0xFFFF_FFFF
        }
    }

    /// KVM_RESET_DIRTY_RINGS: the pages that clients have harvested are clean again.
    /// - Returns: how many entries were taken back.
    /// - Throws: EINVAL where there are no rings.
    func resetDirtyRings() throws(Errno) -> Int32 {
        guard dirtyRingSize != 0 else { throw .invalidArgument }
        let rings = allVCPUs.compactMap(\.dirtyRing)
        return slots.withLock { slots in
            let pages = rings.flatMap { $0.takeHarvested() }
            guard !pages.isEmpty else { return 0 }
            world.whileStopped {
                for page in pages {
                    // Both come from memory that the client writes to.
                    guard let slot = try? slots.logged(page.slot), page.number < slot.size >> 12 else { continue }
                    let word = Int(page.number / 64)
                    _ = slot.pages.takeDirty(word: word, mask: 1 << (page.number % 64))
                }
                for ring in rings { ring.pushWaiting() }
                flushTranslations()
            }
            return Int32(clamping: pages.count)
        }
    }
}
