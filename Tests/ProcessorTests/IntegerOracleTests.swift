import TestSupport
import Testing

@testable import Processor

/// Each integer instruction against the host's CPU: the same bytes, registers, flags and memory, edge values and random ones.
@Suite(.serialized) struct IntegerOracleTests {
    /// CF, PF, AF, ZF, SF, OF.
    static let all: UInt64 = 0x8D5
    static let none: UInt64 = 0
    static let cf: UInt64 = 1
    static let zf: UInt64 = 1 << 6
    static let of: UInt64 = 1 << 11
    static let af: UInt64 = 1 << 4
    static let pf: UInt64 = 1 << 2
    static let sf: UInt64 = 1 << 7

    /// An encoding without prefixes that depend on the width: the opcode's bytes with ModRM.reg and what follows.
    struct Case {
        var name: String
        var opcode: [UInt8]
        /// ModRM.reg: a register, or an opcode extension.
        var reg: UInt8 = 6
        var immediate: [UInt8] = []
        var widths: [Int] = [2, 4, 8]
        /// Flags that are compared.
        var flags = IntegerOracleTests.all
        var prefix: [UInt8] = []
        var memory = true
        var register = true
        /// Makes the state fit for the instruction.
        var prepare: @Sendable (inout RegisterImage, ProcessorFixture, Int) -> Void = { _, _, _ in }
    }

    static let edges: [UInt64] = [
        0, 1, 2, 3, 7, 8, 0xF, 0x10, 0x1F, 0x20, 0x3F, 0x40, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x1_0000,
        0x7FFF_FFFF, 0x8000_0000,
        0xFFFF_FFFF, 0x1_0000_0000, 0x7FFF_FFFF_FFFF_FFFF, 0x8000_0000_0000_0000, .max, .max - 1, 0x5555_5555_5555_5555,
        0xAAAA_AAAA_AAAA_AAAA,
    ]

    /// The bytes for a width and an operand form: register r11, or [rdi + r9 * 2 + 16].
    static func encode(_ test: Case, width: Int, memory: Bool) -> [UInt8] {
        var rex: UInt8 = 0x40 | (width == 8 ? 8 : 0) | (test.reg & 8) >> 1
        rex |= memory ? 2 : 1
        let modRM: [UInt8] =
            memory ? [0x44 | (test.reg & 7) << 3, 0x4F, 16] : [0xC3 | (test.reg & 7) << 3]
        return (width == 2 ? [0x66] : []) + test.prefix + [rex] + test.opcode + modRM + test.immediate
    }

    static let binary: [Case] = (0..<8).flatMap { (number: UInt8) -> [Case] in
        let name = ["add", "or", "adc", "sbb", "and", "sub", "xor", "cmp"][Int(number)]
        return [
            Case(name: name + " Eb,Gb", opcode: [number << 3], widths: [1]),
            Case(name: name + " Ev,Gv", opcode: [number << 3 | 1]),
            Case(name: name + " Gb,Eb", opcode: [number << 3 | 2], widths: [1]),
            Case(name: name + " Gv,Ev", opcode: [number << 3 | 3], reg: 9),
            Case(name: name + " Eb,Ib", opcode: [0x80], reg: number, immediate: [0x93], widths: [1]),
            Case(name: name + " Ev,Is", opcode: [0x83], reg: number, immediate: [0xF3]),
            Case(name: name + " Ew,Iw", opcode: [0x81], reg: number, immediate: [0x34, 0x82], widths: [2]),
            Case(
                name: name + " Ev,Id", opcode: [0x81], reg: number, immediate: [0x34, 0x82, 0x76, 0x98], widths: [4, 8]),
        ]
            + (number == 7
                ? []
                : [
                    Case(name: "lock " + name, opcode: [number << 3 | 1], prefix: [0xF0], register: false),
                    Case(
                        name: "lock " + name + " b", opcode: [number << 3], widths: [1], prefix: [0xF0], register: false
                    ),
                    Case(
                        name: "lock " + name + " Is", opcode: [0x83], reg: number, immediate: [0x7F], prefix: [0xF0],
                        register: false),
                ])
    }

