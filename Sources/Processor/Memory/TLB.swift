import X86

/// One entry of the software TLB: tags by kind of access, and what to add to a linear address to reach host memory.
///
/// A tag is the linear page address with the TLB's generation in its low 12 bits; 0 matches nothing. A write tag is
/// present only where a store may happen without further ado: page writable and dirty (A/D bits set), not being logged
/// for the first time, and without decoded code.
struct TLBEntry {
    var read: UInt64 = 0
    var write: UInt64 = 0
    var execute: UInt64 = 0
    /// Host address minus linear address.
    var addend: UInt64 = 0

    static let count = 1024
    static let indexMask: UInt64 = 1023
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
    }

    private static let walkCount = 8192

    // SAFETY: arrays of fixed counts, from init to deinit.
    private let tables: UnsafeMutablePointer<TLBEntry>
    private let walks: UnsafeMutablePointer<Walk>

    /// Identifiers are never used twice, so that forgetting a space is taking a new one.
    private var nextSpace: UInt64 = 1
    private var space: UInt64 = 1
    private var globalSpace: UInt64 = 2
    /// The space of each PCID.
    private var spaces = [UInt64](repeating: 0, count: 4096)
    private var pcid = 0
    /// Linear range that large pages have been used in: INVLPG inside drops everything.
    private var largeLow: UInt64 = .max
    private var largeHigh: UInt64 = 0

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
        if cpu.state.tlbGeneration < 0xFFF {
            cpu.state.tlbGeneration += 1
        } else {
            unsafe tables.update(repeating: TLBEntry(), count: TLBEntry.count * TLBView.allCases.count)
            cpu.state.tlbGeneration = 1
        }
        cpu.processor.blocks.dropLookups()
    }

    /// Everything, global pages and all PCIDs too.
    func flushAll(_ cpu: CPU) {
        globalSpace = newSpace()
        for index in spaces.indices where spaces[index] != 0 { spaces[index] = 0 }
        // The owner, or CR4, may have changed which PCID is the current one.
        pcid = cpu.state.cr4 & CR4.PCIDE.rawValue == 0 ? 0 : Int(cpu.state.cr3 & CR3.pcidMask)
        space = newSpace()
        spaces[pcid] = space
        largeLow = .max
        largeHigh = 0
        flushEntries(cpu)
    }

    /// A load of CR3: the current PCID's space is changed to that of `pcid`, emptied but for global pages unless `keeping`.
    func loadSpace(_ cpu: CPU, pcid newPCID: UInt16, keeping: Bool) {
        pcid = Int(newPCID & 0xFFF)
        if !keeping || spaces[pcid] == 0 { spaces[pcid] = newSpace() }
        space = spaces[pcid]
        flushEntries(cpu)
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
        if linear >= largeLow, linear <= largeHigh {
            flushAll(cpu)
            return
        }
        let page = linear & ~0xFFF
        for view in TLBView.allCases {
            let entry = unsafe entries(view) + Int(truncatingIfNeeded: (linear >> 12) & TLBEntry.indexMask)
            unsafe entry.pointee = TLBEntry()
        }
        let walk = unsafe slot(page)
        if unsafe walk.pointee.linearPage == page { unsafe walk.pointee.space = 0 }
        cpu.processor.blocks.dropLookups()
    }

    /// INVPCID type 0: one page of a PCID.
    func flushPage(_ cpu: CPU, _ linear: UInt64, pcid which: UInt16) {
        if Int(which & 0xFFF) == pcid { flushPage(cpu, linear) } else { spaces[Int(which & 0xFFF)] = 0 }
    }

    /// Stores go the slow way again: a page has begun to hold code, or to be logged.
    func dropWriteTags(_ cpu: CPU) {
        for index in 0..<(TLBEntry.count * TLBView.allCases.count) { unsafe tables[index].write = 0 }
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
        return unsafe walk.pointee.translation
    }

    func remember(_ linear: UInt64, _ translation: Translation, pageSize: UInt64) {
        let space = translation.rights.contains(.global) ? globalSpace : space
        unsafe slot(linear & ~0xFFF).pointee = Walk(linearPage: linear & ~0xFFF, space: space, translation: translation)
        if pageSize > 4096 {
            largeLow = min(largeLow, linear & ~(pageSize - 1))
            largeHigh = max(largeHigh, linear | (pageSize - 1))
        }
    }
}
