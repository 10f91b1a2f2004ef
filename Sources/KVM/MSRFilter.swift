// Which MSRs the guest may reach without asking. Documentation/virt/kvm/api.rst, section 4.97 (KVM_X86_SET_MSR_FILTER).

internal import KVMABI

/// The filter of a machine: up to 16 ranges, and what holds outside them.
public struct MSRFilter: Sendable {
    /// MSRs in a row.
    public struct Range: Sendable {
        /// The first MSR.
        public var base: UInt32
        /// One entry for each MSR: true allows what the range is about, false denies it.
        public var allowed: [Bool]
        public var reads: Bool
        public var writes: Bool

        public init(base: UInt32, allowed: [Bool], reads: Bool = true, writes: Bool = true) {
            self.base = base
            self.allowed = allowed
            self.reads = reads
            self.writes = writes
        }
    }

    public var ranges: [Range]
    /// Whether MSRs outside every range are denied.
    public var deniesByDefault: Bool

    public init(_ ranges: [Range], deniesByDefault: Bool = false) {
        self.ranges = ranges
        self.deniesByDefault = deniesByDefault
    }
}

extension VirtualMachine {
    /// `KVM_X86_SET_MSR_FILTER`: replaces the filter. A denied access raises #GP, or is an exit where
    /// `enable(.userSpaceMSR(.filter))` asked for it. An empty filter that allows by default takes it away.
    public func setMSRFilter(_ filter: MSRFilter) throws(KVMError) {
        guard filter.ranges.count <= Int(KVM_MSR_FILTER_MAX_RANGES) else {
            throw .failed(.x86SetMSRFilter, .invalidArgument)
        }
        // All bitmaps in one array; each range is given its place.
        var bitmaps: [UInt8] = []
        var places: [Int] = []
        for range in filter.ranges {
            places.append(bitmaps.count)
            let start = bitmaps.count
            // The kernel reads whole words of 64 bits.
            bitmaps += [UInt8](repeating: 0, count: (range.allowed.count + 63) / 64 * 8)
            for (index, allowed) in range.allowed.enumerated() where allowed {
                bitmaps[start + index / 8] |= 1 << UInt8(index % 8)
            }
        }
        let connection = core.connection
        try unsafe bitmaps.withUnsafeMutableBufferPointer { (bytes) throws(KVMError) in
            var argument = kvm_msr_filter()
            argument.flags = filter.deniesByDefault ? 1 : 0
            unsafe withUnsafeMutableBytes(of: &argument.ranges) { raw in
                let entries = unsafe raw.bindMemory(to: kvm_msr_filter_range.self)
                for (index, range) in filter.ranges.enumerated() {
                    unsafe entries[index].flags = (range.reads ? 1 : 0) | (range.writes ? 2 : 0)
                    unsafe entries[index].nmsrs = UInt32(truncatingIfNeeded: range.allowed.count)
                    unsafe entries[index].base = range.base
                    unsafe entries[index].bitmap = bytes.baseAddress.map { unsafe $0 + places[index] }
                }
            }
            try connection.set(.x86SetMSRFilter, argument)
        }
    }
}
