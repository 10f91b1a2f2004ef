// Which slots show the same memory of the client's: code that is decoded through one of them may be changed through another.

internal import GuestMemory
internal import KVMABI

/// The stretches of the client's memory that slots show, disjoint and in order.
struct SharedMemory {
    /// Memory of one piece that slots show, each overlapping another. It may be longer than they need, once some are gone.
    private struct Stretch {
        var start: UInt64
        var end: UInt64
        /// The lines with code from `start` to `end`, for all of them.
        var code: CodeLines
        var slots: [UInt16]
    }

    private var stretches: [Stretch] = []

    /// Takes in a slot that is new.
    /// - Parameter slots: those that are there.
    /// - Returns: whether slots that were there have lost their marks, because stretches have become one.
    /// - Throws: ENOMEM, having changed nothing.
    mutating func add(_ id: UInt16, _ slot: MemorySlot, among slots: [UInt16: MemorySlot]) throws(Errno) -> Bool {
        let first = stretches.partitioned { $0.end <= slot.userAddress }
        var next = first
        while next < stretches.count, stretches[next].start < slot.userEnd { next += 1 }
        if first == next {
            let alone = Stretch(start: slot.userAddress, end: slot.userEnd, code: slot.pages.code, slots: [id])
            stretches.insert(alone, at: first)
            return false
        }
        let start = min(stretches[first].start, slot.userAddress)
        let end = max(stretches[next - 1].end, slot.userEnd)
        if next - first == 1, stretches[first].start == start, stretches[first].end == end {
            stretches[first].slots.append(id)
            slot.pages.use(stretches[first].code, from: Int((slot.userAddress - start) >> 12))
            return false
        }
        guard let code = CodeLines(pageCount: Int((end - start) >> 12)) else { throw .outOfMemory }
        let members = stretches[first..<next].flatMap(\.slots)
        for member in members {
            guard let other = slots[member] else { continue }
            other.pages.use(code, from: Int((other.userAddress - start) >> 12))
        }
        slot.pages.use(code, from: Int((slot.userAddress - start) >> 12))
        stretches.replaceSubrange(
            first..<next, with: [Stretch(start: start, end: end, code: code, slots: members + [id])])
        return true
    }

    mutating func remove(_ id: UInt16, _ slot: MemorySlot) {
        let index = stretches.partitioned { $0.end <= slot.userAddress }
        guard index < stretches.count else { return }
        stretches[index].slots.removeAll { $0 == id }
        if stretches[index].slots.isEmpty { stretches.remove(at: index) }
    }
}
