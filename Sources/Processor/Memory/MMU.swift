import GuestMemory
import Synchronization
import X86

/// The slow path of guest memory accesses: translation, fills of the TLB, MMIO, accesses that cross a page, stores to
/// pages that hold code or are being logged. Intel SDM vol. 3, chapters 3 (segments) and 4 (paging).
extension CPU {
    // MARK: Segments

    /// The linear address of `offset` in a segment, with the checks of every mode but 64-bit.
    /// Intel SDM vol. 3, 5.3 and 5.5; violations are #SS(0) for SS and #GP(0) for the others.
    func checkedLinear(_ name: SegmentName, offset: UInt64, size: Int, _ access: MemoryAccess) throws(Stop) -> UInt64 {
        let segment = self[segment: name]
        if state.codeMode.codeSize == 8 {
            return name == .fs || name == .gs ? offset &+ segment.base : offset
        }
        let violation = name == .ss ? Stop.stackFault : Stop.generalProtection
        let attributes = segment.attributes
        // Present, usable, code or data.
        guard attributes & 0x190 == 0x90 else { throw violation }
        let type = attributes & 15
        if type & 8 != 0 {
            // Code: not writable but in real mode; readable by its R bit.
            guard access != .write || state.codeMode.contains(.realOrV86), access == .execute || type & 2 != 0 else {
                throw violation
            }
        } else if access == .write {
            guard type & 2 != 0 else { throw violation }
        }
        let last = offset &+ UInt64(truncatingIfNeeded: size &- 1)
        if type & 0xC == 4 {
            // Expand-down: valid offsets are above the limit.
            let top: UInt64 = attributes & 0x4000 != 0 ? 0xFFFF_FFFF : 0xFFFF
            guard offset > UInt64(segment.limit), last <= top else { throw violation }
        } else {
            guard last <= UInt64(segment.limit) else { throw violation }
        }
        return (segment.base &+ offset) & 0xFFFF_FFFF
    }

    // MARK: Translation

    /// The translation of `linear` for an access at the current privilege, or as the supervisor.
    func translate(_ linear: UInt64, _ access: MemoryAccess, user: Bool) throws(Stop) -> Translation {
        if let known = processor.tlb.walked(linear), allows(known.rights, access, user: user),
            access != .write || known.rights.contains(.dirty)
        {
            return known
        }
        let (found, pageSize) = try walk(linear, access, user: user)
        processor.tlb.remember(linear, found, pageSize: pageSize)
        return found
    }

    /// Guest-physical address of `linear`, checking canonicality first. `segment` tells #SS from #GP.
    private func physical(_ linear: UInt64, _ access: MemoryAccess, segment: SegmentName, user: Bool) throws(Stop) -> (
        UInt64, Translation
    ) {
        if isLongMode { try checkCanonical(linear, segment) }
        let translation = try translate(linear, access, user: user)
        return (translation.page | (linear & 0xFFF), translation)
    }

    /// #SS or #GP for an operand that isn't all canonical in 64-bit mode, or reaches beyond 4 GiB in a flat segment of other
    /// modes: before any of its pages is looked at.
    @inline(__always) func checkCanonical(_ linear: UInt64, size: Int = 1, _ segment: SegmentName) throws(Stop) {
        let last = linear &+ UInt64(truncatingIfNeeded: size &- 1)
        if state.codeMode.codeSize == 8 {
            if CPU.isCanonical(linear), CPU.isCanonical(last) { return }
        } else {
            if linear > 0xFFFF_FFFF || last <= 0xFFFF_FFFF || self[segment: segment].base != 0 { return }
            // The processor's own accesses to tables and stacks wrap; what limits them is checked where they are made.
            if processor.actsAsSupervisor { return }
        }
        throw segment == .ss ? .stackFault : .generalProtection
    }

