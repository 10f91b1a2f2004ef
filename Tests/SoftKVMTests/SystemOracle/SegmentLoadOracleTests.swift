// Segment registers, LDTR and TR loaded with every type of descriptor at every level, and what LAR, LSL, VERR, VERW and ARPL
// say of it. Intel SDM vol. 2, MOV, POP, LDS, LLDT, LTR, LAR, LSL, VERR, ARPL; vol. 3, 3.4.5 and 5.5 to 5.8.

import KVMABI
import TestLimits
import Testing

/// A selector and the descriptor that it names.
struct SelectorCase {
    let selector: UInt16
    let descriptor: UInt64?
    let title: String
    /// The last byte of the descriptor that lies within its table's limit; nil: all do.
    var last: UInt16?

    /// Every type, P and DPL × RPL in the GDT; a share of it in the LDT; null, beyond the limits, across them.
    static let all: [SelectorCase] = {
        var cases: [SelectorCase] = []
        for access in UInt64(0)..<256 {
            for rpl in UInt16(0)..<4 {
                for base in [Selectors.slot, Selectors.local] where base == Selectors.slot || access & 0x81 == 0x80 {
                    let flags: UInt64 = access & 0x18 == 0x18 ? 0x4 : 0x5
                    let value = OracleDescriptor.value(access, flags)
                    cases.append(
                        SelectorCase(
                            selector: base | rpl, descriptor: value, title: "access \(String(access, radix: 16))"))
                }
            }
        }
        for rpl in UInt16(0)..<4 {
            for (selector, title) in [
                (0, "null"), (4, "LDT's first"), (Selectors.limit + 1, "beyond the GDT"),
                (0xFFF8, "far beyond the GDT"),
                (Selectors.localLimit + 1 | 4, "beyond the LDT"),
            ] as [(UInt16, String)] {
                cases.append(SelectorCase(selector: selector | rpl, descriptor: nil, title: title))
            }
            for access in [0x93, 0xF3, 0xFB] as [UInt64] {
                for base in [Selectors.slot, Selectors.local] {
                    for last in [0, 6, 7] as [UInt16] {
                        cases.append(
                            SelectorCase(
                                selector: base | rpl, descriptor: OracleDescriptor.value(access, 0x4),
                                title: "access \(String(access, radix: 16)) up to byte \(last)", last: last))
                    }
                }
            }
        }
        return cases
    }()

    func setup(_ mode: CaseMode, cpl: Int, _ code: [UInt8]) -> CaseSetup {
        var setup = CaseSetup(mode, cpl: cpl, code)
        if let descriptor { setup.putDescriptor(selector, descriptor, upper: selector & 4 == 0 ? 0 : nil) }
        setup.state.general.rax = 0xFFFF_0000 | UInt64(selector)
        if let last {
            let limit = selector & 0xFFF8 + last
            if selector & 4 == 0 {
                setup.state.special.gdt.limit = limit
            } else {
                setup.state.special.ldt.limit = UInt32(limit)
            }
        }
        return setup
    }
}

enum OracleDescriptor {
    /// A segment whose base and limit can be told from all others'.
    static func value(_ access: UInt64, _ flags: UInt64) -> UInt64 {
        descriptor(base: 0x12_3000 & 0x1F000, limit: 0x4567, access: access, flags: flags)
    }
}

