import X86

/// Ways out of a superblock, which are written last: one for each instruction that is gone to and each place of the flags and of the x87
/// pointers.
struct WaysOut {
    struct Way {
        let offset: Int
        let flags: FlagState
        let x87: X87Pointers
        let label: Assembler.Label
        /// Of the next one whose offset has the same low bits.
        fileprivate let next: Int?
    }

    /// In the order in which they were asked for.
    private(set) var all: [Way] = []
    private var first = [Int?](repeating: nil, count: 64)

    mutating func removeAll() {
        for way in all { first[way.offset & 63] = nil }
        all.removeAll(keepingCapacity: true)
    }

    func label(_ offset: Int, _ flags: FlagState, _ x87: X87Pointers) -> Assembler.Label? {
        var index = first[offset & 63]
        while let known = index {
            if all[known].offset == offset, all[known].flags == flags, all[known].x87 == x87 { return all[known].label }
            index = all[known].next
        }
        return nil
    }

    mutating func add(_ offset: Int, _ flags: FlagState, _ x87: X87Pointers, _ label: Assembler.Label) {
        all.append(Way(offset: offset, flags: flags, x87: x87, label: label, next: first[offset & 63]))
        first[offset & 63] = all.count - 1
    }
}
