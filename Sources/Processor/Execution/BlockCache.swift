import GuestMemory
import Glibc

/// A decoded block: a header, its ops, and a copy of the bytes that they were decoded from, in one piece of the arena.
///
/// A block lies in one page, has one entry, and is looked up by the host address of its first byte and the mode.
@safe struct Block {
    /// Of the first byte.
    var hostAddress: UInt
    var next: UnsafeMutablePointer<Block>?
    /// `CPUState.codeGeneration` when the bytes were last found unchanged; 0 once they were found changed.
    var codeGeneration: UInt64
    var mode: CodeMode
    var opCount: UInt32
    var byteLength: UInt32
    /// The page's records in its region, and which page.
    var records: Unmanaged<PageRecords>
    var page: Int
    /// Lines of the page that the bytes lie in.
    var lines: UInt64

    // MARK: Translation
    /// How the first op is executed without one.
    var coldHandler: Op.Handler
    /// Times that the block was begun while it is counted.
    var executions: UInt32 = 0
    /// Which of `Translator`'s it has, counted from 1; 0: none.
    var translation: UInt32 = 0
    /// The address of the generation for which the translation's page was last found unchanged (`TranslatedPage`).
    var pageGeneration = BlockCache.noGeneration
    /// Its address.
    var hostCode: UInt = 0
    /// Accesses off one register are checked as one.
    var sharesChecks = true
}

/// SAFETY: wraps a block in the arena, valid until the cache is emptied, which happens only between blocks.
@safe struct BlockReference {
    let pointer: UnsafeMutablePointer<Block>

    @inline(__always) init(_ pointer: UnsafeMutablePointer<Block>) { unsafe self.pointer = pointer }

    /// From a link that an op holds.
    @inline(__always) init(_ address: UInt) {
        unsafe pointer = UnsafeMutablePointer(bitPattern: address).unsafelyUnwrapped
    }

    @inline(__always) var address: UInt { unsafe UInt(bitPattern: pointer) }

    @inline(__always) var block: Block {
        unsafeAddress { unsafe UnsafePointer(pointer) }
        nonmutating unsafeMutableAddress { unsafe pointer }
    }

    /// The block whose first op it is.
    @inline(__always) init(firstOp: UInt) {
        self.init(firstOp &- UInt(MemoryLayout<Block>.stride))
    }

    @inline(__always) var firstOp: UnsafeMutablePointer<Op> {
        unsafe UnsafeMutableRawPointer(pointer + 1).assumingMemoryBound(to: Op.self)
    }

    /// Whether there is a translation, and its page was found unchanged in a generation.
    @inline(__always) func translationIsSettled(_ generation: UInt64) -> Bool {
        // SAFETY: of a page that lives as long as the translation, or the one word that no generation is.
        unsafe UnsafePointer<UInt64>(bitPattern: block.pageGeneration).unsafelyUnwrapped.pointee == generation
    }

    var bytes: UnsafeMutableRawPointer { unsafe UnsafeMutableRawPointer(firstOp + Int(block.opCount)) }

    /// Whether the memory still holds what was decoded.
    var isUnchanged: Bool {
        guard let code = unsafe UnsafeRawPointer(bitPattern: block.hostAddress) else { return false }
        return unsafe memcmp(bytes, code, Int(block.byteLength)) == 0
    }
}

/// All decoded blocks of one vCPU, and the lookups by linear address.
@safe final class BlockCache {
    @safe struct Lookup {
        var linear: UInt64 = 0
        /// `CPU.lookupKey` at the time; 0 never matches.
        var key: UInt64 = 0
        var block: UnsafeMutablePointer<Block>?
    }

    /// As large as the code that is translated from its blocks may become. Memory is taken by what is used.
    static let arenaSize = 56 << 20

    /// The address of a generation that no code has.
    static let noGeneration: UInt = {
        // SAFETY: one word for good, which nobody writes.
        let place = UnsafeMutablePointer<UInt64>.allocate(capacity: 1)
        unsafe place.initialize(to: 0)
        return UInt(bitPattern: place)
    }()
    private static let bucketCount = 1 << 17
    private static let bucketsSize = bucketCount * MemoryLayout<UInt>.stride
    static let lookupCount = 1 << 12

