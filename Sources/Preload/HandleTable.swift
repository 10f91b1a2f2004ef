// Which descriptors are KVM's. A handle is an empty, sealed memory file, known by its inode: so `dup`, inheritance and
// passing over a socket need no bookkeeping. Looking one up takes no lock and allocates nothing.

internal import Glibc
internal import KVMABI
internal import Synchronization

/// What a handle names.
enum HandleKind: UInt8 {
    case system = 1
    case machine = 2
    case vcpu = 3
    /// A handle of the first interface, which is a whole machine.
    case first = 4

    /// Whether it comes of opening the device.
    var isDevice: Bool { self == .system || self == .first }
}

/// One handle, in a place that never moves.
struct HandleEntry: ~Copyable {
    /// 0 for a place that was never used, `removed` for one that was.
    fileprivate let inode = Atomic<UInt64>(0)
    fileprivate let handle = Atomic<Int32>(0)
    fileprivate let kind = Atomic<UInt8>(0)
    /// Which process made it, counted over forks.
    fileprivate let generation = Atomic<UInt32>(0)
    /// KVM_SET_SIGNAL_MASK: the mask, if there is one.
    let hasSignalMask = Atomic<Bool>(false)
    let signalMask = Atomic<UInt64>(0)

    fileprivate static var removed: UInt64 { .max }
}

/// A handle as it was found.
@safe struct FoundHandle {
    let kind: HandleKind
    let handle: Handle
    /// False after a fork: a machine belongs to the process that made it.
    let isOfThisProcess: Bool
    let place: Int
    // SAFETY: the table's entry at that place, which is never freed.
    let entry: UnsafeMutablePointer<HandleEntry>
}

/// The process's handles.
@safe final class HandleTable: @unchecked Sendable {
    private static let capacity = 1 << 16
    private static let descriptorCount = 1 << 16

    static let shared = HandleTable()
    /// The highest descriptor that is remembered.
    static var highest: UInt32 { UInt32(descriptorCount) - 1 }

    // SAFETY: `capacity` entries and `descriptorCount` words of zeroed memory, which is what their atomics begin as; mapped
    // once, for good. Entries are added and removed under `lock`.
    private let entries: UnsafeMutablePointer<HandleEntry>
    /// For each low descriptor: 0, or one more than the place of the entry that it was last seen to name.
    private let seen: UnsafeMutablePointer<Atomic<UInt32>>
    private let device = Atomic<UInt64>(0)
    private let lock = SpinLock()

    private init() {
        func zeroed(_ size: Int) -> UnsafeMutableRawPointer {
            let kind = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
            guard let place = unsafe next.map(nil, size, PROT_READ | PROT_WRITE, kind, -1, 0),
                unsafe place != MAP_FAILED
            else {
                Diagnostic.write("no memory for the table of handles")
                abort()
            }
            return unsafe place
        }
        unsafe entries = zeroed(HandleTable.capacity * MemoryLayout<HandleEntry>.stride)
            .assumingMemoryBound(to: HandleEntry.self)
        unsafe seen = zeroed(HandleTable.descriptorCount * MemoryLayout<Atomic<UInt32>>.stride)
            .assumingMemoryBound(to: Atomic<UInt32>.self)
    }

    // MARK: Descriptors

    private func word(_ descriptor: Int32) -> UnsafeMutablePointer<Atomic<UInt32>>? {
        guard descriptor >= 0, Int(descriptor) < HandleTable.descriptorCount else { return nil }
        return unsafe seen + Int(descriptor)
    }

    /// Whether the descriptor was seen to be a handle: enough for what costs nothing to get wrong.
    func isKnown(_ descriptor: Int32) -> Bool {
        guard let word = unsafe word(descriptor) else { return false }
        return unsafe word.pointee.load(ordering: .relaxed) != 0
    }

    /// The descriptor is closed, or names something else now. True if it was known.
    @discardableResult
    func forget(_ descriptor: Int32) -> Bool {
        guard let word = unsafe word(descriptor), unsafe word.pointee.load(ordering: .relaxed) != 0 else {
            return false
        }
        unsafe word.pointee.store(0, ordering: .releasing)
        return true
    }

    /// `copy` names what `original` does.
    func noteCopy(_ copy: Int32, of original: Int32) {
        guard let from = unsafe word(original), let to = unsafe word(copy) else { return }
        unsafe to.pointee.store(from.pointee.load(ordering: .relaxed), ordering: .releasing)
    }

