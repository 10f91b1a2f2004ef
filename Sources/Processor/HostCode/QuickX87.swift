import X86

/// The common x87 instructions without FXRSTOR and FXSAVE: only the registers concerned are loaded and stored.
///
/// Good while every exception is masked and no register overflows, underflows or is empty, which the caller checks
/// (`CPU.executeX87`); the stack's top and tags are its matter, too. ST(i) of the guest is ST(1) of the host, by a slot.
struct QuickX87: Hashable {
    enum Work: UInt8 {
        /// Emitted code.
        case host
        /// FLD ST(i), FXCH, FST ST(i): copies.
        case duplicate, exchange, copy
    }

    var work = Work.host
    var opcode: UInt8
    var modRM: UInt8
    var needsTop = false
    /// ST(i) is an operand.
    var other: UInt8?
    var pops: UInt8 = 0
    var pushes = false
    /// Which register has the result: 0 none, 1 ST(0), 2 ST(i).
    var result: UInt8 = 0
    /// The condition bits of the status word that it sets.
    var conditions: UInt16 = 0x200
    var writesFlags = false

    init?(_ instruction: Instruction) {
        opcode = instruction.opcode
        modRM = instruction.modRM
        let digit = modRM >> 3 & 7, index = modRM & 7
        let isMemory = modRM < 0xC0
        if isMemory {
            guard describeMemory(digit) else { return nil }
            modRM = digit << 3 | 1
        } else {
            guard describeRegister(digit, index) else { return nil }
            if work == .host, let other {
                guard other != 0 || pops == 0 else { return nil }
                modRM = modRM & 0xF8 | (other == 0 ? 0 : 1)
            }
        }
    }

    private mutating func describeMemory(_ digit: UInt8) -> Bool {
        switch opcode {
        case 0xD8, 0xDA, 0xDC, 0xDE:
            needsTop = true
            if digit == 2 || digit == 3 {
                pops = digit - 2
                conditions = 0x4700
            } else {
                result = 1
            }
            return true
        case 0xD9, 0xDB, 0xDD, 0xDF:
            switch digit {
            case 0: return load()
            case 1: return opcode != 0xD9 && store(pops: 1)
            case 2: return store(pops: 0)
            case 3: return store(pops: 1)
            case 5: return (opcode == 0xDB || opcode == 0xDF) && load()
            case 7: return (opcode == 0xDB || opcode == 0xDF) && store(pops: 1)
            default: return false
            }
        default: return false
        }
    }

    private mutating func load() -> Bool {
        pushes = true
        result = 1
        return true
    }

    private mutating func store(pops: UInt8) -> Bool {
        needsTop = true
        self.pops = pops
        return true
    }

    private mutating func describeRegister(_ digit: UInt8, _ index: UInt8) -> Bool {
        switch (opcode, digit) {
        case (0xD8, 0), (0xD8, 1), (0xD8, 4...7): binary(index, result: 1, pops: 0)
        case (0xDC, 0), (0xDC, 1), (0xDC, 4...7): binary(index, result: index == 0 ? 1 : 2, pops: 0)
        case (0xDE, 0), (0xDE, 1), (0xDE, 4...7): binary(index, result: 2, pops: 1)
        case (0xD8, 2), (0xDD, 4): compare(index, pops: 0)
        case (0xD8, 3), (0xDD, 5): compare(index, pops: 1)
        case (0xDE, 3), (0xDA, 5): index == 1 ? compare(1, pops: 2) : false
        case (0xDB, 5), (0xDB, 6): compare(index, pops: 0, flags: true)
        case (0xDF, 5), (0xDF, 6): compare(index, pops: 1, flags: true)
        case (0xD9, 0): move(.duplicate, index, pops: 0, pushes: true)
        case (0xD9, 1): move(.exchange, index, pops: 0)
        case (0xDD, 2): move(.copy, index, pops: 0)
        case (0xDD, 3): move(.copy, index, pops: 1)
        case (0xD9, 4): index < 2 ? unary() : index == 4 ? compare(nil, pops: 0) : false
        case (0xD9, 5): index < 7 && load()
        case (0xD9, 7): index == 2 || index == 4 ? unary() : false
        default: false
        }
    }

    private mutating func unary() -> Bool {
        needsTop = true
        result = 1
        return true
    }

    private mutating func binary(_ index: UInt8, result: UInt8, pops: UInt8) -> Bool {
        needsTop = true
        other = index
        self.result = result
        self.pops = pops
        return true
    }

