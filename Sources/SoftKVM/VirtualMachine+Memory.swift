// Memory slots and dirty log of a VM. Documentation/virt/kvm/api.rst, sections 4.35, 4.8, 4.117, 4.140.

internal import GuestMemory
internal import KVMABI
internal import Locking
internal import Processor

extension VirtualMachine {
    /// KVM_SET_USER_MEMORY_REGION and, with 160 bytes, KVM_SET_USER_MEMORY_REGION2.
    func setMemoryRegion(_ argument: ClientArgument, size: Int) throws(Errno) {
        let record = Record(try argument.loadBytes(size))
        let change = MemorySlots.Change(
            slot: record.load(0), flags: record.load(4), guestAddress: record.load(8), size: record.load(16),
            userAddress: record.load(24))
        let dirtyAtFirst = enabled(.manualDirtyLogProtect2) & 2 != 0 && dirtyRingSize == 0
        let failure: Errno? = slots.withLock { slots in
            do throws(Errno) {
                // The table is changed while nothing runs: a dirty log must not miss a store.
                var outcome: Result<Void, Errno> = .success(())
                world.whileStopped {
                    do throws(Errno) {
                        let effect = try slots.apply(change, dirtyAtFirst: dirtyAtFirst)
                        if let base = effect.removed { addressSpace.remove(at: base) }
                        if let region = effect.added { addressSpace.insert(region) }
                        if effect.dropsCode { addressSpace.dropCode() }
                    } catch {
                        outcome = .failure(error)
                    }
                    flushTranslations()
                }
                try outcome.get()
                return nil
            } catch {
                return error
            }
        }
        if let failure { throw failure }
    }

    /// KVM_GET_DIRTY_LOG: struct kvm_dirty_log { slot, padding, address of the bitmap }.
    func getDirtyLog(_ argument: ClientArgument) throws(Errno) {
        let record = Record(try argument.loadBytes(16))
        // Pages are told of in rings.
        guard dirtyRingSize == 0 else { throw .noSuchDeviceOrAddress }
        let target = ClientArgument(record.load(8, as: UInt64.self))
        let isManual = enabled(.manualDirtyLogProtect2) & 1 != 0
        let result: Result<[UInt64], Errno> = slots.withLock { slots in
            do throws(Errno) {
                let pages = try slots.logged(record.load(0)).pages
                if isManual { return .success((0..<pages.dirtyWordCount).map { pages.dirtyWord($0) }) }
                var words: [UInt64] = []
                world.whileStopped {
                    words = (0..<pages.dirtyWordCount).map { pages.takeDirty(word: $0) }
                    flushTranslations()
                }
                return .success(words)
            } catch {
                return .failure(error)
            }
        }
        try target.storeArray(try result.get())
    }

    /// KVM_CLEAR_DIRTY_LOG: struct kvm_clear_dirty_log { slot, num_pages, first_page, address of the bitmap }.
    func clearDirtyLog(_ argument: ClientArgument) throws(Errno) {
        let record = Record(try argument.loadBytes(24))
        guard dirtyRingSize == 0 else { throw .noSuchDeviceOrAddress }
        let pageCount = UInt64(record.load(4, as: UInt32.self))
        let first: UInt64 = record.load(8)
        let source = ClientArgument(record.load(16, as: UInt64.self))
        guard first & 63 == 0 else { throw .invalidArgument }
        let failure: Errno? = slots.withLock { slots in
            do throws(Errno) {
                let slot = try slots.logged(record.load(0))
                let total = slot.size >> 12
                guard first <= total, pageCount <= total - first, pageCount == total - first || pageCount & 63 == 0
                else {
                    throw .invalidArgument
                }
                let words: [UInt64] = try source.loadArray(Int((pageCount + 63) / 64))
                world.whileStopped {
                    for (index, word) in words.enumerated() where word != 0 {
                        let left = pageCount - UInt64(index) * 64
                        let mask = left >= 64 ? word : word & (1 << left - 1)
                        _ = slot.pages.takeDirty(word: Int(first / 64) + index, mask: mask)
                    }
                    flushTranslations()
                }
                return nil
            } catch {
                return error
            }
        }
        if let failure { throw failure }
    }
}
