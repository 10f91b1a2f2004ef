import Testing
@testable import X86

@Suite struct EncoderTests {
    /// What is encoded decodes to what was meant.
    @Test func encodesWhatItSays() throws {
        typealias M = Encoder.Memory
        let cases: [((inout Encoder) -> Void, String)] = [
            ({ $0.mov(.rax, 0x1122_3344_5566_7788) }, "mov rax, 0x1122334455667788"),
            ({ $0.mov(.r9, 5) }, "mov r9d, 0x5"),
            ({ $0.load(.rsi, M(.rbx, 0x1234), size: 8) }, "mov rsi, qword ds:[rbx+0x1234]"),
            ({ $0.load(.rsi, M(.r12), size: 1) }, "mov sil, byte ds:[r12]"),
            ({ $0.store(.r15, M(.r13), size: 2) }, "mov word ds:[r13], r15w"),
            ({ $0.store(.rax, M(.rsp, -8), size: 4) }, "mov dword ss:[rsp-0x8], eax"),
            ({ $0.mov(.rdi, .r8) }, "mov rdi, r8"),
            ({ $0.mov(.rdi, .rax, size: 1) }, "mov dil, al"),
            ({ $0.lea(.rax, M(.rbp, 300)) }, "lea rax, ss:[rbp+0x12c]"),
            ({ $0.alu(.cmp, .rax, .r10) }, "cmp rax, r10"), ({ $0.alu(.sub, .rsp, 64) }, "sub rsp, 0x40"),
            ({ $0.alu(.xor, .rdx, M(.rdi, 4), size: 4) }, "xor edx, dword ds:[rdi+0x4]"),
            ({ $0.push(.r14) }, "push r14"),
            ({ $0.pop(.rbx) }, "pop rbx"), ({ $0.push(M(.rax, 8)) }, "push qword ds:[rax+0x8]"), ({ $0.ret() }, "ret"),
            ({ $0.call(.rax) }, "call rax"), ({ $0.jmp(.r11) }, "jmp r11"), ({ $0.pushfq() }, "pushfq"),
            ({ $0.popfq() }, "popfq"),
            ({ $0.setcc(.o, .rsi) }, "seto sil"),
            ({ $0.movups(12, M(.rdi, 16)) }, "movups xmm12, xmmword ds:[rdi+0x10]"),
            ({ $0.vmovups(9, M(.r8, 0x200)) }, "vmovups ymm9, ymmword ds:[r8+0x200]"),
            ({ $0.vmovups(M(.rsi), 3, wide: false) }, "vmovups xmmword ds:[rsi], xmm3"),
            ({ $0.ldmxcsr(M(.rax)) }, "ldmxcsr dword ds:[rax]"),
            ({ $0.fxsave(M(.r8)) }, "fxsave ds:[r8]"), ({ $0.fld80(M(.rdi, 32)) }, "fld st(0), tbyte ds:[rdi+0x20]"),
            ({ $0.fstp80(M(.rdi, 32)) }, "fstp tbyte ds:[rdi+0x20], st(0)"),
            ({ $0.movq(mmx: 3, M(.rcx)) }, "movq mm3, qword ds:[rcx]"),
        ]
        for (emit, expected) in cases {
            var encoder = Encoder()
            emit(&encoder)
            let instruction = try Decoder.decode(encoder.bytes, codeSize: .bits64)
            #expect(Int(instruction.length) == encoder.bytes.count)
            #expect(Disassembler.text(instruction) == expected)
        }
    }

    /// Written again with the same registers, every row decodes to itself; with others, to others.
    @Test func reencodesEveryRow() throws {
        var count = 0
        for (index, row) in OpcodeTable.rows.enumerated() where !row.invalidIn64Bit {
            for memory in [false, true] {
                guard let bytes = example(of: row, memory: memory),
                    let original = try? Decoder.decode(bytes, codeSize: .bits64), original.row == UInt16(index),
                    let same = Encoder.reencode(original, bytes: bytes, memoryBase: .r13, general: { $0 })
                else { continue }
                let again = try Decoder.decode(same, codeSize: .bits64)
                #expect(again.row == original.row && Int(again.length) == same.count, "\(row.mnemonic)")
                #expect(again.immediate == original.immediate && again.vectorLength == original.vectorLength)
                for operand in 0..<Int(original.operandCount) {
                    #expect(again.operands[operand] == original.operands[operand])
                }
                if original.hasModRM, original.modRM < 0xC0 {
                    #expect(
                        again.memory.base == 13 && again.memory.displacement == 0
                            && again.memory.index == MemoryOperand.noRegister)
                }
                count += 1

                guard
                    let moved = Encoder.reencode(
                        original, bytes: bytes, memoryBase: .rdi, general: { 15 - $0 }, vector: { $0 ^ 8 })
                else { continue }
                let other = try Decoder.decode(moved, codeSize: .bits64)
                #expect(other.row == original.row, "\(row.mnemonic)")
                for operand in 0..<Int(original.operandCount) {
                    let kind = row.operands[operand].kind
                    switch original.operands[operand] {
                    case .register(let number, let size) where kind != .fixed:
                        #expect(other.operands[operand] == .register(15 - number, size: size), "\(row.mnemonic)")
                    case .vector(let number, let size) where kind != .xmm0:
                        #expect(other.operands[operand] == .vector(number ^ 8, size: size), "\(row.mnemonic)")
                    default: #expect(other.operands[operand] == original.operands[operand])
                    }
                }
            }
        }
        #expect(count > 1200)
    }

    @Test func reencodesFrom32And16BitCode() throws {
        // 16-bit FNSAVE of a 16-bit segment, and the 32-bit addressing form of ADDPS.
        let fnsave: [UInt8] = [0xDD, 0x76, 0x10]
        let instruction = try Decoder.decode(fnsave, codeSize: .bits16)
        let code = try #require(Encoder.reencode(instruction, bytes: fnsave, memoryBase: .rdi, general: { $0 }))
        #expect(code == [0x66, 0xDD, 0x37])
        let addps: [UInt8] = [0x64, 0x0F, 0x58, 0x8C, 0x98, 1, 2, 3, 4]
        let vector = try Decoder.decode(addps, codeSize: .bits32)
        #expect(Encoder.reencode(vector, bytes: addps, memoryBase: .rsp, general: { $0 }) == [0x0F, 0x58, 0x0C, 0x24])
    }

    /// What 64-bit mode lacks is not written again as something else.
    @Test(
        arguments: [
            ([0x61], CodeSize.bits32), ([0x53], .bits32), ([0x8F, 0x00], .bits32), ([0xFF, 0x55, 0x10], .bits16),
            ([0xFF, 0xE1], .bits16), ([0x0F, 0x01, 0x4D, 0x10], .bits16), ([0xF3, 0x0F, 0xC7, 0xF9], .bits32),
            ([0x66, 0x0F, 0x38, 0x82, 0x45, 0x10], .bits16), ([0x66, 0xFF, 0xD1], .bits32),
        ] as [([UInt8], CodeSize)])
    func reencodesNothingThat64BitModeLacks(bytes: [UInt8], codeSize: CodeSize) throws {
        let instruction = try Decoder.decode(bytes, codeSize: codeSize)
        #expect(Encoder.reencode(instruction, bytes: bytes, memoryBase: .r13, general: { $0 }) == nil)
    }
}
