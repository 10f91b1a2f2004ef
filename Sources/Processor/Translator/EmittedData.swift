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

    /// As many as the largest cache's code has use for. Memory is taken by those that are used.
    static let slotCount = 1 << 19
    static let linkCount = 1 << 18
    /// Links of all returns and indirect jumps, found by the target's address.
    static let targetCount = 1 << 12

    // Distances from the state.
    static let slots = (MemoryLayout<CPUState>.stride + 64 + 63) & ~63
    static let links = slots + slotCount * MemoryLayout<Slot>.stride
    /// Lists of the slots that are filled, by their numbers (`SlotList`).
    static let filled = links + linkCount * MemoryLayout<Link>.stride
    static let filledSize = slotCount * MemoryLayout<UInt32>.stride
    /// A byte for each slot that counts how often something else was known there.
    static let changes = filled + SlotList.count * filledSize
    static let targets = (changes + slotCount + 63) & ~63
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

    @unsafe private func numbers(_ list: SlotList) -> UnsafeMutablePointer<UInt32> {
        unsafe (UnsafeMutableRawPointer(pointer) + EmittedData.filled + list.rawValue * EmittedData.filledSize)
            .assumingMemoryBound(to: UInt32.self)
    }

    /// How often a slot had another range than was looked for, modulo 256.
    @unsafe func slotChanges(_ index: Int) -> UnsafeMutablePointer<UInt8> {
        unsafe (UnsafeMutableRawPointer(pointer) + EmittedData.changes + (index & (EmittedData.slotCount - 1)))
            .assumingMemoryBound(to: UInt8.self)
    }

    /// Enters what a check is to know.
    func fillSlot(_ index: Int, _ slot: EmittedData.Slot, isWrite: Bool) {
        let place = unsafe self.slot(index)
        if unsafe place.pointee.length == 0 || (place.pointee.base ^ slot.base) >> 63 != 0 {
            let list = SlotList(isWrite: isWrite, isUpper: slot.base >> 63 != 0)
            // Slots that were listed more than once have filled it up.
            if state.filledSlots[list.rawValue] >= EmittedData.slotCount { emptySlots(list) }
            let count = state.filledSlots[list.rawValue]
            unsafe numbers(list)[Int(count)] = UInt32(truncatingIfNeeded: index)
            state.filledSlots[list.rawValue] = count + 1
        }
        unsafe place.pointee = slot
    }

    private func emptySlots(_ list: SlotList) {
        let numbers = unsafe numbers(list)
        // Beside the number is the span of the request that has filled it.
        for index in 0..<Int(state.filledSlots[list.rawValue]) {
            unsafe slot(SlotRequest(rawValue: UInt(numbers[index])).slot).pointee.length = 0
        }
        state.filledSlots[list.rawValue] = 0
    }

    /// Empties all slots.
    func emptySlots() {
        for list in SlotList.all { emptySlots(list) }
    }

    /// Empties those for writing.
    func emptyWriteSlots() {
        for list in SlotList.all where list.isWrite { emptySlots(list) }
    }

    /// Empties those of addresses that differ by address space.
    func emptyPrivateSlots() {
        if state.upperIsPrivate { return emptySlots() }
        for list in SlotList.all where !list.isUpper { emptySlots(list) }
    }

    /// Empties those whose range holds an address, or all where there are many.
    func emptySlots(holding linear: UInt64) {
        let isUpper = linear >> 63 != 0
        for list in SlotList.all where list.isUpper == isUpper {
            let count = state.filledSlots[list.rawValue]
            guard count <= 256 else {
                emptySlots(list)
                continue
            }
            for index in 0..<Int(count) {
                let place = unsafe slot(SlotRequest(rawValue: UInt(numbers(list)[index])).slot)
                // The range goes beyond the last address that an access may begin at by less than a group's span.
                if unsafe linear &- (place.pointee.base & ~0xFFF) < place.pointee.length &+ 8192 {
                    // Filled again it is on the list twice, which costs nothing but the place.
                    unsafe place.pointee.length = 0
                }
            }
        }
    }
}

/// What a check asks for where it misses: the number of its slot, and how many bytes its accesses reach over. In a register of
/// emitted code.
struct SlotRequest {
    let rawValue: UInt
    static let spanShift = 20

    init(rawValue: UInt) { self.rawValue = rawValue }
    init(slot: Int, span: Int) { rawValue = UInt(slot) | UInt(span) << UInt(SlotRequest.spanShift) }

    var slot: Int { Int(rawValue) & (1 << SlotRequest.spanShift - 1) }
    var span: UInt64 { UInt64(rawValue >> UInt(SlotRequest.spanShift)) }
}

/// Which list a filled slot is on: by what it is for, and by the half of the address space. The upper half, as long as nothing there
/// was found in a page that is not global, is the same in all of them.
struct SlotList: Equatable {
    let rawValue: Int
    static let count = 4
    static let all = (0..<count).map { SlotList(rawValue: $0) }

    private init(rawValue: Int) { self.rawValue = rawValue }
    init(isWrite: Bool, isUpper: Bool) { rawValue = (isWrite ? 2 : 0) + (isUpper ? 1 : 0) }

    var isWrite: Bool { rawValue & 2 != 0 }
    var isUpper: Bool { rawValue & 1 != 0 }
}
