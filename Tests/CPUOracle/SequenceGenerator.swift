import X86

/// Makes cases from a seed: sequences of instructions with branches, loops, calls and memory operands.
///
/// Instructions are drawn from a pool of encodings that is made anew from time to time. What is drawn is weighted so that
/// flags live across memory accesses, and partial registers, overlapping string copies and accesses across pages are frequent.
/// No instruction reads flags that are undefined there: one that defines them is put before it.
public struct SequenceGenerator {
    private var random: OracleRandom
    private var pools: [OracleCase.Mode: Pool] = [:]
    private var untilRenewal = 0
    /// Instructions of a sequence.
    public var lengths = 1...40

    public init(seed: UInt64) { random = OracleRandom(seed: seed) }

    private struct Pool {
        var integer: [EncodedInstruction] = []
        var vector: [EncodedInstruction] = []
        var x87: [EncodedInstruction] = []
        var mmx: [EncodedInstruction] = []
    }

    private mutating func renew() {
        for mode in OracleCase.Mode.offered {
            var pool = Pool()
            let encoder = RowEncoder(mode: mode)
            for (number, row) in OpcodeTable.rows.enumerated() where NativeRows.isOrdinary(row) {
                let rounds = row.opcodeClass == .integer ? 4 : 2
                for operand in [nil, .register, .memory] as [RowEncoder.Operand?] {
                    for round in 0..<rounds {
                        guard
                            let one = encoder.encode(number, operand: operand, wide: round & 1 != 0, &random)
                        else { break }
                        switch row.opcodeClass {
                        case .integer, .system: pool.integer.append(one)
                        case .sse, .vex: pool.vector.append(one)
                        case .x87: pool.x87.append(one)
                        case .mmx: pool.mmx.append(one)
                        }
                    }
                }
            }
            pools[mode] = pool
        }
        untilRenewal = 20_000
    }

    /// The next case.
    public mutating func next() -> OracleCase {
        if untilRenewal == 0 { renew() }
        untilRenewal -= 1
        let drawn: OracleCase.Mode = random.pick([.bits64, .bits64, .bits64, .bits64, .bits32, .bits16])
        let (mode, pool) = pools[drawn].map { (drawn, $0) } ?? (.bits32, pools[.bits32] ?? Pool())
        var test = StateGenerator.make(mode, &random)
        var builder = SequenceBuilder(mode: mode, start: test.state.rip, flavour: random.below(4))
        let count = lengths.lowerBound + random.below(lengths.count)
        while builder.count < count {
            builder.add(&random) { flavour, random in
                SequenceGenerator.draw(pool, flavour, &random)
            }
        }
        builder.finish(&random) { flavour, random in SequenceGenerator.draw(pool, flavour, &random) }
        test.code = builder.code
        return test
    }

    private static func draw(_ pool: Pool, _ flavour: Int, _ random: inout OracleRandom) -> EncodedInstruction {
        // Each sequence leans to one unit, so that its state lives through several instructions.
        let leaning = random.chance(50) ? flavour : random.below(4)
        switch leaning {
        case 1 where !pool.vector.isEmpty: return pool.vector[random.below(pool.vector.count)]
        case 2 where random.chance(60): return pool.x87[random.below(pool.x87.count)]
        case 3 where random.chance(30): return pool.mmx[random.below(pool.mmx.count)]
        default: return pool.integer[random.below(pool.integer.count)]
        }
    }
}

