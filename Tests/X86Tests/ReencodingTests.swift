import TestLimits
import TestSupport
import Testing
@testable import X86

@Suite(.within(minutes: 20)) struct ReencodingTests {
    private typealias Register = Assembler.NamedRegister

    /// The instruction written again, with its memory operand at [base].
    private func again(
        _ instruction: Instruction, _ base: GeneralRegister, _ naming: (Register) -> UInt8 = { $0.number }
    ) -> [UInt8]? {
        var assembler = Assembler()
        let isWritten = assembler.reencode(instruction, memory: .init(base), naming: naming)
        let bytes = assembler.finished().bytes
        #expect(isWritten != bytes.isEmpty)
        return isWritten ? bytes : nil
    }

    /// Written again with the same registers, every row decodes to itself; with others, to others.
    @Test func reencodesEveryRow() throws {
        var count = 0
        for (index, row) in OpcodeTable.rows.enumerated() where !row.invalidIn64Bit {
            for memory in [false, true] {
                guard let bytes = example(of: row, memory: memory),
                    let original = try? Decoder.decode(bytes, codeSize: .bits64), original.row == UInt16(index),
                    let same = self.again(original, .r13)
                else { continue }
                let again = try Decoder.decode(same, codeSize: .bits64)
                #expect(again.row == original.row && Int(again.length) == same.count, "\(row.mnemonic)")
                // The low half of a byte that names a register is ignored.
                let named: UInt64 = (0..<4).contains { row.operands[$0].kind == .L } ? 0xF0 : ~0
                #expect(again.immediate & named == original.immediate & named, "\(row.mnemonic)")
                #expect(again.vectorLength == original.vectorLength, "\(row.mnemonic)")
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
                    let moved = self.again(
                        original, .rdi,
                        {
                            switch $0.bank {
                            case .general: 15 - $0.number
                            case .vector: $0.number ^ 8
                            case .mmx: 7 - $0.number
                            }
                        })
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
                    case .mmx(let number): #expect(other.operands[operand] == .mmx(7 - number), "\(row.mnemonic)")
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
        let code = try #require(again(instruction, .rdi))
        #expect(code == [0x66, 0xDD, 0x37])
        let addps: [UInt8] = [0x64, 0x0F, 0x58, 0x8C, 0x98, 1, 2, 3, 4]
        let vector = try Decoder.decode(addps, codeSize: .bits32)
        #expect(again(vector, .rsp) == [0x0F, 0x58, 0x0C, 0x24])
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
        #expect(again(instruction, .r13) == nil)
    }
}
