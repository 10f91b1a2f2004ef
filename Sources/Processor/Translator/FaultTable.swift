/// Where each access of translated code to guest memory is, and the way out of it, for the handler of a fault of the host's
/// memory: no instruction changes anything before its last access, so that it can be left at any of them.
///
/// SAFETY: the entries are the translator's, sorted, and live as long as the processor; read by the thread that writes them.
@safe struct FaultTable {
    struct Entry {
        /// Offsets from the cache's start.
        var access: UInt32
        var wayOut: UInt32
    }

    /// The executable addresses of the cache.
    private(set) var code: Range<UInt> = 0..<0
    // SAFETY: as above.
    private var entries: UnsafeMutablePointer<Entry>?
    private(set) var count = 0
    private let capacity: Int

    init() {
        unsafe entries = nil
        capacity = 0
    }

    /// For code at these addresses.
    init(code: Range<UInt>, capacity: Int) {
        self.code = code
        self.capacity = capacity
        let entries = UnsafeMutablePointer<Entry>.allocate(capacity: capacity)
        unsafe self.entries = entries
    }

    func deallocate() { unsafe entries?.deallocate() }

    var room: Int { capacity - count }

    /// Behind all that there are.
    mutating func append(_ entry: Entry) {
        guard count < capacity, let entries = unsafe entries else { return }
        unsafe (entries + count).initialize(to: entry)
        count += 1
    }

    mutating func removeAll() { count = 0 }

    /// Where to go on after a fault at `address`, if it is one of these. Called by a signal's handler.
    func way(outOf address: UInt) -> UInt? {
        guard code.contains(address), let entries = unsafe entries else { return nil }
        let offset = UInt32(truncatingIfNeeded: address - code.lowerBound)
        var low = 0, high = count
        while low < high {
            let middle = (low + high) / 2
            if unsafe entries[middle].access < offset { low = middle + 1 } else { high = middle }
        }
        guard low < count, unsafe entries[low].access == offset else { return nil }
        return unsafe code.lowerBound + UInt(entries[low].wayOut)
    }
}
