import FuzzInput
import X86

/// The input is the bytes of an instruction and what follows it, decoded in every mode.
@c public func LLVMFuzzerTestOneInput(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
    let bytes = unsafe FuzzInput(data, size).bytes
    for mode in DecodingMode.all {
        switch mode.decode(bytes) {
        case .success(let instruction): mode.check(instruction, of: bytes)
        case .failure(let error): mode.check(error, of: bytes)
        }
    }
    return 0
}

@c public func LLVMFuzzerInitialize(
    _ count: UnsafeMutablePointer<CInt>?,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>?
) -> CInt {
    writeSeeds { OpcodeTable.rows.flatMap(seeds) }
    return 0
}

/// Encodings of a row: with a register and with a memory operand, and all the immediates that there could be.
private func seeds(_ row: OpcodeRow) -> [[UInt8]] {
    let tail: [UInt8] = [0x44, 0x33, 0x22, 0x11, 0x88, 0x77, 0x66, 0x55]
    var prefix: [UInt8] = []
    switch row.prefix {
    case .p66: prefix = [0x66]
    case .pF2: prefix = [0xF2]
    case .pF3: prefix = [0xF3]
    default: break
    }
    let forms: [[UInt8]] = row.hasModRM ? [[0xC1], [0x45, 0x10], [0x84, 0x8B, 1, 2, 3, 4]] : [[]]
    return forms.map { form in
        var form = form
        if row.hasModRM {
            if let fixed = row.fixedModRM { form = [fixed] } else if let digit = row.digit { form[0] |= digit << 3 }
        }
        guard !row.isVEX else {
            let pp: UInt8 = row.prefix == .p66 ? 1 : row.prefix == .pF3 ? 2 : row.prefix == .pF2 ? 3 : 0
            return [0xC4, 0xE0 | row.map.rawValue, 0x78 | pp, row.opcode] + form + tail
        }
        let map: [UInt8] =
            switch row.map {
            case .oneByte: []
            case .map0F: [0x0F]
            case .map0F38: [0x0F, 0x38]
            case .map0F3A: [0x0F, 0x3A]
            }
        return prefix + map + [row.opcode] + form + tail
    }
}
