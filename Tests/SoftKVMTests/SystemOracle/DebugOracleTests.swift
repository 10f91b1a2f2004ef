// Debug exceptions: single steps, breakpoints of every kind, length and alignment, RF, DR7.GD and DR6, after each kind of
// instruction and in pairs. Intel SDM vol. 3, 17.2, 17.3.1, 6.8.3, 6.9; AMD APM vol. 2, 13.1.

import KVM
import KVMABI
import TestLimits
import Testing

/// The instructions of a case, and what lies at its stack's top for them.
private struct Kinds {
    let mode: CaseMode
    let cpl: Int
    /// Bytes of an operand, and of what PUSH and POP move.
    var size: Int { mode.operandSize }
    var stackSize: Int { mode == .long ? 8 : size }

    static let count: UInt64 = 30

    private func memory(_ code: [UInt8], _ kinds: [Touch.Kind], _ size: Int, _ run: @escaping (inout Model) -> Void)
        -> WatchedInstruction
    {
        WatchedInstruction(
            code: code,
            touches: { model in kinds.map { Touch(kind: $0, address: model.operandPlace, size: size) } },
            run: { (model: inout Model) throws(Fault) in run(&model) })
    }

    private static func get(_ model: Model, _ address: UInt64, _ size: Int) -> UInt64 {
        switch size {
        case 1: UInt64(model.read(address, as: UInt8.self))
        case 2: UInt64(model.read(address, as: UInt16.self))
        case 4: UInt64(model.read(address, as: UInt32.self))
        default: model.read(address)
        }
    }

    private static func put(_ model: inout Model, _ address: UInt64, _ value: UInt64, _ size: Int) {
        switch size {
        case 1: model.write(address, UInt8(truncatingIfNeeded: value))
        case 2: model.write(address, UInt16(truncatingIfNeeded: value))
        case 4: model.write(address, UInt32(truncatingIfNeeded: value))
        default: model.write(address, value)
        }
    }

    private static func merge(_ old: UInt64, _ new: UInt64, _ size: Int) -> UInt64 {
        size == 1 ? old & ~0xFF | new & 0xFF : size == 2 ? old & ~0xFFFF | new & 0xFFFF : new
    }

    private func string(_ opcode: UInt8, rep: Bool, reads: Bool, size: Int) -> WatchedInstruction {
        WatchedInstruction(
            code: rep ? [0xF3, opcode] : [opcode],
            touches: { model in
                if rep, model.state.general.rcx == 0 { return [] }
                let write = Touch(kind: .write, address: model.state.general.rdi, size: size)
                return reads ? [Touch(kind: .read, address: model.state.general.rsi, size: size), write] : [write]
            },
            goesRound: { rep && $0.state.general.rcx != 0 && $0.state.general.rcx < 0x8000 },
            run: { (model: inout Model) throws(Fault) in
                if rep {
                    if model.state.general.rcx == 0 { return }
                    model.state.general.rcx -= 1
                }
                let value =
                    reads ? Kinds.get(model, model.state.general.rsi, size) : model.state.general.rax
                Kinds.put(&model, model.state.general.rdi, value, size)
                model.state.general.rdi += UInt64(size)
                if reads { model.state.general.rsi += UInt64(size) }
            })
    }

    private func event(_ code: [UInt8], _ vector: UInt8, _ source: EventSource) -> WatchedInstruction {
        WatchedInstruction(
            code: code, takesTrap: true, isDebugException: source == .privilegedSoftware, leaves: true,
            run: { (model: inout Model) throws(Fault) in
                try model.deliver(vector, code: nil, source: source, next: model.state.general.rip)
                // INT1 is a debug exception, whose handler may reach the debug registers: 17.2.4, GD.
                if source == .privilegedSoftware { model.state.debug.dr7 &= ~(1 << 13) }
            })
    }

    private func straight(_ code: [UInt8], _ run: @escaping (inout Model) throws(Fault) -> Void = { _ in })
        -> WatchedInstruction
    {
        WatchedInstruction(code: code, run: run)
    }

