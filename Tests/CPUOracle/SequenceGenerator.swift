import X86

/// Makes cases from a seed: sequences of instructions with branches, loops, calls and memory operands.
///
/// Instructions are drawn from a pool of encodings that is made anew from time to time. What is drawn is weighted so that
/// flags live across memory accesses, and partial registers, overlapping string copies and accesses across pages are frequent.
/// No instruction reads flags that are undefined there: one that defines them is put before it.
public struct SequenceGenerator {
    private var random: OracleRandom
    private var pools: [Pool] = []
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
        pools = OracleCase.Mode.allCases.map { mode in
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
            return pool
        }
        untilRenewal = 20_000
    }

    /// The next case.
    public mutating func next() -> OracleCase {
        if untilRenewal == 0 { renew() }
        untilRenewal -= 1
        let mode: OracleCase.Mode = random.chance(25) ? .bits32 : .bits64
        var test = StateGenerator.make(mode, &random)
        let pool = pools[mode == .bits64 ? 0 : 1]
        var builder = SequenceBuilder(mode: mode, start: OracleWindows.code, flavour: random.below(4))
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
            test.state.registers[Int(register)] = RowEncoder.pointer(register)
        }
        if wide {
            test.state.registers[Int(RowEncoder.index)] = UInt64(random.below(48))
            test.state.fsBase = OracleWindows.data
            test.state.gsBase = OracleWindows.data
        }
        test.state.registers[4] = OracleWindows.stack + 0x800 + (random.chance(90) ? 0 : UInt64(random.below(64)))
        test.state.rip = OracleWindows.code
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
    /// Forward branches: where the displacement is, its size, after which item they land, what is undefined there.
    private var forward: [(offset: Int, size: Int, item: Int, undefined: RFLAGS)] = []
    private var calls: [Int] = []

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
        case 7..<9: call()
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
            patch(site, 4, to: code.count)
            undefined = CodeAnalysis.status
            for _ in 0..<1 + random.below(3) where hasRoom { append(draw(flavour, &random), &random) }
            defineFlags(&random)
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

    private mutating func patch(_ offset: Int, _ size: Int, to target: Int) {
        let displacement = target - (offset + size)
        for index in 0..<size { code[offset + index] = UInt8(truncatingIfNeeded: displacement >> (8 * index)) }
    }

    /// Lets the branches land that were to skip up to here.
    private mutating func land() {
        for branch in forward where branch.item <= count {
            let distance = code.count - branch.offset - branch.size
            if branch.size == 1, distance > 127 {
                // Too far: skip nothing.
                patch(branch.offset, 1, to: branch.offset + 1)
                continue
            }
            patch(branch.offset, branch.size, to: code.count)
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
            code += [0xEB, 0]
            forward.append((code.count - 1, 1, item, undefined))
        case 1:
            code += [0xE9, 0, 0, 0, 0]
            forward.append((code.count - 4, 4, item, undefined))
        case 2:
            code += [0xE3, 0]
            forward.append((code.count - 1, 1, item, undefined))
        case 3..<6:
            if !reads.isDisjoint(with: undefined) { defineFlags(&random) }
            code += [0x0F, 0x80 | condition, 0, 0, 0, 0]
            forward.append((code.count - 4, 4, item, undefined))
        default:
            if !reads.isDisjoint(with: undefined) { defineFlags(&random) }
            code += [0x70 | condition, 0]
            forward.append((code.count - 1, 1, item, undefined))
        }
    }

    /// A body that is run a few times, counted in R15 or, in 32-bit code, in memory.
    private mutating func loop(_ random: inout OracleRandom, _ draw: Draw) {
        let rounds = UInt8(2 + random.below(5))
        let counter = RowEncoder.bytes(OracleWindows.stack + 8, 4)
        if mode == .bits64 {
            code += [0x41, 0xBF, rounds, 0, 0, 0]  // mov r15d, rounds
        } else {
            code += [0xC7, 0x05] + counter + [rounds, 0, 0, 0]  // mov dword [counter], rounds
        }
        let head = code.count
        defineFlags(&random)
        for _ in 0..<1 + random.below(4) where hasRoom { append(draw(flavour, &random), &random) }
        code += mode == .bits64 ? [0x41, 0xFF, 0xCF] : [0xFF, 0x0D] + counter  // dec
        undefined.subtract([.OF, .SF, .ZF, .AF, .PF])
        if code.count + 2 - head <= 128, random.chance(50) {
            code += [0x75, 0]
            patch(code.count - 1, 1, to: head)
        } else {
            code += [0x0F, 0x85, 0, 0, 0, 0]
            patch(code.count - 4, 4, to: head)
        }
    }

    private mutating func call() {
        code += [0xE8, 0, 0, 0, 0]
        calls.append(code.count - 4)
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
        move(RowEncoder.pointer(register), to: register)
        if mode == .bits64 { move(UInt64(random.below(48)), to: RowEncoder.index) }
    }

    /// MOV of a 32-bit immediate.
    private mutating func move(_ value: UInt64, to register: UInt8) {
        if register > 7 { code.append(0x41) }
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
        code += size + [0x88 | wide, 0x03]  // mov [rbx], rAX
        if random.chance(60) { code.append(0xF0) }
        code += size + [0x0F, 0xB0 | wide, UInt8(random.below(8)) << 3 | 0x03]  // cmpxchg [rbx], r
        undefined = []
    }

    /// A string instruction over a small stretch, its operands overlapping as often as not.
    private mutating func string(_ random: inout OracleRandom) {
        let source = OracleWindows.data + 0x300 + UInt64(random.below(0x1A00))
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
