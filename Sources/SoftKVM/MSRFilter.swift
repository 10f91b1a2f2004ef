// KVM_X86_SET_MSR_FILTER: which MSRs the guest may reach. Documentation/virt/kvm/api.rst, section 4.97.

internal import KVMABI

/// Ranges of MSRs with a bit for each: one that is set allows the range's operations.
struct MSRFilter {
    struct Range {
        var flags: UInt32
        var base: UInt32
        var count: UInt32
        var bitmap: [UInt8]
    }

    static let read: UInt32 = 1
    static let write: UInt32 = 2
    private static let maximumBitmap: UInt32 = 0x600
    private static let rangeCount = 16

    private var allowsByDefault = true
    private var ranges: [Range] = []

    /// Everything is allowed.
    init() {}

    /// From struct kvm_msr_filter: flags, then sixteen of { flags, nmsrs, base, bitmap's address }, 24 bytes each.
    init(_ argument: ClientArgument) throws(Errno) {
        let record = Record(try argument.loadBytes(8 + MSRFilter.rangeCount * 24))
        let flags: UInt32 = record.load(0)
        guard flags & ~1 == 0 else { throw .invalidArgument }
        var isEmpty = true
        for index in 0..<MSRFilter.rangeCount where record.load(8 + index * 24 + 4, as: UInt32.self) != 0 {
            isEmpty = false
        }
        allowsByDefault = flags & 1 == 0
        guard allowsByDefault || !isEmpty else { throw .invalidArgument }
        for index in 0..<MSRFilter.rangeCount {
            let at = 8 + index * 24
            let count: UInt32 = record.load(at + 4)
            if count == 0 { continue }
            let rangeFlags: UInt32 = record.load(at)
            guard rangeFlags & ~3 == 0, rangeFlags != 0 else { throw .invalidArgument }
            let size = (UInt64(count) + 63) / 64 * 8
            guard size <= UInt64(MSRFilter.maximumBitmap) else { throw .invalidArgument }
            let bitmap = try ClientArgument(record.load(at + 16, as: UInt64.self)).loadBytes(Int(size))
            ranges.append(Range(flags: rangeFlags, base: record.load(at + 8), count: count, bitmap: bitmap))
        }
    }

    func allows(_ index: UInt32, write: Bool) -> Bool {
        // The x2APIC's MSRs are never filtered.
        if 0x800...0x8FF ~= index { return true }
        let operation = write ? MSRFilter.write : MSRFilter.read
        for range in ranges where range.flags & operation != 0 {
            // One that would reach beyond the last number has none, as the kernel reckons its end in 32 bits.
            let (end, wraps) = range.base.addingReportingOverflow(range.count)
            guard !wraps, index >= range.base, index < end else { continue }
            let place = index - range.base
            return range.bitmap[Int(place / 8)] & 1 << UInt8(place % 8) != 0
        }
        return allowsByDefault
    }
}
