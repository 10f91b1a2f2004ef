import GuestMemory
import Synchronization

/// Keeps decoded code true to memory while other vCPUs store to it. Intel SDM vol. 3, 8.1.3: once a vCPU has stored code and
/// then a flag, another that has seen the flag and executed a serialising instruction executes what was stored.
///
/// - Who decodes marks the lines before it reads them, who stores the slow way looks at the marks after its store: one of
///   them sees the other. The one that stores takes the marks away and has everyone compare their code again.
/// - Where a page had no marks, others may hold write translations of it, by which their stores go unseen until they drop
///   them at their next boundary. Until then whoever serialises compares its code again, and once after.
extension VirtualProcessor {
    /// Stores to these lines take the slow path from now on, here and, once they have served the request, on other vCPUs.
    func markCode(_ records: PageRecords, _ page: Int, _ lines: UInt64) {
        if records.codeLines(page) & lines == lines { return }
        memory.codePages.beginMarking()
        var isAwaited = false
        if records.addCodeLines(page, lines) {
            tlb.dropWriteTags(cpu)
            isAwaited = host.newCodePage()
        }
        memory.codePages.endMarking(isAwaited: isAwaited)
    }

    /// Another vCPU has marked a page: drops the write translations.
    func serveNewCodePage() {
        guard withdraw(.newCodePage) else { return }
        tlb.dropWriteTags(cpu)
        host.droppedWrites()
    }

    /// Compares decoded code again if another vCPU may have stored to it unseen.
    func settleCode() {
        let pages = memory.codePages.current
        guard pages != settledCodePages else { return }
        let isSettled = !pages.isBeingMarked && !host.othersMayHoldWrites
        cpu.state.codeGeneration &+= 1
        if isSettled { settledCodePages = pages }
    }
}

extension CPU {
    /// What every serialising instruction does, none of which has another behind it in its block: stores are seen by all, and
    /// code that others have stored is executed. Intel SDM vol. 3, 8.3.
    func serialize() {
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        processor.settleCode()
    }

    /// As `lastInstruction`, for a serialising instruction.
    @inline(__always) func serializingInstruction(_ cursor: OpCursor, _ body: () throws(Stop) -> Void) -> UInt {
        let outcome = lastInstruction(cursor, body)
        serialize()
        return outcome
    }

    // MARK: Stores of this vCPU

    /// A store of `size` bytes is about to happen: the page is logged. True where code was decoded from the page:
    /// `noteCodeStore` is to follow the store.
    func claimForWrite(_ region: MemoryRegion, _ address: UInt64, _ size: Int) throws(Stop) -> Bool {
        let page = Int((address - region.base) >> 12)
        let held = region.pages.codeLines(page)
        if held & PageRecords.lines(at: Int(address & 0xFFF), count: size) != 0, !processor.underWay.isCareful {
            // The running block may be among the victims: the store is made by itself, between blocks.
            throw .careful
        }
        if region.pages.markDirty(page) { processor.host.pageDirtied(slot: region.slot, page: page) }
        return held != 0
    }

    /// A store to a page of code has happened: what was decoded from those bytes must go, on every vCPU.
    func noteCodeStore(_ address: UInt64, _ size: Int) {
        // Whoever marks lines after this sees the store.
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        guard let region = unsafe processor.memory.region(at: address) else { return }
        let records = unsafe region.pointee.pages
        let page = unsafe Int((address - region.pointee.base) >> 12)
        let touched = records.codeLines(page) & PageRecords.lines(at: Int(address & 0xFFF), count: size)
        if touched == 0 { return }
        records.removeCodeLines(page, touched)
        state.codeGeneration &+= 1
        processor.host.codeChanged()
    }
}
