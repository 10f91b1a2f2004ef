import GuestMemory
import X86

/// What is behind the table of translations for emitted code: the results of earlier walks. Nothing here reads guest memory or
/// changes what the guest can see; where that is needed the interpreter executes the instruction.
extension CPU {
    static let refillRead: HostCode.Function = {
        CPU($0).refill(UInt64($1), $2, isWrite: false) ? 1 : 0
    }
    static let refillWrite: HostCode.Function = {
        CPU($0).refill(UInt64($1), $2, isWrite: true) ? 1 : 0
    }

    private func refill(_ linear: UInt64, _ slotAndSpan: UInt, isWrite: Bool) -> Bool {
        let span = UInt64(slotAndSpan >> 16)
        let last = linear &+ (span &- 1)
        guard let low = fastHost(linear, isWrite: isWrite) else { return false }
        let first = linear & ~0xFFF
        var size: UInt64 = 4096
        let delta = low &- linear
        if (last ^ linear) >> 12 != 0 {
            // It goes on in the next page: one range where the host has them side by side.
            guard let high = fastHost(last, isWrite: isWrite), high &- last == delta else {
                processor.noteStraddling(Int(slotAndSpan & 0xFFFF))
                return false
            }
            size = 8192
        }
        if last < linear { return false }
        let slot = EmittedData.Slot(base: first, length: size &- span &+ 1, delta: delta, host: first &+ delta)
        fillSlot(Int(slotAndSpan & 0xFFFF), slot, isWrite: isWrite)
        return true
    }

    /// The host address of what the guest may read, or write, at a linear address without further ado.
    private func fastHost(_ linear: UInt64, isWrite: Bool) -> UInt64? {
        if let known = known(linear, isWrite: isWrite) { return known }
        guard unsafe state.tlb != processor.tlb.entries(.watched), let translation = processor.tlb.walked(linear),
            let region = unsafe processor.memory.region(at: translation.page)
        else { return nil }
        unsafe fill(linear, translation, region)
        return known(linear, isWrite: isWrite)
    }

    private func known(_ linear: UInt64, isWrite: Bool) -> UInt64? {
        let host =
            isWrite
            ? unsafe UInt(bitPattern: hostAddressForWrite(linear, size: 1))
            : unsafe UInt(bitPattern: hostAddressForRead(linear, size: 1))
        return host == 0 ? nil : UInt64(host)
    }
}
