import X86

/// One entry of the software TLB: tags by kind of access, and what to add to a linear address to reach host memory.
///
/// A tag is the linear page address with the TLB's generation in its low 12 bits (write tags have one of their own); 0 matches
/// nothing. A write tag is present only where a store may happen without further ado: page writable and dirty (A/D bits set),
/// not being logged for the first time, and without decoded code.
struct TLBEntry {
    var read: UInt64 = 0
    var write: UInt64 = 0
    var execute: UInt64 = 0
    /// Host address minus linear address.
    var addend: UInt64 = 0

    static let count = 1 << 14
    static let indexMask = UInt64(count - 1)
}

/// Which rights a translation was made with: one table of entries for each.
enum TLBView: Int, CaseIterable {
    case supervisor, user
    /// Supervisor with SMAP in force (CR4.SMAP, EFLAGS.AC clear): user pages are not data.
    case supervisorSMAP
    /// Every data access goes the slow way: alignment checks (CR0.AM, EFLAGS.AC, CPL 3) or data breakpoints are on.
    case watched
}

/// All translations of one vCPU in two levels: small tables with one compare for the fast path (`TLBEntry`), one for
/// each privilege, and behind them walks' results by address space, which survive changes of privilege and, by PCID and
/// global pages, of CR3. Intel SDM vol. 3, 4.10.
@safe final class TLB {
    private struct Walk {
        var linearPage: UInt64 = .max
        /// The address space that the walk was made in; `globalSpace` for global pages; 0 never matches.
        var space: UInt64 = 0
        var translation = Translation(page: 0, rights: [])
        /// The large page that it lies in: its place among `largePages` and what was there; 0 for pages of 4 KiB.
        var largePlace: UInt16 = 0
        var largeEpoch: UInt16 = 0
    }

    /// Large pages that walks have found, several of them in one place: INVLPG gives the place a new epoch, so that all walks
    /// that have led to one of them are past, and no others.
    private struct LargePage {
        var epoch: UInt16 = 0
        var isUsed = false
    }

    private static let walkCount = 1 << 15
    private static let largeCount = 1024

    // SAFETY: arrays of fixed counts, from init to deinit.
    private let tables: UnsafeMutablePointer<TLBEntry>
    private let walks: UnsafeMutablePointer<Walk>

    /// Identifiers are never used twice, so that forgetting a space is taking a new one.
    private var nextSpace: UInt64 = 1
    private var space: UInt64 = 1
    private var globalSpace: UInt64 = 2
    /// The space of each PCID.
    private var spaces = [UInt64](repeating: 0, count: 4096)
    /// The epoch of user code's look-ups in it, or 0.
    private var lookupEpochs = [UInt64](repeating: 0, count: 4096)
    private var pcid = 0
    private var largePages = [LargePage](repeating: LargePage(), count: TLB.largeCount)

    init() {
        unsafe tables = .allocate(capacity: TLBEntry.count * TLBView.allCases.count)
        unsafe tables.initialize(repeating: TLBEntry(), count: TLBEntry.count * TLBView.allCases.count)
        unsafe walks = .allocate(capacity: TLB.walkCount)
        unsafe walks.initialize(repeating: Walk(), count: TLB.walkCount)
        nextSpace = 3
    }

    deinit {
        unsafe tables.deallocate()
        unsafe walks.deallocate()
    }

    /// The fast path's table of a view.
    func entries(_ view: TLBView) -> UnsafeMutablePointer<TLBEntry> { unsafe tables + view.rawValue * TLBEntry.count }

    private func newSpace() -> UInt64 {
        defer { nextSpace += 1 }
        return nextSpace
    }

    // MARK: Flushes

    /// Empties the fast path's tables.
    func flushEntries(_ cpu: CPU) {
        cpu.emptySlots()
        cpu.state.upperIsPrivate = false
        flushTables(cpu)
        cpu.dropLookups()
    }

    private func flushTables(_ cpu: CPU) {
        cpu.state.tlbGeneration += 1
        dropWriteGeneration(cpu)
    }

    /// Look-ups of code are past in every address space.
    func forgetLookupEpochs() {
        for index in lookupEpochs.indices where lookupEpochs[index] != 0 { lookupEpochs[index] = 0 }
    }

    /// Stores go the slow way again: a page has begun to hold code, or to be logged.
    func dropWriteTags(_ cpu: CPU) {
        cpu.emptyWriteSlots()
        dropWriteGeneration(cpu)
    }

    private func dropWriteGeneration(_ cpu: CPU) {
        // Never behind the other generation.
        cpu.state.tlbWriteGeneration += 1
        guard cpu.state.tlbWriteGeneration > 0xFFF else { return }
        unsafe tables.update(repeating: TLBEntry(), count: TLBEntry.count * TLBView.allCases.count)
        cpu.state.tlbGeneration = 1
        cpu.state.tlbWriteGeneration = 1
    }

    /// Everything, global pages and all PCIDs too.
    func flushAll(_ cpu: CPU) {
        globalSpace = newSpace()
        for index in spaces.indices where spaces[index] != 0 { spaces[index] = 0 }
        // The owner, or CR4, may have changed which PCID is the current one.
        pcid = cpu.state.cr4 & CR4.PCIDE.rawValue == 0 ? 0 : Int(cpu.state.cr3 & CR3.pcidMask)
        space = newSpace()
        spaces[pcid] = space
        flushEntries(cpu)
    }

