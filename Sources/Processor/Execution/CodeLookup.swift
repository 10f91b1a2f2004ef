import X86

/// Which block lies at which linear address.
///
/// A look-up holds for one code mode and for one *epoch*: as long as no translation of code has changed. User code has an epoch
/// in each address space, found again with the space (PCID); the kernel's code has one of its own over all of them, while it
/// lies in global pages.
struct LookupEpochs {
    /// Above the code mode and the privilege in a look-up's key.
    private static let step: UInt64 = 1 << 24

    private var last: UInt64 = 0
    private(set) var user: UInt64 = 0
    private(set) var kernel: UInt64 = 0
    /// Supervisor code was found in the lower half of the address space, where pages are not global.
    var kernelIsPrivate = false

    mutating func make() -> UInt64 {
        last += LookupEpochs.step
        return last
    }

    mutating func renewAll() {
        user = make()
        kernel = make()
        kernelIsPrivate = false
    }

    /// Another address space is current.
    mutating func change(user: UInt64, upperIsPrivate: Bool) {
        self.user = user
        if kernelIsPrivate || upperIsPrivate { kernel = make() }
    }
}

/// Pages that look-ups lead to, by a hash: most flushes of one page are of one that holds no code.
struct CodePageFilter {
    private static let bits = 256 * 64
    private var words = InlineArray<256, UInt64>(repeating: 0)

    private func place(_ linear: UInt64) -> (Int, UInt64) {
        let page = linear >> 12
        let hash = Int(truncatingIfNeeded: (page ^ page >> 14 ^ page >> 28) & UInt64(CodePageFilter.bits - 1))
        return (hash / 64, 1 << UInt64(hash % 64))
    }

    mutating func insert(_ linear: UInt64) {
        let (word, bit) = place(linear)
        words[word] |= bit
    }

    func mayContain(_ linear: UInt64) -> Bool {
        let (word, bit) = place(linear)
        return words[word] & bit != 0
    }

    mutating func removeAll() {
        words = InlineArray(repeating: 0)
    }
}

extension CPU {
    // MARK: In the state by address, so that no reference is counted

    /// Of the present privilege.
    @inline(__always) var lookupEpoch: UInt64 {
        state.cpl == 3 ? state.lookupEpochs.user : state.lookupEpochs.kernel
    }

    /// Look-ups are valid for one epoch, code mode and privilege.
    @inline(__always) var lookupKey: UInt64 {
        lookupEpoch | UInt64(state.codeMode.rawValue) << 1 | (state.cpl == 3 ? 1 : 0)
    }

    /// Forgets which block lies at which linear address; the blocks stay.
    func dropLookups() {
        state.lookupEpochs.renewAll()
        processor.tlb.forgetLookupEpochs()
        state.codePages.removeAll()
    }

    @inline(__always) private func slot(_ linear: UInt64) -> UnsafeMutablePointer<BlockCache.Lookup> {
        let hash = linear ^ (linear >> 12)
        return unsafe state.lookups + Int(truncatingIfNeeded: hash & UInt64(BlockCache.lookupCount - 1))
    }

    /// The block that was last found at `linear`, if it may run as it is.
    @inline(__always) func recallBlock(_ linear: UInt64) -> BlockReference? {
        let slot = unsafe slot(linear)
        guard unsafe slot.pointee.linear == linear, unsafe slot.pointee.key == lookupKey,
            let block = unsafe slot.pointee.block,
            unsafe block.pointee.codeGeneration == state.codeGeneration
        else { return nil }
        return unsafe BlockReference(block)
    }

    /// The same for one whose bytes have to be compared first; never one that was taken out of the table.
    @inline(__always) func recallStaleBlock(_ linear: UInt64) -> BlockReference? {
        let slot = unsafe slot(linear)
        guard unsafe slot.pointee.linear == linear, unsafe slot.pointee.key == lookupKey,
            let block = unsafe slot.pointee.block, unsafe block.pointee.codeGeneration != 0
        else { return nil }
        return unsafe BlockReference(block)
    }

    func remember(_ linear: UInt64, _ reference: BlockReference) {
        state.codePages.insert(linear)
        if state.cpl != 3, linear >> 63 == 0 { state.lookupEpochs.kernelIsPrivate = true }
        unsafe slot(linear).pointee = BlockCache.Lookup(linear: linear, key: lookupKey, block: reference.pointer)
    }
}
