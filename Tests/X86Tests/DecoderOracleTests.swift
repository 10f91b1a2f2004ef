import Foundation
import TestLimits
import Testing
import X86

/// `objdump`'s opinion of bytes.
private enum Objdump {
    static let path = "/usr/bin/objdump"
    static var isMissing: Bool { !FileManager.default.isExecutableFile(atPath: path) }

    struct Line {
        var address: Int
        var bytes: [UInt8]
        var text: String
    }

    /// Its lines of instructions, of those only that are at multiples of `step`.
    static func run(_ arguments: [String], step: Int = 1) throws -> [Line] {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: path)
        process.arguments = arguments + ["--insn-width=32", "-M", "intel"]
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = FileHandle.nullDevice
        try process.run()
        let output = [UInt8](try pipe.fileHandleForReading.readToEnd() ?? Data())
        process.waitUntilExit()
        var lines: [Line] = []
        for line in output.split(separator: 10) {
            guard let tab = line.firstIndex(of: 9), line[tab - 1] == UInt8(ascii: ":") else { continue }
            let digits = line[..<(tab - 1)].drop { $0 == 32 }
            guard let address = Int(String(decoding: digits, as: UTF8.self), radix: 16), address % step == 0 else {
                continue
            }
            let fields = line[(tab + 1)...].split(separator: 9, maxSplits: 1)
            let bytes = fields[0].split(separator: 32).compactMap {
                UInt8(String(decoding: $0, as: UTF8.self), radix: 16)
            }
            let text = fields.count > 1 ? String(decoding: fields[1], as: UTF8.self) : ""
            lines.append(Line(address: address, bytes: bytes, text: text))
        }
        return lines
    }
}

