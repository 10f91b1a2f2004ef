// Coalesced MMIO and port I/O: writes that wait in a ring until the client looks.
// Documentation/virt/kvm/api.rst, section 4.116; struct kvm_coalesced_mmio_ring.

internal import KVMABI
internal import Locking
internal import Synchronization

/// One VM's zones and its ring, which lies in every vCPU's run area at page 2.
@safe final class CoalescedRing: @unchecked Sendable {
    /// (4096 − 8) ÷ 24.
    static let capacity: UInt32 = 170

    private struct Zones {
        var memory = CoalescedZones()
        var port = CoalescedZones()

        subscript(bus: IOBus) -> CoalescedZones {
            get { bus == .port ? port : memory }
            _modify { if bus == .port { yield &port } else { yield &memory } }
        }
    }

    // SAFETY: the ring's page, which lives as long as the VM's `RunAreas`. Clients write its two indices at any time:
    // each is read once and checked before it is used.
    private let page: UnsafeMutableRawPointer
    private let zones = Lock(Zones())
    private let count = Atomic<Int>(0)

    init(_ page: UnsafeMutableRawPointer) { unsafe self.page = page }

    /// KVM_REGISTER_COALESCED_MMIO and KVM_UNREGISTER_COALESCED_MMIO.
    func change(_ argument: ClientArgument, register: Bool) throws(Errno) {
        let record = Record(try argument.loadBytes(16))
        let kind: UInt32 = record.load(12)
        guard kind <= 1 else { throw .invalidArgument }
        let bus: IOBus = kind == 1 ? .port : .memory
        let address: UInt64 = record.load(0), size: UInt32 = record.load(8)
        try zones.withLock { zones throws(Errno) in
            if register {
                try zones[bus].insert(address, size: UInt64(size))
            } else {
                zones[bus].remove(address, size: UInt64(size))
            }
            count.store(zones.memory.count + zones.port.count, ordering: .relaxed)
        }
    }

    /// Puts a write into the ring; false where no zone holds it or the ring is full, so that it exits as usual.
    func write(_ bus: IOBus, _ address: UInt64, size: Int, value: UInt64) -> Bool {
        if count.load(ordering: .relaxed) == 0 { return false }
        return zones.withLock { zones in
            guard zones[bus].contains(address, size: UInt64(size)) else { return false }
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
