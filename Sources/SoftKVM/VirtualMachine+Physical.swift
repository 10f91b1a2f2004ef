// The hypervisor's own accesses to guest memory. They fail where the client has taken the memory away, and never fault.

internal import GuestMemory
internal import KVMABI

extension VirtualMachine {
    /// The client's memory behind `size` bytes of one region.
    /// - Parameter writer: the vCPU that is about to write to it; nil for reading.
    private func place(_ address: UInt64, _ size: Int, writer: VirtualCPU? = nil) -> ClientArgument? {
        guard let region = unsafe addressSpace.region(at: address) else { return nil }
        let offset = unsafe address - region.pointee.base
        guard unsafe UInt64(size) <= region.pointee.size - offset else { return nil }
        if let writer {
            guard unsafe !region.pointee.readOnly else { return nil }
            let first = Int(offset >> 12)
            let last = Int((offset + UInt64(size) - 1) >> 12)
            for page in first...last where unsafe region.pointee.pages.markDirty(page) {
                unsafe writer.pageDirtied(slot: region.pointee.slot, page: page)
            }
        }
        return unsafe ClientArgument(UInt(bitPattern: region.pointee.host) + UInt(offset))
    }

    func readPhysical(_ address: UInt64) -> UInt64? {
        guard let place = place(address, 8) else { return nil }
        return try? place.load(UInt64.self)
    }

    func readPhysical8(_ address: UInt64) -> UInt8? {
        guard let place = place(address, 1) else { return nil }
        return try? place.load(UInt8.self)
    }

    func readPhysical32(_ address: UInt64) -> UInt32? {
        guard let place = place(address, 4) else { return nil }
        return try? place.load(UInt32.self)
    }

    /// Whether `size` bytes lie in one region that may be written; changes nothing.
    func isWritable(_ address: UInt64, _ size: UInt64) -> Bool {
        guard let region = unsafe addressSpace.region(at: address) else { return false }
        return unsafe !region.pointee.readOnly && size <= region.pointee.size - (address - region.pointee.base)
    }

    func writePhysical(_ address: UInt64, _ value: UInt32, by writer: VirtualCPU) {
        guard let place = place(address, 4, writer: writer) else { return }
        try? place.store(value)
    }

    func writePhysical(_ address: UInt64, _ bytes: [UInt8], by writer: VirtualCPU) {
        guard let place = place(address, bytes.count, writer: writer) else { return }
        try? place.storeBytes(bytes)
    }
}
