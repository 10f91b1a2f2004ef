// Translations that were used, then changed in memory, then invalidated: what is used next must be what memory says.
// Intel SDM vol. 3, 4.10.4.1 (what each operation invalidates), 4.4.1 (PDPTEs), 4.10.1 (PCIDs); vol. 2, INVLPG, INVPCID.

import KVM
import KVMABI
import TestLimits
import Testing

private enum Tables: CaseIterable {
    case bits32, pae, fourLevel

    var mode: CaseMode { self == .fourLevel ? .long : .protected32 }
    var levels: Int { self == .fourLevel ? 4 : self == .pae ? 3 : 2 }
    /// The address whose translation changes.
    var linear: UInt64 { self == .bits32 ? 1 << 22 : self == .pae ? 1 << 30 : 1 << 39 }
    var root: UInt64 { self == .bits32 ? Layout.directory32 : self == .pae ? Layout.pointers : Layout.pageTables }

    /// Where the entry of a level lies, 0 for the last, and where the one that a changed entry above leads to.
    func place(_ level: Int) -> UInt64 {
        if level == levels - 1 { return root + (self == .bits32 ? 4 : 8) }
        return 0x1_6000 + UInt64(level) * 0x1000
    }
    func otherPlace(_ level: Int) -> UInt64 { 0x1_9000 + UInt64(level) * 0x1000 }

    /// P, R/W, U/S, A, D; PAE's pointers have P alone.
    func flags(_ level: Int) -> UInt64 { self == .pae && level == 2 ? 1 : level == 0 ? 0x63 : 0x23 }
}

/// What is done between the change and the next access.
private struct Invalidation {
    let name: String
    let code: [UInt8]
    /// It reaches global translations as well.
    let reachesGlobal: Bool
    var tables: [Tables] = Tables.allCases
    var loadsPointers: Bool { !name.hasPrefix("inv") }
    /// CR4.PCIDE is on before it.
    var pcid = false
    /// The registers that the code takes.
    var prepare: (inout CaseSetup) -> Void = { _ in }
    /// What it leaves changed beside the translations.
    var effect: (inout Model) -> Void = { _ in }

    private static func toggle(_ bit: UInt64, _ name: String, reachesGlobal: Bool, on: Bool, pcid: Bool = false)
        -> Invalidation
    {
        Invalidation(
            name: name, code: [0x0F, 0x22, 0xE0], reachesGlobal: reachesGlobal,
            tables: pcid ? [.fourLevel] : Tables.allCases, pcid: pcid,
            prepare: {
                if !on { $0.state.special.cr4 |= bit }
                $0.state.general.rax = $0.state.special.cr4 ^ bit
            }, effect: { $0.state.special.cr4 ^= bit })
    }

    private static func invpcid(_ type: UInt64, pcid: Bool) -> Invalidation {
        Invalidation(
            name: "invpcid \(type)", code: [0x66, 0x0F, 0x38, 0x82, 0x03], reachesGlobal: type == 2,
            tables: pcid ? [.fourLevel] : Tables.allCases, pcid: pcid,
            prepare: { setup in
                setup.state.general.rax = type
                let linear = setup.state.general.rdi
                setup.put(type < 2 && pcid ? UInt64(1) : 0, at: setup.state.general.rbx)
                setup.put(type == 0 ? linear : 0, at: setup.state.general.rbx + 8)
            })
    }

    /// Through PCID 2 and back, with bit 63 of CR3 where `keeps`; INVPCID for PCID 1 of a type in between.
    private static func detour(_ type: UInt64?, keeps: Bool) -> Invalidation {
        // mov cr3, rax; invpcid r9, [rbx]; mov cr3, r8. The change comes before: it is made under PCID 1.
        let between: [UInt8] = type == nil ? [] : [0x66, 0x44, 0x0F, 0x38, 0x82, 0x0B]
        return Invalidation(
            name: "PCID 2 and back, \(type.map { "invpcid \($0)" } ?? "nothing"), \(keeps ? "kept" : "dropped")",
            code: [0x0F, 0x22, 0xD8] + between + [0x41, 0x0F, 0x22, 0xD8], reachesGlobal: type == 2,
            tables: [.fourLevel], pcid: true,
            prepare: { setup in
                setup.state.general.rax = Layout.pageTables | 2 | 1 << 63
                setup.state.general.r8 = Layout.pageTables | 1 | (keeps ? 1 << 63 : 0)
                setup.state.general.r9 = type ?? 0
                setup.put(UInt64(type == 0 || type == 1 ? 1 : 0), at: setup.state.general.rbx)
                setup.put(type == 0 ? setup.state.general.rdi : 0, at: setup.state.general.rbx + 8)
            })
    }

