// Memory slots: which pieces of the client's memory the guest sees, and where. And the dirty log.
// Documentation/virt/kvm/api.rst, sections 4.35 (KVM_SET_USER_MEMORY_REGION), 4.8 (KVM_GET_DIRTY_LOG) and 4.117
// (KVM_CLEAR_DIRTY_LOG).

public import GuestMemory
internal import KVMABI
internal import Synchronization

/// Names one memory slot of one machine. The machine owns the mapping that the slot shows, until the slot is removed.
public struct MemorySlot: Hashable, Sendable {
    /// The slot's number.
    public let id: UInt32

    public init(id: UInt32) { self.id = id }

    /// `KVM_MEM_*`.
    public struct Flags: OptionSet, Hashable, Sendable {
        public let rawValue: UInt32
        public init(rawValue: UInt32) { self.rawValue = rawValue }
        /// Writes are logged by page.
        public static let logDirtyPages = Flags(rawValue: 1 << 0)
        /// Writes of the guest are `.mmioWrite` exits.
        public static let readOnly = Flags(rawValue: 1 << 1)
    }
}

extension VirtualMachine {
    /// Shows the guest the whole of a memory.
    /// - Parameters:
    ///   - memory: kept alive by the machine until the slot is removed.
    ///   - address: the guest-physical address, a multiple of 4096.
    ///   - id: the slot's number; the lowest that is free if not given.
    /// - Throws: `KVMError.failed`: `EEXIST` if it overlaps another slot, `EINVAL` if it is not aligned.
    @discardableResult
    public func addSlot(
        _ memory: GuestMemory, at address: UInt64, flags: MemorySlot.Flags = [], id: UInt32? = nil
    ) throws(KVMError) -> MemorySlot {
        try addSlot(memory, offset: 0, size: memory.size, at: address, flags: flags, id: id)
    }

    /// Shows the guest a part of a memory: `size` bytes from `offset`, both multiples of 4096.
    @discardableResult
    public func addSlot(
        _ memory: GuestMemory, offset: Int, size: Int, at address: UInt64, flags: MemorySlot.Flags = [],
        id: UInt32? = nil
    ) throws(KVMError) -> MemorySlot {
        guard offset >= 0, size > 0, offset <= memory.size, size <= memory.size - offset else {
            throw .failed(.setUserMemoryRegion, .invalidArgument)
        }
        let base = unsafe UInt64(UInt(bitPattern: memory.hostAddress)) &+ UInt64(offset)
        return try addSlot(memory, hostAddress: base, size: UInt64(size), at: address, flags: flags, id: id)
    }

    /// Shows the guest memory that the client keeps mapped itself. If it is unmapped, `run()` throws `EFAULT` when the
    /// guest reaches it.
    @unsafe @discardableResult
    public func addSlot(
        hostAddress: UnsafeMutableRawPointer, size: Int, at address: UInt64, flags: MemorySlot.Flags = [],
        id: UInt32? = nil
    ) throws(KVMError) -> MemorySlot {
        try addSlot(
            nil, hostAddress: UInt64(UInt(bitPattern: hostAddress)), size: UInt64(truncatingIfNeeded: size),
            at: address, flags: flags, id: id)
    }

    private func addSlot(
        _ memory: GuestMemory?, hostAddress: UInt64, size: UInt64, at address: UInt64, flags: MemorySlot.Flags,
        id: UInt32?
    ) throws(KVMError) -> MemorySlot {
        let connection = core.connection
        let number = try core.slots.withLock { (slots) throws(KVMError) -> UInt32 in
            var number = id ?? 0
            if id == nil { while slots[number] != nil { number += 1 } }
            guard slots[number] == nil else { throw .failed(.setUserMemoryRegion, .fileExists) }
            let region = kvm_userspace_memory_region(
                slot: number, flags: flags.rawValue, guest_phys_addr: address, memory_size: size,
                userspace_addr: hostAddress)
            try connection.set(.setUserMemoryRegion, region)
            slots[number] = SlotContents(memory: memory, region: region)
            return number
        }
        return MemorySlot(id: number)
    }

    /// Changes a slot in place: where it is, or its flags.
    private func change(
        _ slot: MemorySlot, _ change: (inout kvm_userspace_memory_region) -> Void
    ) throws(KVMError) {
        let connection = core.connection
        try core.slots.withLock { (slots) throws(KVMError) in
            guard var contents = slots[slot.id] else { throw .noSuchSlot(slot.id) }
            change(&contents.region)
            try connection.set(.setUserMemoryRegion, contents.region)
            slots[slot.id] = contents
        }
    }

