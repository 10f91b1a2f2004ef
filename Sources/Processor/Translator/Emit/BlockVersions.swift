import X86

/// A version of a basic block: as it is written for one way in which the flags arrive.
struct BlockVersion: Equatable {
    var block: Int
    var flags: FlagState
    /// It begins with a look at the requests: something may come back to it for ever.
    var hasGate: Bool
}

/// The versions that there are, each block's in a list.
struct BlockVersions {
    private struct Entry {
        let version: BlockVersion
        let label: Assembler.Label
        var isWritten = false
        /// The block's next one.
        let next: Int?
    }

    private var entries: [Entry] = []
    private var first: [Int?] = []

    /// For so many blocks, none of which has any.
    mutating func reset(blocks: Int) {
        entries.removeAll(keepingCapacity: true)
        first.refill(nil, count: blocks)
    }

    private func find(_ version: BlockVersion) -> Int? {
        var index = first[version.block]
        while let known = index, entries[known].version != version { index = entries[known].next }
        return index
    }

    func label(_ version: BlockVersion) -> Assembler.Label? { find(version).map { entries[$0].label } }

    mutating func add(_ version: BlockVersion, _ label: Assembler.Label) {
        entries.append(Entry(version: version, label: label, next: first[version.block]))
        first[version.block] = entries.count - 1
    }

    func count(of block: Int) -> Int {
        var count = 0
        var index = first[block]
        while let known = index {
            count += 1
            index = entries[known].next
        }
        return count
    }

    func isWritten(_ version: BlockVersion) -> Bool { find(version).map { entries[$0].isWritten } ?? false }

    /// Of one that has been added.
    mutating func setWritten(_ version: BlockVersion) {
        if let index = find(version) { entries[index].isWritten = true }
    }
}
