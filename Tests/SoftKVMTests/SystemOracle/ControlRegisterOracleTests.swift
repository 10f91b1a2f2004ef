// CR0, CR3, CR4, CR8, EFER and the debug registers written with each bit changed, alone and in pairs, in every mode: what is
// refused, and the mode that follows. Intel SDM vol. 2, MOV (control registers), MOV (debug registers), LMSW, CLTS, WRMSR;
// vol. 3, 2.5, 4.1.2, 9.8.5, 17.2.

import KVM
import KVMABI
import TestLimits
import Testing

extension Model {
    /// Writes of CR0, with the checks of vol. 2, MOV (control registers), "Protected Mode Exceptions" and on.
    mutating func writeCR0(_ value: UInt64) throws(Fault) {
        let old = state.special.cr0
        guard value >> 32 == 0 else { throw .generalProtection }
        // Reserved bits are ignored, ET reads as 1.
        let new = value & 0xE005_003F | 0x10
        if new & 1 << 31 != 0, new & 1 == 0 { throw .generalProtection }
        if new & 1 << 29 != 0, new & 1 << 30 == 0 { throw .generalProtection }
        let paging = new & 1 << 31 != 0
        if paging, old & 1 << 31 == 0 {
            if state.special.efer & 1 << 8 != 0 {
                guard state.special.cr4 & 0x20 != 0, state.special.cs.l == 0, state.special.tr.type & 8 != 0 else {
                    throw .generalProtection
                }
                state.special.efer |= 1 << 10
            }
        } else if !paging, old & 1 << 31 != 0 {
            if is64Bit || state.special.cr4 & 1 << 17 != 0 { throw .generalProtection }
            state.special.efer &= ~(1 << 10)
        }
        state.special.cr0 = new
        // CPL is kept where SS's DPL is; in real-address mode it is 0.
    }

    mutating func writeCR4(_ value: UInt64, supported: UInt64) throws(Fault) {
        let old = state.special.cr4
        guard value & ~supported == 0 else { throw .generalProtection }
        if isLongMode, value & 0x20 == 0 { throw .generalProtection }
        if value & ~old & 1 << 17 != 0 {
            guard isLongMode, state.special.cr3 & 0xFFF == 0 else { throw .generalProtection }
        }
        state.special.cr4 = value
    }

    mutating func writeEFER(_ value: UInt64, supported: UInt64) throws(Fault) {
        guard value & ~supported == 0 else { throw .generalProtection }
        let old = state.special.efer
        if state.special.cr0 & 1 << 31 != 0, (value ^ old) & 1 << 8 != 0 { throw .generalProtection }
        state.special.efer = value & ~(1 << 10) | old & 1 << 10
    }

    /// The debug register that a MOV names. Vol. 2, MOV (debug registers).
    private mutating func debugRegister(_ number: Int) throws(Fault) -> Int {
        guard cpl == 0 else { throw .generalProtection }
        if number == 4 || number == 5, state.special.cr4 & 8 != 0 { throw .invalidOpcode }
        if state.debug.dr7 & 1 << 13 != 0 { throw Fault(vector: 1, code: nil) }
        return number == 4 ? 6 : number == 5 ? 7 : number
    }

    mutating func writeDR(_ number: Int, _ value: UInt64) throws(Fault) {
        let value = is64Bit ? value : value & 0xFFFF_FFFF
        switch try debugRegister(number) {
        case 0: state.debug.db.0 = value
        case 1: state.debug.db.1 = value
        case 2: state.debug.db.2 = value
        case 3: state.debug.db.3 = value
        case 6:
            guard value >> 32 == 0 else { throw .generalProtection }
            state.debug.dr6 = value & 0xE00F | 0xFFFF_0FF0
        default:
            guard value >> 32 == 0 else { throw .generalProtection }
            state.debug.dr7 = value & 0xFFFF_23FF | 0x400
        }
    }

    mutating func readDR(_ number: Int) throws(Fault) {
        let value =
            switch try debugRegister(number) {
            case 0: state.debug.db.0
            case 1: state.debug.db.1
            case 2: state.debug.db.2
            case 3: state.debug.db.3
            case 6: state.debug.dr6
            default: state.debug.dr7
            }
        state.general.rbx = is64Bit ? value : value & 0xFFFF_FFFF
    }
}