    /// The instruction of a number below `count`; nil where the mode doesn't have it.
    func make(_ number: UInt64) -> WatchedInstruction? {
        let size = size, stackSize = stackSize
        switch number {
        case 1: return memory([0x88, 0x07], [.write], 1) { Kinds.put(&$0, $0.operandPlace, $0.state.general.rax, 1) }
        case 2:
            return memory([0x89, 0x07], [.write], size) {
                Kinds.put(&$0, $0.operandPlace, $0.state.general.rax, size)
            }
        case 3:
            return memory([0x8A, 0x0F], [.read], 1) {
                $0.state.general.rcx = Kinds.merge($0.state.general.rcx, Kinds.get($0, $0.operandPlace, 1), 1)
            }
        case 4:
            return memory([0x8B, 0x0F], [.read], size) {
                $0.state.general.rcx = Kinds.merge(
                    $0.state.general.rcx, Kinds.get($0, $0.operandPlace, size), size)
            }
        case 5:
            return memory([0x87, 0x0F], [.read, .write], size) { model in
                let value = Kinds.get(model, model.operandPlace, size)
                Kinds.put(&model, model.operandPlace, model.state.general.rcx, size)
                model.state.general.rcx = Kinds.merge(model.state.general.rcx, value, size)
            }
        case 6 where mode == .long:
            return memory([0x48, 0x89, 0x07], [.write], 8) {
                Kinds.put(&$0, $0.operandPlace, $0.state.general.rax, 8)
            }
        case 7: return string(0xAA, rep: false, reads: false, size: 1)
        case 8: return string(0xAB, rep: true, reads: false, size: size)
        case 9: return string(0xA4, rep: true, reads: true, size: 1)
        case 10: return string(0xA5, rep: false, reads: true, size: size)
        case 11:
            return WatchedInstruction(
                code: [0x50],
                touches: {
                    [Touch(kind: .write, address: $0.state.general.rsp - UInt64(stackSize), size: stackSize)]
                },
                run: { (model: inout Model) throws(Fault) in
                    var stack = model.stack
                    try model.push(model.state.general.rax, stackSize, on: &stack)
                    model.commit(stack)
                })
        case 12:
            return WatchedInstruction(
                code: [0x8E, 0xD2], holdsTraps: true,
                run: { (model: inout Model) throws(Fault) in
                    try model.load(\.ss, UInt16(truncatingIfNeeded: model.state.general.rdx))
                })
        case 13:
            // mov ss, [rbx]
            return WatchedInstruction(
                code: mode.isSmall ? [0x8E, 0x14] : [0x8E, 0x13],
                touches: {
                    [Touch(kind: .read, address: $0.mode16 ? $0.state.general.rsi : $0.state.general.rbx, size: 2)]
                }, holdsTraps: true,
                run: { (model: inout Model) throws(Fault) in
                    let place = model.mode16 ? model.state.general.rsi : model.state.general.rbx
                    try model.load(\.ss, model.read(place))
                })
        case 14: return popFlags
        case 15: return interruptReturn
        case 16: return event([0xCD, 0x40], 0x40, .software)
        case 17: return event([0xCC], 3, .software)
        case 18: return event([0xF1], 1, .privilegedSoftware)
        case 19:
            return WatchedInstruction(
                code: [0x0F, 0x0B], leaves: true, run: { (_: inout Model) throws(Fault) in throw .invalidOpcode })
        case 20 where mode != .real && mode != .v86:
            return WatchedInstruction(
                code: [0x8E, 0xD8],
                run: { (model: inout Model) throws(Fault) in
                    try model.load(\.ds, UInt16(truncatingIfNeeded: model.state.general.rax))
                })
        case 21 where mode != .v86 && cpl == 0:
            return straight([0xFB]) { (model: inout Model) throws(Fault) in model.set(0x200, true) }
        case 22: return straight([0xEB, 0x00])
        case 23, 24:
            // mov dr7, rbp and mov rbp, dr0: a user's are #GP, whatever GD says.
            return straight([0x0F, number == 23 ? 0x23 : 0x21, number == 23 ? 0xFD : 0xC5]) {
                (model: inout Model) throws(Fault) in
                if number == 23 {
                    try model.writeDR(7, model.state.general.rbp)
                } else {
                    let kept = model.state.general.rbx
                    try model.readDR(0)
                    model.state.general.rbp = model.state.general.rbx
                    model.state.general.rbx = kept
                }
            }
        case 25 where mode == .long: return systemCall
        case 26:
            return WatchedInstruction(
                code: [0x58],
                touches: { [Touch(kind: .read, address: $0.state.general.rsp, size: stackSize)] },
                run: { (model: inout Model) throws(Fault) in
                    var stack = model.stack
                    let value = try model.pop(stackSize, from: &stack)
                    model.commit(stack)
                    model.state.general.rax = Kinds.merge(model.state.general.rax, value, stackSize)
                })
        case 28 where mode == .long && cpl == 0: return systemReturn
        case 29 where mode != .long:
            // pop ss
            return WatchedInstruction(
                code: [0x17],
                touches: { [Touch(kind: .read, address: $0.state.general.rsp, size: stackSize)] }, holdsTraps: true,
                run: { (model: inout Model) throws(Fault) in
                    var stack = model.stack
                    let selector = UInt16(truncatingIfNeeded: try model.pop(stackSize, from: &stack))
                    try model.load(\.ss, selector)
                    model.commit(stack)
                })
        case 27: return straight([0xF8]) { (model: inout Model) throws(Fault) in model.set(1, false) }
        default: return straight([0x90])
        }
    }

