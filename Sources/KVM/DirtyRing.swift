// The ring in which a vCPU reports the pages that it has dirtied.
// Documentation/virt/kvm/api.rst, section 8.29 (KVM_CAP_DIRTY_LOG_RING).

internal import KVMABI
internal import Synchronization

/// A vCPU's dirty ring; unmapped when it goes out of scope.
@safe public struct DirtyRing: ~Copyable, Sendable {
    /// A page that was written.
    public struct Page: Hashable, Sendable {
        /// The slot's number; the address space is in the high half.
        public let slot: UInt32
        /// The page's number inside the slot.
        public let page: UInt64
    }

    private let connection: Connection
    // SAFETY: mapped from init to deinit, `capacity` entries of 16 bytes.
    private nonisolated(unsafe) let base: UnsafeMutableRawPointer
    private let capacity: Int
    private var next = 0

    init(_ connection: Connection, bytes: Int) throws(KVMError) {
        let capacity = bytes / MemoryLayout<kvm_dirty_gfn>.stride
        guard capacity > 0 else { throw .notMapped(.invalidArgument) }
        do throws(Errno) {
            unsafe base = try connection.endpoint.map(
                connection.handle, length: bytes, offset: Int(KVM_DIRTY_LOG_PAGE_OFFSET) * 4096)
        } catch {
            throw .notMapped(error)
        }
        self.connection = connection
        self.capacity = capacity
    }

    deinit { unsafe connection.endpoint.unmap(base, length: capacity * MemoryLayout<kvm_dirty_gfn>.stride) }

    /// The pages since the last call. The hypervisor takes their entries back at `resetDirtyRings`.
    public mutating func harvest() -> [Page] {
        var pages: [Page] = []
        while true {
            let entry = unsafe base + next % capacity * MemoryLayout<kvm_dirty_gfn>.stride
            let flags = unsafe entry.assumingMemoryBound(to: Atomic<UInt32>.self)
            guard unsafe flags.pointee.load(ordering: .acquiring) & 3 == 1 else { return pages }
            pages.append(
                Page(
                    slot: unsafe entry.load(fromByteOffset: 4, as: UInt32.self),
                    page: unsafe entry.load(fromByteOffset: 8, as: UInt64.self)))
            unsafe flags.pointee.store(2, ordering: .releasing)
            next += 1
        }
    }
}

extension VirtualCPU {
    /// Maps the vCPU's dirty ring; of as many bytes as `enable(.dirtyLogRing(bytes:))` was given before the vCPU was made.
    public func dirtyRing(bytes: Int) throws(KVMError) -> DirtyRing { try DirtyRing(connection, bytes: bytes) }
}
