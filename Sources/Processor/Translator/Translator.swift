import GuestMemory
import Glibc
import X86

/// One vCPU's translator: makes host code of blocks that the interpreter has executed often, and keeps it.
///
/// Stages: `Superblock` decodes what hangs together in a page and works out where flags are wanted, `Emitter` writes it with
/// guest registers in their `Homes`, `CodeCache` holds it, `CommonCode` leads in, out and from one piece to the next.
@safe final class Translator {
    /// A function that sets the base of GS.
    static let restoreGS = HostCode.add(
        Assembler.code { a in
            a.wrgsbase(.rdi)
            a.ret()
        })

    struct Translation {
        /// Of its code in the cache.
        var start: Int
        /// The block that it begins with.
        var block: UInt
        /// Its first slot.
        var slot: Int
        /// How often a group's check found it in two pages that do not lie side by side.
        var straddles = 0
        /// Lines of the page that its instructions lie in.
        var lines: UInt64
        var page: TranslatedPage
    }

    let cache: CodeCache
    let common: CommonCode
    var translations: [Translation] = []
    /// By slot: the step that it was made for, by its offset in the page.
    private(set) var slotSteps: [UInt16] = []
    private let options: ExecutorOptions
    var counters = TranslationCounters()
    private var pages: [UInt: TranslatedPage] = [:]
    /// Kept here, and shown to the handler of faults through the processor's context.
    private(set) var faults: FaultTable
    private let ops = TranslatedOps()
    private var emitter: Emitter
    private var usedSlots = 0
    private var usedLinks = 0

    /// On a host where emitted code can run.
    init(_ options: ExecutorOptions) throws(CodeCache.Failure) {
        cache = try CodeCache(size: options.codeCacheSize)
        self.options = options
        common = CommonCode(options)
        emitter = Emitter(common)
        emitter.counts = options.countsInstructions
        faults = FaultTable(code: cache.address(0)..<cache.address(cache.size), capacity: cache.size / 32)
        // The least cache has room for it.
        _ = cache.add(common.bytes)
    }

    deinit { faults.deallocate() }

    /// Whether there is room for another translation of any size.
    var hasRoom: Bool {
        cache.used < cache.size - 64 << 10 && faults.room > 4096 && usedSlots < EmittedData.slotCount - 4096
            && usedLinks < EmittedData.linkCount - 4096 && ops.hasRoom
    }

    /// Forgets everything; while none of it runs. The blocks that refer to it are gone, too.
    func empty() {
        counters.evictions += 1
        translations.removeAll(keepingCapacity: true)
        slotSteps.removeAll(keepingCapacity: true)
        pages.removeAll(keepingCapacity: true)
        (usedSlots, usedLinks) = (0, 0)
        faults.removeAll()
        ops.removeAll()
        cache.empty(keeping: (common.bytes.count + 15) & ~15)
    }