    private var popFlags: WatchedInstruction {
        let stackSize = stackSize, cpl = cpl, mode = mode
        return WatchedInstruction(
            code: [0x9D],
            touches: { [Touch(kind: .read, address: $0.state.general.rsp, size: stackSize)] },
            run: { (model: inout Model) throws(Fault) in
                var stack = model.stack
                let flags = try model.pop(stackSize, from: &stack)
                model.commit(stack)
                var mask: UInt64 = 0x4DD5 | (stackSize == 2 ? 0 : 0x24_0000)
                if mode == .real || cpl == 0 { mask |= 0x3000 }
                if cpl <= Int(model.iopl) { mask |= 0x200 }
                model.state.general.rflags = model.state.general.rflags & ~mask | flags & mask
            })
    }

    private var interruptReturn: WatchedInstruction {
        let size = stackSize
        return WatchedInstruction(
            code: size == 8 ? [0x48, 0xCF] : [0xCF],
            touches: { model in
                let count = model.is64Bit ? 5 : 3
                return (0..<count).map {
                    Touch(kind: .read, address: model.state.general.rsp + UInt64($0 * size), size: size)
                }
            }, leaves: true, run: { (model: inout Model) throws(Fault) in try model.iret(size) })
    }

    private var systemCall: WatchedInstruction {
        WatchedInstruction(
            code: [0x0F, 0x05], takesTrap: true, leaves: true,
            run: { (model: inout Model) throws(Fault) in try model.syscall(amd: OracleMachine.isAMD) })
    }

    /// A TF that it sets traps at once, unlike IRET's: the comment on can_sysret in Linux's arch/x86/entry/syscall_64.c.
    private var systemReturn: WatchedInstruction {
        WatchedInstruction(
            code: [0x48, 0x0F, 0x07], goesByNewTF: true, leaves: true,
            run: { (model: inout Model) throws(Fault) in
                try model.sysret(wide: true, amd: OracleMachine.isAMD)
            })
    }
}

extension CaseMode {
    /// Addresses have 16 bits.
    fileprivate var isSmall: Bool { self == .real || self == .v86 || self == .protected16 }
}

extension Model {
    fileprivate var mode16: Bool { !is64Bit && state.special.cs.db == 0 }
    /// Where a memory operand lies: [BX], [EDI] or [RDI].
    fileprivate var operandPlace: UInt64 { mode16 ? state.general.rbx : state.general.rdi }
}

