// INT n, INT3, INTO, INT1 and exceptions through interrupt, trap and task gates of every kind, good and bad, and IRET to every
// kind of place. Intel SDM vol. 2, INT n, IRET; vol. 3, 6.10 to 6.14, 20.2 and 20.3.

import KVMABI
import TestLimits
import Testing

@Suite(.within(minutes: 20, long: 120)) struct EventOracleTests {
    private static let levels: [(CaseMode, Int)] =
        FarTransferOracleTests.levels + [(.v86, 3)]

    private enum Source: CaseIterable {
        case int, int3, into, int1, undefined, segment

        func code(_ mode: CaseMode) -> [UInt8] {
            switch self {
            case .int: [0xCD, 0x40]
            case .int3: [0xCC]
            case .into: [0xCE]
            case .int1: [0xF1]
            case .undefined: [0x0F, 0x0B]
            // mov ds, ax with a selector beyond the table: #GP with an error code.
            case .segment: [0x8E, 0xD8]
            }
        }
        var vector: UInt8 {
            switch self {
            case .int: 0x40
            case .int3: 3
            case .into: 4
            case .int1: 1
            case .undefined: 6
            case .segment: 13
            }
        }

        func run(_ model: inout Model) throws(Fault) {
            switch self {
            case .int, .int3, .into:
                if self == .into, model.is64Bit { throw .invalidOpcode }
                try model.deliver(vector, code: nil, source: .software, next: model.state.general.rip)
            case .int1: try model.deliver(1, code: nil, source: .privilegedSoftware, next: model.state.general.rip)
            case .undefined: throw .invalidOpcode
            case .segment: throw .gp(0x3F8)
            }
        }
    }

    private static func setup(_ mode: CaseMode, _ cpl: Int, _ source: Source) -> CaseSetup {
        var setup = CaseSetup(mode, cpl: cpl, source.code(mode))
        setup.state.general.rax = 0x3F8
        // IF, OF and AC; NT is cleared on the way.
        setup.state.general.rflags |= 0x4_4A01
        return setup
    }

    private static func putGate(_ setup: inout CaseSetup, _ vector: UInt8, _ value: UInt64, upper: UInt64 = 0) {
        setup.put(value, at: Layout.idt + UInt64(vector) * (setup.mode.isLong ? 16 : 8))
        if setup.mode.isLong { setup.put(upper, at: Layout.idt + UInt64(vector) * 16 + 8) }
    }

    /// Every access byte of the gate.
    @Test(arguments: [false, true])
    func throughEachKindOfGate(_ long: Bool) throws {
        let sweep = try Sweep("gates of the IDT, \(long ? "IA-32e" : "legacy")", long: long)
        for (mode, cpl) in EventOracleTests.levels where mode.isLong == long {
            for source in Source.allCases where mode != .v86 || source != .segment {
                for access in UInt64(0)..<256 {
                    // Task gates have a sweep of their own.
                    if !long, access & 0x1F == 5 { continue }
                    var setup = EventOracleTests.setup(mode, cpl, source)
                    let code = long ? Selectors.code64[0] : Selectors.code32[0]
                    let ist = long ? access >> 5 : 0
                    let entry = gate(code, Layout.target, access: access, count: ist)
                    EventOracleTests.putGate(&setup, source.vector, entry)
                    try sweep.check(setup, "CPL \(cpl), \(source), gate \(String(access, radix: 16))") {
                        (model: inout Model) throws(Fault) in
                        try source.run(&model)
                    }
                }
            }
        }
        sweep.finish()
    }

    /// Every kind of segment that a gate can name.
    @Test(arguments: [false, true])
    func toEachKindOfSegment(_ long: Bool) throws {
        let sweep = try Sweep("handlers' segments, \(long ? "IA-32e" : "legacy")", long: long, share: 2)
        for (mode, cpl) in EventOracleTests.levels where mode.isLong == long {
            for source in [Source.int, .undefined, .segment] where mode != .v86 || source != .segment {
                for access in UInt64(0)..<256 {
                    for flags in [UInt64(0xA), 0xC, 0x0, 0xE] {
                        for type in long ? [UInt64(0x8F)] : [0x8F, 0x86] {
                            var setup = EventOracleTests.setup(mode, cpl, source)
                            let target = Selectors.slot | UInt16(access & 3)
                            let limit: UInt64 = flags & 8 == 0 ? 0xFFFF : 0xFFFFF
                            setup.putDescriptor(Selectors.slot, descriptor(limit: limit, access: access, flags: flags))
                            let entry = gate(target, Layout.target, access: type | 0x60)
                            EventOracleTests.putGate(&setup, source.vector, entry)
                            try sweep.check(
                                setup,
                                "CPL \(cpl), \(source), gate \(String(type, radix: 16)), code \(String(access, radix: 16)), flags \(flags)"
                            ) { (model: inout Model) throws(Fault) in try source.run(&model) }
                        }
                    }
                }
                for target in [UInt16(0), 3, 4, Selectors.limit + 1, Selectors.localLimit + 1 | 4] {
                    var setup = EventOracleTests.setup(mode, cpl, source)
                    let entry = gate(target, Layout.target, access: 0xEE)
                    EventOracleTests.putGate(&setup, source.vector, entry)
                    try sweep.check(setup, "CPL \(cpl), \(source), to \(target)") {
                        (model: inout Model) throws(Fault) in
                        try source.run(&model)
                    }
                }
            }
        }
        sweep.finish()
    }

    /// The inner stack is bad, the entry point beyond the limit, the table too short, an interrupt stack is named.
    @Test(arguments: [false, true])
    func troubleOnTheWay(_ long: Bool) throws {
        let sweep = try Sweep(
            "trouble on the way to a handler, \(long ? "IA-32e" : "legacy")", long: long,
            notKernel: "a bad stack makes its delivery of events go round for ever")
        for (mode, cpl) in EventOracleTests.levels where mode.isLong == long {
            for source in Source.allCases where mode != .v86 || source != .segment {
                for level in 0...cpl where mode != .v86 || level == 0 {
                    for kind in 0..<StackTrouble.count + 8 {
                        var setup = EventOracleTests.setup(mode, cpl, source)
                        let target = Selectors.slot2 | UInt16(level)
                        let access = 0x9A | UInt64(level) << 5
                        setup.putDescriptor(target, descriptor(access: access, flags: long ? 0xA : 0xC))
                        var offset = Layout.target, ist: UInt64 = 0, upper: UInt64 = 0
                        if kind < StackTrouble.count {
                            // Without a change of level the TSS's stacks don't matter.
                            if level == cpl { continue }
                            if level < 3 { StackTrouble.make(kind, level: level, long: long, &setup) }
                        } else {
                            switch kind - StackTrouble.count {
                            case 0:
                                setup.putDescriptor(
                                    target, descriptor(limit: 0x9FFE, access: access, flags: long ? 2 : 4))
                            case 1: setup.state.special.idt.limit = UInt16(source.vector) * (long ? 16 : 8) + 6
                            case 2:
                                setup.state.special.idt.limit =
                                    UInt16(source.vector) * (long ? 16 : 8) + (long ? 15 : 7)
                            case 3: upper = long ? 0x8000 : 0
                            case 4: ist = long ? 1 : 0
                            case 5:
                                ist = long ? 7 : 0
                                setup.put(UInt64(0x8000_0000_0000), at: Layout.task + 0x54)
                            case 6:
                                ist = long ? 7 : 0
                                if long { setup.state.special.tr.limit = 0x5A }
                            default: offset = Layout.target + (long ? 0 : 0x1_0000)
                            }
                        }
                        // At levels 1 and 2 there would be no port to end at, and the exception is the case's own again.
                        if source == .segment, level > 0, setup.state.special.tr.limit < 0x8F { continue }
                        if offset != Layout.target {
                            // A 16-bit gate's offset has no upper half.
                            EventOracleTests.putGate(&setup, source.vector, gate(target, offset, access: 0xE6))
                        } else {
                            let entry = gate(target, offset, access: 0xEE, count: ist)
                            EventOracleTests.putGate(&setup, source.vector, entry, upper: upper)
                        }
                        try sweep.check(setup, "CPL \(cpl) to \(level), \(source), trouble \(kind)") {
                            (model: inout Model) throws(Fault) in
                            try source.run(&model)
                        }
                    }
                }
            }
        }
        sweep.finish()
    }

    @Test func realMode() throws {
        let sweep = try Sweep("vectors of real-address mode", long: false)
        for source in Source.allCases where source != .segment {
            for limit in [0x3FF, UInt16(source.vector) * 4 + 3, UInt16(source.vector) * 4 + 2, 0] as [UInt16] {
                for pointer in [UInt64(0x4000), 6, 5, 0] {
                    var setup = EventOracleTests.setup(.real, 0, source)
                    setup.state.special.idt.limit = limit
                    setup.state.general.rsp = pointer
                    // The stack's top holds a vector otherwise.
                    setup.state.special.ss = kvm_segment(
                        0x400, descriptor(base: 0x4000, limit: 0xFFFF, access: 0x93, flags: 0))
                    if pointer < 6 { setup.state.special.ss.limit = 0xFFF }
                    try sweep.check(setup, "\(source), limit \(limit), SP \(pointer)") {
                        (model: inout Model) throws(Fault) in
                        try source.run(&model)
                    }
                }
            }
        }
        sweep.finish()
    }

    // MARK: IRET

    @Test(arguments: [false, true])
    func returns(_ long: Bool) throws {
        let sweep = try Sweep("iret, \(long ? "IA-32e" : "legacy")", long: long, share: 8)
        for (mode, cpl) in EventOracleTests.levels where mode.isLong == long && mode != .v86 {
            for size in mode == .long ? [2, 4, 8] : [2, 4] {
                for code in UInt64(0)..<128 {
                    for rpl in UInt16(0)..<4 {
                        for stack in 0..<6 {
                            for flags in 0..<3 { try returned(sweep, mode, cpl, size, code, rpl, stack, flags) }
                        }
                    }
                }
            }
        }
        sweep.finish()
    }

    /// With IF, ID, AC, NT, IOPL, RF, DF and the status flags, each set or clear.
    private static let images: [UInt64] = [0x2, 0x25_3ED7, 0x18_4003]

    private func returned(
        _ sweep: Sweep, _ mode: CaseMode, _ cpl: Int, _ size: Int, _ code: UInt64, _ rpl: UInt16, _ stack: Int,
        _ flags: Int
    ) throws {
        let prefix: [UInt8] = size == 8 ? [0x48] : size == mode.operandSize ? [] : [0x66]
        var setup = CaseSetup(mode, cpl: cpl, prefix + [0xCF])
        let selector = Selectors.slot | rpl
        let access = (code & 16 != 0 ? 0x12 : 0x1A) | (code >> 1 & 3) << 5 | (code & 8 != 0 ? 4 : 0) | 0x80
        let isAbsent = code & 64 != 0 && code & 8 == 0
        let limit: UInt64 = code & 1 == 0 ? 0xFFFFF : 0x8
        setup.putDescriptor(
            selector,
            descriptor(
                limit: limit, access: isAbsent ? access & ~0x80 : access,
                flags: mode.isLong && code & 32 != 0 ? 0xA : 0xC))
        // A limit of 9 pages is below the target.
        let other = ReturnStack.make(stack, rpl, &setup)
        let image = EventOracleTests.images[flags]
        setup.state.general.rflags |= flags == 1 ? 0x3000 : 0
        setup.putFrame([Layout.target, UInt64(selector), image, Layout.stacks[3] - 0x40, UInt64(other)], size: size)
        try sweep.check(
            setup,
            "CPL \(cpl), size \(size), RPL \(rpl), access \(String(access, radix: 16)), stack \(stack), flags \(String(image, radix: 16))"
        ) { (model: inout Model) throws(Fault) in
            try model.iret(size)
        }
    }

    /// To, and in, virtual-8086 and real-address mode.
    @Test func returnsAroundVirtual8086Mode() throws {
        let sweep = try Sweep("iret to and in virtual-8086 mode", long: false)
        for (mode, cpl) in [
            (CaseMode.protected32, 0), (.protected16, 0), (.protected32, 1), (.protected32, 3), (.v86, 3), (.real, 0),
        ] {
            for size in [2, 4] {
                for iopl in UInt64(0)..<4 {
                    for image in [UInt64(0x2), 0x2_0002, 0x3A_3ED7, 0x2_7002, 0x25_4ED7] {
                        for offset in [Layout.target, 0x1_A000] {
                            var setup = CaseSetup(mode, cpl: cpl, size == mode.operandSize ? [0xCF] : [0x66, 0xCF])
                            setup.state.general.rflags = setup.state.general.rflags & ~0x3000 | iopl << 12
                            setup.put(UInt16(0x00E6), at: 0x1_A000)
                            let isV86 = image & 0x2_0000 != 0 || mode == .v86 || mode == .real
                            let code = isV86 ? 0 : UInt64(Selectors.code32[cpl])
                            setup.putFrame([offset, code, image, 0x7F00, 0x10, 0x20, 0x30, 0x40, 0x50], size: size)
                            try sweep.check(
                                setup,
                                "CPL \(cpl), size \(size), IOPL \(iopl), flags \(String(image, radix: 16)), \(String(offset, radix: 16))"
                            ) { (model: inout Model) throws(Fault) in try model.iret(size) }
                        }
                    }
                }
            }
        }
        sweep.finish()
    }
}