    /// The guest-physical address that `linear` has for a supervisor read, without side effects; nil where it has none.
    func probe(_ linear: UInt64) -> (address: UInt64, writable: Bool, user: Bool)? {
        if isLongMode, !CPU.isCanonical(linear) { return nil }
        let cr2 = state.cr2
        defer { state.cr2 = cr2 }
        // No access is refused to a supervisor that ignores SMAP.
        let flags = state.systemFlags, cpl = state.cpl
        state.systemFlags |= RFLAGS.AC.rawValue
        state.cpl = 0
        defer {
            state.systemFlags = flags
            state.cpl = cpl
        }
        guard let (found, _) = try? walk(linear, .read, user: false, updating: false) else { return nil }
        return (found.page | (linear & 0xFFF), found.rights.contains(.writable), found.rights.contains(.user))
    }

    // MARK: Filling

    /// Enters what `translation` allows into the current view's table.
    private func fill(_ linear: UInt64, _ translation: Translation, _ region: UnsafeMutablePointer<MemoryRegion>) {
        let region = unsafe region.pointee
        let entry = unsafe state.tlb + Int(truncatingIfNeeded: (linear >> 12) & TLBEntry.indexMask)
        let tag = (linear & ~0xFFF) | state.tlbGeneration
        let user = state.cpl == 3
        let host = UInt64(UInt(bitPattern: unsafe region.host)) &+ (translation.page &- region.base)
        var fresh = TLBEntry()
        fresh.addend = host &- (linear & ~0xFFF)
        if allows(translation.rights, .execute, user: user) { fresh.execute = tag }
        if unsafe state.tlb != processor.tlb.entries(.watched) {
            if allows(translation.rights, .read, user: user) { fresh.read = tag }
            let page = Int((translation.page &- region.base) >> 12)
            if translation.rights.contains(.dirty), !region.readOnly, region.pages.allowsFastWrites(page),
                allows(translation.rights, .write, user: user)
            {
                fresh.write = tag
            }
        }
        unsafe entry.pointee = fresh
    }

    /// Where an access that crosses a page goes on, once it is known to be allowed as a whole: in compatibility mode, as in the
    /// others of 32 bits, addresses wrap, but a stack or a table of 64 bits may be reached from there. Intel SDM vol. 1,
    /// 3.3.7.1; vol. 3, 5.3.1.
    private func following(_ linear: UInt64, _ count: Int) -> UInt64 {
        let next = linear &+ UInt64(count)
        return state.codeMode.codeSize != 8 && linear >> 32 == 0 ? next & 0xFFFF_FFFF : next
    }

    // MARK: Reads

    private var isUser: Bool { state.cpl == 3 }

    /// `size` is 1, 2, 4 or 8.
    @inline(never) func readSlowly(_ linear: UInt64, size: Int, segment: SegmentName, intent: MemoryAccess) throws(Stop)
        -> UInt64
    {
        let linear = wrapped(linear)
        try watch(linear, size: size, intent, segment)
        let inPage = 4096 - Int(linear & 0xFFF)
        if size > inPage {
            // Both pages are translated before a device in the first is read.
            try checkCanonical(linear, size: size, segment)
            let next = following(linear, inPage)
            _ = try physical(linear, intent, segment: segment, user: isUser)
            _ = try physical(next, intent, segment: segment, user: isUser)
            let low = try readPart(linear, size: inPage, segment: segment, intent: intent, user: isUser)
            let high = try readPart(next, size: size - inPage, segment: segment, intent: intent, user: isUser)
            return low | high << UInt64(8 * inPage)
        }
        return try readPart(linear, size: size, segment: segment, intent: intent, user: isUser)
    }

    /// Within one page; any size from 1 to 8.
    private func readPart(_ linear: UInt64, size: Int, segment: SegmentName, intent: MemoryAccess, user: Bool)
        throws(Stop) -> UInt64
    {
        let (address, translation) = try physical(linear, intent, segment: segment, user: user)
        if let region = unsafe processor.memory.region(at: address), unsafe intent != .write || !region.pointee.readOnly
        {
            if intent == .write { _ = try claimForWrite(unsafe region.pointee, address, size) }
            if user == isUser { unsafe fill(linear, translation, region) }
            let host = unsafe region.pointee.host + Int(address - region.pointee.base)
            return unsafe CPU.load(host, size)
        }
        if intent == .write || processor.isolatesHostAccesses, !processor.transaction.isCareful { throw .careful }
        return try readMMIO(address, size: size)
    }

