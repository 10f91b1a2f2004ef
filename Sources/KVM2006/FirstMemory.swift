// Guest memory: KVM_SET_MEMORY_REGION, KVM_GET_DIRTY_LOG, and what mmap shows of it.

internal import KVMABI
internal import Locking

/// The regions of one virtual machine, made by this side and shown to the endpoint as memory of its client's.
final class FirstMemory: Sendable {
    private let endpoint: any Endpoint
    private let machine: Handle
    private let slotCount: UInt32
    private let regions = Lock<[UInt32: GuestRegion]>([:])
    /// What lies between the regions.
    private let hole: RegionMemory

    init(_ endpoint: any Endpoint, _ machine: Handle, slotCount: UInt32) throws(Errno) {
        self.endpoint = endpoint
        self.machine = machine
        self.slotCount = slotCount
        hole = try RegionMemory(size: 0)
    }

    /// KVM_SET_MEMORY_REGION: makes a region, moves one, changes its log, or with size 0 removes it. Unknown flags are ignored.
    /// - Throws: EINVAL for what is misaligned, for a slot that there isn't and for a change of size; EEXIST for an overlap;
    ///   ENOMEM.
    func setRegion(_ record: Record) throws(Errno) {
        let slot: UInt32 = record.load(FirstLayout.MemoryRegion.slot)
        let address: UInt64 = record.load(FirstLayout.MemoryRegion.guestAddress)
        let size: UInt64 = record.load(FirstLayout.MemoryRegion.memorySize)
        var flags: UInt32 = record.load(FirstLayout.MemoryRegion.flags) & FirstLayout.MemoryRegion.logDirtyPages
        guard size & 4095 == 0, address & 4095 == 0, slot < slotCount else { throw .invalidArgument }
        let (end, wraps) = address.addingReportingOverflow(size)
        guard !wraps else { throw .invalidArgument }
        if size == 0 { flags = 0 }
        try locked { regions throws(Errno) in
            let old = regions[slot]
            if let old, size != 0, old.size != size { throw .invalidArgument }
            for (other, region) in regions where other != slot {
                guard end <= region.guestAddress || address >= region.end else { throw .fileExists }
            }
            if size == 0 {
                guard let old else { return }
                try show(slot, GuestRegion(guestAddress: old.guestAddress, flags: 0, memory: old.memory), size: 0)
                regions[slot] = nil
                return
            }
            guard let bytes = Int(exactly: size) else { throw .outOfMemory }
            let memory = if let old { old.memory } else { try RegionMemory(size: bytes) }
            var region = GuestRegion(guestAddress: address, flags: flags, memory: memory)
            if region.isLogging, let old, old.isLogging { region.owed = old.owed }
            try show(slot, region, size: size)
            regions[slot] = region
        }
    }

    /// Today's KVM_SET_USER_MEMORY_REGION.
    private func show(_ slot: UInt32, _ region: GuestRegion, size: UInt64) throws(Errno) {
        var argument = kvm_userspace_memory_region()
        argument.slot = slot
        argument.flags = region.flags
        argument.guest_phys_addr = region.guestAddress
        argument.memory_size = size
        argument.userspace_addr = region.memory.address
        try endpoint.set(machine, .setUserMemoryRegion, argument)
    }

    /// KVM_GET_DIRTY_LOG: one bit a page, in whole bytes (today's log is in whole words of 64, which that time's client has no
    /// room for), and cleared once the client has it.
    /// - Throws: EINVAL for a slot that there isn't; ENOENT where nothing is logged; EFAULT.
    func getDirtyLog(_ record: Record) throws(Errno) {
        let slot: UInt32 = record.load(FirstLayout.DirtyLog.slot)
        let target = ClientArgument(record.load(FirstLayout.DirtyLog.bitmap, as: UInt64.self))
        guard slot < slotCount else { throw .invalidArgument }
        try locked { regions throws(Errno) in
            guard let region = regions[slot], region.isLogging else { throw .noSuchFile }
            var words = [UInt64](repeating: 0, count: (region.memory.size / 4096 + 63) / 64)
            try words.withAddress { (address) throws(Errno) in
                // struct kvm_dirty_log has stayed what it was.
                var argument = Record(count: FirstLayout.DirtyLog.size)
                argument.store(slot, FirstLayout.DirtyLog.slot)
                argument.store(UInt64(address), FirstLayout.DirtyLog.bitmap)
                try endpoint.exchange(machine, .getDirtyLog, &argument)
            }
            var bitmap = unsafe words.withUnsafeBytes { unsafe [UInt8]($0.prefix(region.bitmapSize)) }
            for (index, byte) in region.owed.enumerated() where index < bitmap.count { bitmap[index] |= byte }
            do throws(Errno) {
                try target.storeBytes(bitmap)
                regions[slot]?.owed = []
            } catch {
                regions[slot]?.owed = bitmap
                throw error
            }
        }
    }

    func place(offset: Int, length: Int) throws(Errno) -> [MappingPiece] {
        guard offset >= 0, offset & 4095 == 0, length > 0 else { throw .invalidArgument }
        let (rounded, tooLong) = length.addingReportingOverflow(4095)
        let (end, wraps) = offset.addingReportingOverflow(rounded & ~4095)
        guard !tooLong, !wraps else { throw Errno(rawValue: 75) }
        let present = regions.withLock { $0.values.sorted { $0.guestAddress < $1.guestAddress } }
        var pieces: [MappingPiece] = []
        var cursor = offset
        for region in present {
            guard let start = Int(exactly: region.guestAddress), let stop = Int(exactly: region.end), stop > cursor,
                start < end
            else { continue }
            if start > cursor {
                pieces.append(hole.piece(offset: 0, length: start - cursor))
                cursor = start
            }
            let length = min(stop, end) - cursor
            pieces.append(region.memory.piece(offset: cursor - start, length: length))
            cursor += length
        }
        if cursor < end { pieces.append(hole.piece(offset: 0, length: end - cursor)) }
        return pieces
    }

    /// What lies at a guest-physical address, as far as its region goes.
    func read(_ address: UInt64, _ count: Int) -> [UInt8] {
        let found = regions.withLock { $0.values.first { $0.guestAddress <= address && address < $0.end } }
        guard let found else { return [] }
        return found.memory.read(Int(address - found.guestAddress), count)
    }

    private func locked(_ body: (inout [UInt32: GuestRegion]) throws(Errno) -> Void) throws(Errno) {
        let failure: Errno? = regions.withLock { regions in
            do throws(Errno) {
                try body(&regions)
                return nil
            } catch {
                return error
            }
        }
        if let failure { throw failure }
    }
}