/// States in which cases begin.
enum StateGenerator {
    static func make(_ mode: OracleCase.Mode, _ random: inout OracleRandom) -> OracleCase {
        var test = OracleCase()
        test.mode = mode
        test.background = UInt32(1 + random.below(OracleWindows.backgroundCount - 1))
        let wide = mode == .bits64
        for index in 0..<(wide ? 16 : 8) {
            test.state.registers[index] = wide ? random.value() : random.value() & 0xFFFF_FFFF
        }
        for register in RowEncoder.pointers(mode) {
            test.state.registers[Int(register)] = RowEncoder.pointer(register, mode)
        }
        if wide {
            test.state.registers[Int(RowEncoder.index)] = UInt64(random.below(48))
            test.state.fsBase = OracleWindows.data
            test.state.gsBase = OracleWindows.data
        }
        test.state.registers[4] = mode.stackStart + 0x800 + (random.chance(90) ? 0 : UInt64(random.below(64)))
        // Where SP wraps.
        if mode == .bits16, random.chance(15) { test.state.registers[4] = UInt64(0x1_0010 - random.below(32)) & 0xFFFF }
        if mode == .bits16, random.chance(70) {
            test.state.registers[5] = mode.stackStart + UInt64(random.below(0x1000))
        }
        test.state.rip = mode.codeStart
        test.state.rflags =
            0x202 | random.next() & 0x8D5 | (random.chance(10) ? 0x400 : 0) | (random.chance(3) ? 0x4_0000 : 0)

        // All floating-point exceptions masked, mostly; any rounding, precision, DAZ, FTZ and flags.
        let unmasked = random.chance(6)
        let mxcsr = (unmasked ? random.next() & 0x1F80 : 0x1F80) | (random.chance(50) ? random.next() & 0xE07F : 0)
        test.state.xsave[3] = mxcsr
        let control =
            (unmasked ? random.next() & 0x3F : 0x3F) | 0x40 | UInt64(random.below(4)) << 10
            | random.pick([0, 2, 3, 3, 3]) << 8
        let top = UInt64(random.below(8)) << 11
        let tags: UInt64 = random.pick([0, 0xFF, 0x0F, 0xF0, random.next() & 0xFF])
        test.state.xsave[0] = control | (top | (random.chance(20) ? random.next() & 0x4700 : 0)) << 16 | tags << 32
        for index in 0..<8 {
            let (mantissa, rest) = random.extended()
            test.state.xsave[4 + 2 * index] = mantissa
            test.state.xsave[5 + 2 * index] = rest
        }
        for index in 20..<(wide ? 52 : 36) { test.state.xsave[index] = random.value() }
        for index in 72..<(wide ? 104 : 88) { test.state.xsave[index] = random.value() }
        return test
    }
}

/// Puts one sequence together: places instructions, patches branches, keeps track of undefined flags.
struct SequenceBuilder {
    private(set) var code: [UInt8] = []
    /// Items so far.
    private(set) var count = 0

    private let mode: OracleCase.Mode
    private let start: UInt64
    private let flavour: Int
    private var undefined: RFLAGS = []
    /// Where a branch's displacement is, and its size in bytes.
    private struct Site {
        var offset: Int
        var size: Int
    }
    /// Forward branches, after which item they land, what is undefined there.
    private var forward: [(site: Site, item: Int, undefined: RFLAGS)] = []
    private var calls: [Site] = []

    typealias Draw = (_ flavour: Int, _ random: inout OracleRandom) -> EncodedInstruction

    init(mode: OracleCase.Mode, start: UInt64, flavour: Int) {
        self.mode = mode
        self.start = start
        self.flavour = flavour
    }

    private var hasRoom: Bool { code.count < OracleCase.maximalCodeSize - 300 }

    mutating func add(_ random: inout OracleRandom, _ draw: Draw) {
        land()
        count += 1
        guard hasRoom else { return }
        switch random.below(100) {
        case 0..<5: branch(&random)
        case 5..<7: loop(&random, draw)
        case 7..<9: call(&random)
        case 9..<13: string(&random)
        case 13..<17: renewPointer(&random)
        case 17: indirectJump(&random)
        case 18, 19: pushAndPop(&random)
        case 20: compareExchange(&random)
        default: append(draw(flavour, &random), &random)
        }
    }

