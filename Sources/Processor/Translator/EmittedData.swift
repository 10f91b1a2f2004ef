import X86

/// What emitted code reads and writes beside the state, at constant distances behind it: slots of checked memory and links to
/// other code.
///
/// A *slot* is what one check of an address knows: a range of linear addresses that lie side by side in host memory, with the
/// rights that the check wants. A *link* is where a jump went last.
enum EmittedData {
    struct Slot {
        /// The first linear address of the range.
        var base: UInt64 = 0
        /// How many addresses from there on an access may begin at; 0: nothing is known.
        var length: UInt64 = 0
        /// Host address minus linear address.
        var delta: UInt64 = 0
        /// Host address of `base`.
        var host: UInt64 = 0
    }

    struct Link {
        /// RIP of the code.
        var rip: UInt64 = 0
        /// `CPUState.linkStamp` as it was filled; 0 matches none.
        var stamp: UInt64 = 0
        /// Its address.
        var target: UInt = 0
        /// RIP's page.
        var page: UInt64 = 0
    }

    /// Of each kind, for reading and for writing: indices are 16 bits wide.
    static let slotCount = 1 << 15
    static let linkCount = 1 << 15
    /// Links of all returns and indirect jumps, found by the target's address.
    static let targetCount = 1 << 12

    // Distances from the state.
    static let slots = (MemoryLayout<CPUState>.stride + 64 + 63) & ~63
    static let links = slots + slotCount * MemoryLayout<Slot>.stride
    /// Indices of slots that are filled: of reading ones, then of writing ones.
    static let filledReads = links + linkCount * MemoryLayout<Link>.stride
    static let filledWrites = filledReads + slotCount * 2
    static let targets = (filledWrites + slotCount * 2 + 63) & ~63
    static let end = targets + targetCount * MemoryLayout<Link>.stride

    static func slot(_ index: Int) -> Int { slots + index * MemoryLayout<Slot>.stride }
    static func link(_ index: Int) -> Int { links + index * MemoryLayout<Link>.stride }
    static let lengthOffset = MemoryLayout<Slot>.offset(of: \.length) ?? 0
    static let deltaOffset = MemoryLayout<Slot>.offset(of: \.delta) ?? 0
    static let hostOffset = MemoryLayout<Slot>.offset(of: \.host) ?? 0
    static let pageOffset = MemoryLayout<Link>.offset(of: \.page) ?? 0
    static let stampOffset = MemoryLayout<Link>.offset(of: \.stamp) ?? 0
    static let targetOffset = MemoryLayout<Link>.offset(of: \.target) ?? 0
}

extension CPU {
    // MARK: Slots and links. SAFETY: indices below the counts, within the storage behind the state (`CPU.byteCount`).

    @unsafe func slot(_ index: Int) -> UnsafeMutablePointer<EmittedData.Slot> {
        unsafe (UnsafeMutableRawPointer(pointer) + EmittedData.slot(index & (EmittedData.slotCount - 1)))
            .assumingMemoryBound(to: EmittedData.Slot.self)
    }

    @unsafe private func filled(_ isWrite: Bool) -> UnsafeMutablePointer<UInt16> {
        unsafe (UnsafeMutableRawPointer(pointer) + (isWrite ? EmittedData.filledWrites : EmittedData.filledReads))
            .assumingMemoryBound(to: UInt16.self)
    }

    /// Enters what a check is to know.
    func fillSlot(_ index: Int, _ slot: EmittedData.Slot, isWrite: Bool) {
        let place = unsafe self.slot(index)
        if unsafe place.pointee.length == 0 {
            let count = isWrite ? state.filledWrites : state.filledReads
            guard count < EmittedData.slotCount else { return }
            unsafe filled(isWrite)[Int(count)] = UInt16(truncatingIfNeeded: index)
            if isWrite { state.filledWrites = count + 1 } else { state.filledReads = count + 1 }
        }
        unsafe place.pointee = slot
    }

    /// Empties the slots that are filled: all, or those for writing alone.
    func emptySlots(writesOnly: Bool = false) {
        for index in 0..<Int(state.filledWrites) {
            unsafe slot(Int(filled(true)[index])).pointee.length = 0
        }
        state.filledWrites = 0
        if writesOnly { return }
        for index in 0..<Int(state.filledReads) {
            unsafe slot(Int(filled(false)[index])).pointee.length = 0
        }
        state.filledReads = 0
    }

    /// Empties those whose range holds an address, or all where there are many.
    func emptySlots(holding linear: UInt64) {
        guard state.filledReads + state.filledWrites <= 512 else { return emptySlots() }
        for (isWrite, count) in [(false, state.filledReads), (true, state.filledWrites)] {
            for index in 0..<Int(count) {
                let place = unsafe slot(Int(filled(isWrite)[index]))
                // The range goes beyond the last address that an access may begin at by less than a group's span.
                if unsafe linear &- (place.pointee.base & ~0xFFF) < place.pointee.length &+ 8192 {
                    // Filled again it is on the list twice, which costs nothing but the place.
                    unsafe place.pointee.length = 0
                }
            }
        }
    }
}
