// SYSCALL, SYSRET, SYSENTER, SYSEXIT and SWAPGS with every kind of MSR value, in every mode and at every level.
// Intel SDM vol. 2; vol. 3, 5.8.7 and 5.8.8; where the vendors differ, AMD APM vol. 2, 6.1.

import KVM
import KVMABI
import TestLimits
import Testing

extension Model {
    private subscript(_ msr: CallMSR) -> UInt64 { state.msrs[msr.rawValue] }

    private mutating func setFlat(code: UInt16, stack: UInt16, level: UInt8, long: Bool) {
        let dpl = UInt64(level) << 5
        state.special.cs = kvm_segment(code, descriptor(access: 0x9B | dpl, flags: long ? 0xA : 0xC))
        state.special.ss = kvm_segment(stack, descriptor(access: 0x93 | dpl, flags: 0xC))
    }

    mutating func syscall(amd: Bool) throws(Fault) {
        guard state.special.efer & 1 != 0, !isReal, amd || is64Bit else { throw .invalidOpcode }
        let star = UInt16(truncatingIfNeeded: self[.star] >> 32)
        let next = state.general.rip
        if isLongMode {
            let flags = state.general.rflags & ~(1 << 16)
            state.general.rip = is64Bit ? self[.lstar] : self[.cstar]
            state.general.rcx = next
            state.general.r11 = flags
            state.general.rflags = flags & ~self[.fmask] | 2
            setFlat(code: star & 0xFFFC, stack: star &+ 8, level: 0, long: true)
        } else {
            state.general.rcx = next
            state.general.rip = self[.star] & 0xFFFF_FFFF
            state.general.rflags &= ~0x3_0200  // IF, RF, VM
            setFlat(code: star & 0xFFFC, stack: star &+ 8, level: 0, long: false)
        }
    }

    mutating func sysret(wide: Bool, amd: Bool) throws(Fault) {
        guard state.special.efer & 1 != 0, amd ? !isRealOrV86 : is64Bit else { throw .invalidOpcode }
        guard cpl == 0 else { throw .generalProtection }
        if wide, !Model.isCanonical(state.general.rcx) { throw .generalProtection }
        let star = UInt16(truncatingIfNeeded: self[.star] >> 48)
        state.general.rip = wide ? state.general.rcx : state.general.rcx & 0xFFFF_FFFF
        if isLongMode {
            state.general.rflags = state.general.r11 & 0x3C_7FD7 | 2
        } else {
            state.general.rflags |= 0x200
        }
        setFlat(code: (wide ? star &+ 16 : star) | 3, stack: (star &+ 8) | 3, level: 3, long: wide)
    }

    mutating func sysenter(amd: Bool) throws(Fault) {
        if isLongMode, amd { throw .invalidOpcode }
        let code = UInt16(truncatingIfNeeded: self[.sysenterCS]) & 0xFFFC
        guard !isReal, code != 0 else { throw .generalProtection }
        let isLong = isLongMode
        state.general.rflags &= ~0x3_0200
        state.general.rsp = isLong ? self[.sysenterESP] : self[.sysenterESP] & 0xFFFF_FFFF
        state.general.rip = isLong ? self[.sysenterEIP] : self[.sysenterEIP] & 0xFFFF_FFFF
        setFlat(code: code, stack: code &+ 8, level: 0, long: isLong)
    }

    mutating func sysexit(wide: Bool, amd: Bool) throws(Fault) {
        // A user's is #GP with AMD's processors, too: the host's own shows it (CPUOracleTests).
        if isLongMode, amd, cpl == 0 { throw .invalidOpcode }
        let base = UInt16(truncatingIfNeeded: self[.sysenterCS])
        guard !isReal, base & 0xFFFC != 0, cpl == 0 else { throw .generalProtection }
        let (ip, sp) = (state.general.rdx, state.general.rcx)
        if wide, !Model.isCanonical(ip) || !Model.isCanonical(sp) { throw .generalProtection }
        state.general.rip = wide ? ip : ip & 0xFFFF_FFFF
        state.general.rsp = wide ? sp : sp & 0xFFFF_FFFF
        let code = (base &+ (wide ? 32 : 16)) | 3
        setFlat(code: code, stack: code &+ 8, level: 3, long: wide)
    }

    mutating func swapgs() throws(Fault) {
        guard is64Bit else { throw .invalidOpcode }
        guard cpl == 0 else { throw .generalProtection }
        let base = state.special.gs.base
        state.special.gs.base = self[.kernelGSBase]
        state.msrs[CallMSR.kernelGSBase.rawValue] = base
    }
}

