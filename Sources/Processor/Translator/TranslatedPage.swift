import Glibc
import GuestMemory

/// What was translated from one page of guest memory, with a copy of its lines: clients write guest memory unannounced, so the
/// bytes are compared again before code of the page runs, once for each `CPUState.codeGeneration`.
@safe final class TranslatedPage {
    // SAFETY: one word, and a page with room for `CodeBytes` behind it, from init to deinit; emitted code reads the word while blocks
    // refer to it.
    private let generationPlace: UnsafeMutablePointer<UInt64>
    private let copy: UnsafeMutableRawPointer
    /// Host address.
    private let address: UInt
    private let records: Unmanaged<PageRecords>
    private let number: Int
    /// Lines that were translated from.
    private var lines: UInt64 = 0
    /// How often lines of it have changed under their translations, each time within `calm` of the time before.
    private(set) var changes = 0
    private var lastChange: UInt64 = 0
    /// Nanoseconds after which a page is as any other: another program may have come there.
    private static let calm: UInt64 = 20_000_000
    /// Offsets of instructions whose addresses wander (`Emitter.wandering`), as far as is known.
    var wandering: Set<Int> = []
    /// Translations that begin here, by index.
    var translations: [Int] = []

    init(address: UInt, records: Unmanaged<PageRecords>, number: Int) {
        self.address = address
        unsafe self.records = records
        self.number = number
        unsafe generationPlace = .allocate(capacity: 1)
        unsafe generationPlace.initialize(to: 0)
        unsafe copy = .allocate(byteCount: 4096 + 16, alignment: 64)
        unsafe (copy + 4096).initializeMemory(as: UInt8.self, repeating: 0, count: 16)
    }

    deinit {
        unsafe generationPlace.deallocate()
        unsafe copy.deallocate()
    }

    /// The generation for which the copy is known to be true; where a block finds it.
    var generation: UInt64 {
        get { unsafe generationPlace.pointee }
        set { unsafe generationPlace.pointee = newValue }
    }
    var generationAddress: UInt { unsafe UInt(bitPattern: generationPlace) }

    /// The bytes at an offset, at most 15 and none beyond the page; stores to them will be noticed from now on.
    func fetch(_ offset: Int, _ processor: VirtualProcessor) -> CodeBytes {
        let count = min(15, 4096 - offset)
        let wanted = PageRecords.lines(at: offset, count: count)
        if wanted & ~lines != 0 { take(wanted & ~lines, processor) }
        return unsafe CodeBytes(copy + offset, count: count)
    }

    /// The lines are marked before the bytes are read, so that no store slips between.
    private func take(_ fresh: UInt64, _ processor: VirtualProcessor) {
        unsafe processor.markCode(records.takeUnretainedValue(), number, fresh)
        for line in 0..<64 where fresh >> UInt64(line) & 1 != 0 {
            // SAFETY: guest memory of this page.
            let place = unsafe UnsafeRawPointer(bitPattern: address + UInt(line * 64)).unsafelyUnwrapped
            unsafe (copy + line * 64).copyMemory(from: place, byteCount: 64)
        }
        lines |= fresh
    }

    /// Compares the lines with memory, marked anew; returns those that have changed, which are no longer the page's.
    func compare(_ processor: VirtualProcessor) -> UInt64 {
        unsafe processor.markCode(records.takeUnretainedValue(), number, lines)
        var changed: UInt64 = 0
        for line in 0..<64 where lines >> UInt64(line) & 1 != 0 {
            // SAFETY: guest memory of this page.
            let place = unsafe UnsafeRawPointer(bitPattern: address + UInt(line * 64)).unsafelyUnwrapped
            if unsafe memcmp(copy + line * 64, place, 64) != 0 { changed |= 1 << UInt64(line) }
        }
        lines &= ~changed
        if changed != 0 {
            let now = TranslationCounters.now
            changes = now &- lastChange < TranslatedPage.calm ? changes + 1 : 0
            lastChange = now
        }
        return changed
    }
}