    private mutating func compare(_ index: UInt8?, pops: UInt8, flags: Bool = false) -> Bool {
        needsTop = true
        other = index
        self.pops = pops
        // AMD's FCOMI leaves C1 alone, Intel's clears it.
        conditions = flags ? (HostProcessor.isAMD ? 0 : 0x200) : 0x4700
        writesFlags = flags
        return true
    }

    private mutating func move(_ work: Work, _ index: UInt8, pops: UInt8, pushes: Bool = false) -> Bool {
        self.work = work
        needsTop = work != .duplicate
        other = index
        self.pops = pops
        self.pushes = pushes
        return true
    }

    // MARK: What the op says

    /// `Op.extra` above FOP.
    struct Summary {
        var bits: UInt32
        var isQuick: Bool { bits & 1 << 16 != 0 }
        var needsTop: Bool { bits & 1 << 17 != 0 }
        var needsOther: Bool { bits & 1 << 18 != 0 }
        var pushes: Bool { bits & 1 << 19 != 0 }
        var other: Int { Int(bits >> 20 & 7) }
        var pops: Int { Int(bits >> 24 & 3) }
        var work: Work { Work(rawValue: UInt8(bits >> 26 & 3)) ?? .host }

    }

    var summary: UInt32 {
        var bits: UInt32 = 1 << 16
        if needsTop { bits |= 1 << 17 }
        if other != nil, work != .copy { bits |= 1 << 18 }
        if pushes { bits |= 1 << 19 }
        bits |= UInt32(other ?? 0) << 20 | UInt32(pops) << 24 | UInt32(work.rawValue) << 26
        return bits
    }

    // MARK: The code

    private var assembled: [UInt8] {
        Assembler.code { a in
            openHost(&a)
            var depth = 0
            if let other, other != 0 {
                a.loadSlot(0)
                a.fld(a.slot(0), .real80)
                depth += 1
            }
            if needsTop {
                a.fld(a.state(CPUState.x87Offset), .real80)
                depth += 1
            }
            a.bytes(opcode, modRM)
            depth += (pushes ? 1 : 0) - Int(pops)
            if writesFlags { a.storeFlags() }
            storeStatus(&a)
            // Popping forms leave the result on top; others leave ST(i) below ST(0).
            if result == 1 {
                a.fstp(a.state(CPUState.x87Offset), .real80)
                depth -= 1
            } else if result == 2 {
                if pops == 0 {
                    a.fstp(st: 0)
                    depth -= 1
                }
                a.fstp(a.slot(0), .real80)
                depth -= 1
            }
            for _ in 0..<max(depth, 0) { a.fstp(st: 0) }
            closeHost(&a)
        }
    }

    /// The guest's control word; the host's exception flags are a subset of the guest's, or are cleared.
    private func openHost(_ a: inout Assembler) {
        let (subset, usual) = (a.label(), a.label())
        a.fnstsw()
        a.movzx(.rcx, .at(.rdi, 2), from: .word, .long)
        a.not(.rcx, .long)
        a.and(.rcx, .rax, .long)
        a.test(.rcx, 0x3F, .byte)
        a.jcc(.z, subset)
        a.fnclex()
        a.place(subset)
        a.cmp(.at(.rdi), 0x37F, .word)
        a.jcc(.z, usual)
        a.fldcw(.at(.rdi))
        a.place(usual)
        a.mov(.rcx, .rdx)
    }

    /// The host's conditions and exception flags to the guest's status word.
    private func storeStatus(_ a: inout Assembler) {
        a.fnstsw()
        a.movzx(.rcx, .at(.rdi, 2), from: .word, .long)
        a.and(.rax, Int(conditions | 0x3F), .long)
        a.and(.rcx, Int(~conditions), .long)
        a.or(.rax, .rcx, .long)
        a.mov(.at(.rdi, 2), .rax, .word)
    }

    /// The host's own control word again.
    private func closeHost(_ a: inout Assembler) {
        let usual = a.label()
        a.cmp(.at(.rdi), 0x37F, .word)
        a.jcc(.z, usual)
        a.mov(.at(.rsp, -8), 0x37F, .word)
        a.fldcw(.at(.rsp, -8))
        a.place(usual)
        a.returnNextOp()
    }

    static let made = HostCodeCache<QuickX87>()

    /// The code's address; 0 for what needs none.
    func address() -> UInt? {
        if work != .host { return 0 }
        // Which ST(i) it is makes no difference to the code, but for ST(0).
        var key = self
        if let other { key.other = min(other, 1) }
        return QuickX87.made.address(of: key) { key.assembled }
    }
}