    /// Moves a slot to another guest-physical address.
    public func move(_ slot: MemorySlot, to address: UInt64) throws(KVMError) {
        try change(slot) { $0.guest_phys_addr = address }
    }

    /// Turns the dirty log of a slot on or off; a slot can't become read-only, or stop being so.
    public func setFlags(_ flags: MemorySlot.Flags, of slot: MemorySlot) throws(KVMError) {
        try change(slot) { $0.flags = flags.rawValue }
    }

    /// Takes a slot away, and lets go of its memory.
    public func remove(_ slot: MemorySlot) throws(KVMError) {
        try change(slot) { $0.memory_size = 0 }
        _ = core.slots.withLock { $0.removeValue(forKey: slot.id) }
    }

    /// The guest-physical address of a slot.
    public func address(of slot: MemorySlot) throws(KVMError) -> UInt64 {
        try contents(of: slot).region.guest_phys_addr
    }

    private func contents(of slot: MemorySlot) throws(KVMError) -> SlotContents {
        guard let contents = core.slots.withLock({ $0[slot.id] }) else { throw .noSuchSlot(slot.id) }
        return contents
    }

    // MARK: Dirty log

    /// `KVM_GET_DIRTY_LOG`: which pages of the slot were written since the last call, a bit for each, the lowest bit of
    /// the first word for the first page. With `manualDirtyLogProtect` the log is not cleared by it.
    public func dirtyLog(of slot: MemorySlot) throws(KVMError) -> [UInt64] {
        let size = try contents(of: slot).region.memory_size
        var bitmap = [UInt64](repeating: 0, count: Int(truncatingIfNeeded: (size / 4096 + 63) / 64))
        let connection = core.connection
        try unsafe bitmap.withUnsafeMutableBufferPointer { (words) throws(KVMError) in
            var argument = unsafe kvm_dirty_log()
            unsafe argument.slot = slot.id
            unsafe argument.dirty_bitmap = UnsafeMutableRawPointer(words.baseAddress)
            unsafe try connection.set(.getDirtyLog, argument)
        }
        return bitmap
    }

    /// The pages of the slot that were written, as offsets into it in bytes.
    public func dirtyPages(of slot: MemorySlot) throws(KVMError) -> [UInt64] {
        var pages: [UInt64] = []
        for (index, word) in try dirtyLog(of: slot).enumerated() {
            var rest = word
            while rest != 0 {
                pages.append(UInt64(index * 64 + rest.trailingZeroBitCount) * 4096)
                rest &= rest - 1
            }
        }
        return pages
    }

    /// `KVM_CLEAR_DIRTY_LOG`: forgets the pages whose bits are set, from `firstPage` on, a multiple of 64. `pages` is a
    /// multiple of 64 too unless it reaches the slot's end.
    public func clearDirtyLog(
        of slot: MemorySlot, firstPage: UInt64 = 0, pages: UInt32, bitmap: [UInt64]
    ) throws(KVMError) {
        guard bitmap.count * 64 >= Int(pages) else { throw .failed(.clearDirtyLog, .invalidArgument) }
        var bitmap = bitmap
        let connection = core.connection
        try unsafe bitmap.withUnsafeMutableBufferPointer { (words) throws(KVMError) in
            var argument = unsafe kvm_clear_dirty_log()
            unsafe argument.slot = slot.id
            unsafe argument.num_pages = pages
            unsafe argument.first_page = firstPage
            unsafe argument.dirty_bitmap = UnsafeMutableRawPointer(words.baseAddress)
            unsafe try connection.set(.clearDirtyLog, argument)
        }
    }

    /// `KVM_RESET_DIRTY_RINGS`: takes back the entries that were harvested from all vCPUs' rings; how many.
    @discardableResult
    public func resetDirtyRings() throws(KVMError) -> Int { Int(try core.connection.call(.resetDirtyRings)) }

    // MARK: Where KVM keeps its own pages

    /// `KVM_SET_TSS_ADDR`: three pages of guest-physical space below 4 GiB for the hypervisor's use.
    public func setTSSAddress(_ address: UInt32) throws(KVMError) {
        try core.connection.call(.setTSSAddr, UInt(address))
    }

    /// `KVM_SET_IDENTITY_MAP_ADDR`: one more such page; before the first vCPU.
    public func setIdentityMapAddress(_ address: UInt64) throws(KVMError) {
        try core.connection.set(.setIdentityMapAddr, address)
    }

    /// `KVM_SET_BOOT_CPU_ID`: which vCPU starts; before the first vCPU.
    public func setBootCPU(_ id: UInt32) throws(KVMError) { try core.connection.call(.setBootCPUID, UInt(id)) }
}
