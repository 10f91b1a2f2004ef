/// Lookup tables that the decoder runs on, built from the opcode table once.
///
/// Each (map, opcode) has a cell: a run of candidates, the more specific first. A candidate matches when the key's bits under
/// its mask equal its value; the key gathers all that can choose between rows (see `Key`).
@safe struct DecodeTables: Sendable {
    /// Bits of the key, above the ModRM byte.
    enum Key {
        static let p66: UInt32 = 1 << 8
        static let pF3: UInt32 = 1 << 9
        static let pF2: UInt32 = 1 << 10
        static let w: UInt32 = 1 << 11
        static let l: UInt32 = 1 << 12
        static let is64: UInt32 = 1 << 13
        static let realOrV86: UInt32 = 1 << 14
        static let rexB: UInt32 = 1 << 15
        /// ModRM.mod is 3.
        static let register: UInt32 = 1 << 16
        /// VEX.vvvv isn't 1111.
        static let vvvv: UInt32 = 1 << 17
    }

    struct Candidate {
        var mask: UInt32 = 0
        var value: UInt32 = 0
        var row: UInt16 = 0
    }

    struct Cell {
        var first: UInt16 = 0
        var count: UInt8 = 0
        var hasModRM = false
    }

    /// What of a row the decoder wants, compact.
    struct Row {
        var mnemonic: Mnemonic
        var flags: RowFlags
        var operandSize: OperandSizeRule
        var vectorLength: VectorLengthForm
        var vendorDifference: VendorDifference
        var operandCount: UInt8
        var operands: InlineArray<4, OperandForm>
    }

    struct RowFlags: OptionSet {
        let rawValue: UInt8
        static let lockable = RowFlags(rawValue: 1)
        static let vsib = RowFlags(rawValue: 2)
        static let mandatory66 = RowFlags(rawValue: 4)
        static let mandatoryF3 = RowFlags(rawValue: 8)
        static let mandatoryF2 = RowFlags(rawValue: 16)
        static let vector = RowFlags(rawValue: 32)
        /// ModRM.rm is a register whatever mod says.
        static let alwaysRegister = RowFlags(rawValue: 64)
        /// VEX.W chooses no row: it is an operand's size in 64-bit mode and ignored elsewhere.
        static let anyW = RowFlags(rawValue: 128)
    }

    // SAFETY: allocated once, filled before they are published, never freed or written again.
    nonisolated(unsafe) let cells: UnsafePointer<Cell>
    nonisolated(unsafe) let candidates: UnsafePointer<Candidate>
    nonisolated(unsafe) let rows: UnsafePointer<Row>

    static let shared = DecodeTables(OpcodeTable.rows)

    /// Cells: four legacy maps, then the three of VEX.
    static func cell(isVEX: Bool, map: OpcodeMap, opcode: UInt8) -> Int {
        (Int(map.rawValue) + (isVEX ? 3 : 0)) << 8 | Int(opcode)
    }

    init(_ table: [OpcodeRow]) {
        var lists = [[Candidate]](repeating: [], count: 7 * 256)
        var hasModRM = [Bool](repeating: false, count: 7 * 256)
        let packed = table.map(DecodeTables.pack)
        for (index, row) in table.enumerated() {
            let candidate = DecodeTables.candidate(row, UInt16(index))
            for opcode in 0..<row.opcodeCount {
                let cell = DecodeTables.cell(isVEX: row.isVEX, map: row.map, opcode: row.opcode &+ opcode)
                lists[cell].append(candidate)
                if row.hasModRM { hasModRM[cell] = true }
            }
        }
        var cellValues: [Cell] = []
        var all: [Candidate] = []
        for (index, var list) in lists.enumerated() {
            list.sort {
                ($1.mask.nonzeroBitCount, $0.row) < ($0.mask.nonzeroBitCount, $1.row)
            }
            cellValues.append(
                Cell(first: UInt16(all.count), count: UInt8(list.count), hasModRM: hasModRM[index]))
            all += list
        }
        // SAFETY: each allocation is as long as the array that initialises it.
        unsafe cells = UnsafePointer(DecodeTables.publish(cellValues))
        unsafe candidates = UnsafePointer(DecodeTables.publish(all))
        unsafe rows = UnsafePointer(DecodeTables.publish(packed))
    }

    private static func publish<T>(_ values: [T]) -> UnsafeMutablePointer<T> {
        let memory = UnsafeMutablePointer<T>.allocate(capacity: values.count)
        for (index, value) in values.enumerated() { unsafe (memory + index).initialize(to: value) }
        return unsafe memory
    }

    static func candidate(_ row: OpcodeRow, _ index: UInt16) -> Candidate {
        var candidate = Candidate(mask: 0, value: 0, row: index)
        func require(_ mask: UInt32, _ value: UInt32) {
            candidate.mask |= mask
            candidate.value |= value
        }
        if let byte = row.fixedModRM { require(0xFF, UInt32(byte)) }
        if let digit = row.digit { require(0x38, UInt32(digit) << 3) }
        switch row.mod {
        case .any: break
        case .memory: require(Key.register, 0)
        case .register: require(Key.register, Key.register)
        }
        if row.fixedModRM != nil { require(Key.register, Key.register) }
        switch row.prefix {
        case .any: break
        case .none: require(Key.p66 | Key.pF3 | Key.pF2, 0)
        case .p66: require(Key.p66 | Key.pF3 | Key.pF2, Key.p66)
        case .pF3: require(Key.pF3 | Key.pF2, Key.pF3)
        case .pF2: require(Key.pF3 | Key.pF2, Key.pF2)
        case .noRepeat: require(Key.pF3 | Key.pF2, 0)
        }
        if let w = row.w { require(Key.w, w ? Key.w : 0) }
        if row.withoutREXB { require(Key.rexB, 0) }
        if row.vectorLength == .l128 { require(Key.l, 0) }
        if row.vectorLength == .l256 { require(Key.l, Key.l) }
        if row.invalidIn64Bit { require(Key.is64, 0) }
        if row.only64Bit { require(Key.is64, Key.is64) }
        if row.onlyProtected || row.isVEX { require(Key.realOrV86, 0) }
        if row.isVEX {
            var usesVVVV = false
            for index in 0..<4 where row.operands[index].kind == .H || row.operands[index].kind == .B {
                usesVVVV = true
            }
            if !usesVVVV { require(Key.vvvv, 0) }
        }
        return candidate
    }

    private static func pack(_ row: OpcodeRow) -> Row {
        var flags: RowFlags = []
        if row.lockable { flags.insert(.lockable) }
        if row.vsib { flags.insert(.vsib) }
        if row.w == nil { flags.insert(.anyW) }
        if row.opcodeClass == .sse || row.opcodeClass == .vex { flags.insert(.vector) }
        switch row.prefix {
        case .p66: flags.insert(.mandatory66)
        case .pF3: flags.insert(.mandatoryF3)
        case .pF2: flags.insert(.mandatoryF2)
        default: break
        }
        for index in 0..<4 where row.operands[index].kind == .C || row.operands[index].kind == .D {
            flags.insert(.alwaysRegister)
        }
        return Row(
            mnemonic: row.mnemonic, flags: flags, operandSize: row.operandSize, vectorLength: row.vectorLength,
            vendorDifference: row.vendorDifference, operandCount: row.operandCount, operands: row.operands)
    }
}
