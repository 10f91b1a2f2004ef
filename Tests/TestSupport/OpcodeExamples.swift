public import X86

/// Builds one encoding of a row for 64-bit mode (or 32-bit, for rows that only exist there).
public func example(of row: OpcodeRow, memory: Bool) -> [UInt8]? {
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