    static let unary: [Case] = [
        Case(name: "inc b", opcode: [0xFE], reg: 0, widths: [1]), Case(name: "inc", opcode: [0xFF], reg: 0),
        Case(name: "dec b", opcode: [0xFE], reg: 1, widths: [1]), Case(name: "dec", opcode: [0xFF], reg: 1),
        Case(name: "not b", opcode: [0xF6], reg: 2, widths: [1]), Case(name: "not", opcode: [0xF7], reg: 2),
        Case(name: "neg b", opcode: [0xF6], reg: 3, widths: [1]), Case(name: "neg", opcode: [0xF7], reg: 3),
        Case(name: "lock inc", opcode: [0xFF], reg: 0, prefix: [0xF0], register: false),
        Case(name: "lock neg", opcode: [0xF7], reg: 3, prefix: [0xF0], register: false),
        Case(name: "lock not b", opcode: [0xF6], reg: 2, widths: [1], prefix: [0xF0], register: false),
        Case(name: "test Eb,Gb", opcode: [0x84], widths: [1]), Case(name: "test Ev,Gv", opcode: [0x85]),
        Case(name: "test Eb,Ib", opcode: [0xF6], reg: 0, immediate: [0xA5], widths: [1]),
        Case(name: "test Ev,Id", opcode: [0xF7], reg: 0, immediate: [0xA5, 0x5A, 0x33, 0x80], widths: [4, 8]),
    ]

    static let shiftNames = ["rol", "ror", "rcl", "rcr", "shl", "shr", "shl6", "sar"]
    static let shifts: [Case] = (0..<8).flatMap { (number: UInt8) -> [Case] in
        let name = shiftNames[Int(number)]
        // OF and AF are only defined in part; rotations leave the others alone.
        let once = number < 4 ? all : all & ~af
        let many = once & ~of
        return [
            Case(name: name + " b,1", opcode: [0xD0], reg: number, widths: [1], flags: once),
            Case(name: name + " v,1", opcode: [0xD1], reg: number, flags: once),
            Case(name: name + " b,CL", opcode: [0xD2], reg: number, widths: [1], flags: many),
            Case(name: name + " v,CL", opcode: [0xD3], reg: number, flags: many),
        ]
            + ([0, 1, 5, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 255] as [UInt8]).flatMap { count in
                [
                    Case(
                        name: name + " b,\(count)", opcode: [0xC0], reg: number, immediate: [count], widths: [1],
                        flags: count == 1 ? once : many),
                    Case(
                        name: name + " v,\(count)", opcode: [0xC1], reg: number, immediate: [count],
                        flags: count == 1 ? once : many),
                ]
            }
    }

    static let doubleShifts: [Case] =
        [
            Case(name: "shld CL", opcode: [0x0F, 0xA5], widths: [4, 8], flags: all & ~(of | af)),
            Case(name: "shrd CL", opcode: [0x0F, 0xAD], widths: [4, 8], flags: all & ~(of | af)),
        ]
        + ([0, 1, 5, 15, 16, 31, 33, 63] as [UInt8]).flatMap { count in
            [0xA4, 0xAC].map { (opcode: UInt8) in
                Case(
                    name: "shd \(opcode) \(count)", opcode: [0x0F, opcode], immediate: [count],
                    widths: count & 31 > 16 ? [4, 8] : [2, 4, 8],
                    flags: all & ~(count == 1 ? af : of | af))
            }
        }

