import GuestMemory
import X86

/// Walks of the paging structures. Intel SDM vol. 3, chapter 4.
extension CPU {
    var isPaging: Bool { state.cr0 & CR0.PG.rawValue != 0 }
    var isLongMode: Bool { state.efer & EFER.LMA.rawValue != 0 }

    /// A linear address that 4-level paging can translate. Intel SDM vol. 1, 3.3.7.1.
    static func isCanonical(_ linear: UInt64) -> Bool {
        let high = Int64(bitPattern: linear) >> 47
        return high == 0 || high == -1
    }

    /// What the paging structures say of `linear` for an access; sets A and D bits. Throws #PF with CR2 set.
    func walk(_ linear: UInt64, _ access: MemoryAccess, user: Bool) throws(Stop) -> (Translation, pageSize: UInt64) {
        guard isPaging else {
            return (Translation(page: linear & ~0xFFF, rights: [.writable, .user, .dirty]), 4096)
        }
        var walk = PageWalk(cpu: self, linear: linear, access: access, user: user, isProbe: false)
        return try walk.run()
    }

    /// The guest-physical address of `linear` and what its entries say, whatever rights they ask for, without side effects; nil
    /// where it has none.
    func probe(_ linear: UInt64) -> (address: UInt64, writable: Bool, user: Bool)? {
        guard isPaging else { return (linear, true, true) }
        if isLongMode, !CPU.isCanonical(linear) { return nil }
        var walk = PageWalk(cpu: self, linear: linear, access: .read, user: false, isProbe: true)
        guard let (found, _) = try? walk.run() else { return nil }
        return (found.page | (linear & 0xFFF), found.rights.contains(.writable), found.rights.contains(.user))
    }

    /// #PF for an access to `linear`. Intel SDM vol. 3, 4.7.
    func pageFault(_ linear: UInt64, _ access: MemoryAccess, user: Bool, _ cause: PageFaultCode) -> Stop {
        var code = cause
        if access == .write { code.insert(.write) }
        if user { code.insert(.user) }
        // The fetch bit is given only where the processor tells fetches apart.
        let tellsFetches =
            state.cr4 & CR4.SMEP.rawValue != 0
            || (state.efer & EFER.NXE.rawValue != 0 && state.cr4 & CR4.PAE.rawValue != 0)
        if access == .execute && tellsFetches { code.insert(.instructionFetch) }
        state.cr2 = linear
        return .fault(Exception.pageFault.vector, code: code.rawValue)
    }

    /// Whether a translation allows an access. Intel SDM vol. 3, 4.6.
    func allows(_ rights: Translation.Rights, _ access: MemoryAccess, user: Bool) -> Bool {
        if user {
            guard rights.contains(.user) else { return false }
            return switch access {
            case .read: true
            case .write: rights.contains(.writable)
            case .execute: !rights.contains(.noExecute)
            }
        }
        let smap = state.cr4 & CR4.SMAP.rawValue != 0 && !smapSuspended
        switch access {
        case .read: return !(smap && rights.contains(.user))
        case .write:
            if smap && rights.contains(.user) { return false }
            return rights.contains(.writable) || state.cr0 & CR0.WP.rawValue == 0
        case .execute:
            if rights.contains(.user) && state.cr4 & CR4.SMEP.rawValue != 0 { return false }
            return !rights.contains(.noExecute)
        }
    }

    /// EFLAGS.AC lets an explicit supervisor access reach user pages; implicit ones never do. Intel SDM vol. 3, 4.6.1.
    private var smapSuspended: Bool {
        state.systemFlags & RFLAGS.AC.rawValue != 0 && state.cpl != 3 && !processor.underWay.actsAsSupervisor
            && !processor.underWay.accessIsImplicit
    }
}

/// One walk.
private struct PageWalk {
    let cpu: CPU
    let linear: UInt64
    let access: MemoryAccess
    let user: Bool
    /// Rights are not looked at, and nothing changes.
    let isProbe: Bool
    private var writable = true
    private var userPage = true
    private var noExecute = false

