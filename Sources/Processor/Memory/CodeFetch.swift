import GuestMemory
import X86

/// Where code is fetched from.
extension CPU {
    /// The host address of the code at `linear`, for the current privilege.
    func executableHost(_ linear: UInt64) throws(Stop) -> UnsafeRawPointer {
        let entry = unsafe state.tlb + Int(truncatingIfNeeded: (linear >> 12) & TLBEntry.indexMask)
        if unsafe entry.pointee.execute == (linear & ~0xFFF) | state.tlbGeneration {
            return unsafe UnsafeRawPointer(bitPattern: UInt(linear &+ entry.pointee.addend)).unsafelyUnwrapped
        }
        let (address, translation) = try physical(linear, .execute, segment: .cs, user: isUser)
        guard let region = unsafe processor.memory.region(at: address) else {
            // Code in no memory: KVM's emulator gives up there, too.
            processor.exit = .internalError(suberror: 1)
            throw .exitBefore
        }
        unsafe fill(linear, translation, region)
        return unsafe UnsafeRawPointer(region.pointee.host + Int(address - region.pointee.base))
    }

    /// The records of the page that code at `linear` (just fetched from) lies in.
    func codePage(_ linear: UInt64) -> (records: PageRecords, page: Int)? {
        guard let translation = try? translate(linear, .execute, user: isUser),
            let region = unsafe processor.memory.region(at: translation.page)
        else { return nil }
        return unsafe (region.pointee.pages, Int((translation.page - region.pointee.base) >> 12))
    }

}