    /// A store of `size` bytes is about to happen: the page is logged. True where code was decoded from the page:
    /// `noteCodeStore` is to follow the store.
    private func claimForWrite(_ region: MemoryRegion, _ address: UInt64, _ size: Int) throws(Stop) -> Bool {
        let page = Int((address - region.base) >> 12)
        let held = region.pages.codeLines(page)
        if held & CPU.lines(address, size) != 0, !processor.transaction.isCareful {
            // The running block may be among the victims: the store is made by itself, between blocks.
            throw .careful
        }
        if region.pages.markDirty(page) { processor.host.pageDirtied(slot: region.slot, page: page) }
        return held != 0
    }

    /// The lines of a page that a store touches.
    private static func lines(_ address: UInt64, _ size: Int) -> UInt64 {
        let first = Int(address & 0xFFF) / 64, last = (Int(address & 0xFFF) + size - 1) / 64
        return (UInt64.max << UInt64(first)) & (UInt64.max >> UInt64(63 - last))
    }

    /// A store to a page of code has happened: what was decoded from those bytes must go, on every vCPU.
    private func noteCodeStore(_ address: UInt64, _ size: Int) {
        // Whoever marks lines after this sees the store.
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        guard let region = unsafe processor.memory.region(at: address) else { return }
        let records = unsafe region.pointee.pages
        let page = unsafe Int((address - region.pointee.base) >> 12)
        let touched = records.codeLines(page) & CPU.lines(address, size)
        if touched == 0 { return }
        records.removeCodeLines(page, touched)
        state.codeGeneration &+= 1
        processor.host.codeChanged()
    }

    @inline(__always) private static func load(_ host: UnsafeMutableRawPointer, _ size: Int) -> UInt64 {
        switch size {
        case 1: return UInt64(unsafe host.load(as: UInt8.self))
        case 2: return UInt64(unsafe host.loadUnaligned(as: UInt16.self))
        case 4: return UInt64(unsafe host.loadUnaligned(as: UInt32.self))
        case 8: return unsafe host.loadUnaligned(as: UInt64.self)
        default:
            var value: UInt64 = 0
            for index in (0..<min(size, 8)).reversed() {
                value = value << 8 | UInt64(unsafe host.load(fromByteOffset: index, as: UInt8.self))
            }
            return value
        }
    }

    /// A device's register, ours or the client's.
    private func readMMIO(_ address: UInt64, size: Int) throws(Stop) -> UInt64 {
        if let value = processor.host.readMMIO(address, size: size) { return value }
        if let value = processor.transaction.take(size) { return value }
        processor.exit = .mmioRead(address: address, size: size)
        throw .exitBefore
    }

    // MARK: Writes

    @inline(never) func writeSlowly(_ linear: UInt64, size: Int, segment: SegmentName, value: UInt64) throws(Stop) {
        let linear = wrapped(linear)
        try watch(linear, size: size, .write, segment)
        let inPage = 4096 - Int(linear & 0xFFF)
        if size > inPage {
            // Both pages are checked before either is written.
            try checkCanonical(linear, size: size, segment)
            let next = following(linear, inPage)
            let low = try target(linear, size: inPage, segment: segment, user: isUser)
            let high = try target(next, size: size - inPage, segment: segment, user: isUser)
            if !processor.transaction.isCareful, low.isDevice || high.isDevice { throw .careful }
            store(low, value, inPage)
            store(high, value >> UInt64(8 * inPage), size - inPage)
            return
        }
        let place = try target(linear, size: size, segment: segment, user: isUser)
        if case .device(let address) = place, !processor.transaction.isCareful {
            // One of our own devices takes it at once; for the client's the instruction is executed by itself.
            if !processor.isolatesHostAccesses, processor.host.writeMMIO(address, size: size, value: value) { return }
            throw .careful
        }
        store(place, value, size)
    }

