/// Indices by offsets in a page.
struct OffsetMap {
    /// Which offsets have one: 64 of 64 bits.
    private var members = [UInt64](repeating: 0, count: 64)
    private var indices: [UInt16]

    init() {
        // SAFETY: what is no member is not read.
        indices = unsafe Array(unsafeUninitializedCapacity: 4096) { _, count in count = 4096 }
    }

    mutating func removeAll() {
        for index in members.indices { members[index] = 0 }
    }

    private func contains(_ offset: Int) -> Bool {
        0..<4096 ~= offset && members[offset >> 6] >> UInt64(offset & 63) & 1 != 0
    }

    /// Set in the page alone.
    subscript(offset: Int) -> Int? {
        get { contains(offset) ? Int(indices[offset]) : nil }
        set {
            precondition(0..<4096 ~= offset, "an offset in a page")
            if let newValue {
                members[offset >> 6] |= 1 << UInt64(offset & 63)
                indices[offset] = UInt16(newValue)
            } else {
                members[offset >> 6] &= ~(1 << UInt64(offset & 63))
            }
        }
    }
}