    static var all: [Invalidation] {
        [
            Invalidation(name: "invlpg", code: [0x0F, 0x01, 0x3F], reachesGlobal: true),
            Invalidation(
                name: "invlpg with PCIDs", code: [0x0F, 0x01, 0x3F], reachesGlobal: true, tables: [.fourLevel],
                pcid: true),
            Invalidation(
                name: "mov cr3", code: [0x0F, 0x22, 0xD8], reachesGlobal: false,
                prepare: { $0.state.general.rax = $0.state.special.cr3 }),
            Invalidation(
                name: "mov cr3 with PCIDs", code: [0x0F, 0x22, 0xD8], reachesGlobal: false, tables: [.fourLevel],
                pcid: true, prepare: { $0.state.general.rax = $0.state.special.cr3 }),
            Invalidation(
                name: "paging off and on", code: [0x0F, 0x22, 0xC0, 0x0F, 0x22, 0xC5], reachesGlobal: true,
                tables: [.bits32, .pae],
                prepare: {
                    $0.state.general.rax = $0.state.special.cr0 & ~(1 << 31)
                    $0.state.general.rbp = $0.state.special.cr0
                }),
            toggle(1 << 7, "CR4.PGE cleared", reachesGlobal: true, on: false),
            toggle(1 << 7, "CR4.PGE set", reachesGlobal: true, on: true),
            toggle(1 << 7, "CR4.PGE cleared, with PCIDs", reachesGlobal: true, on: false, pcid: true),
            toggle(1 << 20, "CR4.SMEP set", reachesGlobal: false, on: true),
            toggle(1 << 17, "CR4.PCIDE cleared", reachesGlobal: true, on: false, pcid: true),
        ] + (0..<4).map { invpcid($0, pcid: false) } + (0..<4).map { invpcid($0, pcid: true) } + [
            detour(nil, keeps: false), detour(0, keeps: true), detour(1, keeps: true), detour(2, keeps: true),
            detour(3, keeps: true),
        ]
    }
}

/// What becomes of the translation.
private enum Change: Equatable {
    /// The entry of a level leads to another page, over other tables.
    case elsewhere(Int)
    case absent(Int)
    case readOnly
}

