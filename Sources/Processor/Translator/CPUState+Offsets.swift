/// Where emitted code finds the state's fields.
extension CPUState {
    private static func offset<T>(_ field: KeyPath<CPUState, T>) -> Int {
        MemoryLayout<CPUState>.offset(of: field) ?? 0
    }

    static let ripOffset = offset(\.rip)
    static let packedFlagsOffset = offset(\.packedFlags)
    static let codeBaseOffset = offset(\.codeBase)
    static let enteredKeyOffset = offset(\.enteredKey)
    static let linkStampOffset = offset(\.linkStamp)
    static func filledSlotsOffset(_ list: SlotList) -> Int { offset(\.filledSlots) + list.rawValue * 4 }
    static func spillOffset(_ index: Int) -> Int { offset(\.spills) + index * 8 }
    static let foundDeltaOffset = offset(\.foundDelta)
    static let hostGSBaseOffset = offset(\.hostGSBase)
    static let userInstructionsOffset = offset(\.userInstructions)
    static let systemInstructionsOffset = offset(\.systemInstructions)
    static let vectorPlaceOffset = offset(\.vectorPlace)
    static let x87PlaceOffset = offset(\.x87Place)
    // Of the XSAVE area: FCW and FSW, FOP, FIP, FDP, XSTATE_BV, XCOMP_BV. Intel SDM vol. 1, tables 10-2 and 13-1.
    static let controlWordOffset = 0
    static let x87OpcodeOffset = 6
    static let instructionPointerOffset = 8
    static let dataPointerOffset = 16
    static let componentsOffset = 512
    static let compactionOffset = 520
    static let tlbOffset = unsafe offset(\.tlb)
    static let tlbGenerationOffset = offset(\.tlbGeneration)
    static let tlbWriteGenerationOffset = offset(\.tlbWriteGeneration)
    static let lookupsOffset = unsafe offset(\.lookups)
    static let codeGenerationOffset = offset(\.codeGeneration)
    /// Behind the state.
    static let exitRequestOffset = MemoryLayout<CPUState>.stride
}

extension TLBEntry {
    static let readOffset = MemoryLayout<TLBEntry>.offset(of: \.read) ?? 0
    static let writeOffset = MemoryLayout<TLBEntry>.offset(of: \.write) ?? 0
    static let executeOffset = MemoryLayout<TLBEntry>.offset(of: \.execute) ?? 0
    static let addendOffset = MemoryLayout<TLBEntry>.offset(of: \.addend) ?? 0
    /// Entries are 32 bytes apart.
    static let sizeShift = MemoryLayout<TLBEntry>.stride.trailingZeroBitCount
}

extension Block {
    static let pageGenerationOffset = MemoryLayout<Block>.offset(of: \.pageGeneration) ?? 0
    static let translationOffset = MemoryLayout<Block>.offset(of: \.translation) ?? 0
    static let hostCodeOffset = MemoryLayout<Block>.offset(of: \.hostCode) ?? 0
}
