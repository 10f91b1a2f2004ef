import GuestMemory
import Glibc
import X86

/// One vCPU's translator: makes host code of blocks that the interpreter has executed often, and keeps it.
///
/// Stages: `Superblock` decodes what hangs together in a page and works out where flags are wanted, `Emitter` writes it with
/// guest registers in their `Homes`, `CodeCache` holds it, `CommonCode` leads in, out and from one piece to the next.
@safe final class Translator {
    private static let mostStraddles = 16

    private struct Translation {
        /// Of its code in the cache.
        var start: Int
        /// The block that it begins with.
        var block: UInt
        /// Its first slot.
        var slot: Int
        /// How often a group's check found it in two pages that do not lie side by side.
        var straddles = 0
        /// Its bytes in the guest, by runs: the host's address, and a copy.
        var runs: [(address: UInt, bytes: [UInt8])]
        /// Lines of the page that they lie in.
        var lines: UInt64
    }

    let cache: CodeCache
    let common: CommonCode
    private var translations: [Translation] = []
    private let options: ExecutorOptions
    var counters = TranslationCounters()
    /// Kept here, and shown to the handler of faults through the processor's context.
    private(set) var faults: FaultTable
    private var usedSlots = 0
    private var usedLinks = 0

    /// Nil on a host where emitted code can't run.
    init?(_ options: ExecutorOptions) {
        guard HostProcessor.hasFSGSBASE, let cache = CodeCache(size: options.codeCacheSize) else { return nil }
        self.cache = cache
        self.options = options
        common = CommonCode()
        faults = FaultTable(code: cache.address(0)..<cache.address(cache.size), capacity: cache.size / 32)
        guard cache.add(common.bytes) else { return nil }
    }

    deinit { faults.deallocate() }

    /// Whether there is room for another translation of any size.
    var hasRoom: Bool {
        cache.used < cache.size - 64 << 10 && faults.room > 4096 && usedSlots < EmittedData.slotCount - 4096
            && usedLinks < EmittedData.linkCount - 4096
    }

    /// Forgets everything; while none of it runs. The blocks that refer to it are gone, too.
    func empty() {
        counters.evictions += 1
        translations.removeAll(keepingCapacity: true)
        (usedSlots, usedLinks) = (0, 0)
        faults.removeAll()
        cache.empty(keeping: (common.bytes.count + 15) & ~15)
    }

    /// Translates what can be reached from `block`, at its first instruction; false where that isn't worth it. `mark` sees to it
    /// that stores to lines are noticed, before they are read.
    func translate(_ block: BlockReference, generation: UInt64, mark: (UInt64) -> Void) -> Bool {
        let mode = block.block.mode
        let entry = Int(block.block.hostAddress & 0xFFF)
        let page = block.block.hostAddress & ~0xFFF
        var lines: UInt64 = 0
        let decoded = Superblock(entry: entry, mode: mode) { offset in
            let count = min(15, 4096 - offset)
            let touched = PageRecords.lines(at: offset, count: count)
            mark(touched)
            lines |= touched
            // SAFETY: guest memory of this page, which the block lies in.
            return unsafe Array(
                UnsafeRawBufferPointer(start: UnsafeRawPointer(bitPattern: page + UInt(offset)), count: count))
        }
        // With a threshold of 1 also what isn't worth it.
        let isWanted: (Superblock) -> Bool = { self.options.threshold == 1 ? $0.isTranslatable : $0.isWorthwhile }
        guard let superblock = decoded, isWanted(superblock) else { return false }
        var emitter = Emitter(
            superblock, at: cache.used, common, firstSlot: usedSlots, firstLink: usedLinks,
            sharing: block.block.sharesChecks)
        emitter.counts = options.countsInstructions
        emitter.emit()
        let code = emitter.assembler.finished()
        let start = cache.used
        guard cache.add(code.bytes) else { return false }
        (usedSlots, usedLinks) = (emitter.slots.upperBound, emitter.links.upperBound)
        for access in emitter.accesses {
            faults.append(
                .init(
                    access: UInt32(start + code.offset(of: access.label)),
                    wayOut: UInt32(start + code.offset(of: access.wayOut))))
        }
        let runs = superblock.blocks.map { block in
            let first = block.steps[0].offset
            return (address: page + UInt(first), bytes: block.steps.flatMap(\.bytes))
        }
        translations.append(
            Translation(start: start, block: block.address, slot: emitter.slots.lowerBound, runs: runs, lines: lines))
        counters.translations += 1
        block.block.hostCode = cache.address(start)
        block.block.translation = UInt32(translations.count)
        block.block.translationGeneration = generation
        return true
    }

    /// A group of a translation's accesses lies in two pages that the host does not have side by side; where that comes again and
    /// again each is to be checked by itself. The block that is to be translated anew, if it has come to that.
    func straddles(_ slot: Int) -> BlockReference? {
        var low = 0, high = translations.count
        while low < high {
            let middle = (low + high) / 2
            if translations[middle].slot <= slot { low = middle + 1 } else { high = middle }
        }
        guard low > 0 else { return nil }
        translations[low - 1].straddles += 1
        let block = BlockReference(translations[low - 1].block)
        guard translations[low - 1].straddles == Translator.mostStraddles, block.block.translation == UInt32(low) else {
            return nil
        }
        return block
    }

    /// Whether the guest's bytes are still what was translated; `mark` as in `translate`.
    func validate(_ block: BlockReference, generation: UInt64, mark: (UInt64) -> Void) -> Bool {
        if block.block.translationGeneration == generation { return true }
        let index = Int(block.block.translation) - 1
        guard translations.indices.contains(index) else { return false }
        mark(translations[index].lines)
        for run in translations[index].runs {
            let same = unsafe run.bytes.withUnsafeBytes {
                // SAFETY: guest memory of the block's page.
                unsafe memcmp(
                    $0.baseAddress.unsafelyUnwrapped, UnsafeRawPointer(bitPattern: run.address).unsafelyUnwrapped,
                    $0.count)
            }
            if same != 0 { return false }
        }
        block.block.translationGeneration = generation
        return true
    }
}

extension Superblock {
    /// Begins with something that is translated.
    var isTranslatable: Bool {
        guard let first = starts[entry], let step = blocks[first].steps.first else { return false }
        if case .cold = InstructionKind(step, mode) { return false }
        return true
    }

    /// Begins with something that is translated, and enough of it.
    var isWorthwhile: Bool {
        guard let first = starts[entry] else { return false }
        var count = 0
        for step in blocks[first].steps {
            if case .cold = InstructionKind(step, mode) { break }
            count += 1
        }
        return count >= 2 || blocks.count > 1 && count > 0
    }
}
