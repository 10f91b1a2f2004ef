/// Guest memory by guest-physical address: what devices and a VMM read and write, one region or several.
public struct GuestRegions: Sendable {
    /// A piece of memory at its guest-physical address.
    public struct Region: Sendable {
        public let base: UInt64
        public let memory: GuestMemory
        /// The first address behind it.
        public var end: UInt64 { base + UInt64(memory.size) }

        /// - Returns: nil where it would reach beyond the last address.
        public init?(base: UInt64, memory: GuestMemory) {
            guard !base.addingReportingOverflow(UInt64(memory.size)).overflow else { return nil }
            self.base = base
            self.memory = memory
        }
    }

    /// In the order of their addresses.
    public let regions: [Region]

    /// - Returns: nil where two of them overlap.
    public init?(_ regions: [Region]) {
        let sorted = regions.sorted { $0.base < $1.base }
        for (lower, upper) in zip(sorted, sorted.dropFirst()) where lower.end > upper.base { return nil }
        self.regions = sorted
    }

    /// What lies from `address` on, which must be in one region.
    /// - Returns: nil where it is not.
    public func view(at address: UInt64, count: Int) -> GuestView? {
        for region in regions where address >= region.base && address < region.end {
            return try? region.memory.view(at: address - region.base, count: count)
        }
        return nil
    }
}