    init(cpu: CPU, linear: UInt64, access: MemoryAccess, user: Bool, isProbe: Bool) {
        self.cpu = cpu
        self.linear = linear
        self.access = access
        self.user = user
        self.isProbe = isProbe
    }

    private var hasNX: Bool { cpu.state.efer & EFER.NXE.rawValue != 0 }

    private func fault(_ cause: PageFaultCode) -> Stop {
        isProbe ? .fault(Exception.pageFault.vector) : cpu.pageFault(linear, access, user: user, cause)
    }

    private func allows(_ rights: Translation.Rights) -> Bool {
        isProbe || cpu.allows(rights, access, user: user)
    }

    mutating func run() throws(Stop) -> (Translation, pageSize: UInt64) {
        let cr3 = cpu.state.cr3
        if cpu.state.cr4 & CR4.PAE.rawValue == 0 { return try legacy(cr3 & 0xFFFF_F000) }
        if cpu.isLongMode { return try levels(table: cr3 & PageTableEntry.addressMask, from: 3) }
        // PAE: the four PDPTEs were loaded with CR3.
        let pdpte = cpu.state.pdptes[Int(linear >> 30) & 3]
        guard pdpte & 1 != 0 else { throw fault([]) }
        return try levels(table: pdpte & PageTableEntry.addressMask & ~cpu.processor.reservedAddressBits, from: 1)
    }

    /// 8-byte entries from `level` (3: PML4E … 0: PTE) down.
    private mutating func levels(table: UInt64, from level: Int) throws(Stop) -> (Translation, pageSize: UInt64) {
        var table = table
        for level in stride(from: level, through: 0, by: -1) {
            let shift = UInt64(12 + 9 * level)
            let place = table + ((linear >> shift) & 511) * 8
            guard let word = entry(at: place, as: UInt64.self) else { throw fault([]) }
            var value = word.load()
            while true {
                guard value & 1 != 0 else { throw fault([]) }
                let entry = PageTableEntry(rawValue: value)
                let largest = cpu.processor.hasGigabytePages ? 2 : 1
                let maps = level == 0 || (level <= largest && entry.contains(.pageSize))
                var reserved = cpu.processor.reservedAddressBits
                if !hasNX { reserved |= PageTableEntry.executeDisable.rawValue }
                // Where there are no pages of 1 GiB, PS is reserved. Intel SDM vol. 3, 4.5.
                if level > largest { reserved |= PageTableEntry.pageSize.rawValue }
                // AMD APM vol. 2, 5.3.3: G must be zero in a PML4E; Intel ignores it.
                if level == 3, cpu.processor.isAMD { reserved |= PageTableEntry.global.rawValue }
                if maps && level == 1 { reserved |= PageTableEntry.reserved2M }
                if maps && level == 2 { reserved |= PageTableEntry.reserved1G }
                // PAE has no 1 GiB pages and no XD above: bits 52…62 are reserved there.
                if !cpu.isLongMode { reserved |= 0x7FF0_0000_0000_0000 }
                guard value & reserved == 0 else { throw fault([.present, .reserved]) }
                let wasWritable = writable, wasUser = userPage, wasNoExecute = noExecute
                combine(entry)
                if maps {
                    let size: UInt64 = 1 << shift
                    let rights = rights(of: entry)
                    guard allows(rights) else { throw fault(.present) }
                    let wanted = value | (access == .write ? 0x60 : 0x20)
                    if !isProbe, wanted != value {
                        let (done, current) = word.compareExchange(expected: value, desired: wanted)
                        if !done {
                            value = current
                            (writable, userPage, noExecute) = (wasWritable, wasUser, wasNoExecute)
                            continue
                        }
                        cpu.processor.noteTableWrite(place)
                    }
                    let base = (entry.address & ~(size - 1)) | (linear & (size - 1) & ~0xFFF)
                    return (Translation(page: base, rights: dirty(rights, wanted)), size)
                }
                if !isProbe, value & 0x20 == 0 {
                    let (done, current) = word.compareExchange(expected: value, desired: value | 0x20)
                    if !done {
                        value = current
                        (writable, userPage, noExecute) = (wasWritable, wasUser, wasNoExecute)
                        continue
                    }
                    cpu.processor.noteTableWrite(place)
                }
                table = entry.address
                break
            }
        }
        throw fault([])
    }