@Suite(.within(minutes: 20, long: 120)) struct StaleTranslationOracleTests {
    /// MOV leaves the status flags undefined.
    private static let status: UInt64 = 0x8D5
    private static let page: UInt64 = 0xC000, otherPage: UInt64 = 0xD000

    @Test(arguments: 0..<3)
    func invalidations(_ number: Int) throws {
        let tables = Tables.allCases[number]
        let sweep = try Sweep(
            "stale translations, \(tables)", long: tables == .fourLevel,
            notKernel: tables == .fourLevel ? nil : "this kind of /dev/kvm has no paging but that of IA-32e mode")
        for invalidation in Invalidation.all where invalidation.tables.contains(tables) {
            for isGlobal in [false, true] where !isGlobal || invalidation.reachesGlobal {
                var changes: [Change] = [.readOnly]
                for level in 0..<tables.levels { changes += [.elsewhere(level), .absent(level)] }
                for change in changes {
                    // PAE's pointers are registers, and loaded where CR3, CR0 or CR4 is: 4.4.1.
                    if tables == .pae, change == .elsewhere(2) || change == .absent(2), !invalidation.loadsPointers {
                        continue
                    }
                    for first in [UInt8(0x8A), 0x88] {
                        try check(sweep, tables, invalidation, change, isGlobal, first)
                    }
                }
            }
        }
        sweep.finish()
    }

    private func check(
        _ sweep: Sweep, _ tables: Tables, _ invalidation: Invalidation, _ change: Change, _ isGlobal: Bool,
        _ first: UInt8
    ) throws {
        let isLong = tables == .fourLevel
        // mov cl, [rdi] or mov [rdi], cl; mov [rsi], rdx; what invalidates; mov ch, [rdi] or mov [rdi], ch
        let second: UInt8 = change == .readOnly ? 0x88 : 0x8A
        let head: [UInt8] = [first, 0x0F] + (isLong ? [0x48] : []) + [0x89, 0x16]
        var setup = CaseSetup(tables.mode, head + invalidation.code + [second, 0x2F])
        setup.changesPageTables = true
        setup.undefinedFlags = StaleTranslationOracleTests.status
        setup.state.special.cr0 |= 1 << 31 | 1 << 16
        setup.state.special.cr3 = tables.root | (invalidation.pcid ? 1 : 0)
        if tables != .bits32 { setup.state.special.cr4 |= 0x20 }
        if isGlobal { setup.state.special.cr4 |= 1 << 7 }
        if invalidation.pcid { setup.state.special.cr4 |= 1 << 17 }
        setup.state.general.rdi = tables.linear
        setup.state.general.rbx = 0xE000
        setup.state.general.rcx = 0x1277
        setup.put(UInt8(0xA5), at: StaleTranslationOracleTests.page)
        setup.put(UInt8(0x5A), at: StaleTranslationOracleTests.otherPage)
        let (level, entry) = putTables(&setup, tables, change, isGlobal)
        setup.state.general.rsi = tables.place(level)
        setup.state.general.rdx = entry
        invalidation.prepare(&setup)
        if invalidation.name.hasPrefix("CR4.PCIDE") {
            setup.state.special.cr3 = tables.root
        }
        let title =
            "\(invalidation.name), \(change), \(isGlobal ? "global, " : "")\(first == 0x88 ? "written" : "read") first"
        try sweep.check(setup, title) { (model: inout Model) throws(Fault) in
            let end = model.state.general.rip
            if first == 0x8A {
                model.state.general.rcx = model.state.general.rcx & ~0xFF | 0xA5
            } else {
                model.write(StaleTranslationOracleTests.page, UInt8(0x77))
            }
            if isLong {
                model.write(tables.place(level), entry)
            } else {
                model.write(tables.place(level), UInt32(truncatingIfNeeded: entry))
            }
            invalidation.effect(&model)
            model.commitWrites()
            switch change {
            case .elsewhere:
                let byte = UInt64(model.read(StaleTranslationOracleTests.otherPage, as: UInt8.self))
                model.state.general.rcx = model.state.general.rcx & ~0xFF00 | byte << 8
            case .absent, .readOnly:
                model.state.general.rip = end &- 2
                let code: UInt32 = change == .readOnly ? 3 : 0
                model.raise(Fault(vector: 14, code: code, cr2: tables.linear))
            }
        }
    }

    /// The tables before the change; the changed entry's level, and what is stored there.
    private func putTables(_ setup: inout CaseSetup, _ tables: Tables, _ change: Change, _ isGlobal: Bool)
        -> (level: Int, entry: UInt64)
    {
        func put(_ entry: UInt64, at place: UInt64) {
            if tables == .bits32 {
                setup.put(UInt32(truncatingIfNeeded: entry), at: place)
            } else {
                setup.put(entry, at: place)
            }
        }
        // The supervisor's own memory is no user's, for SMEP.
        switch tables {
        case .bits32:
            for page in UInt64(0)..<32 {
                setup.put(UInt32(truncatingIfNeeded: page << 12 | 0x63), at: Layout.pageTable32 + page * 4)
            }
        case .pae, .fourLevel: setup.put(UInt64(0xE3), at: Layout.pageTables + 0x2000)
        }
        let global: UInt64 = isGlobal ? 0x100 : 0
        for (page, place) in [
            (StaleTranslationOracleTests.page, tables.place),
            (StaleTranslationOracleTests.otherPage, tables.otherPlace),
        ] as [(UInt64, (Int) -> UInt64)] {
            put(page | tables.flags(0) | global, at: place(0))
            for level in 1..<tables.levels where level < tables.levels - 1 || page == StaleTranslationOracleTests.page {
                put(place(level - 1) & ~0xFFF | tables.flags(level), at: place(level))
            }
        }
        switch change {
        case .elsewhere(let level):
            let target = level == 0 ? StaleTranslationOracleTests.otherPage : tables.otherPlace(level - 1)
            return (level, target | tables.flags(level) | (level == 0 ? global : 0))
        case .absent(let level): return (level, 0)
        case .readOnly: return (0, StaleTranslationOracleTests.page | tables.flags(0) & ~2 | global)
        }
    }

    // MARK: What is refused

    @Test(arguments: [false, true])
    func invpcidOperands(_ long: Bool) throws {
        let sweep = try Sweep("invpcid's operands, \(long ? "IA-32e" : "legacy")", long: long)
        for (mode, cpl) in [
            (CaseMode.real, 0), (.v86, 3), (.protected32, 0), (.protected32, 3), (.compatibility, 0), (.long, 0),
            (.long, 3),
        ] where mode.isLong == long {
            for type in [UInt64(0), 1, 2, 3, 4, 5, 0x8000_0000, 0xFFFF_FFFF, 0x1_0000_0000] {
                for bit in -1..<128 {
                    for pcide in long ? [false, true] : [false] where bit < 16 || bit > 60 || type < 2 {
                        // invpcid eax, [bx], [edi] or [rdi]
                        var setup = CaseSetup(mode, cpl: cpl, [0x66, 0x0F, 0x38, 0x82, 0x07])
                        if pcide { setup.state.special.cr4 |= 1 << 17 }
                        setup.state.general.rax = type
                        (setup.state.general.rbx, setup.state.general.rdi) = (Layout.data, Layout.data)
                        let pcid: UInt64 = 0..<64 ~= bit ? 1 << UInt64(bit) : 0
                        let linear: UInt64 = bit >= 64 ? 1 << UInt64(bit - 64) : 0
                        setup.put(pcid, at: Layout.data)
                        setup.put(linear, at: Layout.data + 8)
                        try sweep.check(setup, "CPL \(cpl), type \(type), bit \(bit), PCIDE \(pcide)") {
                            (model: inout Model) throws(Fault) in
                            guard model.cpl == 0, !model.isV86 else { throw .generalProtection }
                            let type = model.is64Bit ? type : type & 0xFFFF_FFFF
                            guard type < 4, pcid >> 12 == 0, type > 1 || pcide || pcid == 0 else {
                                throw .generalProtection
                            }
                            if type == 0, !Model.isCanonical(linear) { throw .generalProtection }
                        }
                    }
                }
            }
        }
        sweep.finish()
    }

    /// PDPTEs that MOV to CR0, CR3 and CR4 load: reserved bits of those that are present. 4.4.1.
    @Test func pointersAreChecked() throws {
        let sweep = try Sweep(
            "PDPTEs", long: false,
            notKernel: "this kind of /dev/kvm has no paging but that of IA-32e mode")
        let entries = try OracleMachine.cpuid()
        let width = UInt64((entries.first { $0.function == 0x8000_0008 }?.eax ?? 36) & 0xFF)
        let reserved = 0x1E6 | ~UInt64(0) << width
        // mov cr3, eax; mov cr4, eax; mov cr0, eax
        for (code, name) in [(UInt8(0xD8), "cr3"), (0xE0, "cr4"), (0xC0, "cr0")] {
            for place in UInt64(1)..<4 {
                for bit in UInt64(0)..<64 {
                    for present in [UInt64(0), 1] {
                        for toggled in name == "cr4" ? [UInt64(1) << 7, 1 << 4, 1 << 20, 1 << 8] : [0] {
                            var setup = CaseSetup(.protected32, [0x0F, 0x22, code])
                            setup.changesPageTables = true
                            setup.undefinedFlags = StaleTranslationOracleTests.status
                            setup.state.special.cr4 |= 0x20
                            setup.put(UInt64(0xE3), at: Layout.pageTables + 0x2000)
                            let pointers: UInt64 = name == "cr3" ? 0x1_5020 : Layout.pointers
                            setup.put(Layout.pageTables + 0x2000 | 1, at: pointers)
                            let pointer: UInt64 = present | 1 << bit
                            setup.put(pointer, at: pointers + place * 8)
                            setup.state.special.cr3 = Layout.pointers
                            let paging = setup.state.special.cr0 | 1 << 31
                            if name != "cr0" { setup.state.special.cr0 = paging }
                            setup.state.general.rax =
                                name == "cr3" ? pointers : name == "cr4" ? 0x20 ^ toggled : paging
                            // Where a client's SET_SREGS finds such a table, nobody says what it does.
                            try sweep.check(setup, "mov \(name), \(toggled), PDPTE \(place), bit \(bit), P \(present)")
                            {
                                (model: inout Model) throws(Fault) in
                                let isLoaded = toggled != 1 << 8
                                if isLoaded, pointer & 1 != 0, pointer & reserved != 0 { throw .generalProtection }
                                switch name {
                                case "cr3": model.state.special.cr3 = pointers
                                case "cr4": model.state.special.cr4 ^= toggled
                                default: model.state.special.cr0 = paging
                                }
                            }
                        }
                    }
                }
            }
        }
        sweep.finish()
    }
}