    static let products: [Case] = [
        Case(name: "mul b", opcode: [0xF6], reg: 4, widths: [1], flags: cf | of),
        Case(name: "mul", opcode: [0xF7], reg: 4, flags: cf | of),
        Case(name: "imul b", opcode: [0xF6], reg: 5, widths: [1], flags: cf | of),
        Case(name: "imul", opcode: [0xF7], reg: 5, flags: cf | of),
        Case(name: "imul r,rm", opcode: [0x0F, 0xAF], reg: 9, flags: cf | of),
        Case(name: "imul r,rm,Is", opcode: [0x6B], reg: 9, immediate: [0x85], flags: cf | of),
        Case(
            name: "imul r,rm,Id", opcode: [0x69], reg: 2, immediate: [1, 2, 3, 0x84], widths: [4, 8], flags: cf | of),
    ]

    static let bits: [Case] =
        [(0xA3, "bt"), (0xAB, "bts"), (0xB3, "btr"), (0xBB, "btc")].flatMap { (opcode: UInt8, name: String) -> [Case] in
            let extensionDigit: UInt8 = 4 + (opcode - 0xA3) / 8
            // The register's bit offset reaches a kilobyte to either side.
            let prepare: @Sendable (inout RegisterImage, ProcessorFixture, Int) -> Void = { registers, _, width in
                let signed = Int64(registers[6] % 8192) - 4096
                switch width {
                case 2: registers[6] = registers[6] & ~0xFFFF | UInt64(UInt16(truncatingIfNeeded: signed))
                case 4: registers[6] = registers[6] & ~0xFFFF_FFFF | UInt64(UInt32(truncatingIfNeeded: signed))
                default: registers[6] = UInt64(bitPattern: signed)
                }
            }
            return [
                Case(name: name, opcode: [0x0F, opcode], flags: cf | zf, prepare: prepare),
                Case(
                    name: name + " imm", opcode: [0x0F, 0xBA], reg: extensionDigit, immediate: [0x5B], flags: cf | zf),
            ]
                + (opcode == 0xA3
                    ? []
                    : [
                        Case(
                            name: "lock " + name, opcode: [0x0F, opcode], flags: cf | zf, prefix: [0xF0],
                            register: false, prepare: prepare),
                        Case(
                            name: "lock " + name + " imm", opcode: [0x0F, 0xBA], reg: extensionDigit, immediate: [0x1E],
                            flags: cf | zf,
                            prefix: [0xF0], register: false),
                    ])
        } + [
            Case(name: "bsf", opcode: [0x0F, 0xBC], flags: zf), Case(name: "bsr", opcode: [0x0F, 0xBD], flags: zf),
            Case(name: "tzcnt", opcode: [0x0F, 0xBC], flags: zf | cf, prefix: [0xF3]),
            Case(name: "lzcnt", opcode: [0x0F, 0xBD], flags: zf | cf, prefix: [0xF3]),
            Case(name: "popcnt", opcode: [0x0F, 0xB8], prefix: [0xF3]),
            Case(name: "crc32 b", opcode: [0x0F, 0x38, 0xF0], widths: [1], prefix: [0xF2]),
            Case(name: "crc32", opcode: [0x0F, 0x38, 0xF1], prefix: [0xF2]),
            Case(name: "adcx", opcode: [0x0F, 0x38, 0xF6], widths: [4, 8], prefix: [0x66]),
            Case(name: "adox", opcode: [0x0F, 0x38, 0xF6], widths: [4, 8], prefix: [0xF3]),
        ]