@Suite(.within(minutes: 20, long: 120)) struct SystemCallOracleTests {
    private static let levels: [(CaseMode, Int)] = [
        (.real, 0), (.v86, 3), (.protected32, 0), (.protected32, 3), (.protected16, 0), (.protected16, 3),
        (.protected32, 1),
        (.compatibility, 0), (.compatibility, 2), (.compatibility, 3), (.long, 0), (.long, 1), (.long, 3),
    ]

    private enum Instruction: CaseIterable {
        case syscall, sysret, sysretq, sysenter, sysexit, sysexitq, swapgs

        var code: [UInt8] {
            switch self {
            case .syscall: [0x0F, 0x05]
            case .sysret: [0x0F, 0x07]
            case .sysretq: [0x48, 0x0F, 0x07]
            case .sysenter: [0x0F, 0x34]
            case .sysexit: [0x0F, 0x35]
            case .sysexitq: [0x48, 0x0F, 0x35]
            case .swapgs: [0x0F, 0x01, 0xF8]
            }
        }
    }

    private static let selectors: [UInt16] = [0, 1, 3, 4, 8, 0xB, 0x10, 0x13, 0x68, 0xFFEF, 0xFFF8, 0xFFFF]
    private static let flags: [UInt64] = [0, 0x4_0200, 0x24_0CD5, 0x7000, 0x1_0000, 0x18_0000]

    @Test(arguments: [false, true])
    func transfers(_ long: Bool) throws {
        let sweep = try Sweep("system calls, \(long ? "IA-32e" : "legacy")", long: long, share: 2, msrs: true)
        for (mode, cpl) in SystemCallOracleTests.levels where mode.isLong == long {
            for instruction in Instruction.allCases {
                if mode != .long, instruction == .sysretq || instruction == .sysexitq { continue }
                for selector in SystemCallOracleTests.selectors {
                    for (place, flags) in SystemCallOracleTests.flags.enumerated() {
                        for enabled in [false, true] where enabled || place == 0 {
                            var setup = CaseSetup(mode, cpl: cpl, instruction.code)
                            SystemCallOracleTests.fill(&setup, selector, flags, sce: enabled)
                            try SystemCallOracleTests.run(
                                sweep, setup, instruction,
                                "CPL \(cpl), \(instruction), \(String(selector, radix: 16)), \(place)")
                        }
                    }
                }
            }
        }
        sweep.finish()
    }

    private static func fill(_ setup: inout CaseSetup, _ selector: UInt16, _ flags: UInt64, sce: Bool) {
        if sce { setup.state.special.efer |= 1 }
        setup.state.msrs[CallMSR.star.rawValue] = UInt64(selector) << 48 | UInt64(selector) << 32 | Layout.target
        setup.state.msrs[CallMSR.lstar.rawValue] = Layout.target
        setup.state.msrs[CallMSR.cstar.rawValue] = Layout.target
        setup.state.msrs[CallMSR.fmask.rawValue] = flags & 0x4_4F00 ^ 0x4_0100
        setup.state.msrs[CallMSR.kernelGSBase.rawValue] = 0xFFFF_8000_1234_5678
        setup.state.msrs[CallMSR.sysenterCS.rawValue] = UInt64(selector)
        setup.state.msrs[CallMSR.sysenterESP.rawValue] = Layout.stacks[1]
        setup.state.msrs[CallMSR.sysenterEIP.rawValue] = Layout.target
        setup.state.special.gs.base = setup.mode == .long ? 0x7FFF_1234_5000 : setup.state.special.gs.base
        setup.state.general.rcx = Layout.target
        setup.state.general.rdx = Layout.target
        setup.state.general.r11 = flags
        setup.state.general.rflags |= flags & 0x24_0ED5
    }

    private static func run(_ sweep: Sweep, _ setup: CaseSetup, _ instruction: Instruction, _ title: String) throws {
        let amd = OracleMachine.isAMD
        try sweep.check(setup, title) { (model: inout Model) throws(Fault) in
            switch instruction {
            case .syscall: try model.syscall(amd: amd)
            case .sysret: try model.sysret(wide: false, amd: amd)
            case .sysretq: try model.sysret(wide: true, amd: amd)
            case .sysenter: try model.sysenter(amd: amd)
            case .sysexit: try model.sysexit(wide: false, amd: amd)
            case .sysexitq: try model.sysexit(wide: true, amd: amd)
            case .swapgs: try model.swapgs()
            }
        }
    }

    /// Entry points and stacks on both sides of the canonical range.
    @Test func edgesOfTheAddressSpace() throws {
        let sweep = try Sweep("system calls to edges", long: true, msrs: true)
        for (mode, cpl) in [(CaseMode.long, 0), (.compatibility, 0)] {
            for instruction in [Instruction.sysretq, .sysexitq, .sysret, .sysexit] {
                if mode != .long, instruction == .sysretq || instruction == .sysexitq { continue }
                for bad in [
                    UInt64(0x8000_0000_0000), 0xFFFF_7FFF_FFFF_FFFF, 1 << 63, 0xFFFF_FFFF_0000_0000 | Layout.target,
                ] {
                    for which in 0..<3 {
                        var setup = CaseSetup(mode, cpl: cpl, instruction.code)
                        SystemCallOracleTests.fill(&setup, 0x68, 0, sce: true)
                        // A 64-bit return to a canonical address that holds nothing is no case.
                        let isWide = instruction == .sysretq || instruction == .sysexitq
                        if isWide, Model.isCanonical(bad) { continue }
                        if which != 1 { setup.state.general.rcx = bad & (isWide ? .max : 0xFFFF_FFFF_0000_FFFF) }
                        if which != 0 { setup.state.general.rdx = bad & (isWide ? .max : 0xFFFF_FFFF_0000_FFFF) }
                        if !isWide, setup.state.general.rcx & 0xFFFF != Layout.target { continue }
                        if !isWide, setup.state.general.rdx & 0xFFFF != Layout.target { continue }
                        try SystemCallOracleTests.run(
                            sweep, setup, instruction, "\(instruction), \(String(bad, radix: 16)), \(which)")
                    }
                }
            }
        }
        sweep.finish()
    }
}
