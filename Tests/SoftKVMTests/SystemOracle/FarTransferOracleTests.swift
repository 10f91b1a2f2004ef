// Far JMP, CALL and RET through code segments of each kind, call gates and task gates, at every combination of levels, in
// every mode. Intel SDM vol. 2, JMP, CALL, RET; vol. 3, 5.8.

import KVMABI
import TestLimits
import Testing

@Suite(.within(minutes: 20, long: 120)) struct FarTransferOracleTests {
    static let levels: [(CaseMode, Int)] = [
        (.protected32, 0), (.protected32, 1), (.protected32, 2), (.protected32, 3), (.protected16, 0),
        (.protected16, 3),
        (.compatibility, 0), (.compatibility, 1), (.compatibility, 3), (.long, 0), (.long, 1), (.long, 2), (.long, 3),
    ]

    /// A far JMP or CALL to `selector`, through memory where the mode has no direct form.
    static func setup(_ mode: CaseMode, cpl: Int, _ selector: UInt16, call: Bool) -> CaseSetup {
        if mode == .long {
            // jmp/call far [rbx]
            var setup = CaseSetup(mode, cpl: cpl, [0xFF, call ? 0x1B : 0x2B])
            setup.state.general.rbx = Layout.data
            setup.put(UInt32(Layout.target), at: Layout.data)
            setup.put(selector, at: Layout.data + 4)
            return setup
        }
        let offset = Layout.target
        var code: [UInt8] = [call ? 0x9A : 0xEA, UInt8(offset & 0xFF), UInt8(offset >> 8)]
        if mode.operandSize == 4 { code += [0, 0] }
        return CaseSetup(mode, cpl: cpl, code + [UInt8(selector & 0xFF), UInt8(selector >> 8)])
    }

    @Test(arguments: [false, true])
    func toEachKindOfSegment(_ long: Bool) throws {
        let sweep = try Sweep("far jmp and call to a segment, \(long ? "IA-32e" : "legacy")", long: long, share: 4)
        for (mode, cpl) in FarTransferOracleTests.levels where mode.isLong == long {
            for call in [false, true] {
                for access in UInt64(0)..<256 where access & 0x11 != 0 || access & 0x0E == 0 {
                    for rpl in UInt16(0)..<4 {
                        for flags in [UInt64(0x4), 0x2, 0x0, 0x6] where flags & 2 == 0 || access & 0x18 == 0x18 {
                            // System types have sweeps of their own.
                            if access & 0x10 == 0, [1, 3, 4, 5, 9, 11, 12].contains(access & 15) { continue }
                            let selector = Selectors.slot | rpl
                            var setup = FarTransferOracleTests.setup(mode, cpl: cpl, selector, call: call)
                            let value = descriptor(limit: 0xFFFF, access: access, flags: flags)
                            setup.putDescriptor(selector, value, upper: 0)
                            try sweep.check(
                                setup,
                                "CPL \(cpl), \(call ? "call" : "jmp"), RPL \(rpl), access \(String(access, radix: 16)), flags \(flags)"
                            ) { (model: inout Model) throws(Fault) in
                                try model.farTransfer(selector, Layout.target, call: call ? mode.operandSize : nil)
                            }
                        }
                    }
                }
                for selector in [UInt16(0), 3, 4, Selectors.limit + 1, Selectors.localLimit + 1 | 4, Selectors.local] {
                    let setup = FarTransferOracleTests.setup(mode, cpl: cpl, selector, call: call)
                    try sweep.check(setup, "CPL \(cpl), \(call ? "call" : "jmp"), \(selector)") {
                        (model: inout Model) throws(Fault) in
                        try model.farTransfer(selector, Layout.target, call: call ? mode.operandSize : nil)
                    }
                }
            }
        }
        sweep.finish()
    }

    /// The entry point beyond the segment's limit, or not canonical.
    @Test func beyondTheLimit() throws {
        let sweep = try Sweep("far jmp and call beyond the limit", long: false)
        for (mode, cpl) in [(CaseMode.protected32, 0), (.protected32, 3), (.protected16, 0), (.real, 0), (.v86, 3)] {
            for limit in [Layout.target - 2, Layout.target - 1, Layout.target, 0xFFFE] {
                for call in [false, true] {
                    let selector: UInt16 = mode == .real || mode == .v86 ? 0 : Selectors.slot | UInt16(cpl)
                    var setup = FarTransferOracleTests.setup(mode, cpl: cpl, selector, call: call)
                    let access: UInt64 = 0x9A | UInt64(cpl) << 5
                    setup.putDescriptor(Selectors.slot, descriptor(limit: limit + 1, access: access, flags: 4))
                    if selector == 0, mode == .real { setup.state.special.cs.limit = UInt32(limit) }
                    try sweep.check(setup, "\(call), limit \(limit)") { (model: inout Model) throws(Fault) in
                        try model.farTransfer(selector, Layout.target, call: call ? mode.operandSize : nil)
                    }
                }
            }
        }
        sweep.finish()
    }

    /// Call gates: the gate's type, P and DPL × its selector's RPL × the code segment's kind, level and presence.
    @Test(arguments: [false, true])
    func throughCallGates(_ long: Bool) throws {
        let sweep = try Sweep("call gates, \(long ? "IA-32e" : "legacy")", long: long, share: 6)
        for (mode, cpl) in FarTransferOracleTests.levels where mode.isLong == long {
            for call in [false, true] {
                for type in [UInt64(4), 12] {
                    for gateAccess in UInt64(0)..<8 {
                        for rpl in UInt16(0)..<4 {
                            for code in UInt64(0)..<32 {
                                try throughGate(sweep, mode, cpl, call, type, gateAccess, rpl, code)
                            }
                        }
                    }
                }
            }
        }
        sweep.finish()
    }

    private func throughGate(
        _ sweep: Sweep, _ mode: CaseMode, _ cpl: Int, _ call: Bool, _ type: UInt64, _ gateAccess: UInt64, _ rpl: UInt16,
        _ code: UInt64
    ) throws {
        let selector = Selectors.slot | rpl
        var setup = FarTransferOracleTests.setup(mode, cpl: cpl, selector, call: call)
        let access = type | (gateAccess & 4 != 0 ? 0x80 : 0) | (gateAccess & 3) << 5
        let count: UInt64 = mode.isLong ? 0 : code & 3
        let target = Selectors.slot2 | UInt16(code & 3)
        let entry = gate(target, Layout.target, access: access, count: count)
        setup.putDescriptor(selector, entry, upper: 0)
        // Four levels × conforming × present, and code or data.
        let isData = code == 31
        let codeAccess: UInt64 = (isData ? 0x12 : 0x1A) | (code & 3) << 5 | (code & 4) | (code & 8 != 0 ? 0 : 0x80)
        let flags: UInt64 = mode.isLong ? (code & 16 != 0 ? 0xC : 0xA) : code & 16 != 0 ? 0x0 : 0xC
        let limit: UInt64 = flags & 8 == 0 ? 0xFFFF : 0xFFFFF
        setup.putDescriptor(Selectors.slot2, descriptor(limit: limit, access: codeAccess, flags: flags))
        for offset in 0..<UInt64(8) {
            setup.put(UInt32(0x1111 * (offset + 1)), at: setup.state.general.rsp + offset * 4)
        }
        try sweep.check(
            setup,
            "CPL \(cpl), \(call ? "call" : "jmp"), RPL \(rpl), gate \(String(access, radix: 16)), code \(String(codeAccess, radix: 16))"
        ) { (model: inout Model) throws(Fault) in
            try model.farTransfer(selector, Layout.target, call: call ? mode.operandSize : nil)
        }
    }

    /// Call gates whose way to the stack or to the entry point is barred.
    @Test(arguments: [false, true])
    func badStacksBehindCallGates(_ long: Bool) throws {
        let sweep = try Sweep("stacks behind call gates, \(long ? "IA-32e" : "legacy")", long: long)
        for (mode, cpl) in FarTransferOracleTests.levels where mode.isLong == long && cpl > 0 {
            for level in 0..<cpl {
                for kind in 0..<StackTrouble.count {
                    let selector = Selectors.slot | UInt16(cpl)
                    var setup = FarTransferOracleTests.setup(mode, cpl: cpl, selector, call: true)
                    let target = Selectors.slot2 | UInt16(level)
                    let entry = gate(target, Layout.target, access: 0xEC, count: long ? 0 : 2)
                    setup.putDescriptor(selector, entry, upper: 0)
                    let access = 0x9A | UInt64(level) << 5
                    setup.putDescriptor(target, descriptor(access: access, flags: long ? 0xA : 0xC))
                    StackTrouble.make(kind, level: level, long: long, &setup)
                    try sweep.check(setup, "CPL \(cpl) to \(level), trouble \(kind)") {
                        (model: inout Model) throws(Fault) in
                        try model.farTransfer(selector, Layout.target, call: mode.operandSize)
                    }
                }
            }
        }
        sweep.finish()
    }

    // MARK: Returns

    @Test(arguments: [false, true])
    func returns(_ long: Bool) throws {
        let sweep = try Sweep("far ret, \(long ? "IA-32e" : "legacy")", long: long, share: 6)
        for (mode, cpl) in FarTransferOracleTests.levels where mode.isLong == long {
            for size in mode == .long ? [2, 4, 8] : [2, 4] {
                for code in UInt64(0)..<128 {
                    for rpl in UInt16(0)..<4 {
                        for stack in 0..<6 {
                            try returned(sweep, mode, cpl, size, code, rpl, stack)
                        }
                    }
                }
            }
        }
        sweep.finish()
    }

    /// DS, ES, FS and GS on the way to an outer level: data and code of every level, and null selectors of every RPL.
    @Test(arguments: [false, true])
    func dataSegmentsOnTheWayOut(_ long: Bool) throws {
        let sweep = try Sweep("data segments on the way out, \(long ? "IA-32e" : "legacy")", long: long)
        let modes: [(CaseMode, Int)] =
            long
            ? [(.compatibility, 0), (.compatibility, 3), (.long, 0)]
            : [(.protected32, 0), (.protected32, 1), (.protected32, 2), (.protected32, 3), (.protected16, 0)]
        for (mode, cpl) in modes {
            for isInterrupt in [false, true] {
                for level in cpl..<4 {
                    for kind in UInt16(0)..<16 {
                        try left(sweep, mode, cpl, level, kind, isInterrupt)
                    }
                }
            }
        }
        sweep.finish()
    }

    private func left(
        _ sweep: Sweep, _ mode: CaseMode, _ cpl: Int, _ level: Int, _ kind: UInt16, _ isInterrupt: Bool
    ) throws {
        let size = mode == .long ? 8 : mode.operandSize
        var setup = CaseSetup(mode, cpl: cpl, (size == 8 ? [0x48] : []) + [isInterrupt ? 0xCF : 0xCB])
        let code = Selectors.slot | UInt16(level)
        setup.putDescriptor(
            code, descriptor(access: 0x9B | UInt64(level) << 5, flags: mode == .long ? 0xA : 0xC))
        let stack = ReturnStack.make(0, UInt16(level), &setup)
        let rpl = kind & 3
        // Each register its own: null, data, code, conforming code.
        for (index, path) in [\kvm_sregs.ds, \.es, \.fs, \.gs].enumerated() {
            let segment: kvm_segment =
                switch (Int(kind >> 2) + index) & 3 {
                case 0: .null((rpl + UInt16(index)) & 3)
                case 1: kvm_segment(0x200 | rpl, descriptor(access: 0x93 | UInt64(rpl) << 5, flags: 0xC))
                case 2: kvm_segment(0x208 | rpl, descriptor(access: 0x9B | UInt64(rpl) << 5, flags: 0xC))
                default: kvm_segment(0x210 | rpl, descriptor(access: 0x9F | UInt64(rpl) << 5, flags: 0xC))
                }
            setup.state.special[keyPath: path] = segment
        }
        setup.putFrame(
            [Layout.target, UInt64(code)] + (isInterrupt ? [2] : []) + [Layout.stacks[3] - 0x40, UInt64(stack)],
            size: size)
        try sweep.check(setup, "CPL \(cpl) to \(level), \(isInterrupt ? "iret" : "far ret"), kind \(kind)") {
            (model: inout Model) throws(Fault) in
            if isInterrupt { try model.iret(size) } else { try model.farReturn(size, drop: 0) }
        }
    }

    private func returned(
        _ sweep: Sweep, _ mode: CaseMode, _ cpl: Int, _ size: Int, _ code: UInt64, _ rpl: UInt16, _ stack: Int
    ) throws {
        let drop: UInt64 = code & 1 == 0 ? 0 : 8
        let prefix: [UInt8] = size == 8 ? [0x48] : size == mode.operandSize ? [] : [0x66]
        var setup = CaseSetup(mode, cpl: cpl, prefix + (drop == 0 ? [0xCB] : [0xCA, UInt8(drop), 0]))
        let selector = Selectors.slot | rpl
        // DPL × conforming × present × code or data × size.
        let access = (code & 16 != 0 ? 0x12 : 0x1A) | (code >> 1 & 3) << 5 | (code & 8 != 0 ? 4 : 0) | 0x80
        let flags: UInt64 = mode.isLong && code & 32 != 0 ? 0xA : 0xC
        let value = descriptor(access: code & 64 != 0 && code & 8 == 0 ? access & ~0x80 : access, flags: flags)
        setup.putDescriptor(selector, value)
        let stackSelector = ReturnStack.make(stack, rpl, &setup)
        setup.putFrame(
            [Layout.target, UInt64(selector)] + (drop == 0 ? [] : [0x1111, 0x2222].prefix(size == 8 ? 1 : 8 / size))
                + (drop != 0 && size == 2 ? [0x3333, 0x4444] : []) + [Layout.stacks[3] - 0x40, UInt64(stackSelector)],
            size: size)
        try sweep.check(
            setup, "CPL \(cpl), size \(size), RPL \(rpl), access \(String(access, radix: 16)), stack \(stack)"
        ) { (model: inout Model) throws(Fault) in
            try model.farReturn(size, drop: drop)
        }
    }
}