@Suite(.within(minutes: 20, long: 120)) struct DebugOracleTests {
    private static let levels: [(CaseMode, Int)] = [
        (.real, 0), (.v86, 3), (.protected32, 0), (.protected32, 3), (.protected16, 0), (.compatibility, 0),
        (.compatibility, 3), (.long, 0), (.long, 0), (.long, 3),
    ]

    @Test(arguments: [false, true])
    func traps(_ long: Bool) throws {
        let sweep = try Sweep("debug exceptions, \(long ? "IA-32e" : "legacy")", long: long, share: 12, msrs: true)
        var choices = Choices(state: long ? 11 : 12)
        let levels = DebugOracleTests.levels.filter { $0.0.isLong == long }
        for _ in 0..<60_000 {
            let (mode, cpl) = choices.element(of: levels)
            try one(sweep, Kinds(mode: mode, cpl: cpl), &choices)
        }
        sweep.finish()
    }

    private func one(_ sweep: Sweep, _ kinds: Kinds, _ choices: inout Choices) throws {
        var numbers: [UInt64] = [], instructions: [WatchedInstruction] = []
        for _ in 0...choices.next(3) {
            var number = choices.next(Kinds.count)
            // Whether traps stay held over a second load of SS is nowhere said.
            let isHeld = instructions.last?.holdsTraps ?? false
            if isHeld, [12, 13, 29].contains(number) { number = 1 }
            // What POP brings may be a null selector, and memory operands are not checked here.
            if number == 20, numbers.contains(26) { number = 0 }
            // IRET wants its frame at the top, POP SS its selector.
            if [15, 29].contains(number), numbers.contains(where: { [11, 14, 26, 29].contains($0) }) { number = 0 }
            if numbers.contains(29), [14, 26].contains(number) { number = 0 }
            // SYSRET wants RCX as it is.
            if number == 28, numbers.contains(where: { [3, 4, 5, 8, 9].contains($0) }) { number = 0 }
            guard let instruction = kinds.make(number) else { continue }
            numbers.append(number)
            instructions.append(instruction)
            if instruction.leaves { break }
        }
        let code = instructions.flatMap(\.code)
        var setup = CaseSetup(kinds.mode, cpl: kinds.cpl, code)
        setup.isWatched = true
        let popsStack = numbers.contains(29)
        fill(&setup, kinds, &choices, popsStack: popsStack, next: Layout.code + UInt64(code.count))
        let places = instructions.indices.map { index in
            Layout.code + UInt64(instructions[..<index].map(\.code.count).reduce(0, +))
        }
        if numbers.last == 28 {
            setup.state.general.rcx = Layout.target
            setup.state.general.r11 = 2 | (choices.one(in: 2) ? 0x100 : 0) | (choices.one(in: 4) ? 1 << 16 : 0)
        }
        debugRegisters(&setup, &choices, places: places + [Layout.code + UInt64(code.count)])
        let debug = setup.state.debug
        let title = """
            CPL \(kinds.cpl), \(code.map { String($0, radix: 16) }.joined(separator: " ")), \
            flags \(String(setup.state.general.rflags, radix: 16)), DR7 \(String(debug.dr7, radix: 16)), \
            \([debug.db.0, debug.db.1, debug.db.2, debug.db.3].map { String($0, radix: 16) }), \
            RDI \(String(setup.state.general.rdi, radix: 16)), RCX \(setup.state.general.rcx)
            """
        try sweep.check(setup, title) { (model: inout Model) throws(Fault) in
            model.runWatched(from: Layout.code, instructions)
        }
    }

    private func fill(
        _ setup: inout CaseSetup, _ kinds: Kinds, _ choices: inout Choices, popsStack: Bool, next: UInt64
    ) {
        setup.state.general.rdi = Layout.data + choices.next(8)
        setup.state.general.rsi = Layout.data + 0x20 + choices.next(4)
        setup.state.general.rbx = Layout.data + 0x40
        setup.state.general.rcx = choices.next(4)
        setup.state.general.rax = UInt64(setup.state.special.ds.selector) ^ (choices.one(in: 3) ? 0x3F8 : 0)
        setup.state.general.rdx = UInt64(setup.state.special.ss.selector)
        setup.put(setup.state.special.ss.selector, at: setup.state.general.rbx)
        if kinds.mode.isSmall {
            setup.state.general.rbx = setup.state.general.rdi
            setup.put(setup.state.special.ss.selector, at: setup.state.general.rsi)
        }
        let stepping: UInt64 = choices.one(in: 2) ? 0x100 : 0
        setup.state.general.rflags |= stepping | (choices.one(in: 4) ? 1 << 16 : 0)
        if choices.one(in: 3) { setup.state.special.cr4 |= 8 }
        var image: UInt64 = 2 | (choices.one(in: 2) ? 0x100 : 0) | (choices.one(in: 3) ? 1 << 16 : 0)
        image |= choices.one(in: 3) ? 0x4_0ED5 & ~0x400 : 0
        if kinds.mode == .v86 { image |= 0x3000 }
        // POPF finds flags at the top, IRET a frame.
        if setup.code.contains(0xCF) {
            let frame = [next, UInt64(setup.state.special.cs.selector), image]
            setup.putFrame(
                frame + [setup.state.general.rsp, UInt64(setup.state.special.ss.selector)], size: kinds.stackSize)
        } else if popsStack {
            setup.putFrame([UInt64(setup.state.special.ss.selector), image, image], size: kinds.stackSize)
        } else {
            setup.putFrame([image, image, image], size: kinds.stackSize)
        }
        setup.state.special.efer |= kinds.mode == .long ? 1 : 0
        setup.state.msrs[CallMSR.star.rawValue] =
            UInt64(Selectors.code64[0]) << 32 | UInt64(Selectors.code32[3] & ~3) << 48
        setup.state.msrs[CallMSR.lstar.rawValue] = Layout.target
        setup.state.msrs[CallMSR.fmask.rawValue] = 0x4_0700
    }

    private func debugRegisters(_ setup: inout CaseSetup, _ choices: inout Choices, places: [UInt64]) {
        var addresses: [UInt64] = []
        var dr7: UInt64 = 0x400 | (choices.one(in: 8) ? 0x300 : 0) | (choices.one(in: 10) ? 1 << 13 : 0)
        let isQuiet = choices.one(in: 3)
        // Whether an event's way to its handler meets breakpoints is nowhere said.
        let isEvent = [0xCC, 0xCD, 0xF1, 0x0B, 0xD8].contains { setup.code.contains($0) }
        for index in UInt64(0)..<4 {
            // Others than on execution have every length; eight bytes are 64-bit mode's.
            var condition = choices.next(4), length = choices.next(4)
            if condition == 2, setup.state.special.cr4 & 8 == 0 { condition = 3 }
            if length == 2, setup.mode != .long { length = 3 }
            if condition == 0 { length = 0 }
            addresses.append(
                condition == 0
                    ? choices.element(of: places)
                    : condition == 2
                        ? choices.next(6)
                        : !isEvent && choices.one(in: 4)
                            ? setup.state.general.rsp - 8 + choices.next(24)
                            : choices.one(in: 5)
                                ? setup.state.general.rbx - 3 + choices.next(6)
                                : Layout.data - 8 + choices.next(24))
            if !isQuiet, !choices.one(in: 3) { dr7 |= (1 + choices.next(3)) << (index * 2) }
            dr7 |= (condition | length << 2) << (16 + index * 4)
        }
        setup.state.debug.db = (addresses[0], addresses[1], addresses[2], addresses[3])
        setup.state.debug.dr7 = dr7
        setup.state.debug.dr6 = 0xFFFF_0FF0 | (choices.one(in: 2) ? choices.next(16) | choices.next(8) << 13 : 0)
        // What MOV DR7 writes.
        setup.state.general.rbp = choices.one(in: 2) ? dr7 : 0x400 | 1 << (choices.next(4) * 2)
        if choices.one(in: 6) { setup.state.general.rbp |= 1 << 13 }
    }
}