    static let moves: [Case] =
        [
            Case(name: "mov Eb,Gb", opcode: [0x88], widths: [1]), Case(name: "mov Ev,Gv", opcode: [0x89]),
            Case(name: "mov Gb,Eb", opcode: [0x8A], widths: [1]), Case(name: "mov Gv,Ev", opcode: [0x8B]),
            Case(name: "mov Eb,Ib", opcode: [0xC6], reg: 0, immediate: [0x9C], widths: [1]),
            Case(name: "mov Ew,Iw", opcode: [0xC7], reg: 0, immediate: [0x9C, 0x12], widths: [2]),
            Case(name: "mov Ev,Id", opcode: [0xC7], reg: 0, immediate: [0x9C, 0x12, 0x45, 0x87], widths: [4, 8]),
            Case(name: "movzx b", opcode: [0x0F, 0xB6]), Case(name: "movzx w", opcode: [0x0F, 0xB7]),
            Case(name: "movsx b", opcode: [0x0F, 0xBE]), Case(name: "movsx w", opcode: [0x0F, 0xBF]),
            Case(name: "movsxd", opcode: [0x63], widths: [4, 8]), Case(name: "lea", opcode: [0x8D], register: false),
            Case(name: "lea a32", opcode: [0x8D], prefix: [0x67], register: false),
            Case(name: "movbe load", opcode: [0x0F, 0x38, 0xF0], register: false),
            Case(name: "movbe store", opcode: [0x0F, 0x38, 0xF1], register: false),
            Case(name: "movnti", opcode: [0x0F, 0xC3], widths: [4, 8], register: false),
            Case(name: "xchg b", opcode: [0x86], widths: [1]), Case(name: "xchg", opcode: [0x87]),
            Case(name: "xadd b", opcode: [0x0F, 0xC0], widths: [1]), Case(name: "xadd", opcode: [0x0F, 0xC1]),
            Case(name: "xadd self", opcode: [0x0F, 0xC1], reg: 11),
            Case(name: "lock xadd", opcode: [0x0F, 0xC1], prefix: [0xF0], register: false),
            Case(name: "cmpxchg b", opcode: [0x0F, 0xB0], widths: [1]), Case(name: "cmpxchg", opcode: [0x0F, 0xB1]),
            Case(name: "lock cmpxchg", opcode: [0x0F, 0xB1], prefix: [0xF0], register: false),
            Case(
                name: "cmpxchg equal", opcode: [0x0F, 0xB1],
                prepare: { registers, fixture, width in
                    registers[0] = registers[11]
                    fixture.store(registers[0], at: operandOffset(registers, fixture))
                }),
            Case(name: "cmpxchg8b", opcode: [0x0F, 0xC7], reg: 1, widths: [4], flags: all, register: false),
            Case(
                name: "lock cmpxchg8b equal", opcode: [0x0F, 0xC7], reg: 1, widths: [4], prefix: [0xF0],
                register: false,
                prepare: { registers, fixture, _ in
                    fixture.store(
                        registers[0] & 0xFFFF_FFFF | registers[2] << 32, at: operandOffset(registers, fixture))
                }),
            Case(
                name: "cmpxchg16b", opcode: [0x0F, 0xC7], reg: 1, widths: [8], register: false,
                prepare: { registers, _, _ in registers[9] &= ~7 }),
            Case(
                name: "lock cmpxchg16b equal", opcode: [0x0F, 0xC7], reg: 1, widths: [8], prefix: [0xF0],
                register: false,
                prepare: { registers, fixture, _ in
                    registers[9] &= ~7
                    fixture.store(registers[0], at: operandOffset(registers, fixture))
                    fixture.store(registers[2], at: operandOffset(registers, fixture) + 8)
                }),
            Case(name: "push", opcode: [0xFF], widths: [2, 8], prepare: { _, _, _ in }),
            Case(name: "pop", opcode: [0x8F], reg: 0, widths: [2, 8]),
        ]
        + (0..<16).flatMap { (code: UInt8) in
            [
                Case(name: "cmov\(code)", opcode: [0x0F, 0x40 | code], reg: 9),
                Case(name: "set\(code)", opcode: [0x0F, 0x90 | code], reg: 0, widths: [1]),
            ]
        }

    /// The offset of the memory operand [rdi + r9 * 2 + 16] from the fixture's base.
    static func operandOffset(_ registers: RegisterImage, _ fixture: ProcessorFixture) -> UInt64 {
        registers[7] &+ registers[9] &* 2 &+ 16 &- fixture.base
    }

