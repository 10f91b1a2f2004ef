import TestLimits
import TestSupport
import Testing
import X86

@testable import Processor

/// What only shows over several instructions: branches, loops, REP forms across pages, faults in the middle, self-modification.
@Suite(.serialized, .within(minutes: 20)) struct IntegerProgramTests {
    let fixture = ProcessorFixture()

    private func image() -> RegisterImage {
        var image = RegisterImage()
        image[4] = fixture.stack
        return image
    }

    /// Each condition, taken and not, against the flags' definition. Intel SDM vol. 1, appendix B.
    @Test func conditions() {
        for code: UInt8 in 0..<16 {
            for bits: UInt64 in 0..<64 {
                let (carry, parity, adjust) = (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0)
                let (zero, sign, overflow) = (bits & 8 != 0, bits & 16 != 0, bits & 32 != 0)
                let plain = [
                    overflow, carry, zero, carry || zero, sign, parity, sign != overflow, zero || sign != overflow,
                ][Int(code / 2)]
                let expected = plain != (code & 1 != 0)
                var registers = image()
                registers.flags =
                    2 | (carry ? 1 : 0) | (parity ? 4 : 0) | (adjust ? 16 : 0) | (zero ? 64 : 0) | (sign ? 128 : 0)
                    | (overflow ? 2048 : 0)
                // jcc +1; hlt; mov al, 1; hlt
                #expect(fixture.run([0x70 | code, 1, 0xF4, 0xB0, 1, 0xF4], &registers) == .halted)
                #expect((registers[0] == 1) == expected, "condition \(code), flags \(registers.flags)")
            }
        }
    }

    /// A sum by a loop, a subroutine that is called directly and through a register, and returns that pop.
    @Test func loopsAndCalls() {
        var registers = image()
        registers[1] = 1000
        // l: add rax, rcx; loop l; hlt
        #expect(fixture.run([0x48, 0x01, 0xC8, 0xE2, 0xFB, 0xF4], &registers) == .halted)
        #expect(registers[0] == 500_500 && registers[1] == 0)

        registers = image()
        // call f; lea rbx, [rip + 6]; push 7; call rbx; hlt; (f, at 17) add rax, 5; ret: first direct, then indirect with RET 8.
        let program: [UInt8] = [
            0xE8, 13, 0, 0, 0,  // call f (18)
            0x48, 0x8D, 0x1D, 11, 0, 0, 0,  // lea rbx, [rip + 11] (g, at 23)
            0x6A, 7,  // push 7
            0xFF, 0xD3,  // call rbx
            0xF4, 0xF4,  // hlt
            0x48, 0x83, 0xC0, 5, 0xC3,  // f: add rax, 5; ret
            0x48, 0x03, 0x44, 0x24, 8, 0xC2, 8, 0,  // g: add rax, [rsp + 8]; ret 8
        ]
        #expect(fixture.run(program, &registers) == .halted)
        #expect(registers[0] == 12 && registers[4] == fixture.stack)
    }

    /// LOOPE, LOOPNE and JRCXZ with 64- and 32-bit counters.
    @Test func countedBranches() {
        var registers = image()
        registers[1] = 0x1_0000_0000
        // jecxz +1; hlt; inc al; jrcxz +2; inc al; hlt
        #expect(fixture.run([0x67, 0xE3, 1, 0xF4, 0xFE, 0xC0, 0xE3, 2, 0xFE, 0xC0, 0xF4], &registers) == .halted)
        #expect(registers[0] == 2)

        registers = image()
        registers[1] = 10
        // l: inc al; cmp al, 4; loopne l; hlt
        #expect(fixture.run([0xFE, 0xC0, 0x3C, 4, 0xE0, 0xFA, 0xF4], &registers) == .halted)
        #expect(registers[0] == 4 && registers[1] == 6)
    }

    /// Moves and fills over several pages, from odd addresses, overlapping upward by less than an element's width and more.
    @Test(arguments: [1, 2, 4, 8], [0, 1, 3, 8, 64, 5000])
    func repeatedMoves(width: Int, distance: UInt64) {
        var generator = SplitMix64(seed: UInt64(width) * 100 + distance)
        let count = 20_000 / width
        let opcode: [UInt8] =
            width == 1
            ? [0xF3, 0xA4] : width == 2 ? [0xF3, 0x66, 0xA5] : width == 4 ? [0xF3, 0xA5] : [0xF3, 0x48, 0xA5]
        let offset = ProcessorFixture.dataOffset + 0x4123
        for word: UInt64 in 0..<8192 { fixture.store(generator.next(), at: ProcessorFixture.dataOffset + word * 8) }
        var expected = fixture.read(count: 0x10000, at: ProcessorFixture.dataOffset)
        for index in 0..<count {
            let from = 0x4123 + index * width
            let element = expected[from..<from + width]
            expected.replaceSubrange(from + Int(distance)..<from + Int(distance) + width, with: Array(element))
        }
        var registers = image()
        registers[6] = fixture.base + offset
        registers[7] = fixture.base + offset + distance
        registers[1] = UInt64(count)
        #expect(fixture.run(opcode + [0xF4], &registers) == .halted)
        #expect(registers[1] == 0 && registers[6] == fixture.base + offset + UInt64(count * width))
        #expect(registers[7] == registers[6] + distance)
        #expect(fixture.read(count: 0x10000, at: ProcessorFixture.dataOffset) == expected)
    }

    @Test func repeatedFillAcrossPages() {
        var registers = image()
        registers[0] = 0x1122_3344_5566_7788
        registers[7] = fixture.data + 0xFF9
        registers[1] = 3000
        #expect(fixture.run([0xF3, 0x48, 0xAB, 0xF4], &registers) == .halted)
        #expect(registers[1] == 0 && registers[7] == fixture.data + 0xFF9 + 24000)
        for index: UInt64 in 0..<3000
        where fixture.load(UInt64.self, at: ProcessorFixture.dataOffset + 0xFF9 + index * 8) != registers[0] {
            Issue.record("element \(index)")
        }
    }

    /// A fault in the middle leaves what was done committed. Intel SDM vol. 2, REP. Without an IDT the fault ends as shutdown.
    @Test func faultInsideOfRepeat() {
        var registers = image()
        // The mapping ends 16 MiB from the base.
        registers[7] = fixture.base + UInt64(ProcessorFixture.size) - 100
        registers[1] = 30
        registers[0] = 0x55
        var after = registers
        let stop = fixture.execute([0xF3, 0x48, 0xAB], &after)
        #expect(stop?.kind == .fault && stop?.vector == 14)
        #expect(after[1] == 18 && after[7] == registers[7] + 96)
        #expect(fixture.processor.state.cr2 == fixture.base + UInt64(ProcessorFixture.size))
    }

    /// Nothing is changed by an instruction that faults.
    @Test(arguments: [
        [0x48, 0x01, 0x03], [0x48, 0x8B, 0x03], [0x50 as UInt8], [0x58], [0x48, 0x87, 0x03],
        [0xF0, 0x48, 0x0F, 0xC1, 0x03], [0xC9], [0xC8, 16, 0, 3],
        [0xFF, 0x33], [0x8F, 0x03], [0x48, 0xD1, 0x23], [0x48, 0x11, 0x03], [0xE8, 1, 0, 0, 0], [0xC3], [0xFF, 0xD0],
        [0xFF, 0xE0], [0x48, 0xA5],
        [0x48, 0xF7, 0xF3], [0x0F, 0xBB, 0x03], [0x48, 0x0F, 0xC7, 0x0B], [0xA6],
    ])
    func faultsChangeNothing(_ bytes: [UInt8]) {
        var generator = SplitMix64(seed: 9)
        var registers = RegisterImage()
        for number: UInt8 in 0..<16 { registers[number] = generator.next() | 1 << 63 & ~(1 << 62) }
        // Not canonical, all of them.
        for number: UInt8 in 0..<16 {
            registers[number] = registers[number] & 0x3FFF_FFFF_FFFF_FFF0 | 0x1000_0000_0000_0000
        }
        // A stack that is there, for what is to fault elsewhere, but for RET whose target is what is on it.
        if [0xFF, 0x8F, 0xC3].contains(bytes[0]) { registers[4] = fixture.stack }
        if bytes[0] == 0xC3 { fixture.store(0x1000_0000_0000_0000 as UInt64, at: ProcessorFixture.stackOffset) }
        if bytes == [0x48, 0xF7, 0xF3] { registers[3] = 0 }
        registers.flags = 0x8D7
        var after = registers
        let stop = fixture.execute(bytes, &after)
        #expect(stop?.kind == .fault, "\(bytes)")
        #expect(after == registers, "\(bytes)")
    }

    /// A store into the code that follows shows at once, in the same block. Intel SDM vol. 3, 8.1.3.
    @Test func selfModification() {
        var registers = image()
        registers[3] = fixture.code + 7
        // Twice, so that the second run finds the block decoded: mov byte [rbx], 2; nop…; mov al, 1; hlt
        for _ in 0..<2 {
            #expect(fixture.run([0xC6, 0x03, 2, 0xEB, 1, 0x90, 0xB0, 1, 0xF4], &registers) == .halted)
            #expect(registers[0] & 0xFF == 2)
        }
    }

    /// DAA, DAS, AAA, AAM, AAD by the examples of the manuals.
    @Test func decimalAdjustments() {
        // 79 is 7 and 9.
        let cpu = fixture.processor.cpu
        cpu.rax = 79
        let op = UnsafeCursor(immediate: 10)
        _ = cpu.adjustAfterMultiplying(op.cursor)
        #expect(cpu.rax == 0x0709)
        _ = cpu.adjustBeforeDividing(op.cursor)
        #expect(cpu.rax == 79)
        // DAA: 0x79 + 0x35 = 0xAE is 114.
        cpu.rax = 0xAE
        cpu.rflags = 2
        _ = cpu.adjustDecimal(op.cursor, subtracting: false)
        #expect(cpu.rax == 0x14 && cpu.carryFlag && cpu.adjustFlag)
        // DAS: 0x35 − 0x47 = 0xEE with borrows is 88, and carry.
        cpu.rax = 0xEE
        cpu.rflags = 0x13
        _ = cpu.adjustDecimal(op.cursor, subtracting: true)
        #expect(cpu.rax == 0x88 && cpu.carryFlag && cpu.adjustFlag)
        // AAA: 0x0F becomes 5 with AH one up.
        cpu.rax = 0x000F
        cpu.rflags = 2
        _ = cpu.adjustASCII(op.cursor, subtracting: false)
        #expect(cpu.rax == 0x0105 && cpu.carryFlag)
    }

    /// Floating point of the hypervisor's own leaves no trace in MXCSR.
    @Test func hypervisorsFloatingPointIsNotTheGuests() {
        fixture.processor.state.cr4 |= 0x600  // OSFXSR, OSXMMEXCPT
        fixture.processor.stateChanged()
        var third = 0.0
        let number = Double(fixture.code)
        fixture.onCPUID = { third = number / 3 }
        var registers = image()
        registers[3] = fixture.data
        fixture.store(0x1F80 as UInt32, at: ProcessorFixture.dataOffset)
        // ldmxcsr [rbx]; addps xmm0, xmm1; cpuid's leaf; push rbx; cpuid; pop rbx; stmxcsr [rbx]; hlt
        #expect(
            fixture.run(
                [
                    0x0F, 0xAE, 0x13, 0x0F, 0x58, 0xC1, 0x31, 0xC0, 0x53, 0x0F, 0xA2, 0x5B, 0x0F, 0xAE, 0x1B, 0xF4,
                ], &registers) == .halted)
        #expect(third != 0)
        #expect(fixture.load(UInt32.self, at: ProcessorFixture.dataOffset) == 0x1F80)
    }

    @Test func randomNumbersDiffer() {
        var first = image()
        var second = image()
        #expect(fixture.execute([0x48, 0x0F, 0xC7, 0xF0], &first) == nil)
        #expect(fixture.execute([0x48, 0x0F, 0xC7, 0xF8], &second) == nil)
        #expect(first[0] != second[0] && first.flags & 0x8D5 == 1)
    }
}

/// An op by itself, with an end behind it.
///
/// SAFETY: two ops, from init to deinit.
@safe private final class UnsafeCursor {
    private let ops: UnsafeMutablePointer<Op>

    init(immediate: UInt64) {
        unsafe ops = .allocate(capacity: 2)
        unsafe ops.initialize(repeating: Op(handler: Interpreter.endOfStep), count: 2)
        unsafe ops[0].immediate = immediate
    }

    deinit { unsafe ops.deallocate() }

    var cursor: OpCursor { OpCursor(UInt(bitPattern: unsafe ops)) }
}