    /// Ends the sequence and appends its functions.
    mutating func finish(_ random: inout OracleRandom, _ draw: Draw) {
        while !forward.isEmpty {
            land()
            count += 1
        }
        guard !calls.isEmpty else { return }
        code.append(OracleWindows.filler)
        for site in calls {
            patch(site, to: code.count)
            undefined = CodeAnalysis.status
            for _ in 0..<1 + random.below(3) where hasRoom { append(draw(flavour, &random), &random) }
            defineFlags(&random)
            // What the call has pushed.
            if mode == .bits16, site.size == 4 { code.append(0x66) }
            code += random.chance(80) ? [0xC3] : [0xC2, 0, 0]
        }
    }

    // MARK: Pieces

    private mutating func append(_ instruction: EncodedInstruction, _ random: inout OracleRandom) {
        if !instruction.reads.isDisjoint(with: undefined) { defineFlags(&random) }
        code += instruction.placed(at: start + UInt64(code.count))
        undefined.subtract(instruction.certainlyWrites)
        undefined.formUnion(instruction.leavesUndefined)
    }

    /// CMP of two registers defines all the status flags.
    private mutating func defineFlags(_ random: inout OracleRandom) {
        if mode == .bits64, random.chance(50) { code.append(0x48) }
        code += [random.chance(50) ? 0x38 : 0x39, 0xC0 | random.byte() & 0x1B]
        undefined = []
    }

    private mutating func patch(_ site: Site, to target: Int) {
        let displacement = target - (site.offset + site.size)
        for index in 0..<site.size {
            code[site.offset + index] = UInt8(truncatingIfNeeded: displacement >> (8 * index))
        }
    }

    /// Appends a branch that is to be patched.
    private mutating func short(_ opcode: UInt8) -> Site {
        code += [opcode, 0]
        return Site(offset: code.count - 1, size: 1)
    }

    private mutating func near(_ opcode: [UInt8], _ random: inout OracleRandom) -> Site {
        var size = mode == .bits16 ? 2 : 4
        if mode == .bits16, random.chance(20) {
            code.append(0x66)
            size = 4
        }
        code += opcode + [UInt8](repeating: 0, count: size)
        return Site(offset: code.count - size, size: size)
    }

    /// Lets the branches land that were to skip up to here.
    private mutating func land() {
        for branch in forward where branch.item <= count {
            let next = branch.site.offset + branch.site.size
            if branch.site.size == 1, code.count - next > 127 {
                // Too far: skip nothing.
                patch(branch.site, to: next)
                continue
            }
            patch(branch.site, to: code.count)
            undefined.formUnion(branch.undefined)
        }
        forward.removeAll { $0.item <= count }
    }

    private mutating func branch(_ random: inout OracleRandom) {
        let condition = UInt8(random.below(16))
        let reads = Condition(rawValue: condition)?.flags ?? []
        let item = count + 1 + random.below(4)
        switch random.below(10) {
        case 0:
            forward.append((short(0xEB), item, undefined))
        case 1:
            forward.append((near([0xE9], &random), item, undefined))
        case 2:
            forward.append((short(0xE3), item, undefined))
        case 3..<6:
            if !reads.isDisjoint(with: undefined) { defineFlags(&random) }
            forward.append((near([0x0F, 0x80 | condition], &random), item, undefined))
        default:
            if !reads.isDisjoint(with: undefined) { defineFlags(&random) }
            forward.append((short(0x70 | condition), item, undefined))
        }
    }

    /// A body that is run a few times, counted in R15 or, in 32- and 16-bit code, in memory.
    private mutating func loop(_ random: inout OracleRandom, _ draw: Draw) {
        let rounds = UInt8(2 + random.below(5))
        // mov r15d, rounds, or mov [counter], rounds
        let counter = RowEncoder.bytes(mode.stackStart + 8, mode == .bits16 ? 2 : 4)
        switch mode {
        case .bits64: code += [0x41, 0xBF, rounds, 0, 0, 0]
        case .bits32: code += [0xC7, 0x05] + counter + [rounds, 0, 0, 0]
        case .bits16: code += [0x36, 0xC7, 0x06] + counter + [rounds, 0]
        }
        let head = code.count
        defineFlags(&random)
        for _ in 0..<1 + random.below(4) where hasRoom { append(draw(flavour, &random), &random) }
        // dec
        switch mode {
        case .bits64: code += [0x41, 0xFF, 0xCF]
        case .bits32: code += [0xFF, 0x0D] + counter
        case .bits16: code += [0x36, 0xFF, 0x0E] + counter
        }
        undefined.subtract([.OF, .SF, .ZF, .AF, .PF])
        if code.count + 2 - head <= 128, random.chance(50) {
            patch(short(0x75), to: head)
        } else {
            patch(near([0x0F, 0x85], &random), to: head)
        }
    }

