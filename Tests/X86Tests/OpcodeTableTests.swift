import TestSupport
import TestLimits
import Testing
@testable import X86

@Suite(.within(minutes: 20)) struct OpcodeTableTests {
    @Test func everyMnemonicHasARow() {
        let used = Set(OpcodeTable.rows.map(\.mnemonic))
        let unused = Set(Mnemonic.allCases).subtracting(used).subtracting([.invalid])
        #expect(unused.isEmpty)
        #expect(!used.contains(.invalid))
    }

    /// Where two rows of one opcode can both match, the first must ask for strictly more.
    @Test func noTwoRowsAreAmbiguous() {
        var cells: [Int: [DecodeTables.Candidate]] = [:]
        for (index, row) in OpcodeTable.rows.enumerated() {
            for opcode in 0..<row.opcodeCount {
                let cell = DecodeTables.cell(isVEX: row.isVEX, map: row.map, opcode: row.opcode &+ opcode)
                cells[cell, default: []].append(DecodeTables.candidate(row, UInt16(index)))
            }
        }
        for list in cells.values {
            let withModRM = list.filter { OpcodeTable.rows[Int($0.row)].hasModRM }.count
            #expect(withModRM == 0 || withModRM == list.count)
            for (index, a) in list.enumerated() {
                for b in list[(index + 1)...] where (a.value ^ b.value) & a.mask & b.mask == 0 {
                    let contained = a.mask & b.mask == a.mask || a.mask & b.mask == b.mask
                    #expect(
                        contained && a.mask != b.mask,
                        "\(OpcodeTable.rows[Int(a.row)].mnemonic) \(OpcodeTable.rows[Int(b.row)].mnemonic)")
                }
            }
        }
    }

    @Test func everyRowDecodesToItself() throws {
        var missed: [String] = []
        for (index, row) in OpcodeTable.rows.enumerated() {
            for memory in [false, true] {
                guard let bytes = example(of: row, memory: memory) else { continue }
                let instruction = try? Decoder.decode(bytes, codeSize: row.invalidIn64Bit ? .bits32 : .bits64)
                if instruction?.row != UInt16(index) {
                    missed.append(
                        "\(row.mnemonic) \(row.opcode) \(bytes): \(String(describing: instruction?.mnemonic))")
                }
            }
        }
        #expect(missed.isEmpty)
    }

    @Test func lockableRowsHaveAMemoryDestination() {
        for row in OpcodeTable.rows where row.lockable {
            #expect(row.operands[0].kind == .E || row.operands[0].kind == .M)
            #expect(row.operands[0].access == .readWrite)
        }
    }

    @Test func vectorRowsHaveAFeatureAndAnExceptionClass() {
        for row in OpcodeTable.rows where row.opcodeClass == .sse || row.opcodeClass == .vex || row.opcodeClass == .mmx
        {
            #expect(row.feature != nil)
            #expect(row.exceptionClass != 0)
            if row.opcodeClass == .vex { #expect(row.isVEX) }
        }
    }

    @Test func alignmentFollowsTheManual() {
        func row(_ mnemonic: Mnemonic) -> OpcodeRow {
            OpcodeTable.rows.first { $0.mnemonic == mnemonic } ?? OpcodeRow()
        }
        for mnemonic: Mnemonic in [.movaps, .movdqa, .movntdq, .addps, .paddb, .pshufb, .vmovaps, .vmovntdqa] {
            let aligned = OpcodeTable.rows.contains {
                $0.mnemonic == mnemonic && $0.opcodeClass != .mmx && $0.requiresAlignment
            }
            #expect(aligned, "\(mnemonic)")
        }
        for mnemonic: Mnemonic in [.movups, .movdqu, .lddqu, .vaddps, .vpaddb, .pcmpistri, .movss, .addss] {
            #expect(!row(mnemonic).requiresAlignment, "\(mnemonic)")
        }
    }
}