    /// Where a store goes: host memory, or a device at a guest-physical address.
    @safe private enum Target {
        /// `code`: the guest-physical address, where the page holds code.
        case memory(UnsafeMutableRawPointer, code: UInt64?)
        case device(UInt64)

        var isDevice: Bool { if case .device = self { true } else { false } }
    }

    private func target(_ linear: UInt64, size: Int, segment: SegmentName, user: Bool) throws(Stop) -> Target {
        let (address, translation) = try physical(linear, .write, segment: segment, user: user)
        guard let region = unsafe processor.memory.region(at: address), unsafe !region.pointee.readOnly else {
            return .device(address)
        }
        let holdsCode = try claimForWrite(unsafe region.pointee, address, size)
        if user == isUser { unsafe fill(linear, translation, region) }
        let host = unsafe region.pointee.host + Int(address - region.pointee.base)
        return unsafe .memory(host, code: holdsCode ? address : nil)
    }

    private func store(_ target: Target, _ value: UInt64, _ size: Int) {
        switch target {
        case .memory(let host, let code):
            switch size {
            case 1: unsafe host.storeBytes(of: UInt8(truncatingIfNeeded: value), as: UInt8.self)
            case 2: unsafe host.storeBytes(of: UInt16(truncatingIfNeeded: value), as: UInt16.self)
            case 4: unsafe host.storeBytes(of: UInt32(truncatingIfNeeded: value), as: UInt32.self)
            case 8: unsafe host.storeBytes(of: value, as: UInt64.self)
            default:
                for index in 0..<min(size, 8) {
                    unsafe host.storeBytes(
                        of: UInt8(truncatingIfNeeded: value >> UInt64(8 * index)), toByteOffset: index, as: UInt8.self)
                }
            }
            if let code { noteCodeStore(code, size) }
        case .device(let address):
            if processor.host.writeMMIO(address, size: size, value: value) { return }
            processor.transaction.writes.append((address, value, size))
            // A device under a stack or a descriptor table: the run loop hands the write out after the event.
            if !processor.transaction.isCareful { processor.request(.deferredWrites) }
        }
    }

    // MARK: Accesses of the processor itself

    /// Reads a descriptor table, a TSS or the like: as the supervisor, whatever CPL is. Intel SDM vol. 3, 4.6.1.
    func readSystem<W: OperandWidth>(_ linear: UInt64, as type: W.Type = W.self) throws(Stop) -> W {
        let linear = wrapped(linear)
        let inPage = 4096 - Int(linear & 0xFFF)
        return try implicitly { () throws(Stop) in
            if W.bytes <= inPage {
                return W(
                    truncatingIfNeeded: try readPart(linear, size: W.bytes, segment: .ds, intent: .read, user: false))
            }
            if state.codeMode.codeSize == 8 { try checkCanonical(linear, size: W.bytes, .ds) }
            let next = wrapped(linear &+ UInt64(inPage))
            _ = try physical(linear, .read, segment: .ds, user: false)
            _ = try physical(next, .read, segment: .ds, user: false)
            let low = try readPart(linear, size: inPage, segment: .ds, intent: .read, user: false)
            let high = try readPart(next, size: W.bytes - inPage, segment: .ds, intent: .read, user: false)
            return W(truncatingIfNeeded: low | high << UInt64(8 * inPage))
        }
    }

