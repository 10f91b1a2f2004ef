import GuestMemory
import X86

/// Translations from the TLB or a walk, and what the fast path is given of them. Intel SDM vol. 3, 4.10.
extension CPU {
    /// The translation of `linear` for an access at the current privilege, or as the supervisor.
    func translate(_ linear: UInt64, _ access: MemoryAccess, user: Bool) throws(Stop) -> Translation {
        if let known = processor.tlb.walked(linear), allows(known.rights, access, user: user),
            access != .write || known.rights.contains(.dirty)
        {
            return known
        }
        let (found, pageSize) = try walk(linear, access, user: user)
        processor.tlb.remember(linear, found, pageSize: pageSize)
        return found
    }

    /// Guest-physical address of `linear`, checking canonicality first. `segment` tells #SS from #GP.
    func physical(_ linear: UInt64, _ access: MemoryAccess, segment: SegmentName, user: Bool) throws(Stop) -> (
        UInt64, Translation
    ) {
        if isLongMode { try checkCanonical(linear, segment) }
        let translation = try translate(linear, access, user: user)
        return (translation.page | (linear & 0xFFF), translation)
    }

    /// Enters what `translation` allows into the current view's table.
    func fill(_ linear: UInt64, _ translation: Translation, _ region: UnsafeMutablePointer<MemoryRegion>) {
        let region = unsafe region.pointee
        let entry = unsafe state.tlb + Int(truncatingIfNeeded: (linear >> 12) & TLBEntry.indexMask)
        let tag = (linear & ~0xFFF) | state.tlbGeneration
        let user = state.cpl == 3
        let host = UInt64(UInt(bitPattern: unsafe region.host)) &+ (translation.page &- region.base)
        if linear >> 63 != 0, !translation.rights.contains(.global) { state.upperIsPrivate = true }
        var fresh = TLBEntry()
        fresh.addend = host &- (linear & ~0xFFF)
        if allows(translation.rights, .execute, user: user) { fresh.execute = tag }
        if unsafe state.tlb != processor.tlb.entries(.watched) {
            if allows(translation.rights, .read, user: user) { fresh.read = tag }
            let page = Int((translation.page &- region.base) >> 12)
            if translation.rights.contains(.dirty), !region.readOnly, region.pages.allowsFastWrites(page),
                allows(translation.rights, .write, user: user)
            {
                fresh.write = (linear & ~0xFFF) | state.tlbWriteGeneration
            }
        }
        unsafe entry.pointee = fresh
    }
}