    /// The handle that a request of KVM's is made to; nil for every other. What the descriptor was last seen to name counts.
    func find(_ descriptor: Int32) -> FoundHandle? {
        if let word = unsafe word(descriptor) {
            let place = unsafe word.pointee.load(ordering: .acquiring)
            if place != 0, let found = found(Int(place) - 1) { return found }
        }
        return verify(descriptor)
    }

    /// The handle that a descriptor names, by asking the kernel.
    func verify(_ descriptor: Int32) -> FoundHandle? {
        // No handle was ever made: nothing to compare with.
        let device = device.load(ordering: .acquiring)
        guard device != 0 else { return nil }
        var status = stat()
        guard unsafe next.statusOf(descriptor, &status) == 0, UInt64(status.st_dev) == device,
            let place = place(of: UInt64(status.st_ino))
        else { return nil }
        if let word = unsafe word(descriptor) { unsafe word.pointee.store(UInt32(place) + 1, ordering: .releasing) }
        return found(place)
    }

    private func found(_ place: Int) -> FoundHandle? {
        let entry = unsafe entries + place
        let inode = unsafe entry.pointee.inode.load(ordering: .acquiring)
        guard inode != 0, inode != HandleEntry.removed,
            let kind = HandleKind(rawValue: unsafe entry.pointee.kind.load(ordering: .relaxed))
        else { return nil }
        return unsafe FoundHandle(
            kind: kind, handle: Handle(rawValue: entry.pointee.handle.load(ordering: .relaxed)),
            isOfThisProcess: entry.pointee.generation.load(ordering: .acquiring) == Process.generation, place: place,
            entry: entry)
    }

    // MARK: Entries

    private func first(_ inode: UInt64) -> Int {
        Int(truncatingIfNeeded: (inode &* 0x9E37_79B9_7F4A_7C15) >> 48) & (HandleTable.capacity - 1)
    }

    private func place(of inode: UInt64) -> Int? {
        var place = first(inode)
        for _ in 0..<HandleTable.capacity {
            let here = unsafe entries[place].inode.load(ordering: .acquiring)
            if here == inode { return place }
            if here == 0 { return nil }
            place = (place + 1) & (HandleTable.capacity - 1)
        }
        return nil
    }

    /// Enters what the memory file behind `descriptor` names.
    /// - Throws: EMFILE when the table is full.
    func insert(_ descriptor: Int32, _ status: stat, _ kind: HandleKind, _ handle: Handle) throws(Errno) -> Int {
        let place: Int? = lock.withLock {
            var place = first(UInt64(status.st_ino))
            for _ in 0..<HandleTable.capacity {
                let entry = unsafe entries + place
                let here = unsafe entry.pointee.inode.load(ordering: .relaxed)
                if here == 0 || here == HandleEntry.removed {
                    unsafe entry.pointee.handle.store(handle.rawValue, ordering: .relaxed)
                    unsafe entry.pointee.kind.store(kind.rawValue, ordering: .relaxed)
                    unsafe entry.pointee.generation.store(Process.generation, ordering: .relaxed)
                    unsafe entry.pointee.hasSignalMask.store(false, ordering: .relaxed)
                    unsafe entry.pointee.inode.store(UInt64(status.st_ino), ordering: .releasing)
                    return place
                }
                place = (place + 1) & (HandleTable.capacity - 1)
            }
            return nil
        }
        guard let place else { throw .tooManyOpenFiles }
        device.store(UInt64(status.st_dev), ordering: .releasing)
        if let word = unsafe word(descriptor) { unsafe word.pointee.store(UInt32(place) + 1, ordering: .releasing) }
        return place
    }

    /// Takes out what no descriptor names any more.
    func remove(_ place: Int) -> FoundHandle? {
        lock.withLock {
            guard let found = found(place) else { return nil }
            let following = (place + 1) & (HandleTable.capacity - 1)
            let endsRun = unsafe entries[following].inode.load(ordering: .relaxed) == 0
            unsafe entries[place].inode.store(endsRun ? 0 : HandleEntry.removed, ordering: .releasing)
            return found
        }
    }

    /// In the child of a fork: nobody else is left to hold the lock.
    func forked() { lock.reset() }

    /// Gives a handle that a fork left behind to this process.
    func adopt(_ found: FoundHandle, _ handle: Handle) -> FoundHandle {
        unsafe found.entry.pointee.handle.store(handle.rawValue, ordering: .relaxed)
        unsafe found.entry.pointee.generation.store(Process.generation, ordering: .releasing)
        return unsafe FoundHandle(
            kind: found.kind, handle: handle, isOfThisProcess: true, place: found.place, entry: found.entry)
    }
}