    /// Writes likewise.
    func writeSystem<W: OperandWidth>(_ linear: UInt64, _ value: W) throws(Stop) {
        let linear = wrapped(linear)
        let inPage = 4096 - Int(linear & 0xFFF)
        let value = UInt64(truncatingIfNeeded: value)
        try implicitly { () throws(Stop) in
            if W.bytes <= inPage {
                store(try target(linear, size: W.bytes, segment: .ds, user: false), value, W.bytes)
                return
            }
            if state.codeMode.codeSize == 8 { try checkCanonical(linear, size: W.bytes, .ds) }
            let low = try target(linear, size: inPage, segment: .ds, user: false)
            let next = following(linear, inPage)
            let high = try target(next, size: W.bytes - inPage, segment: .ds, user: false)
            store(low, value, inPage)
            store(high, value >> UInt64(8 * inPage), W.bytes - inPage)
        }
    }

    /// Throws what a write of `size` bytes at `linear` would, and changes nothing.
    func checkWritable(_ linear: UInt64, size: Int, _ segment: SegmentName) throws(Stop) {
        let linear = wrapped(linear)
        try checkCanonical(linear, size: size, segment)
        try checkAlignment(linear, size: size, segment)
        _ = try target(linear, size: 1, segment: segment, user: isUser)
        let last = wrapped(linear &+ UInt64(truncatingIfNeeded: size &- 1))
        if (linear ^ last) & ~0xFFF != 0 { _ = try target(last & ~0xFFF, size: 1, segment: segment, user: isUser) }
    }

    /// Throws what a read of `size` bytes at `linear` would, and reads nothing.
    func checkReadable(_ linear: UInt64, size: Int, _ segment: SegmentName) throws(Stop) {
        let linear = wrapped(linear)
        try checkCanonical(linear, size: size, segment)
        try checkAlignment(linear, size: size, segment)
        _ = try translate(linear, .read, user: isUser)
        let last = wrapped(linear &+ UInt64(truncatingIfNeeded: size &- 1))
        if (linear ^ last) & ~0xFFF != 0 { _ = try translate(last & ~0xFFF, .read, user: isUser) }
    }

    // MARK: Locked accesses

    /// An atomic read-modify-write of `W`; `change` may run more than once. Crossing a page, every other vCPU stands still.
    func modifyLocked<W: OperandWidth>(_ linear: UInt64, _ segment: SegmentName, _ change: (W) throws(Stop) -> W)
        throws(Stop)
    {
        if let locked = try lockedPlace(linear, size: W.bytes, segment) {
            let place = unsafe AtomicPlace<W>(locked.host)
            var old = place.load()
            while true {
                let (done, current) = place.compareExchange(expected: old, desired: try change(old))
                if done { break }
                old = current
            }
            finish(locked, size: W.bytes)
            return
        }
        var outcome: Result<Void, Stop> = .success(())
        exclusively {
            do throws(Stop) {
                let old: W = try readForWrite(linear, segment)
                try write(linear, segment, try change(old))
            } catch {
                outcome = .failure(error)
            }
        }
        try outcome.get()
    }

    /// Where a LOCK'd access goes to. SAFETY: `host` holds the whole operand, until the next boundary.
    @safe struct LockedPlace {
        @unsafe let host: UnsafeMutableRawPointer
        fileprivate var code: UInt64?
    }

    /// A whole operand in writable memory of one page; nil where it crosses pages or is a device. `finish` follows the access.
    func lockedPlace(_ linear: UInt64, size: Int, _ segment: SegmentName) throws(Stop) -> LockedPlace? {
        if let host = unsafe hostAddressForWrite(linear, size: size) { return unsafe LockedPlace(host: host) }
        let linear = wrapped(linear)
        try watch(linear, size: size, .write, segment)
        guard Int(linear & 0xFFF) + size <= 4096 else { return nil }
        guard case .memory(let host, let code) = try target(linear, size: size, segment: segment, user: isUser) else {
            return nil
        }
        return unsafe LockedPlace(host: host, code: code)
    }

    func finish(_ locked: LockedPlace, size: Int) {
        if let code = locked.code { noteCodeStore(code, size) }
    }

    // MARK: Fetching