@Suite(.within(minutes: 20, long: 120)) struct ControlRegisterOracleTests {
    /// MOV leaves the status flags undefined.
    private static let status: UInt64 = 0x8D5
    private static let levels: [(CaseMode, Int)] = [
        (.real, 0), (.v86, 3), (.protected32, 0), (.protected32, 1), (.protected32, 3), (.protected16, 0),
        (.compatibility, 0), (.compatibility, 3), (.long, 0), (.long, 3),
    ]

    /// CR4's bits that the CPUID both hypervisors are given offers.
    private static let supportedCR4: UInt64 = {
        let entries = (try? OracleMachine.cpuid()) ?? []
        let basic = entries.first { $0.function == 1 }?.ecx ?? 0
        let seven = entries.first { $0.function == 7 && $0.index == 0 }
        var bits: UInt64 = 0x7FF
        if basic & 1 << 17 != 0 { bits |= 1 << 17 }
        if basic & 1 << 26 != 0 { bits |= 1 << 18 }
        let (low, high) = (seven?.ebx ?? 0, seven?.ecx ?? 0)
        if high & 1 << 2 != 0 { bits |= 1 << 11 }
        if low & 1 != 0 { bits |= 1 << 16 }
        if low & 1 << 7 != 0 { bits |= 1 << 20 }
        if low & 1 << 20 != 0 { bits |= 1 << 21 }
        if high & 1 << 3 != 0 { bits |= 1 << 22 }
        return bits
    }()

    private static let supportedEFER: UInt64 = {
        let extended = (try? OracleMachine.cpuid())?.first { $0.function == 0x8000_0001 }
        return 0xD01 | ((extended?.edx ?? 0) & 1 << 25 != 0 ? 1 << 14 : 0)
    }()

    /// Tables that serve the paging mode that CR0, CR4 and EFER would make.
    private static func pagingBase(cr4: UInt64, efer: UInt64) -> UInt64 {
        cr4 & 0x20 == 0 ? Layout.directory32 : efer & 1 << 8 != 0 ? Layout.pageTables : Layout.pointers
    }

    private static let changes: [UInt64] = {
        var changes: [UInt64] = [0]
        for bit in UInt64(0)..<64 { changes.append(1 << bit) }
        for (one, other) in [
            (0, 31), (29, 30), (5, 31), (8, 5), (4, 5), (7, 5), (16, 31), (30, 31), (17, 5), (20, 21), (10, 8),
        ] {
            changes.append(1 << UInt64(one) | 1 << UInt64(other))
        }
        return changes
    }()

    @Test(arguments: [false, true])
    func movToCR0(_ long: Bool) throws {
        let sweep = try Sweep("mov cr0, \(long ? "IA-32e" : "legacy")", long: long)
        for (mode, cpl) in ControlRegisterOracleTests.levels where mode.isLong == long {
            for change in ControlRegisterOracleTests.changes where mode == .long || change >> 32 == 0 {
                for efer in mode.isLong ? [UInt64(0xD00)] : [0, 0x100, 0x800] {
                    for cr4 in mode.isLong ? [UInt64(0x20), 0x2_0020] : [0, 0x10, 0x20, 0x30] {
                        for cr3 in [Layout.pageTables, Layout.directory32, Layout.pointers] {
                            var setup = CaseSetup(mode, cpl: cpl, [0x0F, 0x22, 0xC3])
                            if !mode.isLong {
                                setup.state.special.cr3 = cr3
                            } else if cr3 != Layout.pageTables {
                                continue
                            }
                            setup.state.special.efer = efer
                            setup.state.special.cr4 = cr4
                            setup.undefinedFlags = ControlRegisterOracleTests.status
                            let value = setup.state.special.cr0 ^ change
                            setup.state.general.rbx = value
                            // Tables for another mode would end the case anywhere.
                            let fits = ControlRegisterOracleTests.pagingBase(cr4: cr4, efer: efer) == cr3
                            if value & 1 << 31 != 0, value & 1 != 0, cpl == 0, !fits { continue }
                            // Real-address mode with an IDT of protected mode, or the other way, is no case either.
                            try sweep.check(
                                setup,
                                "CPL \(cpl), EFER \(String(efer, radix: 16)), CR4 \(String(cr4, radix: 16)), mov cr0, \(String(value, radix: 16))"
                            ) { (model: inout Model) throws(Fault) in
                                guard model.cpl == 0 else { throw .generalProtection }
                                try model.writeCR0(value)
                            }
                        }
                    }
                }
            }
        }
        sweep.finish()
    }

    @Test(arguments: [false, true])
    func movToCR4(_ long: Bool) throws {
        let sweep = try Sweep("mov cr4, \(long ? "IA-32e" : "legacy")", long: long)
        let supported = ControlRegisterOracleTests.supportedCR4
        for (mode, cpl) in ControlRegisterOracleTests.levels where mode.isLong == long {
            for change in ControlRegisterOracleTests.changes where mode == .long || change >> 32 == 0 {
                for old in mode.isLong ? [UInt64(0x20), 0xA0] : [0, 0x20, 0x10] {
                    for pcid in mode.isLong ? [UInt64(0), 1] : [0] {
                        var setup = CaseSetup(mode, cpl: cpl, [0x0F, 0x22, 0xE3])
                        setup.state.special.cr4 = old
                        setup.state.special.cr3 |= pcid << 3
                        setup.undefinedFlags = ControlRegisterOracleTests.status
                        setup.state.general.rbx = old ^ change
                        // The supervisor's own pages are user pages here.
                        if mode.isLong, (old ^ change) & 3 << 20 != 0 { continue }
                        try sweep.check(
                            setup, "CPL \(cpl), mov cr4, \(String(old ^ change, radix: 16)), CR3 \(pcid << 3)"
                        ) {
                            (model: inout Model) throws(Fault) in
                            guard model.cpl == 0 else { throw .generalProtection }
                            try model.writeCR4(old ^ change, supported: supported)
                        }
                    }
                }
            }
        }
        sweep.finish()
    }

    @Test(arguments: [false, true])
    func wrmsrToEFER(_ long: Bool) throws {
        let sweep = try Sweep("wrmsr EFER, \(long ? "IA-32e" : "legacy")", long: long)
        let supported = ControlRegisterOracleTests.supportedEFER
        for (mode, cpl) in ControlRegisterOracleTests.levels where mode.isLong == long {
            for change in ControlRegisterOracleTests.changes {
                for old in mode.isLong ? [UInt64(0xD00), 0x500] : [0, 0x100, 0x801] {
                    var setup = CaseSetup(mode, cpl: cpl, [0x0F, 0x30])
                    setup.state.special.efer = old
                    let value = old ^ change
                    setup.state.general.rcx = 0xC000_0080
                    setup.state.general.rax = value & 0xFFFF_FFFF
                    setup.state.general.rdx = value >> 32
                    try sweep.check(setup, "CPL \(cpl), EFER \(String(old, radix: 16)) to \(String(value, radix: 16))")
                    {
                        (model: inout Model) throws(Fault) in
                        guard model.cpl == 0 else { throw .generalProtection }
                        try model.writeEFER(value, supported: supported)
                    }
                }
            }
        }
        sweep.finish()
    }

    @Test(arguments: [false, true])
    func movToCR3AndCR8(_ long: Bool) throws {
        let sweep = try Sweep("mov cr3 and cr8, \(long ? "IA-32e" : "legacy")", long: long)
        let entries = try OracleMachine.cpuid()
        let width = UInt64((entries.first { $0.function == 0x8000_0008 }?.eax ?? 36) & 0xFF)
        for (mode, cpl) in ControlRegisterOracleTests.levels where mode.isLong == long {
            for bit in UInt64(0)..<64 where mode == .long || bit < 32 {
                for pcide in mode == .long ? [false, true] : [false] {
                    // A table elsewhere would end the case anywhere.
                    if mode.isLong, (12..<width).contains(bit), cpl == 0 { continue }
                    var setup = CaseSetup(mode, cpl: cpl, [0x0F, 0x22, 0xDB])
                    if pcide { setup.state.special.cr4 |= 1 << 17 }
                    let value = setup.state.special.cr3 ^ 1 << bit
                    setup.state.general.rbx = value
                    setup.undefinedFlags = ControlRegisterOracleTests.status
                    try sweep.check(setup, "CPL \(cpl), PCIDE \(pcide), mov cr3, bit \(bit)") {
                        (model: inout Model) throws(Fault) in
                        guard model.cpl == 0 else { throw .generalProtection }
                        let kept = pcide ? value & ~(1 << 63) : value
                        if model.isLongMode, kept >> width != 0 { throw .generalProtection }
                        model.state.special.cr3 = kept
                    }
                }
                if mode != .long { continue }
                var setup = CaseSetup(mode, cpl: cpl, [0x44, 0x0F, 0x22, 0xC3])
                setup.state.general.rbx = 1 << bit
                setup.undefinedFlags = ControlRegisterOracleTests.status
                try sweep.check(setup, "CPL \(cpl), mov cr8, bit \(bit)") { (model: inout Model) throws(Fault) in
                    guard model.cpl == 0, bit < 4 else { throw .generalProtection }
                    model.state.special.cr8 = 1 << bit
                }
            }
        }
        sweep.finish()
    }

    @Test(arguments: [false, true])
    func lmswAndCLTS(_ long: Bool) throws {
        let sweep = try Sweep("lmsw, clts, smsw, \(long ? "IA-32e" : "legacy")", long: long)
        for (mode, cpl) in ControlRegisterOracleTests.levels where mode.isLong == long {
            for old in UInt64(0)..<8 {
                for value in UInt64(0)..<32 {
                    var setup = CaseSetup(mode, cpl: cpl, [0x0F, 0x01, 0xF3])
                    setup.state.special.cr0 |= old << 1
                    setup.state.general.rbx = value | 0xFFE0
                    try sweep.check(setup, "CPL \(cpl), lmsw \(value)") { (model: inout Model) throws(Fault) in
                        guard model.cpl == 0 else { throw .generalProtection }
                        // PE can't be cleared.
                        try model.writeCR0(model.state.special.cr0 & ~0xE | value & 0xF)
                    }
                }
                var setup = CaseSetup(mode, cpl: cpl, [0x0F, 0x06])
                setup.state.special.cr0 |= old << 1
                try sweep.check(setup, "CPL \(cpl), clts") { (model: inout Model) throws(Fault) in
                    guard model.cpl == 0 else { throw .generalProtection }
                    model.state.special.cr0 &= ~8
                }
            }
        }
        sweep.finish()
    }

    @Test(arguments: [false, true])
    func debugRegisters(_ long: Bool) throws {
        let sweep = try Sweep("mov dr, \(long ? "IA-32e" : "legacy")", long: long)
        for (mode, cpl) in ControlRegisterOracleTests.levels where mode.isLong == long {
            for number in 0..<8 {
                for de in [false, true] {
                    for bit in UInt64(0)..<64 where mode == .long || bit < 32 {
                        // Breakpoints that would be hit have a file of their own, and so has GD.
                        if number == 7 || number == 5, bit < 8 || bit == 13 { continue }
                        var setup = CaseSetup(mode, cpl: cpl, [0x0F, 0x23, 0xC3 | UInt8(number) << 3])
                        if de { setup.state.special.cr4 |= 8 }
                        setup.state.general.rbx = 1 << bit
                        setup.undefinedFlags = ControlRegisterOracleTests.status
                        try sweep.check(setup, "CPL \(cpl), DE \(de), mov dr\(number), bit \(bit)") {
                            (model: inout Model) throws(Fault) in
                            try model.writeDR(number, 1 << bit)
                        }
                    }
                    var setup = CaseSetup(mode, cpl: cpl, [0x0F, 0x21, 0xC3 | UInt8(number) << 3])
                    if de { setup.state.special.cr4 |= 8 }
                    setup.state.debug.db = (0x1234_5678_9ABC, 2, 3, 0xFFFF_FFFF_FFFF_FFFF)
                    setup.undefinedFlags = ControlRegisterOracleTests.status
                    try sweep.check(setup, "CPL \(cpl), DE \(de), mov from dr\(number)") {
                        (model: inout Model) throws(Fault) in
                        try model.readDR(number)
                    }
                }
            }
        }
        sweep.finish()
    }
}
