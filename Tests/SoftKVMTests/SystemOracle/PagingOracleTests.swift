// What a page-table walk allows: entries of every kind at each level × CR0.WP, CR4.SMEP, SMAP, PSE and PGE, EFER.NXE, EFLAGS.AC ×
// read, write and fetch × supervisor and user. Intel SDM vol. 3, 4.3 to 4.8.

import KVM
import KVMABI
import TestLimits
import Testing

/// The paging mode of a case.
enum Paging: CaseIterable {
    case bits32, pae, fourLevel

    var mode: CaseMode { self == .fourLevel ? .long : .protected32 }
    var levels: Int { self == .fourLevel ? 4 : 2 }
    /// The linear address whose translation is the case's own.
    var linear: UInt64 { self == .bits32 ? 1 << 22 : self == .pae ? 1 << 30 : 1 << 39 }
    var entrySize: UInt64 { self == .bits32 ? 4 : 8 }

    /// Where the entry of a level lies, 0 for the last.
    func place(_ level: Int) -> UInt64 {
        switch level {
        case 0: 0x1_6000
        case 1: self == .bits32 ? Layout.directory32 + 4 : 0x1_7000
        case 2: 0x1_8000
        default: Layout.pageTables + 8
        }
    }
}

enum PagedAccess: CaseIterable { case read, write, fetch }

/// A walk by the manual, over the entries of a case.
struct Walk {
    let paging: Paging
    let entries: [UInt64]
    let access: PagedAccess
    let isUser: Bool
    let cr0: UInt64, cr4: UInt64, efer: UInt64, ac: Bool
    let reservedAddress: UInt64
    let gigabytePages: Bool

    /// The fault, or the entries as they are left and the page's size.
    func run() -> (fault: UInt32?, entries: [UInt64], leaf: Int) {
        var entries = entries
        let nxe = efer & 1 << 11 != 0 && paging != .bits32
        var writable = true, user = true, execute = true
        var code: UInt32 = (access == .write ? 2 : 0) | (isUser ? 4 : 0)
        if access == .fetch, nxe || cr4 & 1 << 20 != 0 { code |= 16 }
        for level in (0..<paging.levels).reversed() {
            let entry = entries[level]
            guard entry & 1 != 0 else { return (code, self.entries, level) }
            let large = level > 0 && level < 3 && entry & 0x80 != 0 && (paging != .bits32 || cr4 & 0x10 != 0)
            if entry & reserved(level, large, nxe: nxe) != 0 { return (code | 9, self.entries, level) }
            writable = writable && entry & 2 != 0
            user = user && entry & 4 != 0
            execute = execute && !(nxe && entry >> 63 != 0)
            entries[level] |= 0x20
            if level > 0, !large { continue }
            if access == .write { entries[level] |= 0x40 }
            let allowed: Bool
            if isUser {
                allowed = user && (access != .write || writable) && (access != .fetch || execute)
            } else {
                let smap = user && access != .fetch && cr4 & 1 << 21 != 0 && !ac
                let smep = user && access == .fetch && cr4 & 1 << 20 != 0
                allowed =
                    !smap && !smep && (access != .write || writable || cr0 & 1 << 16 == 0)
                    && (access != .fetch || execute)
            }
            return allowed ? (nil, entries, level) : (code | 1, self.entries, level)
        }
        return (code, self.entries, 0)
    }

    private func reserved(_ level: Int, _ large: Bool, nxe: Bool) -> UInt64 {
        if paging == .bits32 { return large ? 0x3F_E000 & ~0x1_E000 | 1 << 21 : 0 }
        var bits = reservedAddress | (nxe ? 0 : 1 << 63)
        if paging == .pae { bits |= 0x7FF0_0000_0000_0000 }
        // AMD APM vol. 2, 5.3.3: G must be zero in a PML4E; Intel ignores it.
        if level == 3 { bits |= OracleMachine.isAMD ? 0x180 : 0x80 }
        if large, level == 2, !gigabytePages { bits |= 0x80 }
        if large { bits |= level == 1 ? 0x1F_E000 : 0x3FFF_E000 }
        return bits
    }
}

