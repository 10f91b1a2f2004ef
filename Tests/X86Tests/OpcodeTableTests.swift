import Testing
@testable import X86

/// Builds one encoding of a row for 64-bit mode (or 32-bit, for rows that only exist there).
func example(of row: OpcodeRow, memory: Bool) -> [UInt8]? {
    var bytes: [UInt8] = []
    // Reserved NOPs leave the low digits to other instructions.
    var reg = row.digit ?? (row.mnemonic == .nop ? 7 : 2)
    if row.operands[0].kind == .T || row.operands[1].kind == .S { reg = 3 }
    let rm: UInt8 = memory ? (row.vsib ? 4 : 3) : 1
    var modRM = (memory ? 0x00 : 0xC0) | reg << 3 | rm
    if let fixed = row.fixedModRM { modRM = fixed }
    if memory, !row.hasModRM || row.mod == .register || row.fixedModRM != nil { return nil }
    if !memory, row.hasModRM, row.mod == .memory { return nil }
    if row.isVEX {
        var usesVVVV = false
        for index in 0..<4 where row.operands[index].kind == .H || row.operands[index].kind == .B { usesVVVV = true }
        let prefix: UInt8 = [.p66: 1, .pF3: 2, .pF2: 3][row.prefix] ?? 0
        bytes = [
            0xC4, 0xE0 | row.map.rawValue,
            (row.w == true ? 0x80 : 0) | (usesVVVV ? 0x48 : 0x78) | (row.vectorLength == .l256 ? 4 : 0) | prefix,
        ]
    } else {
        switch row.prefix {
        case .p66: bytes = [0x66]
        case .pF3: bytes = [0xF3]
        case .pF2: bytes = [0xF2]
        default: break
        }
        if row.w == true { bytes.append(0x48) }
        switch row.map {
        case .oneByte: break
        case .map0F: bytes.append(0x0F)
        case .map0F38: bytes += [0x0F, 0x38]
        case .map0F3A: bytes += [0x0F, 0x3A]
        }
    }
    // The last of a run of opcodes: the first of 90…97 is NOP.
    bytes.append(row.opcode &+ row.opcodeCount &- 1)
    if row.hasModRM { bytes.append(modRM) }
    if memory, row.vsib { bytes.append(0x0B | 5 << 3) }
    return bytes + [UInt8](repeating: 0x11, count: 12)
}

@Suite struct OpcodeTableTests {
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
