import Testing
import X86

@testable import Processor

/// Instructions with images, environments and elements in memory, against the host; and what memory faults leave behind.
@Suite struct FloatingPointMemoryTests {
    typealias State = FloatingPointHarness.State

    private func compare(_ harness: FloatingPointHarness, _ bytes: [UInt8], _ state: State, ignoring: [Range<Int>] = [])
    {
        let native = harness.native(bytes, state)
        let (ours, stop) = harness.interpreted(bytes, state, rip: harness.lastNativeAddress)
        let name = FloatingPointTests.hex(bytes)
        #expect(stop == nil, "\(name)")
        #expect(native.general == ours.general, "\(name)")
        for index in 0..<104 where !(52..<72).contains(index) && index != 1 && index != 2 {
            var mask = UInt64.max
            if index == 0 { mask = 0xFF_FFFF_FFFF }
            if index == 3 { mask = 0xFFFF_FFFF }
            if index > 3, index < 20, index & 1 == 1 { mask = 0xFFFF }
            #expect(native.xsave[index] & mask == ours.xsave[index] & mask, "\(name) xsave[\(index)]")
        }
        for index in 0..<1024
        where native.memory[index] != ours.memory[index] && !ignoring.contains(where: { $0.contains(index) }) {
            Issue.record("\(name): memory[\(index)] \(native.memory[index]), ours \(ours.memory[index])")
            break
        }
    }

    @Test func environments() {
        let harness = FloatingPointHarness()
        var random = FloatingPointRandom(3)
        for round in 0..<200 {
            var state = FloatingPointTests.state(harness, &random)
            state.general[6] = harness.address + 3072 + 256
            // A likely environment: control and status with nothing unmasked pending.
            for (offset, value) in [
                (0, state.xsave[0] & 0xFF7F | 0x3F), (4, random.next() & 0x7F7F), (8, random.next()),
            ] {
                for byte in 0..<2 {
                    state.memory[256 + offset + byte] = UInt8(truncatingIfNeeded: value >> UInt64(8 * byte))
                }
            }
            // The pointers that AMD's processors don't keep.
            let pointers = [256 + 12..<256 + 28]
            compare(harness, [0xD9, 0x36], state, ignoring: pointers)  // fnstenv
            compare(harness, [0xDD, 0x36], state, ignoring: pointers)  // fnsave
            compare(harness, [0xD9, 0x26], state)  // fldenv
            compare(harness, [0xDD, 0x26], state)  // frstor
            compare(harness, [0xD9, 0x2E], state)  // fldcw
            if round % 4 == 0 {
                compare(harness, [0x66, 0xD9, 0x36], state, ignoring: [256 + 6..<256 + 14])
                compare(harness, [0x66, 0xDD, 0x36], state, ignoring: [256 + 6..<256 + 14])
            }
        }
    }

    @Test func images() {
        let harness = FloatingPointHarness()
        var random = FloatingPointRandom(5)
        for round in 0..<200 {
            var state = FloatingPointTests.state(harness, &random)
            state.general[6] = harness.address + 3072
            // Requested components, and some of them in their initial state.
            state.general[0] = random.below(8)
            state.general[2] = 0
            let initial = round % 3 == 0 ? random.below(8) : 0
            if initial & 1 != 0 {
                for index in 0..<20 where index != 3 { state.xsave[index] = 0 }
                state.xsave[0] = 0x37F
            }
            if initial & 2 != 0 { for index in 20..<52 { state.xsave[index] = 0 } }
            if initial & 4 != 0 { for index in 72..<104 { state.xsave[index] = 0 } }
            if initial != 0 { state.xsave[3] = 0x1F80 }
            for index in 0..<1024 { state.memory[index] = UInt8(truncatingIfNeeded: random.next() >> 8) }
            for index in 512..<576 { state.memory[index] = 0 }
            state.memory[512] = UInt8(random.below(8))
            // FOP, FIP, FDP, MXCSR_MASK, and the registers' unused bytes.
            let ignored = [6..<24, 28..<32] + (0..<8).map { 42 + 16 * $0..<48 + 16 * $0 }
            compare(harness, [0x0F, 0xAE, 0x06], state, ignoring: ignored)  // fxsave
            compare(harness, [0x48, 0x0F, 0xAE, 0x06], state, ignoring: ignored)
            compare(harness, [0x48, 0x0F, 0xAE, 0x26], state, ignoring: ignored)  // xsave
            compare(harness, [0x48, 0x0F, 0xAE, 0x36], state, ignoring: ignored)  // xsaveopt
            compare(harness, [0x48, 0x0F, 0xC7, 0x26], state, ignoring: ignored)  // xsavec
            // An image that may be loaded.
            for word in 0..<104 where word < 64 || word >= 72 {
                let value = FloatingPointTests.state(harness, &random).xsave[word]
                for byte in 0..<8 {
                    state.memory[word * 8 + byte] = UInt8(truncatingIfNeeded: value >> UInt64(8 * byte))
                }
            }
            for byte in 8..<24 { state.memory[byte] = 0 }
            compare(harness, [0x48, 0x0F, 0xAE, 0x0E], state)  // fxrstor
            compare(harness, [0x48, 0x0F, 0xAE, 0x2E], state)  // xrstor
            if round % 2 == 0 {
                state.memory[520] = 7
                state.memory[527] = 0x80
                compare(harness, [0x48, 0x0F, 0xAE, 0x2E], state)
            }
        }
    }