    /// Instructions given by all their bytes.
    static let whole: [(name: String, bytes: [UInt8], flags: UInt64)] = [
        ("cbw", [0x66, 0x98], all), ("cwde", [0x98], all), ("cdqe", [0x48, 0x98], all), ("cwd", [0x66, 0x99], all),
        ("cdq", [0x99], all),
        ("cqo", [0x48, 0x99], all), ("lahf", [0x9F], all), ("sahf", [0x9E], all), ("clc", [0xF8], all),
        ("stc", [0xF9], all), ("cmc", [0xF5], all),
        ("bswap", [0x0F, 0xCE], all), ("bswap q", [0x49, 0x0F, 0xCB], all), ("mov ah,bl", [0x88, 0xDC], all),
        ("mov sil,al", [0x40, 0x88, 0xC6], all),
        ("add ch,dh", [0x00, 0xF5], all), ("mov r,imm64", [0x49, 0xBB, 1, 2, 3, 4, 5, 6, 7, 0x88], all),
        ("mov r32,imm", [0x41, 0xBB, 1, 2, 3, 0x84], all),
        ("mov r8,imm", [0xB5, 0x77], all), ("add al,imm", [0x04, 0x85], all),
        ("sub rax,imm", [0x48, 0x2D, 1, 2, 3, 0x84], all),
        ("test eax,imm", [0xA9, 1, 2, 3, 0x84], all), ("xchg rax,r11", [0x49, 0x93], all),
        ("xchg eax,ecx", [0x91], all),
        ("push rax", [0x50], all), ("push rsp", [0x54], all), ("push r11", [0x41, 0x53], all),
        ("push w", [0x66, 0x50], all), ("pop rax", [0x58], all),
        ("pop rsp", [0x5C], all), ("pop w", [0x66, 0x59], all), ("push imm", [0x68, 1, 2, 3, 0x84], all),
        ("push imm8", [0x6A, 0x84], all),
        ("push imm w", [0x66, 0x68, 1, 0x84], all), ("pop [rsp+8]", [0x8F, 0x44, 0x24, 8], all),
        ("push [rsp+8]", [0xFF, 0x74, 0x24, 8], all),
        ("leave", [0xC9], all), ("enter 32,0", [0xC8, 32, 0, 0], all), ("enter 16,1", [0xC8, 16, 0, 1], all),
        ("enter 16,4", [0xC8, 16, 0, 4], all),
        ("leave w", [0x66, 0xC9], all), ("xlat", [0xD7], all), ("nop", [0x90], all), ("pause", [0xF3, 0x90], all),
        ("nop r/m", [0x0F, 0x1F, 0xC0], all),
        ("movs b", [0xA4], all), ("movs d", [0xA5], all), ("movs q", [0x48, 0xA5], all), ("stos w", [0x66, 0xAB], all),
        ("lods b", [0xAC], all),
        ("lods d", [0xAD], all), ("cmps b", [0xA6], all), ("cmps q", [0x48, 0xA7], all), ("scas b", [0xAE], all),
        ("scas d", [0xAF], all),
        ("rep movs b", [0xF3, 0xA4], all), ("rep movs q", [0xF3, 0x48, 0xA5], all),
        ("rep movs w", [0xF3, 0x66, 0xA5], all),
        ("rep stos b", [0xF3, 0xAA], all), ("rep stos d", [0xF3, 0xAB], all), ("rep stos q", [0xF3, 0x48, 0xAB], all),
        ("rep lods b", [0xF3, 0xAC], all),
        ("repe cmps b", [0xF3, 0xA6], all), ("repne cmps d", [0xF2, 0xA7], all), ("repe scas b", [0xF3, 0xAE], all),
        ("repne scas b", [0xF2, 0xAE], all),
        ("repne scas w", [0xF2, 0x66, 0xAF], all),
        ("mfence", [0x0F, 0xAE, 0xF0], all), ("lfence", [0x0F, 0xAE, 0xE8], all), ("sfence", [0x0F, 0xAE, 0xF8], all),
        ("clflush", [0x0F, 0xAE, 0x3F], all),
        ("prefetch", [0x0F, 0x18, 0x0F], all), ("endbr64", [0xF3, 0x0F, 0x1E, 0xFA], all),
    ]

