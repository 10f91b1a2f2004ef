import GuestMemory
import X86

/// Counting what is executed, translating what is executed often, and going there and back.
extension CPU {
    /// The first op of a block that is still counted.
    func countBlock(_ op: UInt) -> UInt {
        let block = BlockReference(firstOp: op)
        block.block.executions &+= 1
        guard block.block.executions >= processor.executor.threshold else {
            return block.block.coldHandler(address, op)
        }
        return processor.translate(block) ? enterTranslation(op) : block.block.coldHandler(address, op)
    }

    /// The first op of a block that has a translation.
    func enterTranslation(_ op: UInt) -> UInt {
        let block = BlockReference(firstOp: op)
        guard let translator = processor.translator, block.block.mode == state.codeMode, processor.holds(block) else {
            return block.block.coldHandler(address, op)
        }
        let flags = statusFlags
        state.packedFlags = UInt16(truncatingIfNeeded: flags << 8 & 0xD500 | 0x0200 | flags >> 11)
        state.codeBase = state.blockRIP & ~0xFFF
        state.enteredKey = lookupKey
        let epoch = unsafe state.lookups[BlockCache.lookupCount].key
        if state.stampedEpoch != epoch || state.stampedGeneration != state.codeGeneration {
            (state.stampedEpoch, state.stampedGeneration) = (epoch, state.codeGeneration)
            state.linkStamp &+= 1
        }
        translator.counters.entries += 1
        let left = HostCode.call(
            translator.cache.address(translator.common.enter), address, block.block.hostCode, 0)
        takeFlags()
        state.nextIsCold = left == CommonCode.Departure.cold.rawValue
        if state.nextIsCold { translator.counters.coldExits += 1 }
        return stopped(.boundary)
    }

    /// The status flags as emitted code has left them.
    func takeFlags() {
        let packed = UInt64(state.packedFlags)
        setStatusFlags(packed >> 8 & 0xD5 | (packed & 1) << 11)
    }
}

extension Interpreter {
    static let counted: Op.Handler = { CPU($0).countBlock($1) }
    static let translated: Op.Handler = { CPU($0).enterTranslation($1) }
}

extension VirtualProcessor {
    /// Has a new block counted, if translation is on and it may be worth it.
    func beginCounting(_ block: BlockReference) {
        guard translator != nil, block.block.mode.codeSize == 8, block.block.mode.view != .watched else { return }
        unsafe block.firstOp.pointee.handler = Interpreter.counted
    }

    /// False: the block stays the interpreter's.
    fileprivate func translate(_ block: BlockReference) -> Bool {
        cpu.settleMXCSR()
        guard let translator, translator.hasRoom else {
            // Nothing may be forgotten while it runs: done at the next boundary.
            emptiesCaches = true
            request(.careful)
            return false
        }
        let start = TranslationCounters.now
        defer { translator.counters.translationTime &+= TranslationCounters.now &- start }
        let records = unsafe block.block.records.takeUnretainedValue()
        let isTranslated = translator.translate(block, generation: cpu.state.codeGeneration) {
            markCode(records, block.block.page, $0)
        }
        unsafe faultContext.pointee.emitted = translator.faults
        unsafe block.firstOp.pointee.handler = isTranslated ? Interpreter.translated : block.block.coldHandler
        return isTranslated
    }

    /// At a boundary, where no block is under way.
    func emptyCachesIfNeeded() {
        guard emptiesCaches else { return }
        emptiesCaches = false
        blocks.removeAll()
        translator?.empty()
        cpu.emptySlots()
        cpu.state.linkStamp &+= 1
        if let translator { unsafe faultContext.pointee.emitted = translator.faults }
    }

    /// Whether a translation is true to memory; if not it is forgotten.
    fileprivate func holds(_ block: BlockReference) -> Bool {
        let generation = cpu.state.codeGeneration
        if block.block.translationGeneration == generation { return true }
        cpu.settleMXCSR()
        let records = unsafe block.block.records.takeUnretainedValue()
        if translator?.validate(block, generation: generation, mark: { markCode(records, block.block.page, $0) })
            ?? false
        {
            return true
        }
        translator?.counters.invalidations += 1
        forget(block)
        return false
    }

    /// Has a block counted anew.
    private func forget(_ block: BlockReference) {
        block.block.translation = 0
        block.block.translationGeneration = 0
        block.block.executions = 0
        unsafe block.firstOp.pointee.handler = Interpreter.counted
    }

    /// See `Translator.straddles`.
    func noteStraddling(_ slot: Int) {
        guard let block = translator?.straddles(slot) else { return }
        block.block.sharesChecks = false
        forget(block)
        cpu.state.linkStamp &+= 1
    }
}
