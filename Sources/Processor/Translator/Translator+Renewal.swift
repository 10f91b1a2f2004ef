import X86

/// Code that turns out otherwise than it was translated for is translated anew; whoever comes to the old code goes to the new.
extension Translator {
    private static let mostStraddles = 16

    /// Which translation a slot belongs to.
    private func translation(ofSlot slot: Int) -> Int? {
        var low = 0, high = translations.count
        while low < high {
            let middle = (low + high) / 2
            if translations[middle].slot <= slot { low = middle + 1 } else { high = middle }
        }
        return low > 0 ? low - 1 : nil
    }

    /// A group of a translation's accesses lies in two pages that the host does not have side by side; where that comes again and
    /// again each is to be checked by itself. The translation that is to be renewed, if it has come to that.
    func noteStraddling(_ slot: Int) -> Int? {
        guard let index = translation(ofSlot: slot) else { return nil }
        translations[index].straddles += 1
        let block = BlockReference(translations[index].block)
        guard translations[index].straddles == Translator.mostStraddles, isCurrent(index), block.block.sharesChecks
        else { return nil }
        block.block.sharesChecks = false
        return index
    }

    /// A slot has known as many ranges as it may, one after the other: its step is to look into the table of translations, and others
    /// that are on the way there. The translation that is to be renewed for it, if there is none already.
    func noteWandering(_ slot: Int, most: UInt8, _ cpu: CPU) -> Int? {
        guard let index = translation(ofSlot: slot) else { return nil }
        let end = index + 1 < translations.count ? translations[index + 1].slot : slotSteps.count
        for other in translations[index].slot..<end {
            let changes = unsafe cpu.slotChanges(other)
            guard unsafe other == slot || changes.pointee >= most / 10 else { continue }
            unsafe changes.pointee = 0
            translations[index].page.wandering.insert(Int(slotSteps[other]))
        }
        return isCurrent(index) ? index : nil
    }

    private func isCurrent(_ index: Int) -> Bool {
        BlockReference(translations[index].block).block.translation == UInt32(index + 1)
    }

    /// Translates anew what begins with the same block.
    func renew(_ index: Int, _ processor: VirtualProcessor, known: (UInt) -> Superblock.Known) {
        let block = BlockReference(translations[index].block)
        guard hasRoom, translate(block, processor, known: known), let last = translations.last else { return }
        cache.redirect(translations[index].start, to: last.start)
        counters.renewals += 1
    }
}