    /// VEX forms on r11 (or memory), r9 and rsi.
    static let vex:
        [(name: String, pp: UInt8, map: UInt8, opcode: UInt8, reg: UInt8, immediate: [UInt8], flags: UInt64)] = [
            ("andn", 0, 2, 0xF2, 6, [], sf | zf | of | cf), ("blsr", 0, 2, 0xF3, 1, [], sf | zf | of | cf),
            ("blsmsk", 0, 2, 0xF3, 2, [], sf | zf | of | cf),
            ("blsi", 0, 2, 0xF3, 3, [], sf | zf | of | cf), ("bextr", 0, 2, 0xF7, 6, [], zf | of | cf),
            ("bzhi", 0, 2, 0xF5, 6, [], sf | zf | of | cf),
            ("pdep", 3, 2, 0xF5, 6, [], all), ("pext", 2, 2, 0xF5, 6, [], all), ("mulx", 3, 2, 0xF6, 6, [], all),
            ("shlx", 1, 2, 0xF7, 6, [], all),
            ("sarx", 2, 2, 0xF7, 6, [], all), ("shrx", 3, 2, 0xF7, 6, [], all), ("rorx", 3, 3, 0xF0, 6, [0x65], all),
        ]

    // MARK: Comparison

    let fixture = ProcessorFixture()

    func randomImage(_ generator: inout some RandomNumberGenerator) -> RegisterImage {
        var image = RegisterImage()
        for number: UInt8 in 0..<16 {
            image[number] =
                Bool.random(using: &generator)
                ? IntegerOracleTests.edges.randomElement(using: &generator) ?? 0
                : UInt64.random(in: 0 ... .max, using: &generator)
        }
        // Pointers into the data: rdi and rsi, rbx; the stack's and the frame's.
        image[4] = fixture.data + 6144 + UInt64.random(in: 0..<64, using: &generator) * 8
        image[5] = fixture.data + 5120 + UInt64.random(in: 0..<64, using: &generator) * 8
        image[7] = fixture.data + 2048
        image[9] = UInt64.random(in: 0..<64, using: &generator)
        image.flags = UInt64.random(in: 0 ... .max, using: &generator) & IntegerOracleTests.all | 0x202
        return image
    }

    /// What differs between the interpreter and the host, or nil. Null where the interpreter stopped.
    func difference(_ bytes: [UInt8], _ image: RegisterImage, flags: UInt64, native: NativeRunner) -> String? {
        let before = fixture.dataBytes
        var ours = image
        if let stop = fixture.execute(bytes, &ours) { return "stopped: \(stop)" }
        let ourData = fixture.dataBytes
        fixture.dataBytes = before
        var theirs = image
        native.run(bytes, &theirs)
        let theirData = fixture.dataBytes
        var text = ""
        for number: UInt8 in 0..<16 where ours[number] != theirs[number] {
            text += " r\(number): \(hex(ours[number])), host \(hex(theirs[number]));"
        }
        if (ours.flags ^ theirs.flags) & flags != 0 {
            text += " flags: \(hex(ours.flags & 0x8D5)), host \(hex(theirs.flags & 0x8D5));"
        }
        if ourData != theirData, let place = ourData.indices.first(where: { ourData[$0] != theirData[$0] }) {
            text += " memory at \(place): \(ourData[place]), host \(theirData[place]);"
        }
        if text.isEmpty { return nil }
        let inputs = (0..<16).map { "r\($0)=\(hex(image[UInt8($0)]))" }.joined(separator: " ")
        return
            "\(bytes.map { hex(UInt64($0)) }.joined(separator: " ")):\(text) from \(inputs) flags \(hex(image.flags & 0x8D5))"
    }