@Suite(.within(minutes: 20, long: 120)) struct DecoderOracleTests {
    /// Encodings that objdump has no opinion of worth: it knows no aliases of x87 and calls reserved NOPs by newer names.
    private static let beyondObjdump: Set<Mnemonic> = [
        .nop, .salc, .wbinvd, .bsf, .bsr, .fxch, .fstp, .fst, .fcom, .fcomp, .fnop, .ffreep, .lfence, .mfence, .sfence,
        .popcnt,
    ]
    private static let prefixWords: Set<String> = [
        "data16", "addr32", "addr16", "data32", "lock", "rep", "repz", "repnz", "cs", "ds", "es", "ss", "fs", "gs",
        "rex", "bnd",
        "xacquire", "xrelease", "notrack",
    ]

    private struct Generator: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return state
        }
    }

    /// 32-byte slots of prefixes, an opcode of every map and random bytes after it, filled with NOPs.
    private func slots(_ count: Int, _ size: CodeSize) -> [UInt8] {
        var random = Generator(state: 0x9E37_79B9_7F4A_7C15 &+ UInt64(size.rawValue))
        var all: [UInt8] = []
        let high: UInt8 = size == .bits64 ? 0 : 0xC0
        for slot in 0..<count {
            var code: [UInt8] = []
            if random.next() % 3 == 0 {
                for _ in 0..<(random.next() % 3) {
                    code.append([0x66, 0xF2, 0xF3, 0x67, 0x64][Int(random.next() % 5)])
                }
            }
            if size == .bits64, random.next() % 3 == 0 { code.append(0x40 | UInt8(random.next() % 16)) }
            let opcode = UInt8(truncatingIfNeeded: slot)
            switch slot / 256 % 6 {
            case 0: code.append(opcode)
            case 1: code += [0x0F, opcode]
            case 2: code += [0x0F, 0x38, opcode]
            case 3: code += [0x0F, 0x3A, opcode]
            case 4: code = [0xC5, UInt8(truncatingIfNeeded: random.next()) | high | 0x78, opcode]
            default:
                let map = UInt8(random.next() % 3) + 1
                // Outside 64-bit mode the top bit of vvvv is ignored, which objdump doesn't do where vvvv is unused.
                let last = UInt8(truncatingIfNeeded: random.next()) | (size == .bits64 ? 0 : 0x40)
                code = [0xC4, UInt8(truncatingIfNeeded: random.next()) & 0xE0 | map | high, last, opcode]
            }
            while code.count < 15 { code.append(UInt8(truncatingIfNeeded: random.next())) }
            all += code.prefix(15) + [UInt8](repeating: 0x90, count: 17)
        }
        return all
    }

    @Test(
        .disabled(if: Objdump.isMissing, "objdump is not installed"),
        arguments: [(8, "i386:x86-64"), (4, "i386"), (2, "i8086")])
    func agreesWithObjdump(_ size: Int, _ machine: String) throws {
        let codeSize = CodeSize(rawValue: UInt8(size))
        let count = 6 * 1536
        let data = slots(count, codeSize)
        let file = FileManager.default.temporaryDirectory.appendingPathComponent(
            "martlet-decoder-\(size)-\(getpid()).bin")
        try Data(data).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        var lines: [Int: Objdump.Line] = [:]
        for line in try Objdump.run(["-D", "-b", "binary", "-m", machine, file.path], step: 32) {
            lines[line.address] = line
        }

        let known = Set(Mnemonic.allCases.map(\.rawValue))
        var compared = 0
        var wrong: [String] = []
        for slot in 0..<count {
            guard let line = lines[slot * 32] else { continue }
            let words = line.text.split(separator: " ").map(String.init)
            guard let name = words.first(where: { !Self.prefixWords.contains($0) && !$0.hasPrefix("rex.") }) else {
                continue
            }
            let code = Array(data[(slot * 32)..<(slot * 32 + 16)])
            let isBad = line.text.contains("(bad)")
            let hex = code.map { String($0, radix: 16) }.joined(separator: " ")
            compared += 1
            do {
                let instruction = try Decoder.decode(code, codeSize: codeSize, vendor: .amd)
                if isBad {
                    // VEX.L ignored by scalar comparisons, too, is unknown to it.
                    if !Self.beyondObjdump.contains(instruction.mnemonic),
                        instruction.opcodeRow.vectorLength != .ignored
                    {
                        wrong.append("valid here, bad there: \(hex) \(instruction.mnemonic)")
                    }
                } else if Int(instruction.length) != line.bytes.count, instruction.mnemonic != .fwait {
                    wrong.append("\(instruction.length) for \(line.bytes.count): \(hex) \(line.text)")
                }
            } catch {
                // objdump lets prefixes, VEX.W, CR1 and the segment register `?` pass.
                let lax = [
                    "mov", "vzeroupper", "vzeroall", "kmovw", "xsaves", "xsavec", "xrstors", "xrstor", "xgetbv",
                    "xsetbv", "vldmxcsr", "vstmxcsr",
                ]
                let hasPrefix = words.first.map { Self.prefixWords.contains($0) } ?? false
                if !isBad, known.contains(name), !lax.contains(name), !hasPrefix, !line.text.contains("?") {
                    wrong.append("bad here, valid there: \(hex) \(line.text)")
                }
            }
        }
        #expect(compared > count / 2)
        #expect(wrong.isEmpty, "\(wrong.count): \(wrong.prefix(8).joined(separator: "\n"))")
    }

    /// A real program's code, instruction by instruction.
    @Test(.disabled(if: Objdump.isMissing, "objdump is not installed"))
    func realCodeHasTheSameLengths() throws {
        let lines = try Objdump.run(["-d", "-j", ".text", Objdump.path])
        #expect(lines.count > 1000)
        var wrong: [String] = []
        for line in lines where !line.text.contains("(bad)") && !line.bytes.isEmpty {
            let words = line.text.split(separator: " ").map(String.init)
            if words.allSatisfy({ Self.prefixWords.contains($0) }) { continue }
            let length = (try? Decoder.decode(line.bytes, codeSize: .bits64))?.length
            if length.map(Int.init) != line.bytes.count { wrong.append(line.text) }
        }
        #expect(wrong.isEmpty, "\(wrong.prefix(8))")
    }
}