    /// A load of CR3: the current PCID's space is changed to that of `pcid`, emptied but for global pages unless `keeping`.
    func loadSpace(_ cpu: CPU, pcid newPCID: UInt16, keeping: Bool) {
        pcid = Int(newPCID & 0xFFF)
        if !keeping || spaces[pcid] == 0 {
            spaces[pcid] = newSpace()
            lookupEpochs[pcid] = 0
        }
        space = spaces[pcid]
        if lookupEpochs[pcid] == 0 { lookupEpochs[pcid] = cpu.state.lookupEpochs.make() }
        cpu.state.lookupEpochs.change(user: lookupEpochs[pcid], upperIsPrivate: cpu.state.upperIsPrivate)
        cpu.emptyPrivateSlots()
        flushTables(cpu)
    }

    /// The current space but for global pages.
    func flushNonGlobal(_ cpu: CPU) { loadSpace(cpu, pcid: UInt16(pcid), keeping: false) }

    /// INVPCID type 1: one PCID but for global pages.
    func flushPCID(_ cpu: CPU, _ which: UInt16) {
        if Int(which & 0xFFF) == pcid { flushNonGlobal(cpu) } else { spaces[Int(which & 0xFFF)] = 0 }
    }

    /// INVPCID type 3: all PCIDs but for global pages.
    func flushAllNonGlobal(_ cpu: CPU) {
        for index in spaces.indices where spaces[index] != 0 { spaces[index] = 0 }
        flushNonGlobal(cpu)
    }

    /// INVLPG: the page (of any size) that holds `linear`, in the current space and among global pages.
    func flushPage(_ cpu: CPU, _ linear: UInt64) {
        if forgetLargePages(cpu, linear) {
            // The fast path's entries don't tell which page they come from; the walks are there to fill them again.
            flushEntries(cpu)
        } else {
            for view in TLBView.allCases {
                let entry = unsafe entries(view) + Int(truncatingIfNeeded: (linear >> 12) & TLBEntry.indexMask)
                unsafe entry.pointee = TLBEntry()
            }
            cpu.emptySlots(holding: linear)
            if cpu.state.codePages.mayContain(linear) { cpu.dropLookups() }
        }
        forgetWalk(linear)
    }

    /// INVPCID type 0: one page of a PCID, whose translations no entry of the fast path has unless it is the current one.
    func flushPage(_ cpu: CPU, _ linear: UInt64, pcid which: UInt16) {
        if Int(which & 0xFFF) == pcid { return flushPage(cpu, linear) }
        lookupEpochs[Int(which & 0xFFF)] = 0
        _ = forgetLargePages(cpu, linear)
        forgetWalk(linear)
    }

    // MARK: Walks

    private func slot(_ page: UInt64) -> UnsafeMutablePointer<Walk> {
        let hash = (page >> 12) ^ (page >> 25)
        return unsafe walks + Int(truncatingIfNeeded: hash & UInt64(TLB.walkCount - 1))
    }

    /// An earlier walk's result for the page of `linear`.
    func walked(_ linear: UInt64) -> Translation? {
        let walk = unsafe slot(linear & ~0xFFF)
        guard unsafe walk.pointee.linearPage == linear & ~0xFFF else { return nil }
        let found = unsafe walk.pointee.space
        guard found == space || found == globalSpace else { return nil }
        let place = unsafe Int(walk.pointee.largePlace)
        if place != 0, unsafe largePages[place].epoch != walk.pointee.largeEpoch { return nil }
        return unsafe walk.pointee.translation
    }

    private func forgetWalk(_ linear: UInt64) {
        let walk = unsafe slot(linear & ~0xFFF)
        if unsafe walk.pointee.linearPage == linear & ~0xFFF { unsafe walk.pointee.space = 0 }
    }

    // MARK: Large pages

    /// Where large pages of a size (its logarithm) are kept; from 1.
    private func largePlace(_ linear: UInt64, shift: UInt64) -> Int {
        let number = linear >> shift &+ shift << 5
        return 1 + Int(truncatingIfNeeded: (number ^ number >> 10) % UInt64(TLB.largeCount - 1))
    }

    /// The large pages that hold `linear`, whichever sizes there are, are past; true where there was one, or may have been.
    private func forgetLargePages(_ cpu: CPU, _ linear: UInt64) -> Bool {
        let has2M = forgetLargePage(cpu, largePlace(linear, shift: 21))
        let has4M = forgetLargePage(cpu, largePlace(linear, shift: 22))
        let has1G = forgetLargePage(cpu, largePlace(linear, shift: 30))
        return has2M || has4M || has1G
    }

    private func forgetLargePage(_ cpu: CPU, _ place: Int) -> Bool {
        guard largePages[place].isUsed else { return false }
        largePages[place].isUsed = false
        largePages[place].epoch &+= 1
        // An epoch that comes again could be an old walk's.
        if largePages[place].epoch == 0 { flushAll(cpu) }
        return true
    }

    func remember(_ linear: UInt64, _ translation: Translation, pageSize: UInt64) {
        let space = translation.rights.contains(.global) ? globalSpace : space
        var walk = Walk(linearPage: linear & ~0xFFF, space: space, translation: translation)
        if pageSize > 4096 {
            let place = largePlace(linear, shift: UInt64(pageSize.trailingZeroBitCount))
            largePages[place].isUsed = true
            walk.largePlace = UInt16(place)
            walk.largeEpoch = largePages[place].epoch
        }
        unsafe slot(linear & ~0xFFF).pointee = walk
    }
}