    private func hex(_ value: UInt64) -> String { String(value, radix: 16) }

    func fillData(_ generator: inout some RandomNumberGenerator) {
        for word: UInt64 in 0..<UInt64(ProcessorFixture.dataSize / 8) {
            fixture.store(generator.next(), at: ProcessorFixture.dataOffset + word * 8)
        }
    }

    func compare(_ cases: [Case], rounds: Int = 24) throws {
        let native = try #require(NativeRunner(), "the host gives no executable memory")
        var generator = SplitMix64(seed: 1)
        for test in cases {
            for width in test.widths {
                for memory in [false, true] where memory ? test.memory : test.register {
                    fillData(&generator)
                    var failures: [String] = []
                    for _ in 0..<rounds {
                        var image = randomImage(&generator)
                        if memory {
                            fixture.store(
                                IntegerOracleTests.edges.randomElement(using: &generator) ?? 0,
                                at: IntegerOracleTests.operandOffset(image, fixture))
                        }
                        test.prepare(&image, fixture, width)
                        let bytes = IntegerOracleTests.encode(test, width: width, memory: memory)
                        if let text = difference(bytes, image, flags: test.flags, native: native) {
                            failures.append(text)
                        }
                    }
                    if let first = failures.first {
                        Issue.record(
                            "\(test.name) width \(width) \(memory ? "memory" : "register"): \(failures.count) of \(rounds): \(first)"
                        )
                    }
                }
            }
        }
    }

    @Test func arithmetic() throws { try compare(IntegerOracleTests.binary) }
    @Test func unaryOperations() throws { try compare(IntegerOracleTests.unary) }
    @Test func shiftsAndRotations() throws { try compare(IntegerOracleTests.shifts, rounds: 12) }
    @Test func doubleShifts() throws { try compare(IntegerOracleTests.doubleShifts) }
    @Test func products() throws { try compare(IntegerOracleTests.products) }
    @Test func bitInstructions() throws { try compare(IntegerOracleTests.bits) }
    @Test func movesAndExchanges() throws { try compare(IntegerOracleTests.moves) }

    @Test func wholeInstructions() throws {
        let native = try #require(NativeRunner(), "the host gives no executable memory")
        var generator = SplitMix64(seed: 2)
        for test in IntegerOracleTests.whole {
            var failures: [String] = []
            for round in 0..<32 {
                if round & 7 < 2 { fillData(&generator) }
                var image = randomImage(&generator)
                // String operands: some overlap, some are equal for a while; counts up to 40.
                image[6] = fixture.data + 2048 + UInt64.random(in: 0..<32, using: &generator) &- 8
                image[1] = UInt64.random(in: 0..<40, using: &generator)
                image[3] = fixture.data + 1024
                if round & 1 != 0 {
                    for index: UInt64 in 0..<600 {
                        fixture.store(UInt8(index < 500 ? 7 : 9), at: ProcessorFixture.dataOffset + 1900 + index)
                    }
                    image[0] = 0x0707_0707_0707_0707
                }
                let usesDirection =
                    test.name.contains("movs") || test.name.contains("stos") || test.name.contains("lods")
                    || test.name.contains("cmps") || test.name.contains("scas")
                if usesDirection, round & 2 != 0 { image.flags |= 1 << 10 }
                if let text = difference(test.bytes, image, flags: test.flags, native: native) { failures.append(text) }
            }
            if let first = failures.first { Issue.record("\(test.name): \(failures.count): \(first)") }
        }
    }

