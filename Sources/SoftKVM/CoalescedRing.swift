// Coalesced MMIO and port I/O: writes that wait in a ring until the client looks.
// Documentation/virt/kvm/api.rst, section 4.116; struct kvm_coalesced_mmio_ring.

internal import KVMABI
internal import Locking
internal import Synchronization

/// One VM's zones and its ring, which lies in every vCPU's run area at page 2.
@safe final class CoalescedRing: @unchecked Sendable {
    /// (4096 − 8) ÷ 24.
    static let capacity: UInt32 = 170

    private struct Zone: Equatable {
        var bus: IOBus
        var address: UInt64
        var size: UInt32

        func contains(_ bus: IOBus, _ start: UInt64, _ length: Int) -> Bool {
            let (end, overflow) = start.addingReportingOverflow(UInt64(length))
            let (limit, wraps) = address.addingReportingOverflow(UInt64(size))
            return bus == self.bus && !overflow && start >= address && (wraps || end <= limit)
        }
    }

    // SAFETY: the ring's page, which lives as long as the VM's `RunAreas`. Clients write its two indices at any time:
    // each is read once and checked before it is used.
    private let page: UnsafeMutableRawPointer
    private let zones = Lock<[Zone]>([])
    private let count = Atomic<Int>(0)

    init(_ page: UnsafeMutableRawPointer) { unsafe self.page = page }

    /// KVM_REGISTER_COALESCED_MMIO and KVM_UNREGISTER_COALESCED_MMIO.
    func change(_ argument: ClientArgument, register: Bool) throws(Errno) {
        let record = Record(try argument.loadBytes(16))
        let kind: UInt32 = record.load(12)
        guard kind <= 1 else { throw .invalidArgument }
        let zone = Zone(bus: kind == 1 ? .port : .memory, address: record.load(0), size: record.load(8))
        zones.withLock { zones in
            if register {
                zones.append(zone)
            } else {
                zones.removeAll { $0.contains(zone.bus, zone.address, Int(zone.size)) }
            }
            count.store(zones.count, ordering: .relaxed)
        }
    }

    /// Puts a write into the ring; false where no zone holds it or the ring is full, so that it exits as usual.
    func write(_ bus: IOBus, _ address: UInt64, size: Int, value: UInt64) -> Bool {
        if count.load(ordering: .relaxed) == 0 { return false }
        return zones.withLock { zones in
            guard zones.contains(where: { $0.contains(bus, address, size) }) else { return false }
            let first = unsafe page.load(fromByteOffset: 0, as: UInt32.self)
            let last = unsafe page.load(fromByteOffset: 4, as: UInt32.self)
            // One entry stays free: a ring that is full is not one that is empty.
            guard last < CoalescedRing.capacity, case let following = (last + 1) % CoalescedRing.capacity,
                following != first
            else { return false }
            let entry = unsafe page + (8 + Int(last) * 24)
            unsafe entry.storeBytes(of: address, toByteOffset: 0, as: UInt64.self)
            unsafe entry.storeBytes(of: UInt32(size), toByteOffset: 8, as: UInt32.self)
            unsafe entry.storeBytes(of: bus == .port ? 1 : 0, toByteOffset: 12, as: UInt32.self)
            unsafe entry.storeBytes(of: value, toByteOffset: 16, as: UInt64.self)
            let next = unsafe (page + 4).assumingMemoryBound(to: Atomic<UInt32>.self)
            unsafe next.pointee.store(following, ordering: .releasing)
            return true
        }
    }
}