    // SAFETY: `arena` is `arenaSize` bytes, filled up to `used`; buckets and lookups have their counts; all from init to deinit.
    private let arena: UnsafeMutableRawPointer
    private var used = 0
    private let buckets: UnsafeMutablePointer<UnsafeMutablePointer<Block>?>
    /// `lookupCount` lookups.
    let lookups: UnsafeMutablePointer<Lookup>
    /// What `currentOp` points at while nothing runs.
    let idleOp: UnsafeMutablePointer<Op>

    init() {
        unsafe arena = BlockCache.map(BlockCache.arenaSize)
        // Zeros are empty buckets.
        unsafe buckets = BlockCache.map(BlockCache.bucketsSize)
            .assumingMemoryBound(to: UnsafeMutablePointer<Block>?.self)
        unsafe lookups = .allocate(capacity: BlockCache.lookupCount)
        unsafe lookups.initialize(repeating: Lookup(), count: BlockCache.lookupCount)
        unsafe idleOp = .allocate(capacity: 1)
        unsafe idleOp.initialize(to: Op(handler: Interpreter.leave))
    }

    deinit {
        unsafe munmap(arena, BlockCache.arenaSize)
        unsafe munmap(buckets, BlockCache.bucketsSize)
        unsafe lookups.deallocate()
        unsafe idleOp.deallocate()
    }

    private static func map(_ size: Int) -> UnsafeMutableRawPointer {
        let memory = unsafe mmap(
            nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        guard let memory = unsafe memory, unsafe memory != MAP_FAILED else {
            fatalError("there is no address space for decoded code")
        }
        return unsafe memory
    }

    // MARK: By host address

    private func bucket(_ hostAddress: UInt) -> UnsafeMutablePointer<UnsafeMutablePointer<Block>?> {
        let hash = (hostAddress ^ (hostAddress >> 17)) &* 0x9E37_79B9
        return unsafe buckets + Int((hash >> 8) & UInt(BlockCache.bucketCount - 1))
    }

    /// The block decoded from `hostAddress` in `mode`, its bytes changed or not.
    func find(hostAddress: UInt, mode: CodeMode) -> BlockReference? {
        var candidate = unsafe bucket(hostAddress).pointee
        while let block = unsafe candidate {
            if unsafe block.pointee.hostAddress == hostAddress, unsafe block.pointee.mode == mode {
                return unsafe BlockReference(block)
            }
            unsafe candidate = block.pointee.next
        }
        return nil
    }

    /// Takes a block whose bytes have changed out of the table; it never runs again.
    func remove(_ reference: BlockReference) {
        reference.block.codeGeneration = 0
        reference.block.translation = 0
        reference.block.pageGeneration = BlockCache.noGeneration
        var link = unsafe bucket(reference.block.hostAddress)
        while let block = unsafe link.pointee {
            if unsafe block == reference.pointer {
                unsafe link.pointee = block.pointee.next
                return
            }
            unsafe link = UnsafeMutableRawPointer(block).advanced(by: MemoryLayout<Block>.offset(of: \.next) ?? 0)
                .assumingMemoryBound(to: UnsafeMutablePointer<Block>?.self)
        }
    }

    /// Whether there is room for a block of any size.
    var hasRoom: Bool { used < BlockCache.arenaSize - 32 << 10 }

    /// What the next block will be made of, of at most `Draft.mostOps` ops. One at a time; where there is room.
    func draft() -> Draft {
        precondition(hasRoom, "whoever adds a block sees to it that there is room")
        return unsafe Draft(arena + used + MemoryLayout<Block>.stride)
    }

    /// Adds the block of a draft.
    func insert(_ block: Block, _ draft: Draft) -> BlockReference {
        let opBytes = draft.count * MemoryLayout<Op>.stride
        let size = (MemoryLayout<Block>.stride + opBytes + Int(block.byteLength) + 15) & ~15
        let place = unsafe (arena + used).assumingMemoryBound(to: Block.self)
        used += size
        unsafe place.initialize(to: block)
        let reference = unsafe BlockReference(place)
        draft.moveBytes(Int(block.byteLength))
        let head = unsafe bucket(block.hostAddress)
        unsafe place.pointee.next = head.pointee
        unsafe head.pointee = place
        return reference
    }

    /// Empties the cache; only between blocks. Look-ups are to be dropped, too.
    func removeAll() {
        used = 0
        unsafe buckets.update(repeating: nil, count: BlockCache.bucketCount)
    }
}
