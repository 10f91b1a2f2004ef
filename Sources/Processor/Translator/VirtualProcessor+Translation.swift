import GuestMemory
import X86

/// Counting what is executed, translating what is executed often, and going there and back.
extension CPU {
    /// The first op of a block that is still counted.
    func countBlock(_ op: UInt) -> UInt {
        let block = BlockReference(firstOp: op)
        block.block.executions &+= 1
        guard block.block.executions >= processor.executor.threshold,
            let translator = processor.translator, block.block.executions >= translator.threshold(of: block)
        else {
            return block.block.coldHandler(address, op)
        }
        return processor.translate(block) ? enterTranslation(op) : block.block.coldHandler(address, op)
    }

    /// The first op of a block that has a translation.
    func enterTranslation(_ op: UInt) -> UInt {
        let block = BlockReference(firstOp: op)
        guard block.block.mode == state.codeMode,
            block.translationIsSettled(state.codeGeneration) || processor.holds(block)
        else {
            return block.block.coldHandler(address, op)
        }
        packFlags()
        beginEmitted(at: state.blockRIP)
        state.isInEmittedCode = true
        state.entries &+= 1
        let left = HostCode.call(state.enterAddress, address, block.block.hostCode, 0)
        state.isInEmittedCode = false
        takeFlags()
        if state.interruptShadow != 0 { settleShadow() }
        if left == CommonCode.Departure.stopped.rawValue { return 0 }
        state.nextIsCold = left == CommonCode.Departure.cold.rawValue
        if state.nextIsCold { state.coldExits &+= 1 }
        return stopped(.boundary)
    }

    /// After a fault of the host's memory below a handler that emitted code has called: GS is the host's again, and the flags are
    /// those that the instruction began with.
    func abandonTranslation() {
        guard state.isInEmittedCode else { return }
        state.isInEmittedCode = false
        state.vectorPlace = .state
        state.x87Place = .state
        if let address = Translator.restoreGS { _ = HostCode.call(address, state.hostGSBase, 0, 0) }
        takeFlags()
    }

    /// What emitted code finds in the state where it begins at a RIP.
    func beginEmitted(at rip: UInt64) {
        state.codeBase = rip & ~0xFFF
        state.enteredKey = lookupKey
        stampLinks()
    }

    /// Links that were filled for the same mode, the same translations and the same code hold.
    private func stampLinks() {
        let (key, generation) = (state.enteredKey, state.codeGeneration)
        let view = state.codeMode.view.rawValue
        if state.stamps[view].key != key || state.stamps[view].generation != generation {
            state.lastStamp += 1
            state.stamps[view] = LinkStamp(key: key, generation: generation, stamp: state.lastStamp)
        }
        state.stampedGeneration = generation
        state.linkStamp = state.stamps[view].stamp
    }

    /// Links lead nowhere any more.
    func dropLinks() {
        state.stamps = InlineArray(repeating: LinkStamp())
        state.lastStamp += 1
        state.linkStamp = state.lastStamp
    }

    /// The status flags as emitted code has them.
    func packFlags() {
        let flags = statusFlags
        state.packedFlags = UInt16(truncatingIfNeeded: flags << 8 & 0xD500 | 0x0200 | flags >> 11)
    }

    /// Whether a block that the look-up has found is translated, and true to memory.
    static let revalidate: HostCode.Function = { cpu, block, _ in
        let processor = CPU(cpu).processor
        // RIP is that of the block; no instruction is under way.
        processor.underWay.isExecuting = false
        defer { processor.underWay.isExecuting = true }
        return processor.holds(BlockReference(block)) ? 1 : 0
    }

    static let interpret: HostCode.Function = { CPU($0).interpret($1, $2) }

    /// Executes one instruction for emitted code; other than 0: emitted code is to be left, `state.stop` says why.
    private func interpret(_ op: UInt, _ offsetAndFlags: UInt) -> UInt {
        state.blockRIP = state.codeBase &+ UInt64(offsetAndFlags & 0xFFFF)
        state.currentOp = op
        guard isPastShadow else {
            _ = leaveForShadow()
            return 1
        }
        let usesFlags = offsetAndFlags & 1 << 16 != 0
        if usesFlags { takeFlags() }
        let next = OpCursor(op).op.handler(address, op)
        if usesFlags { packFlags() }
        if next == 0 { return 1 }
        let isSame = state.codeGeneration == state.stampedGeneration && lookupKey == state.enteredKey
        if isSame, state.interruptShadow == 0 { return 0 }
        // The code may have changed, or where it is, or the mode that it was translated for.
        state.rip = followingRIP(OpCursor(op))
        state.shadowRIP = state.rip
        state.stop = .boundary
        return 1
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

    /// See `Superblock.Known`.
    private func knowledge(of hostAddress: UInt, _ mode: CodeMode) -> Superblock.Known {
        guard let block = blocks.find(hostAddress: hostAddress, mode: mode) else { return .cold }
        if block.block.translation != 0 { return .translated }
        return block.block.executions >= executor.threshold / 8 ? .warm : .cold
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
        let isTranslated = translator.translate(block, self) { knowledge(of: $0, block.block.mode) }
        unsafe faultContext.pointee.emitted = translator.faults
        cpu.state.enterAddress = translator.cache.address(translator.common.enter)
        unsafe block.firstOp.pointee.handler = isTranslated ? Interpreter.translated : block.block.coldHandler
        return isTranslated
    }

    /// At a boundary, where no block is under way.
    func emptyCachesIfNeeded() {
        guard emptiesCaches else { return }
        emptiesCaches = false
        forgetCode()
    }

    /// Forgets all code, decoded and translated; while none of it runs.
    func forgetCode() {
        blocks.removeAll()
        cpu.dropLookups()
        guard let translator else { return }
        translator.empty()
        cpu.emptySlots()
        cpu.dropLinks()
        unsafe faultContext.pointee.emitted = translator.faults
    }

    /// Whether a translation is true to memory; if not it is forgotten.
    func holds(_ block: BlockReference) -> Bool {
        cpu.settleMXCSR()
        return translator?.validate(block, self) ?? false
    }

    /// Has a block counted anew.
    func forget(_ block: BlockReference) {
        block.block.translation = 0
        block.block.pageGeneration = BlockCache.noGeneration
        block.block.executions = 0
        unsafe block.firstOp.pointee.handler = Interpreter.counted
    }

    /// See `Translator.noteStraddling`.
    func noteStraddling(_ slot: Int) {
        guard let translator, let index = translator.noteStraddling(slot) else { return }
        renew(index)
    }

    /// See `Translator.noteWandering`; true: what has asked is to be left.
    func noteWandering(_ slot: Int) -> Bool {
        guard let translator, let index = translator.noteWandering(slot, most: executor.slotChanges, cpu) else {
            return false
        }
        renew(index)
        return true
    }

    private func renew(_ index: Int) {
        guard let translator else { return }
        let start = TranslationCounters.now
        defer { translator.counters.translationTime &+= TranslationCounters.now &- start }
        let mode = BlockReference(translator.translations[index].block).block.mode
        translator.renew(index, self) { knowledge(of: $0, mode) }
        unsafe faultContext.pointee.emitted = translator.faults
    }
}

/// What links are valid for.
struct LinkStamp {
    /// `CPU.lookupKey`.
    var key: UInt64 = 0
    var generation: UInt64 = 0
    var stamp: UInt64 = 0
}
