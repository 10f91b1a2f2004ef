import GuestMemory

/// Guest-physical memory as the walker reaches it.
extension VirtualProcessor {
    /// Host memory of `size` bytes at a guest-physical address, within one page.
    func hostAddress(ofPhysical address: UInt64, size: Int) -> UnsafeMutableRawPointer? {
        guard let region = unsafe memory.region(at: address) else { return nil }
        return unsafe region.pointee.host + Int(address - region.pointee.base)
    }

    /// The walker has set A or D bits in a table: log the store.
    func noteTableWrite(_ address: UInt64) {
        guard let region = unsafe memory.region(at: address) else { return }
        let page = unsafe Int((address - region.pointee.base) >> 12)
        if unsafe region.pointee.pages.markDirty(page) {
            unsafe host.pageDirtied(slot: region.pointee.slot, page: page)
        }
    }

    /// 8 bytes of a paging structure; 0 where there is no memory.
    func loadPhysical(_ address: UInt64) -> UInt64 {
        guard let host = unsafe hostAddress(ofPhysical: address, size: 8) else { return 0 }
        return unsafe host.loadUnaligned(as: UInt64.self)
    }
}