@Suite(.within(minutes: 20, long: 120)) struct PagingOracleTests {
    /// The fourth is IA-32e paging again, without pages of 1 GiB.
    @Test(arguments: 0..<4)
    func walks(_ number: Int) throws {
        let paging = Paging.allCases[min(number, 2)]
        let gigabytePages = number < 3
        let sweep = try Sweep(
            "walks of \(paging) paging\(gigabytePages ? "" : ", no pages of 1 GiB")", long: paging == .fourLevel,
            share: 4,
            notKernel: paging == .fourLevel ? nil : "this kind of /dev/kvm has no paging but that of IA-32e mode",
            cpuid: try PagingOracleTests.cpuid(gigabytePages: gigabytePages))
        let width = try PagingOracleTests.physicalWidth()
        var choices = Choices(state: UInt64(number) + 1)
        for _ in 0..<24_000 { try walk(sweep, paging, &choices, physicalWidth: width, gigabytePages) }
        sweep.finish()
    }

    private static func physicalWidth() throws -> UInt64 {
        UInt64((try OracleMachine.cpuid().first { $0.function == 0x8000_0008 }?.eax ?? 36) & 0xFF)
    }

    private static func cpuid(gigabytePages: Bool) throws -> [kvm_cpuid_entry2] {
        var entries = try OracleMachine.cpuid()
        for index in entries.indices where entries[index].function == 0x8000_0001 && !gigabytePages {
            entries[index].edx &= ~(1 << 26)
        }
        return entries
    }

    private func walk(
        _ sweep: Sweep, _ paging: Paging, _ choices: inout Choices, physicalWidth: UInt64, _ gigabytePages: Bool
    ) throws {
        let isUser = choices.one(in: 2)
        let access = PagedAccess.allCases[Int(choices.next(3))]
        let code: [UInt8] = access == .read ? [0x8A, 0x0B] : access == .write ? [0x88, 0x0B] : [0xFF, 0xE3]
        var setup = CaseSetup(paging.mode, cpl: isUser ? 3 : 0, code)
        setup.state.general.rcx = 0x55
        setup.changesPageTables = true
        prepare(&setup, paging, isUser)
        if choices.one(in: 2) { setup.state.special.cr0 |= 1 << 16 }
        if choices.one(in: 4) { setup.state.special.cr4 |= 1 << 20 }
        if choices.one(in: 3) { setup.state.special.cr4 |= 1 << 21 }
        if choices.one(in: 2) { setup.state.special.cr4 |= 1 << 7 }
        if choices.one(in: 2) { setup.state.general.rflags |= 1 << 18 }
        if paging == .bits32, choices.one(in: 2) { setup.state.special.cr4 |= 0x10 }
        if paging != .bits32 { setup.state.special.efer ^= choices.one(in: 3) ? 1 << 11 : 0 }

        let (entries, large) = makeEntries(paging, &choices, physicalWidth, pse: setup.state.special.cr4 & 0x10 != 0)
        for (level, entry) in entries.enumerated() {
            if paging == .bits32 {
                setup.put(UInt32(truncatingIfNeeded: entry), at: paging.place(level))
            } else {
                setup.put(entry, at: paging.place(level))
            }
        }
        let linear = paging.linear + (large ? Layout.data : 0)
        setup.state.general.rbx = linear
        setup.put(UInt16(0x00E6), at: Layout.data)
        let walk = Walk(
            paging: paging, entries: entries, access: access, isUser: isUser, cr0: setup.state.special.cr0,
            cr4: setup.state.special.cr4, efer: setup.state.special.efer, ac: setup.state.general.rflags & 1 << 18 != 0,
            reservedAddress: paging == .bits32 ? 0 : ~0 << physicalWidth & 0xF_FFFF_FFFF_FFFF,
            gigabytePages: gigabytePages)
        let outcome = walk.run()
        if outcome.fault != nil {
            // Whether a walk that fails has set accessed flags on its way is left open: vol. 3, 4.8.
            for level in 0..<paging.levels { setup.openBits[paging.place(level)] = 0x20 }
        }
        let title =
            "\(access), user \(isUser), entries \(entries.map { String($0, radix: 16) }), CR4 \(String(setup.state.special.cr4, radix: 16))"
        try sweep.check(setup, title) { (model: inout Model) throws(Fault) in
            if let code = outcome.fault {
                // A fetch that faults has left the jump complete.
                if access == .fetch {
                    model.state.general.rip = linear
                    model.raise(Fault(vector: 14, code: code, cr2: linear))
                    return
                }
                throw Fault(vector: 14, code: code, cr2: linear)
            }
            for (level, entry) in outcome.entries.enumerated() where entry != entries[level] {
                model.write(paging.place(level), UInt8(entry & 0xFF))
            }
            switch access {
            case .read:
                model.state.general.rcx =
                    model.state.general.rcx & ~0xFF | UInt64(model.read(Layout.data, as: UInt8.self))
            case .write: model.write(Layout.data, UInt8(0x55))
            case .fetch: model.state.general.rip = linear
            }
        }
    }

    /// The rest of the address space: everything is the supervisor's but the user's code and stack, page by page.
    func prepare(_ setup: inout CaseSetup, _ paging: Paging, _ isUser: Bool) {
        let table: UInt64 = paging == .bits32 ? Layout.pageTable32 : 0x1_9000
        for page in UInt64(0)..<32 {
            let isOpen = isUser && (page == 9 || page == 7)
            let entry = page << 12 | 0x63 | (isOpen ? 4 : 0)
            if paging == .bits32 {
                setup.put(UInt32(truncatingIfNeeded: entry), at: table + page * 4)
            } else {
                setup.put(entry, at: table + page * 8)
            }
        }
        setup.state.special.cr0 |= 1 << 31
        switch paging {
        case .bits32: setup.state.special.cr3 = Layout.directory32
        case .pae:
            setup.put(table | 0x67, at: Layout.pageTables + 0x2000)
            setup.put(UInt64(0x1_7001), at: Layout.pointers + 8)
            setup.state.special.cr3 = Layout.pointers
            setup.state.special.cr4 |= 0x20
            setup.state.special.efer = 1 << 11
        case .fourLevel:
            setup.put(table | 0x67, at: Layout.pageTables + 0x2000)
        }
    }

    private func makeEntries(
        _ paging: Paging, _ choices: inout Choices, _ physicalWidth: UInt64, pse: Bool
    ) -> (entries: [UInt64], large: Bool) {
        var entries: [UInt64] = []
        let next: [UInt64] = [Layout.data, 0x1_6000, 0x1_7000, 0x1_8000]
        // At which level the page is mapped.
        let top = paging == .fourLevel ? 2 : paging == .pae || pse ? 1 : 0
        let leaf = choices.one(in: 3) ? Int(choices.next(UInt64(top + 1))) : 0
        for level in 0..<paging.levels {
            var entry = level == leaf && level > 0 ? 0x80 : next[level]
            if !choices.one(in: 24) { entry |= 1 }
            if !choices.one(in: 5) { entry |= 2 }
            if !choices.one(in: 3) { entry |= 4 }
            if choices.one(in: 3) { entry |= 0x20 }
            if level == leaf, choices.one(in: 3) { entry |= 0x40 }
            if choices.one(in: 3) { entry |= 0x100 }
            if choices.one(in: 4) { entry |= 0x18 & choices.next(32) }
            if paging != .bits32 {
                if choices.one(in: 10) { entry |= 1 << 63 }
                if choices.one(in: 40), physicalWidth < 52 {
                    entry |= 1 << (physicalWidth + choices.next(52 - physicalWidth))
                }
                if choices.one(in: 40) { entry |= 1 << (52 + choices.next(7)) }
                if level == 3, choices.one(in: 30) { entry |= 0x80 }
                if level == leaf, level > 0, choices.one(in: 20) { entry |= level == 1 ? 0x2000 : 0x20_0000 }
            } else if level == leaf, level > 0, choices.one(in: 20) {
                entry |= 1 << 21
            } else if level == 1, leaf == 0, !pse, choices.one(in: 4) {
                // Without CR4.PSE the bit means nothing.
                entry |= 0x80
            }
            entries.append(entry)
        }
        return (entries, leaf > 0)
    }
}