extension CaseSetup {
    /// Puts a frame on the stack, its first element at the top.
    mutating func putFrame(_ values: [UInt64], size: Int) {
        for (place, value) in values.enumerated() {
            let address = state.special.ss.base + state.general.rsp + UInt64(place * size)
            switch size {
            case 2: put(UInt16(truncatingIfNeeded: value), at: address)
            case 4: put(UInt32(truncatingIfNeeded: value), at: address)
            default: put(value, at: address)
            }
        }
    }
}

/// The stack that a return to an outer level finds in its frame.
enum ReturnStack {
    /// 0: good; 1: null; 2: another RPL; 3: not present; 4: read-only; 5: beyond the table.
    static func make(_ kind: Int, _ rpl: UInt16, _ setup: inout CaseSetup) -> UInt16 {
        let good = Selectors.slot3 | rpl
        let access = UInt64(0x92) | UInt64(rpl) << 5
        func describe(_ access: UInt64) { setup.putDescriptor(good, descriptor(access: access, flags: 0xC)) }
        describe(access)
        switch kind {
        case 1: return rpl
        case 2: return good ^ 1
        case 3: describe(access & ~0x80)
        case 4: describe(access & ~2)
        case 5: return Selectors.limit + 1 | rpl
        default: break
        }
        return good
    }
}