    private mutating func call(_ random: inout OracleRandom) {
        calls.append(near([0xE8], &random))
        undefined = []
    }

    /// LEA of a place behind and a jump there.
    private mutating func indirectJump(_ random: inout OracleRandom) {
        guard mode == .bits64 else { return }
        code += [0x48, 0x8D, 0x05, 2, 0, 0, 0, 0xFF, 0xE0]  // lea rax, [rip + 2]; jmp rax
        let skipped = random.below(3)
        code[code.count - 6] = UInt8(2 + skipped)
        for _ in 0..<skipped { code.append(0x90) }
    }

    private mutating func renewPointer(_ random: inout OracleRandom) {
        let register = random.pick(RowEncoder.pointers(mode))
        move(RowEncoder.pointer(register, mode), to: register)
        if mode == .bits64 { move(UInt64(random.below(48)), to: RowEncoder.index) }
    }

    /// MOV of a 32-bit immediate.
    private mutating func move(_ value: UInt64, to register: UInt8) {
        if register > 7 { code.append(0x41) }
        if mode == .bits16 { code.append(0x66) }
        code += [0xB8 | register & 7] + RowEncoder.bytes(value, 4)
    }

    private mutating func pushAndPop(_ random: inout OracleRandom) {
        code += [0x50 | UInt8(random.below(8))]
        let target: [UInt8] = [0, 1, 2, 5]
        code += [0x58 | random.pick(target)]
    }

    /// CMPXCHG where rAX was stored just before: memory hardly ever holds by chance what is expected.
    private mutating func compareExchange(_ random: inout OracleRandom) {
        let size: [UInt8] = random.pick(mode == .bits64 ? [[], [0x66], [0x48]] : [[], [0x66]])
        let wide: UInt8 = random.chance(80) ? 1 : 0
        let place: UInt8 = mode == .bits16 ? 7 : 3
        code += size + [0x88 | wide, place]  // mov [rbx], rAX
        if random.chance(60) { code.append(0xF0) }
        code += size + [0x0F, 0xB0 | wide, UInt8(random.below(8)) << 3 | place]  // cmpxchg [rbx], r
        undefined = []
    }

    /// A string instruction over a small stretch, its operands overlapping as often as not.
    private mutating func string(_ random: inout OracleRandom) {
        let source = mode.dataStart + 0x300 + UInt64(random.below(0x1A00))
        let distance = random.chance(60) ? UInt64(random.below(20)) &- 8 : UInt64(random.below(0x200))
        move(source, to: 6)
        move(source &+ distance, to: 7)
        move(UInt64(random.below(random.chance(80) ? 24 : 200)), to: 1)
        if random.chance(25) { code.append(0xFD) }
        let opcode = random.pick([0xA4, 0xA5, 0xA4, 0xA5, 0xAA, 0xAB, 0xA6, 0xA7, 0xAC, 0xAD, 0xAE, 0xAF] as [UInt8])
        if random.chance(30) { code.append(0x66) }
        if random.chance(85) {
            let compares = [0xA6, 0xA7, 0xAE, 0xAF].contains(opcode)
            // With a count of 0 the flags stay as they were.
            if compares, !undefined.isEmpty { defineFlags(&random) }
            code.append(compares && random.chance(50) ? 0xF2 : 0xF3)
        }
        if mode == .bits64, random.chance(40) { code.append(0x48) }
        code.append(opcode)
        if [0xA6, 0xA7, 0xAE, 0xAF].contains(opcode) { undefined = [] }
        if random.chance(70) { code.append(0xFC) }
    }
}
