import GuestMemory
import X86

/// What is behind the table of translations for emitted code: the results of earlier walks. Nothing here reads guest memory or
/// changes what the guest can see; where that is needed the interpreter executes the instruction.
extension CPU {
    static let refillRead: HostCode.Function = {
        CPU($0).refill(UInt64($1), SlotRequest(rawValue: $2), isWrite: false) ? 1 : 0
    }
    static let refillWrite: HostCode.Function = {
        CPU($0).refill(UInt64($1), SlotRequest(rawValue: $2), isWrite: true) ? 1 : 0
    }

    /// Fills the slot for accesses from a linear address on.
    private func refill(_ linear: UInt64, _ request: SlotRequest, isWrite: Bool) -> Bool {
        guard let range = range(linear, request, isWrite: isWrite) else { return false }
        let changes = unsafe slotChanges(request.slot)
        if unsafe slot(request.slot).pointee.length != 0 {
            unsafe changes.pointee &+= 1
            if unsafe changes.pointee >= processor.executor.slotChanges {
                unsafe changes.pointee = 0
                // The code that has asked goes on in its successor, by way of the interpreter.
                if processor.noteWandering(request.slot) { return false }
            }
        }
        fillSlot(request.slot, range, isWrite: isWrite)
        return true
    }

    static let findForRead: HostCode.Function = {
        CPU($0).find(UInt64($1), SlotRequest(rawValue: $2), isWrite: false) ? 1 : 0
    }
    static let findForWrite: HostCode.Function = {
        CPU($0).find(UInt64($1), SlotRequest(rawValue: $2), isWrite: true) ? 1 : 0
    }

    /// Leaves in `foundDelta` what is to be added to the addresses of a request's accesses.
    private func find(_ linear: UInt64, _ request: SlotRequest, isWrite: Bool) -> Bool {
        guard let range = range(linear, request, isWrite: isWrite) else { return false }
        state.foundDelta = range.delta
        return true
    }

    /// A range that holds all that is asked for from a linear address on.
    private func range(_ linear: UInt64, _ request: SlotRequest, isWrite: Bool) -> EmittedData.Slot? {
        let last = linear &+ (request.span &- 1)
        guard last >= linear, let low = fastHost(linear, isWrite: isWrite) else { return nil }
        let first = linear & ~0xFFF
        var size: UInt64 = 4096
        let delta = low &- linear
        if (last ^ linear) >> 12 != 0 {
            // It goes on in the next page: one range where the host has them side by side.
            guard let high = fastHost(last, isWrite: isWrite), high &- last == delta else {
                processor.noteStraddling(request.slot)
                return nil
            }
            size = 8192
        }
        return EmittedData.Slot(base: first, length: size &- request.span &+ 1, delta: delta, host: first &+ delta)
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