    /// 32-bit paging: 4-byte entries, 4 MiB pages with CR4.PSE.
    private mutating func legacy(_ directory: UInt64) throws(Stop) -> (Translation, pageSize: UInt64) {
        var place = directory + ((linear >> 22) & 1023) * 4
        var level = 1
        while true {
            guard let word = entry(at: place, as: UInt32.self) else { throw fault([]) }
            let value = word.load()
            guard value & 1 != 0 else { throw fault([]) }
            let entry = PageTableEntry(rawValue: UInt64(value))
            let large = level == 1 && entry.contains(.pageSize) && cpu.state.cr4 & CR4.PSE.rawValue != 0
            if large {
                let beyond = entry.address4M & cpu.processor.reservedAddressBits
                guard entry.rawValue & PageTableEntry.reserved4M | beyond == 0 else {
                    throw fault([.present, .reserved])
                }
            }
            let before = (writable, userPage)
            combine(entry)
            let maps = level == 0 || large
            var wanted = value | 0x20
            if maps {
                guard allows(rights(of: entry)) else { throw fault(.present) }
                if access == .write { wanted |= 0x40 }
            }
            if !isProbe, wanted != value {
                guard word.compareExchange(expected: value, desired: wanted).exchanged else {
                    (writable, userPage) = before
                    continue
                }
                cpu.processor.noteTableWrite(place)
            }
            if maps {
                let page = large ? entry.address4M | (linear & 0x3F_F000) : entry.rawValue & 0xFFFF_F000
                return (
                    Translation(page: page, rights: dirty(rights(of: entry), UInt64(wanted))), large ? 4 << 20 : 4096
                )
            }
            place = (entry.rawValue & 0xFFFF_F000) + ((linear >> 12) & 1023) * 4
            level = 0
        }
    }

    private mutating func combine(_ entry: PageTableEntry) {
        writable = writable && entry.contains(.writable)
        userPage = userPage && entry.contains(.user)
        noExecute = noExecute || (hasNX && entry.contains(.executeDisable))
    }

    private func rights(of entry: PageTableEntry) -> Translation.Rights {
        var rights: Translation.Rights = []
        if writable { rights.insert(.writable) }
        if userPage { rights.insert(.user) }
        if noExecute { rights.insert(.noExecute) }
        if entry.contains(.global), cpu.state.cr4 & CR4.PGE.rawValue != 0 { rights.insert(.global) }
        return rights
    }

    private func dirty(_ rights: Translation.Rights, _ value: UInt64) -> Translation.Rights {
        value & PageTableEntry.dirty.rawValue != 0 ? rights.union(.dirty) : rights
    }

    /// The entry in host memory. A table that lies in no region reads as not present.
    private func entry<T: OperandWidth>(at address: UInt64, as type: T.Type) -> AtomicPlace<T>? {
        guard let host = unsafe cpu.processor.hostAddress(ofPhysical: address, size: MemoryLayout<T>.size) else {
            return nil
        }
        return unsafe AtomicPlace(host)
    }
}

extension VirtualProcessor {
    /// KVM_TRANSLATE: where a linear address leads, without side effects; nil where it leads nowhere, or the host's memory with
    /// the tables has gone.
    public func translate(_ linear: UInt64) -> (address: UInt64, writable: Bool, user: Bool)? {
        var probe = Probe(cpu: cpu, linear: linear)
        let abandoned = unsafe withUnsafeMutablePointer(to: &probe) { place in
            unsafe HostFault.guarding(
                faultContext, { unsafe UnsafeMutablePointer<Probe>(bitPattern: $0).unsafelyUnwrapped.pointee.run() },
                UInt(bitPattern: place))
        }
        return abandoned == nil ? probe.found : nil
    }

    private struct Probe {
        let cpu: CPU
        let linear: UInt64
        var found: (address: UInt64, writable: Bool, user: Bool)?
        mutating func run() { found = cpu.probe(linear) }
    }
}
