import TestLimits
import Foundation
import Testing
@testable import X86

@Suite(.within(minutes: 20)) struct AssemblerTests {
    private static let isInstalled = Nasm.isInstalled

    /// Byte for byte, so that no encoding is longer than it needs be.
    @Test(.enabled(if: isInstalled, "nasm is not installed")) func writesWhatNasmWrites() throws {
        let cases = AssemblerCases.all
        let expected = try Nasm.assemble(lines: cases.map(\.text))
        for (item, bytes) in zip(cases, expected) {
            let written = Assembler.code(.bits64, item.write)
            #expect(written == Array(bytes), "\(item.text)")
        }
    }

    /// Our own decoder reads one instruction, of that name and with that memory operand.
    @Test func writesWhatDecodes() throws {
        for item in AssemblerCases.all {
            let bytes = Assembler.code(.bits64, item.write)
            let instruction = try Decoder.decode(bytes, codeSize: .bits64)
            #expect(Int(instruction.length) == bytes.count, "\(item.text)")
            #expect(
                plain(Disassembler.text(instruction)) == plain(item.text),
                "\(item.text): \(Disassembler.text(instruction))")
            guard let memory = item.memory else { continue }
            let decoded = instruction.memory
            #expect(decoded.base == memory.base?.rawValue ?? MemoryOperand.noRegister, "\(item.text)")
            #expect(decoded.index == memory.index?.rawValue ?? MemoryOperand.noRegister, "\(item.text)")
            #expect(decoded.scale == UInt8(memory.scale.trailingZeroBitCount), "\(item.text)")
            #expect(decoded.displacement == Int64(memory.displacement), "\(item.text)")
            #expect(memory.segment == nil || decoded.segment == memory.segment, "\(item.text)")
        }
    }

    /// The mnemonic, behind LOCK and the like; where the two write it differently, the disassembler's.
    private func plain(_ text: String) -> String {
        if ["xchg ax, ax", "xchg rax, rax"].contains(text) { return "nop" }
        let words = text.split(separator: " ").map(String.init)
        let name = words.first { !["lock", "rep", "repne", "o64"].contains($0) } ?? ""
        let same = [
            "movsxd": "movsx", "fxsave64": "fxsave", "fxrstor64": "fxrstor", "xsave64": "xsave", "xrstor64": "xrstor",
            "xsaveopt64": "xsaveopt", "xsavec64": "xsavec", "wait": "fwait", "leaveq": "leave", "sysretq": "sysret",
        ]
        return same[name] ?? name
    }

    /// No method is left out of the cases.
    @Test func everyMethodHasACase() throws {
        let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        let sources = tests.deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("Sources/X86/Assembler")
        let cases = try ["AssemblerCases", "AssemblerTests", "ReencodingTests"]
            .map { try String(contentsOf: tests.appendingPathComponent("\($0).swift"), encoding: .utf8) }.joined()
        var methods: Set<String> = []
        for file in try FileManager.default.contentsOfDirectory(atPath: sources.path) where file.hasSuffix(".swift") {
            let text = try String(contentsOf: sources.appendingPathComponent(file), encoding: .utf8)
            for match in text.matches(of: /public mutating func `?(\w+)/) { methods.insert(String(match.1)) }
        }
        #expect(methods.count > 150)
        for method in methods.sorted() {
            #expect(cases.contains(".\(method)("), "\(method)")
        }
    }

    // MARK: Labels

    /// What was written before leaves nothing behind, be it longer or shorter than what follows.
    @Test(arguments: [0, 3, 900]) func whatIsForgottenLeavesNothing(count: Int) {
        func write(_ a: inout Assembler, _ count: Int) -> [UInt8] {
            let (end, start) = (a.label(), a.here())
            for number in 0..<count { a.add(.at(end, number), .rax) }
            a.jcc(.z, start)
            a.jmp(end)
            a.mov(.rdx, 0x1122_3344_5566_7788)
            a.place(end)
            return a.finished().bytes
        }
        var used = Assembler()
        _ = write(&used, 100)
        used.removeAll()
        var fresh = Assembler()
        #expect(write(&used, count) == write(&fresh, count))
    }

    /// Jumps of each kind over so many bytes, forwards and backwards, beside each other, so that one's growth moves another.
    private func jumps(_ distance: Int) -> (code: Assembler.Code, targets: [Int]) {
        var a = Assembler()
        let (start, middle, end) = (a.here(), a.label(), a.label())
        a.jmp(middle)
        a.jcc(.nbe, end)
        a.nop(distance)
        a.lea(.rax, .at(end, 4))
        a.jcc(.z, start)
        a.mov(.at(start), 7, .byte)
        a.place(middle)
        a.nop(distance)
        a.jmp(start)
        a.call(end)
        a.cmp(.at(middle, -3), 0x12345, .long)
        a.place(end)
        a.jmp(middle, .near)
        a.jcc(.s, end, .near)
        let last = a.here()
        a.jrcxz(last)
        a.loop(last)
        let code = a.finished()
        let targets = [middle, end, end, start, start, start, end, middle, middle, end, last, last]
        return (code, targets.map { code.offset(of: $0) })
    }

    private func source(_ distance: Int) -> String {
        """
        bits 64
        start: jmp middle
        ja end
        times \(distance) nop
        lea rax, [rel end + 4]
        jz start
        mov byte [rel start], 7
        middle: times \(distance) nop
        jmp start
        call end
        cmp dword [rel middle - 3], 0x12345
        end: jmp near middle
        js near end
        last: jrcxz last
        loop last

        """
    }

    @Test func labelsAreReached() {
        for distance in Array(0..<140) + [1000, 40000] {
            let (code, targets) = jumps(distance)
            let addends = [2: 4, 7: -3]
            let reached = instructions(code.bytes).enumerated().map { index, item in
                let counted =
                    item.instruction.hasMemoryOperand
                    ? UInt64(bitPattern: item.instruction.memory.displacement) : item.instruction.immediate
                return item.end + Int(Int64(bitPattern: counted)) - (addends[index] ?? 0)
            }
            #expect(reached == targets, "\(distance)")
        }
    }

    /// nasm's own are not always the shortest.
    @Test(.enabled(if: isInstalled, "nasm is not installed")) func jumpsAreTheShortest() throws {
        for distance in Array(0..<140) + [1000, 40000] {
            let written = jumps(distance).code.bytes
            let expected = try Nasm.assemble(source(distance))
            #expect(written.count <= expected.count, "\(distance)")
            guard written.count == expected.count else { continue }
            #expect(instructions(written).map(\.bytes) == instructions(expected).map(\.bytes), "\(distance)")
        }
    }

    /// All but the NOPs.
    private func instructions(_ code: [UInt8]) -> [(instruction: Instruction, bytes: [UInt8], end: Int)] {
        var found: [(instruction: Instruction, bytes: [UInt8], end: Int)] = []
        var at = 0
        while at < code.count, let instruction = try? Decoder.decode(Array(code[at...].prefix(15)), codeSize: .bits64) {
            let end = at + Int(instruction.length)
            if instruction.mnemonic != .nop { found.append((instruction, Array(code[at..<end]), end)) }
            at = end
        }
        #expect(at == code.count)
        return found
    }

    @Test func labelsHaveOffsets() {
        var assembler = Assembler()
        let (behind, outside) = (assembler.label(), assembler.label(at: -0x1000))
        assembler.jmp(behind)
        let first = assembler.here()
        assembler.nop(200)
        assembler.place(behind)
        assembler.call(outside)
        let code = assembler.finished()
        #expect(code.offset(of: first) == 5 && code.offset(of: behind) == 205 && code.offset(of: outside) == -0x1000)
        // -1000H - 210
        #expect(code.bytes[205...] == [0xE8, 0x2E, 0xEF, 0xFF, 0xFF])
    }

    /// Of every length one run of instructions that do nothing.
    @Test func nopsHaveTheirLength() throws {
        for count in 0..<64 {
            let code = Assembler.code { $0.nop(count) }
            #expect(code.count == count && instructions(code).isEmpty)
            var instructions = 0, at = 0
            while at < count {
                at += Int(try Decoder.decode(Array(code[at...]), codeSize: .bits64).length)
                instructions += 1
            }
            #expect(instructions == (count + 8) / 9)
        }
    }

    @Test func bytesAreTakenAsTheyAre() {
        #expect(Assembler.code { $0.bytes(1, 2) } == [1, 2])
        #expect(Assembler.code { $0.bytes([3, 4][...]) } == [3, 4])
    }

    // MARK: Other code sizes

    private func narrow(_ a: inout Assembler) {
        let again = a.here()
        a.mov(.rax, 3)
        a.mov(.rcx, 0x1234_5678, .long)
        a.mov(.rdx, 0x1234, .word)
        a.mov(.absolute(0x7000), .rbx)
        a.mov(.absolute(0x7000), .rax)
        a.mov(.rax, .absolute(0x7001), .byte)
        a.add(.absolute(0x7000), .rcx, .byte)
        a.mov(.rsi, .at(.rbx, index: .rdi, scale: 4, 300), .long)
        a.push(.rax)
        a.pop(.rcx)
        a.push(0x300)
        a.inc(.rcx)
        a.dec(.rcx, .byte)
        a.lock()
        a.inc(.absolute(0x7000), .long)
        a.movd(.xmm(0), .rax)
        a.fstp(.absolute(0x7000), .real64)
        a.rep()
        a.movs(.long)
        a.iret()
        a.call(again)
        a.jrcxz(again)
        a.nop(200)
        a.jcc(.nz, again)
        a.jmp(again)
        a.hlt()
    }

    private func narrowSource(_ bits: Int) -> String {
        let (a, b, c) = bits == 16 ? ("ax", "bx", "cx") : ("eax", "ebx", "ecx")
        let size = bits == 16 ? "word" : "dword"
        return """
            bits \(bits)
            again: mov \(a), 3
            mov ecx, 0x12345678
            mov dx, 0x1234
            mov [0x7000], \(b)
            mov [0x7000], \(a)
            mov al, [0x7001]
            add [0x7000], cl
            mov esi, [ebx + edi * 4 + 300]
            push \(a)
            pop \(c)
            push \(size) 0x300
            inc \(c)
            dec cl
            lock inc dword [0x7000]
            movd xmm0, eax
            fstp qword [0x7000]
            rep movsd
            iret
            call again
            j\(bits == 16 ? "cxz" : "ecxz") again
            times 200 nop
            jnz again
            jmp again
            hlt

            """
    }

    @Test(.enabled(if: isInstalled, "nasm is not installed"), arguments: [CodeSize.bits16, .bits32])
    func writesNarrowCode(codeSize: CodeSize) throws {
        let bits = codeSize == .bits16 ? 16 : 32
        let written = Assembler.code(codeSize) { narrow(&$0) }
        let expected = try Nasm.assemble(narrowSource(bits))
        let nops = 200
        let start = try #require(expected.firstIndex(of: 0x90))
        #expect(written[..<start] == expected[..<start])
        #expect(written[(start + nops)...] == expected[(start + nops)...])
    }
}
