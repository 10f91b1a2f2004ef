// Where writes are coalesced: as devices on the kernel's I/O buses, in virt/kvm/coalesced_mmio.c and kvm_io_bus_register_dev.

internal import KVMABI

/// The zones of one bus, which may overlap, and be there more than once. One write's is found by halving.
struct CoalescedZones {
    /// NR_IOBUS_DEVS: as many as the kernel has room for on a bus.
    static let limit = 1000

    private struct Zone {
        var start: UInt64
        /// Behind the last byte; of a zone that reaches beyond the last address, that.
        var end: UInt64
    }

    /// By their starts.
    private var zones: [Zone] = []
    /// How far each and those before it reach.
    private var reach: [UInt64] = []

    var count: Int { zones.count }

    /// - Throws: ENOSPC where there are `limit` already.
    mutating func insert(_ start: UInt64, size: UInt64) throws(Errno) {
        guard count < CoalescedZones.limit else { throw .noSpace }
        let (end, wraps) = start.addingReportingOverflow(size)
        let index = firstBehind(start)
        zones.insert(Zone(start: start, end: wraps ? .max : end), at: index)
        measure()
    }

    /// Takes away the zones that hold all of these bytes.
    mutating func remove(_ start: UInt64, size: UInt64) {
        guard let end = CoalescedZones.end(start, size) else { return }
        zones.removeAll { $0.start <= start && end <= $0.end }
        measure()
    }

    /// Whether one zone holds all of these bytes.
    func contains(_ start: UInt64, size: UInt64) -> Bool {
        let index = firstBehind(start)
        guard index > 0, let end = CoalescedZones.end(start, size) else { return false }
        return end <= reach[index - 1]
    }

    private static func end(_ start: UInt64, _ size: UInt64) -> UInt64? {
        let (end, wraps) = start.addingReportingOverflow(size)
        return wraps ? nil : end
    }

    private func firstBehind(_ address: UInt64) -> Int { zones.partitioned { $0.start <= address } }

    private mutating func measure() {
        reach.removeAll(keepingCapacity: true)
        for zone in zones { reach.append(max(reach.last ?? 0, zone.end)) }
    }
}
