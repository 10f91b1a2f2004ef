import TestLimits
import Testing
import X86

private func bytes(_ hex: String) -> [UInt8] { hex.split(separator: " ").compactMap { UInt8($0, radix: 16) } }

private func text(_ hex: String, _ size: CodeSize, vendor: Vendor = .intel, real: Bool = false) -> String {
    do {
        let code = bytes(hex)
        let instruction = try Decoder.decode(code + [0, 0, 0], codeSize: size, realOrV86: real, vendor: vendor)
        guard Int(instruction.length) == code.count else { return "length \(instruction.length)" }
        return Disassembler.text(instruction)
    } catch { return "\(error)" }
}

@Suite(.within(minutes: 20)) struct DecoderTests {
    /// Expected text follows the manuals' tables 2-1…2-3 and the instructions' own pages.
    @Test(arguments: [
        ("00 c8", 8, "add al, cl"), ("00 e0", 8, "add al, ah"), ("40 00 e0", 8, "add al, spl"),
        ("66 01 d8", 8, "add ax, bx"), ("48 01 d8", 8, "add rax, rbx"), ("66 48 01 d8", 8, "add rax, rbx"),
        ("48 66 01 d8", 8, "add ax, bx"), ("01 d8", 4, "add eax, ebx"), ("01 d8", 2, "add ax, bx"),
        ("66 01 d8", 2, "add eax, ebx"), ("48", 4, "dec eax"), ("83 c0 ff", 8, "add eax, -0x1"),
        ("8b 04 25 10 00 00 00", 8, "mov eax, dword ds:[0x10]"),
        ("8b 05 10 00 00 00", 8, "mov eax, dword ds:[rip+0x10]"),
        ("67 8b 05 10 00 00 00", 8, "mov eax, dword ds:[eip+0x10]"),
        ("8b 05 10 00 00 00", 4, "mov eax, dword ds:[0x10]"),
        ("8b 44 24 08", 8, "mov eax, dword ss:[rsp+0x8]"), ("8b 45 f8", 8, "mov eax, dword ss:[rbp-0x8]"),
        ("41 8b 45 f8", 8, "mov eax, dword ds:[r13-0x8]"), ("43 8b 04 a4", 8, "mov eax, dword ds:[r12+r12*4]"),
        ("64 48 8b 04 25 00 00 00 00", 8, "mov rax, qword fs:[0x0]"), ("2e 8b 00", 8, "mov eax, dword ds:[rax]"),
        ("64 2e 8b 00", 8, "mov eax, dword fs:[rax]"), ("64 2e 8b 00", 4, "mov eax, dword cs:[eax]"),
        ("8b 02", 2, "mov ax, word ss:[bp+si]"), ("8b 46 00", 2, "mov ax, word ss:[bp]"),
        ("8b 0e 34 12", 2, "mov cx, word ds:[0x1234]"), ("67 8b 04 24", 2, "mov ax, word ss:[esp]"),
        ("a1 08 07 06 05 04 03 02 01", 8, "mov eax, dword ds:[0x102030405060708]"),
        ("67 a1 04 03 02 01", 8, "mov eax, dword ds:[0x1020304]"),
        ("48 b8 08 07 06 05 04 03 02 01", 8, "mov rax, 0x102030405060708"), ("ff 30", 8, "push qword ds:[rax]"),
        ("66 ff 30", 8, "push word ds:[rax]"), ("68 ff ff ff ff", 8, "push -0x1"), ("50", 8, "push rax"),
        ("41 50", 8, "push r8"), ("e8 00 00 00 00", 8, "call 0x5"), ("eb fe", 8, "jmp 0x0"), ("74 10", 8, "jz 0x12"),
        ("9a 78 56 34 12 08 00", 4, "call far 0x8:0x12345678"), ("ea 34 12 00 f0", 2, "jmp far 0xf000:0x1234"),
        ("c8 10 00 02", 8, "enterq 0x10, 0x2"), ("f3 90", 8, "pause"), ("90", 8, "nop"), ("41 90", 8, "xchg r8d, eax"),
        ("f3 41 90", 8, "rep xchg r8d, eax"), ("63 c8", 8, "movsxd ecx, eax"), ("63 c8", 4, "arpl ax, cx"),
        ("c5 f8 58 c1", 8, "vaddps xmm0, xmm0, xmm1"), ("c5 fc 58 c1", 4, "vaddps ymm0, ymm0, ymm1"),
        ("c5 00", 4, "lds eax, ds:[eax]"), ("c4 e2 f9 6e", 8, "invalid"), ("66 48 0f 6e c0", 8, "movq xmm0, rax"),
        ("f2 0f 38 f0 c4", 8, "crc32 eax, ah"), ("0f 0b", 8, "ud2"),
        ("f0 0f b1 0b", 8, "lock cmpxchg dword ds:[rbx], ecx"),
        ("f0 01 d8", 8, "invalid"), ("f0 8b 00", 8, "invalid"), ("8e c8", 8, "invalid"), ("0f 20 c8", 8, "invalid"),
        ("44 0f 20 c0", 8, "mov rax, cr8"), ("0f 22 18", 4, "mov cr3, eax"), ("06", 8, "invalid"),
        ("d8 c1", 8, "fadd st(0), st(1)"),
        ("f3 a4", 8, "rep movsb es:[rdi], ds:[rsi]"), ("67 64 a5", 8, "movsd es:[edi], fs:[esi]"),
        ("c4 e2 69 92 04 0b", 8, "vgatherdps xmm0, dword ds:[rbx+xmm1], xmm2"), ("c4 e2 71 92 04 0b", 8, "invalid"),
    ])
    func decodes(_ hex: String, _ size: Int, _ expected: String) {
        #expect(text(hex, CodeSize(rawValue: UInt8(size))) == expected)
    }

    @Test func nearBranchesFollowTheVendor() {
        #expect(text("66 e8 00 00 00 00", .bits64) == "call 0x6")
        #expect(text("66 e8 00 00", .bits64, vendor: .amd) == "call 0x4")
        #expect(text("66 c3", .bits64, vendor: .amd) == "ret")
    }

    @Test func prefixesBeforeVEXAreInvalid() {
        for prefix in ["66", "f2", "f3", "f0", "48"] { #expect(text(prefix + " c5 f8 58 c1", .bits64) == "invalid") }
        #expect(text("64 67 c5 f8 58 01", .bits64) == "vaddps xmm0, xmm0, xmmword fs:[ecx]")
    }

    @Test func realModeLacksVEXAndSelectors() {
        #expect(text("c5 f8 58 c1", .bits16, real: true) == "invalid")
        #expect(text("0f 00 d8", .bits16, real: true) == "invalid")
        #expect(text("0f 00 d8", .bits16) == "ltr ax")
        #expect(text("63 c8", .bits16, real: true) == "invalid")
    }

    @Test func fifteenBytesAreEnoughAndSixteenTooMany() throws {
        let fourteen = [UInt8](repeating: 0x66, count: 14)
        #expect(try Decoder.decode(fourteen + [0x90, 0x90], codeSize: .bits64).length == 15)
        #expect(throws: DecodeError.tooLong) { try Decoder.decode(fourteen + [0x66, 0x90], codeSize: .bits64) }
        #expect(throws: DecodeError.tooLong) { try Decoder.decode(fourteen + [0xB0, 0x01], codeSize: .bits64) }
        #expect(throws: DecodeError.tooLong) {
            try Decoder.decode([UInt8](repeating: 0xF3, count: 40), codeSize: .bits32)
        }
        #expect(throws: DecodeError.truncated) { try Decoder.decode(fourteen, codeSize: .bits64) }
    }

    /// Every prefix of an instruction is truncated, and no other length than its own comes out.
    @Test func truncationIsReportedAtEachLength() throws {
        for hex in [
            "48 81 84 8b 78 56 34 12 11 22 33 44", "48 b8 1 2 3 4 5 6 7 8", "c4 e3 69 4a 44 8b 10 30",
            "66 0f 3a 0f 84 8b 1 2 3 4 5",
            "67 64 f0 48 0f c7 8c 8b 1 2 3 4", "c8 10 00 02", "f3 0f 1e fa", "62",
        ] {
            let code = bytes(hex)
            for count in 0..<code.count {
                #expect(throws: DecodeError.truncated) {
                    try Decoder.decode(Array(code[..<count]), codeSize: hex == "62" ? .bits32 : .bits64)
                }
            }
        }
        #expect(throws: DecodeError.invalid) { try Decoder.decode([0x06], codeSize: .bits64) }
        #expect(throws: DecodeError.invalid) { try Decoder.decode([0x0F, 0x04], codeSize: .bits64) }
    }

    @Test func allEntryPointsAgree() throws {
        let code = bytes("48 81 84 8b 78 56 34 12 11 22 33 44 90 90 90 90 90 90")
        let a = try Decoder.decode(code, codeSize: .bits64)
        // SAFETY: the pointer is used inside the closure only.
        let b = unsafe try code.withUnsafeBytes { unsafe try Decoder.decode($0, codeSize: .bits64) }
        #expect(a.length == 12 && b.length == 12)
        #expect(a.operands[0] == b.operands[0] && a.immediate == b.immediate)
        #expect(a.immediate == 0x4433_2211 && a.memory.displacement == 0x1234_5678)
    }

    @Test func hostileBytesNeverTrap() {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<20_000 {
            let count = Int.random(in: 0...18, using: &generator)
            let code = (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
            for size in [CodeSize.bits16, .bits32, .bits64] {
                if let instruction = try? Decoder.decode(code, codeSize: size) {
                    #expect(Int(instruction.length) <= min(15, count))
                    #expect(!Disassembler.text(instruction).isEmpty)
                }
            }
        }
    }
}