    /// Translates what can be reached from `block`, at its first instruction, through code that `known` says is worth it; false
    /// where that isn't.
    func translate(
        _ block: BlockReference, _ processor: VirtualProcessor, known: (UInt) -> Superblock.Known
    ) -> Bool {
        let mode = block.block.mode
        let entry = Int(block.block.hostAddress & 0xFFF)
        let address = block.block.hostAddress & ~0xFFF
        let page = unsafe page(address, block.block.records, block.block.page)
        settle(page, processor)
        var lines: UInt64 = 0
        let following = processor.followingCode()
        let isDecoded = emitter.superblock.decode(
            entry: entry, mode: mode, known: { known(address + UInt($0)) },
            fetch: { offset in
                lines |= PageRecords.lines(at: offset, count: min(15, 4096 - offset))
                return page.fetch(offset, processor)
            },
            beyond: {
                guard let place = unsafe following.flatMap({ unsafe UnsafeRawPointer(bitPattern: $0) }) else {
                    return CodeBytes()
                }
                // SAFETY: the guest's page.
                return unsafe CodeBytes(place, count: 15)
            })
        guard isDecoded, emitter.superblock.isWorthwhile else { return false }
        emitter.begin(
            at: cache.used, firstSlot: usedSlots, firstLink: usedLinks, sharing: block.block.sharesChecks)
        emitter.wandering = options.slotChanges == 0 ? nil : page.wandering
        emitter.following = following
        emitter.emit()
        let code = emitter.assembler.finished()
        let start = cache.used
        var bytes = code.bytes
        for (place, index) in emitter.crossings {
            guard let following else { return false }
            let crossing = CrossingCode(
                following, emitter.superblock.bytes[index], at: emitter.superblock.steps[index].offset)
            guard let record = ops.add(crossing) else { return false }
            let end = code.offset(of: place)
            for index in 0..<8 { bytes[end - 8 + index] = UInt8(truncatingIfNeeded: record >> UInt(8 * index)) }
        }
        for (place, instruction) in emitter.interpreted {
            guard let op = ops.add(instruction, mode) else { return false }
            let end = code.offset(of: place)
            for index in 0..<8 { bytes[end - 8 + index] = UInt8(truncatingIfNeeded: op >> UInt(8 * index)) }
        }
        guard cache.add(bytes) else { return false }
        slotSteps += emitter.slotSteps
        (usedSlots, usedLinks) = (emitter.slots.upperBound, emitter.links.upperBound)
        for access in emitter.accesses {
            faults.append(
                .init(
                    access: UInt32(start + code.offset(of: access.label)),
                    wayOut: UInt32(start + code.offset(of: access.wayOut))))
        }
        translations.append(
            Translation(start: start, block: block.address, slot: emitter.slots.lowerBound, lines: lines, page: page))
        page.translations.append(translations.count - 1)
        counters.translations += 1
        counters.instructions += UInt64(emitter.superblock.steps.count)
        if let marks = emitter.marks, let tail = emitter.tail {
            TranslationTrace.record(
                TranslatedCode(
                    rip: processor.cpu.state.blockRIP, mode: mode, address: cache.address(start), bytes: code.bytes,
                    marks: marks.map { (code.offset(of: $0.label), $0.step) }, tail: code.offset(of: tail)))
        }
        block.block.hostCode = cache.address(start)
        block.block.translation = UInt32(translations.count)
        block.block.pageGeneration = page.generationAddress
        return true
    }

    /// Executions of a block after which it is translated: twice as many after each change of its page, so that code which is written
    /// again and again is executed and not translated. A threshold of 1 stays, for tests.
    func threshold(of block: BlockReference) -> UInt32 {
        guard options.threshold > 1, let page = pages[block.block.hostAddress & ~0xFFF] else {
            return options.threshold
        }
        return UInt32(clamping: UInt64(options.threshold) << UInt64(min(page.changes, 16)))
    }

    private func page(_ address: UInt, _ records: Unmanaged<PageRecords>, _ number: Int) -> TranslatedPage {
        if let known = pages[address] { return known }
        let page = unsafe TranslatedPage(address: address, records: records, number: number)
        pages[address] = page
        return page
    }

    /// Whether a block has a translation that is true to memory; what isn't is forgotten.
    func validate(_ block: BlockReference, _ processor: VirtualProcessor) -> Bool {
        let index = Int(block.block.translation) - 1
        guard translations.indices.contains(index) else { return false }
        settle(translations[index].page, processor)
        return block.block.translation != 0
    }

    /// Sees to it that a page is compared for the present generation.
    private func settle(_ page: TranslatedPage, _ processor: VirtualProcessor) {
        let generation = processor.cpu.state.codeGeneration
        guard page.generation != generation else { return }
        let changed = page.compare(processor)
        if changed != 0 {
            page.translations.removeAll { index in
                guard translations[index].lines & changed != 0 else { return false }
                let block = BlockReference(translations[index].block)
                if block.block.translation == UInt32(index + 1) {
                    counters.invalidations += 1
                    processor.forget(block)
                }
                return true
            }
        }
        page.generation = generation
    }
}