    @Test func bitManipulation() throws {
        let native = try #require(NativeRunner(), "the host gives no executable memory")
        var generator = SplitMix64(seed: 3)
        for test in IntegerOracleTests.vex {
            for wide in [false, true] {
                for memory in [false, true] {
                    var failures: [String] = []
                    fillData(&generator)
                    for _ in 0..<32 {
                        let image = randomImage(&generator)
                        // VEX.vvvv is r14, or unused: all ones, which name register 0.
                        let vvvv: UInt8 = test.name == "rorx" ? 0 : 14
                        let bytes: [UInt8] =
                            [
                                0xC4, (memory ? 0xA0 : 0xC0) | test.map,
                                (wide ? 0x80 : 0) | (~vvvv & 15) << 3 | test.pp, test.opcode,
                            ]
                            + (memory ? [0x44 | test.reg << 3, 0x4F, 16] : [0xC3 | test.reg << 3]) + test.immediate
                        if let text = difference(bytes, image, flags: test.flags, native: native) {
                            failures.append(text)
                        }
                    }
                    if let first = failures.first {
                        Issue.record("\(test.name) wide \(wide) memory \(memory): \(failures.count): \(first)")
                    }
                }
            }
        }
    }

    /// Quotients that fit, natively; those that don't are #DE.
    @Test func divisions() throws {
        let native = try #require(NativeRunner(), "the host gives no executable memory")
        var generator = SplitMix64(seed: 4)
        for signed in [false, true] {
            for width in [1, 2, 4, 8] {
                let test = Case(name: "div", opcode: [width == 1 ? 0xF6 : 0xF7], reg: signed ? 7 : 6)
                let bytes = IntegerOracleTests.encode(test, width: width, memory: false)
                var quotients = 0
                var errors = 0
                for _ in 0..<600 {
                    var image = randomImage(&generator)
                    // Often a dividend that is not much longer than a word.
                    if Bool.random(using: &generator) {
                        image[2] = signed && image[0] >> 63 != 0 ? .max : UInt64.random(in: 0..<3, using: &generator)
                    }
                    if width == 1, Bool.random(using: &generator) { image[0] &= 0x3FF }
                    if Quotient(image, width: width, signed: signed).fits {
                        quotients += 1
                        let text = difference(bytes, image, flags: 0, native: native)
                        #expect(text == nil, "\(text ?? "")")
                    } else {
                        errors += 1
                        var ours = image
                        #expect(fixture.execute(bytes, &ours) == .divideError)
                        #expect(ours == image)
                    }
                }
                #expect(quotients > 50 && errors > 10, "\(quotients) quotients, \(errors) errors")
            }
        }
    }

    /// Whether a division of the accumulator by r11 has a quotient that fits, by wide integers.
    private struct Quotient {
        var fits: Bool

        init(_ image: RegisterImage, width: Int, signed: Bool) {
            let bits = width * 8
            let low = width == 1 ? image[0] & 0xFF : width == 8 ? image[0] : image[0] & ((1 << UInt64(bits)) - 1)
            let high = width == 1 ? image[0] >> 8 & 0xFF : width == 8 ? image[2] : image[2] & ((1 << UInt64(bits)) - 1)
            let divisor = width == 8 ? image[11] : image[11] & ((1 << UInt64(bits)) - 1)
            let dividend = UInt128(high) << UInt128(bits) | UInt128(low)
            if divisor == 0 {
                fits = false
            } else if !signed {
                fits = (dividend / UInt128(divisor)) >> UInt128(bits) == 0
            } else {
                let shift = Int128(128 - 2 * bits)
                let a = (Int128(truncatingIfNeeded: dividend) << shift) >> shift
                let b = Int128((Int64(truncatingIfNeeded: divisor) << Int64(64 - bits)) >> Int64(64 - bits))
                let (quotient, overflow) = a.dividedReportingOverflow(by: b)
                let spare = Int128(128 - bits)
                fits = !overflow && (quotient << spare) >> spare == quotient
            }
        }
    }
}