@Suite(.within(minutes: 20, long: 120)) struct SegmentLoadOracleTests {
    static let levels: [(CaseMode, Int)] = [
        (.protected32, 0), (.protected32, 1), (.protected32, 2), (.protected32, 3), (.protected16, 0),
        (.protected16, 3),
        (.long, 0), (.long, 1), (.long, 2), (.long, 3), (.compatibility, 0), (.compatibility, 3),
    ]

    private static let registers: [(String, any WritableKeyPath<kvm_sregs, kvm_segment> & Sendable, UInt8)] = [
        ("es", \.es, 0), ("ss", \.ss, 2), ("ds", \.ds, 3), ("fs", \.fs, 4), ("gs", \.gs, 5),
    ]

    @Test(arguments: [false, true])
    func movToASegmentRegister(_ long: Bool) throws {
        let sweep = try Sweep("mov Sreg, \(long ? "IA-32e" : "legacy")", long: long, share: 4)
        for (mode, cpl) in SegmentLoadOracleTests.levels where mode.isLong == long {
            for (name, path, number) in SegmentLoadOracleTests.registers {
                for selector in SelectorCase.all {
                    let setup = selector.setup(mode, cpl: cpl, [0x8E, 0xC0 | number << 3])
                    try sweep.check(
                        setup, "CPL \(cpl), mov \(name), \(String(selector.selector, radix: 16)), \(selector.title)"
                    ) { (model: inout Model) throws(Fault) in
                        try model.load(path, selector.selector)
                    }
                }
            }
        }
        sweep.finish()
    }

    @Test(arguments: [false, true])
    func lldtAndLTR(_ long: Bool) throws {
        let sweep = try Sweep("lldt, ltr, \(long ? "IA-32e" : "legacy")", long: long)
        for (mode, cpl) in SegmentLoadOracleTests.levels where mode.isLong == long {
            for selector in SelectorCase.all {
                let title = "CPL \(cpl), \(String(selector.selector, radix: 16)), \(selector.title)"
                let table = selector.setup(mode, cpl: cpl, [0x0F, 0x00, 0xD0])
                try sweep.check(table, "lldt, " + title) { (model: inout Model) throws(Fault) in
                    try model.lldt(selector.selector)
                }
                let task = selector.setup(mode, cpl: cpl, [0x0F, 0x00, 0xD8])
                try sweep.check(task, "ltr, " + title) { (model: inout Model) throws(Fault) in
                    try model.ltr(selector.selector)
                }
            }
        }
        if long { try bases(sweep) }
        sweep.finish()
    }

    /// The upper half of a system descriptor: bases on both sides of the canonical range, and each bit that is reserved.
    private func bases(_ sweep: Sweep) throws {
        for mode in [CaseMode.long, .compatibility] {
            for bit in UInt64(0)..<64 {
                for (type, register) in [(UInt64(0x82), UInt8(0xD0)), (0x89, 0xD8)] {
                    for upper in [UInt64(1) << bit, bit < 32 ? ~UInt64(0) << bit & 0xFFFF_FFFF : 0] where upper != 0 {
                        var setup = CaseSetup(mode, [0x0F, 0x00, register])
                        let value = descriptor(base: 0x3000, limit: 0x8F, access: type, flags: 0)
                        setup.putDescriptor(Selectors.slot, value, upper: upper)
                        setup.state.general.rax = UInt64(Selectors.slot)
                        // Only LTR's page documents the zero type field, and only the base is looked at with LLDT.
                        if register == 0xD0, upper >> 32 != 0 { continue }
                        // The map of ports is not to be looked for elsewhere.
                        try sweep.check(setup, "upper half \(String(upper, radix: 16))") {
                            (model: inout Model) throws(Fault) in
                            if register == 0xD0 {
                                try model.lldt(Selectors.slot)
                            } else {
                                try model.ltr(Selectors.slot)
                            }
                        }
                    }
                }
            }
        }
    }

    @Test(arguments: [false, true])
    func questions(_ long: Bool) throws {
        let sweep = try Sweep("lar, lsl, verr, verw, arpl, \(long ? "IA-32e" : "legacy")", long: long, share: 2)
        for (mode, cpl) in SegmentLoadOracleTests.levels where mode.isLong == long {
            for selector in SelectorCase.all {
                let title = "CPL \(cpl), \(String(selector.selector, radix: 16)), \(selector.title)"
                func check(
                    _ name: String, _ code: [UInt8], _ instruction: (inout Model) throws(Fault) -> Void
                ) throws {
                    var setup = selector.setup(mode, cpl: cpl, code)
                    setup.state.general.rcx = 0x1234_5678
                    setup.state.general.rflags |= 0x0C5
                    try sweep.check(setup, name + ", " + title, instruction)
                }
                let size = mode.operandSize
                try check("lar", [0x0F, 0x02, 0xC8]) { (model: inout Model) throws(Fault) in
                    try model.lar(selector.selector, size: size)
                }
                try check("lsl", [0x0F, 0x03, 0xC8]) { (model: inout Model) throws(Fault) in
                    try model.lsl(selector.selector, size: size)
                }
                try check("verr", [0x0F, 0x00, 0xE0]) { (model: inout Model) throws(Fault) in
                    try model.verify(selector.selector, write: false)
                }
                try check("verw", [0x0F, 0x00, 0xE8]) { (model: inout Model) throws(Fault) in
                    try model.verify(selector.selector, write: true)
                }
            }
            // In 64-bit mode the opcode is MOVSXD.
            if mode == .long { continue }
            for value in UInt64(0)..<16 {
                var setup = CaseSetup(mode, cpl: cpl, [0x63, 0xD8])
                setup.state.general.rax = 0x50 | value & 3
                setup.state.general.rbx = 0x60 | value >> 2
                try sweep.check(setup, "CPL \(cpl), arpl \(value)") { (model: inout Model) throws(Fault) in
                    try model.arpl()
                }
            }
        }
        sweep.finish()
    }
}
