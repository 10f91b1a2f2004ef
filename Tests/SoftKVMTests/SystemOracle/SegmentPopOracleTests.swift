// POP of a segment register, and LDS, LES, LSS, LFS and LGS, with every type of descriptor at every level and both operand
// sizes. Intel SDM vol. 2, POP, LDS/LES/LFS/LGS/LSS; vol. 3, 6.8.3.

import KVMABI
import TestLimits
import Testing

extension Model {
    /// POP Sreg with an operand of `size` bytes.
    fileprivate mutating func pop(
        _ path: WritableKeyPath<kvm_sregs, kvm_segment>, _ size: Int, isLegacy: Bool
    ) throws(Fault) {
        if is64Bit, isLegacy { throw .invalidOpcode }
        var stack = stack
        let selector = UInt16(truncatingIfNeeded: try pop(size, from: &stack))
        // The stack as it was: the pointer's width is not the new segment's.
        try load(path, selector)
        commit(stack)
    }

    /// LDS and its kin with a pointer at DS:`address`, into RCX.
    fileprivate mutating func loadFar(
        _ path: WritableKeyPath<kvm_sregs, kvm_segment>, _ address: UInt64, _ size: Int, isLegacy: Bool
    ) throws(Fault) {
        if is64Bit, isLegacy { throw .invalidOpcode }
        let offset = size == 2 ? UInt64(read(address, as: UInt16.self)) : UInt64(read(address, as: UInt32.self))
        try load(path, read(address + UInt64(size)))
        state.general.rcx = size == 2 ? state.general.rcx & ~0xFFFF | offset : offset
    }
}

@Suite(.within(minutes: 20, long: 120)) struct SegmentPopOracleTests {
    private static let levels: [(CaseMode, Int)] = SegmentLoadOracleTests.levels + [(.real, 0), (.v86, 3)]

    private struct Register {
        let name: String
        let path: WritableKeyPath<kvm_sregs, kvm_segment>
        let pop: [UInt8]
        /// LDS, LES, LSS, LFS or LGS of RCX from [BX], [EDI] or [RDI].
        let load: [UInt8]
        /// 64-bit mode doesn't have POP, and LDS and LES are VEX prefixes there.
        var popIsLegacy: Bool { pop.count == 1 }
        var loadIsLegacy: Bool { load.count == 2 }

        static var all: [Register] {
            [
                Register(name: "es", path: \.es, pop: [0x07], load: [0xC4, 0x0F]),
                Register(name: "ss", path: \.ss, pop: [0x17], load: [0x0F, 0xB2, 0x0F]),
                Register(name: "ds", path: \.ds, pop: [0x1F], load: [0xC5, 0x0F]),
                Register(name: "fs", path: \.fs, pop: [0x0F, 0xA1], load: [0x0F, 0xB4, 0x0F]),
                Register(name: "gs", path: \.gs, pop: [0x0F, 0xA9], load: [0x0F, 0xB5, 0x0F]),
            ]
        }
    }

    @Test(arguments: [false, true])
    func popsAndFarPointers(_ long: Bool) throws {
        let sweep = try Sweep("pop Sreg, lds and its kin, \(long ? "IA-32e" : "legacy")", long: long, share: 48)
        for (mode, cpl) in SegmentPopOracleTests.levels where mode.isLong == long {
            for register in Register.all {
                for selector in SelectorCase.all {
                    for prefixed in [false, true] { try check(sweep, mode, cpl, register, selector, prefixed) }
                }
            }
        }
        sweep.finish()
    }

    private func check(
        _ sweep: Sweep, _ mode: CaseMode, _ cpl: Int, _ register: Register, _ selector: SelectorCase, _ prefixed: Bool
    ) throws {
        let prefix: [UInt8] = prefixed ? [0x66] : []
        let narrow = (mode.operandSize == 2) != prefixed
        let path = register.path
        let title =
            "CPL \(cpl), \(register.name), \(String(selector.selector, radix: 16)), \(selector.title)\(prefixed ? ", 66" : "")"
        let size = narrow ? 2 : mode == .long ? 8 : 4
        var pop = selector.setup(mode, cpl: cpl, prefix + register.pop)
        pop.putFrame([0xABCD_0000_0000 | UInt64(selector.selector)], size: size)
        try sweep.check(pop, "pop, " + title) { (model: inout Model) throws(Fault) in
            try model.pop(path, size, isLegacy: register.popIsLegacy)
        }
        // VEX with a prefix before it, or a table of instructions behind it, is the user-level oracle's.
        if mode == .long, register.loadIsLegacy { return }
        var load = selector.setup(mode, cpl: cpl, prefix + register.load)
        (load.state.general.rbx, load.state.general.rdi) = (Layout.data, Layout.data)
        load.state.general.rcx = 0xFFFF_FFFF
        load.put(UInt32(0x8765_4321), at: Layout.data)
        load.put(selector.selector, at: Layout.data + (narrow ? 2 : 4))
        try sweep.check(load, "far pointer, " + title) { (model: inout Model) throws(Fault) in
            try model.loadFar(path, Layout.data, narrow ? 2 : 4, isLegacy: register.loadIsLegacy)
        }
    }

    /// At the stack's end: what is popped lies within SS's limit, or across it.
    @Test func popsAtTheLimit() throws {
        let sweep = try Sweep("pop Sreg at the stack's limit", long: false)
        for (mode, cpl) in SegmentPopOracleTests.levels where !mode.isLong && mode != .v86 {
            for register in Register.all {
                for prefixed in [false, true] {
                    for missing in UInt32(0)..<6 {
                        let narrow = (mode.operandSize == 2) != prefixed
                        let size = narrow ? 2 : 4
                        var setup = CaseSetup(mode, cpl: cpl, (prefixed ? [0x66] : []) + register.pop)
                        setup.putFrame([UInt64(mode == .real ? 0x40 : setup.state.special.ss.selector)], size: size)
                        setup.state.special.ss.limit = UInt32(setup.state.general.rsp) + 5 - missing
                        setup.state.special.ss.g = 0
                        // A wide POP reads the selector alone, or four bytes: vol. 2, PUSH, says so of its stores only.
                        let isOpen = size == 4 && (2..<4).contains(6 - missing)
                        // #SS would find no stack either, but a level's own.
                        if isOpen || (6 - missing < size && cpl == 0) { continue }
                        try sweep.check(setup, "CPL \(cpl), \(register.name), \(missing) short, size \(size)") {
                            (model: inout Model) throws(Fault) in
                            try model.pop(register.path, size, isLegacy: false)
                        }
                    }
                }
            }
        }
        sweep.finish()
    }
}