/// What can be wrong with the stack that a TSS names for an inner level.
enum StackTrouble {
    static let count = 14

    static func make(_ kind: Int, level: Int, long: Bool, _ setup: inout CaseSetup) {
        let place = Layout.task + UInt64(level) * 8
        if long {
            switch kind {
            case 1: setup.put(UInt64(0x8000_0000_0000), at: place + 4)
            case 2: setup.state.special.tr.limit = UInt32(level) * 8 + 10
            case 3: setup.state.special.tr.limit = UInt32(level) * 8 + 11
            case 4: setup.put(UInt64(0x7FFF_FFFF_FFF8) + 0x10, at: place + 4)
            case 5: setup.put(UInt64(0x7C03), at: place + 4)
            default: break
            }
            return
        }
        let selector = Selectors.slot3 | UInt16(level)
        let access = UInt64(0x92) | UInt64(level) << 5
        setup.put(selector, at: place + 8)
        func describe(_ access: UInt64, limit: UInt64 = 0xFFFFF, flags: UInt64 = 0xC) {
            setup.putDescriptor(selector, descriptor(limit: limit, access: access, flags: flags))
        }
        describe(access)
        switch kind {
        case 1: setup.put(UInt16(level), at: place + 8)
        case 2: setup.put(selector ^ 1, at: place + 8)
        case 3: describe(access ^ 0x20)
        case 4: describe(access & ~0x80)
        case 5: describe(access & ~2)
        case 6: describe(access | 8)
        case 7: setup.put(Selectors.limit + 1 | UInt16(level), at: place + 8)
        case 8: setup.state.special.tr.limit = UInt32(level) * 8 + 8
        case 9: setup.state.special.tr.limit = UInt32(level) * 8 + 9
        case 10: describe(access, limit: Layout.stacks[level] - 0x11, flags: 4)
        case 11: describe(access | 4, limit: Layout.stacks[level] - 0x20, flags: 4)
        case 12: describe(access | 4, limit: Layout.stacks[level] - 0x8, flags: 4)
        case 13: describe(access, limit: 0xFFFF, flags: 0)
        default: break
        }
    }
}