    /// The host address of the code at `linear`, for the current privilege.
    func executableHost(_ linear: UInt64) throws(Stop) -> UnsafeRawPointer {
        let entry = unsafe state.tlb + Int(truncatingIfNeeded: (linear >> 12) & TLBEntry.indexMask)
        if unsafe entry.pointee.execute == (linear & ~0xFFF) | state.tlbGeneration {
            return unsafe UnsafeRawPointer(bitPattern: UInt(linear &+ entry.pointee.addend)).unsafelyUnwrapped
        }
        let (address, translation) = try physical(linear, .execute, segment: .cs, user: isUser)
        guard let region = unsafe processor.memory.region(at: address) else {
            // Code in no memory: KVM's emulator gives up there, too.
            processor.exit = .internalError(suberror: 1)
            throw .exitBefore
        }
        unsafe fill(linear, translation, region)
        return unsafe UnsafeRawPointer(region.pointee.host + Int(address - region.pointee.base))
    }

    /// The records of the page that code at `linear` (just fetched from) lies in.
    func codePage(_ linear: UInt64) -> (records: PageRecords, page: Int)? {
        guard let translation = try? translate(linear, .execute, user: isUser),
            let region = unsafe processor.memory.region(at: translation.page)
        else { return nil }
        return unsafe (region.pointee.pages, Int((translation.page - region.pointee.base) >> 12))
    }

    /// Outside of 64-bit mode linear addresses have 32 bits.
    @inline(__always) func wrapped(_ linear: UInt64) -> UInt64 {
        state.codeMode.codeSize == 8 ? linear : isLongMode ? linear : linear & 0xFFFF_FFFF
    }

    // MARK: Watched accesses

    /// Alignment checks and data breakpoints, while the view is `.watched`. Intel SDM vol. 3, 6.15 (#AC) and 17.2.
    private func watch(_ linear: UInt64, size: Int, _ access: MemoryAccess, _ segment: SegmentName) throws(Stop) {
        guard unsafe state.tlb == processor.tlb.entries(.watched) else { return }
        try checkAlignment(linear, size: size, segment)
        processor.noteDataBreakpoints(linear, size: size, isWrite: access == .write)
    }

    /// #AC for a user's operand that isn't aligned to its size: ten bytes to eight, YMM registers to sixteen; larger images look
    /// after themselves.
    /// An address that isn't canonical comes first. Intel SDM vol. 3, table 6-7.
    func checkAlignment(_ linear: UInt64, size: Int, _ segment: SegmentName) throws(Stop) {
        guard state.cpl == 3, state.cr0 & CR0.AM.rawValue != 0, state.systemFlags & RFLAGS.AC.rawValue != 0,
            !state.isExemptFromAlignment
        else { return }
        let alignment = size == 10 ? 8 : size == 32 ? 16 : size
        guard alignment <= 16, alignment & (alignment - 1) == 0, linear & UInt64(alignment - 1) != 0 else { return }
        if isLongMode { try checkCanonical(linear, size: size, segment) }
        throw .fault(Exception.alignmentCheck.vector, code: 0)
    }
}

extension VirtualProcessor {
    /// Host memory of `size` bytes at a guest-physical address, within one page.
    func hostAddress(ofPhysical address: UInt64, size: Int) -> UnsafeMutableRawPointer? {
        guard let region = unsafe memory.region(at: address) else { return nil }
        return unsafe region.pointee.host + Int(address - region.pointee.base)
    }

    /// The walker has set A or D bits in a table: log the store.
    func noteTableWrite(_ address: UInt64) {
        guard let region = unsafe memory.region(at: address) else { return }
        let page = unsafe Int((address - region.pointee.base) >> 12)
        if unsafe region.pointee.pages.markDirty(page) {
            unsafe host.pageDirtied(slot: region.pointee.slot, page: page)
        }
    }

    /// KVM_TRANSLATE: where a linear address leads, without side effects.
    public func translate(_ linear: UInt64) -> (address: UInt64, writable: Bool, user: Bool)? { cpu.probe(linear) }
}