    @Test func elements() throws {
        let harness = FloatingPointHarness()
        var random = FloatingPointRandom(9)
        for row in OpcodeTable.rows where row.vsib && HostProcessor.offered.permits(row.feature) {
            for wide in [false, true] {
                for _ in 0..<8 {
                    var state = FloatingPointTests.state(harness, &random)
                    for word in 0..<2 {
                        for base in [24, 76] {
                            let small = row.opcode & 1 != 0
                            state.xsave[base + word] =
                                small
                                ? random.below(16) &- 8
                                : (random.below(16) &- 8) & 0xFFFF_FFFF | (random.below(16) &- 8) << 32
                        }
                    }
                    // vgather… xmm1, [rsi + xmm2 * scale], xmm3
                    let bytes: [UInt8] = [
                        0xC4, 0xE2, (row.w == true ? 0x80 : 0) | 12 << 3 | (wide ? 4 : 0) | 1, row.opcode, 0x0C,
                        UInt8(random.below(4)) << 6 | 2 << 3 | 6,
                    ]
                    compare(harness, bytes, state)
                }
            }
        }
        for _ in 0..<20 {
            var state = FloatingPointTests.state(harness, &random)
            state.general[7] = state.general[6]
            compare(harness, [0x66, 0x0F, 0xF7, 0xCA], state)  // maskmovdqu
            compare(harness, [0x0F, 0xF7, 0xCA], state)  // maskmovq
            compare(harness, [0xC5, 0xF9, 0xF7, 0xCA], state)  // vmaskmovdqu
        }
    }

    /// A store or load that reaches a page which isn't there changes nothing.
    @Test(
        arguments: [
            [0x0F, 0x11, 0x0E], [0x0F, 0x10, 0x0E], [0xC5, 0xFC, 0x11, 0x0E], [0xC5, 0xFC, 0x10, 0x0E], [0xDD, 0x1E],
            [0xDB, 0x3E], [0xDD, 0x06],
            [0xDB, 0x2E], [0xD9, 0x36], [0xDD, 0x36], [0x0F, 0x7F, 0x0E], [0x0F, 0xFC, 0x0E], [0xC5, 0xF0, 0x58, 0x0E],
            [0xC4, 0xE2, 0x7D, 0x2E, 0x0E],
        ] as [[UInt8]])
    func faultsArePrecise(_ bytes: [UInt8]) {
        let harness = FloatingPointHarness()
        var random = FloatingPointRandom(11)
        var state = FloatingPointTests.state(harness, &random)
        harness.forbid(harness.address + 4096)
        // All elements selected.
        for word in [20, 21, 72, 73] { state.xsave[word] = .max }
        state.xsave[0] &= 0xFF_4700_0000 | 0xFFFF
        // The last bytes of the page that is there.
        state.general[6] = harness.address + 4096 - 3
        let (after, stop) = harness.interpreted(bytes, state)
        #expect(stop != nil)
        #expect(after == state, "\(FloatingPointTests.hex(bytes))")
    }

    /// A masked element need not be there, and a gather keeps what it has got.
    @Test func maskedElementsDoNotFault() {
        let harness = FloatingPointHarness()
        var random = FloatingPointRandom(13)
        var state = FloatingPointTests.state(harness, &random)
        harness.forbid(harness.address + 4096)
        state.general[6] = harness.address + 4096 - 8
        // vmaskmovps xmm1, xmm0, [rsi]: the first two of four.
        state.xsave[20] = 0x8000_0000_8000_0000
        state.xsave[21] = 0
        #expect(harness.interpreted([0xC4, 0xE2, 0x79, 0x2C, 0x0E], state).1 == nil)
        // vpgatherdd xmm1, [rsi + xmm2 * 4], xmm3: the third is on the missing page.
        state.xsave[24] = 1 << 32
        state.xsave[25] = 3 << 32 | 2
        for word in [26, 27] { state.xsave[word] = .max }
        let (after, stop) = harness.interpreted([0xC4, 0xE2, 0x61, 0x90, 0x0C, 0x96], state)
        #expect(stop != nil)
        if stop?.kind == .fault {
            #expect(after.xsave[26] == 0 && after.xsave[27] == .max)
        } else {
            #expect(after == state)
        }
    }

    /// Misaligned operands: #GP(0) for legacy forms and aligned moves only.
    @Test func alignment() {
        let harness = FloatingPointHarness()
        var random = FloatingPointRandom(17)
        var state = FloatingPointTests.state(harness, &random)
        state.general[6] += 4
        let faulting: [[UInt8]] = [
            [0x0F, 0x28, 0x0E], [0x0F, 0x29, 0x0E], [0x66, 0x0F, 0xFC, 0x0E], [0xC5, 0xF8, 0x28, 0x0E],
            [0xC5, 0xFC, 0x29, 0x0E],
        ]
        for bytes in faulting {
            #expect(harness.interpreted(bytes, state).1 == .generalProtection, "\(FloatingPointTests.hex(bytes))")
        }
        let fine: [[UInt8]] = [[0x0F, 0x10, 0x0E], [0xC5, 0xF1, 0xFC, 0x0E], [0x66, 0x0F, 0x3A, 0x63, 0x0E, 0]]
        for bytes in fine { #expect(harness.interpreted(bytes, state).1 == nil, "\(FloatingPointTests.hex(bytes))") }
        state.general[6] = harness.address + 3072 + 8
        #expect(harness.interpreted([0x0F, 0xAE, 0x06], state).1 == .generalProtection)
        state.general[6] = harness.address + 3072 + 16
        #expect(harness.interpreted([0x0F, 0xAE, 0x26], state).1 == .generalProtection)
    }
}
