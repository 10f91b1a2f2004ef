import X86

/// BSF, BSR, TZCNT, LZCNT, POPCNT. Intel SDM vol. 2.
protocol BitScan {
    static func apply<W: OperandWidth>(_ cpu: CPU, _ cursor: OpCursor, _ source: W)
}

/// A zero source leaves the destination whole, as processors do and AMD's manual says.
enum BitScanForward: BitScan {
    @inline(__always) static func apply<W: OperandWidth>(_ cpu: CPU, _ cursor: OpCursor, _ source: W) {
        if source != 0 { cpu.setRegister(cursor.op.destination, W(truncatingIfNeeded: source.trailingZeroBitCount)) }
        cpu.setZeroFlag(source == 0)
    }
}

enum BitScanReverse: BitScan {
    @inline(__always) static func apply<W: OperandWidth>(_ cpu: CPU, _ cursor: OpCursor, _ source: W) {
        if source != 0 {
            cpu.setRegister(cursor.op.destination, W(truncatingIfNeeded: W.bits - 1 - source.leadingZeroBitCount))
        }
        cpu.setZeroFlag(source == 0)
    }
}

enum TrailingZeroCount: BitScan {
    @inline(__always) static func apply<W: OperandWidth>(_ cpu: CPU, _ cursor: OpCursor, _ source: W) {
        let result = W(truncatingIfNeeded: source.trailingZeroBitCount)
        cpu.setRegister(cursor.op.destination, result)
        cpu.setZeroFlag(result == 0)
        cpu.setCarry(source == 0)
    }
}

enum LeadingZeroCount: BitScan {
    @inline(__always) static func apply<W: OperandWidth>(_ cpu: CPU, _ cursor: OpCursor, _ source: W) {
        let result = W(truncatingIfNeeded: source.leadingZeroBitCount)
        cpu.setRegister(cursor.op.destination, result)
        cpu.setZeroFlag(result == 0)
        cpu.setCarry(source == 0)
    }
}

enum PopulationCount: BitScan {
    @inline(__always) static func apply<W: OperandWidth>(_ cpu: CPU, _ cursor: OpCursor, _ source: W) {
        let result = W(truncatingIfNeeded: source.nonzeroBitCount)
        cpu.setRegister(cursor.op.destination, result)
        cpu.setStatusFlags(source == 0 ? 1 << 6 : 0)
    }
}

extension CPU {
    @inline(__always) func scanBits<O: BitScan, W: OperandWidth>(_ cursor: OpCursor, _: O.Type, _: W.Type) -> UInt {
        straight(cursor) { () throws(Stop) in
            O.apply(self, cursor, try readSource(cursor, as: W.self))
        }
    }
}

extension Interpreter {
    static let bitScans: [(Mnemonic, Lowering.Lowerer)] = [
        (.bsf, { $0.lowerToRegister(bsf) }), (.bsr, { $0.lowerToRegister(bsr) }),
        (.tzcnt, { $0.lowerToRegister(tzcnt) }),
        (.lzcnt, { $0.lowerToRegister(lzcnt) }), (.popcnt, { $0.lowerToRegister(popcnt) }),
    ]

    private static let bsf = Widths(
        word: { CPU($0).scanBits(OpCursor($1), BitScanForward.self, UInt16.self) },
        long: { CPU($0).scanBits(OpCursor($1), BitScanForward.self, UInt32.self) },
        quad: { CPU($0).scanBits(OpCursor($1), BitScanForward.self, UInt64.self) })

    private static let bsr = Widths(
        word: { CPU($0).scanBits(OpCursor($1), BitScanReverse.self, UInt16.self) },
        long: { CPU($0).scanBits(OpCursor($1), BitScanReverse.self, UInt32.self) },
        quad: { CPU($0).scanBits(OpCursor($1), BitScanReverse.self, UInt64.self) })

    private static let tzcnt = Widths(
        word: { CPU($0).scanBits(OpCursor($1), TrailingZeroCount.self, UInt16.self) },
        long: { CPU($0).scanBits(OpCursor($1), TrailingZeroCount.self, UInt32.self) },
        quad: { CPU($0).scanBits(OpCursor($1), TrailingZeroCount.self, UInt64.self) })

    private static let lzcnt = Widths(
        word: { CPU($0).scanBits(OpCursor($1), LeadingZeroCount.self, UInt16.self) },
        long: { CPU($0).scanBits(OpCursor($1), LeadingZeroCount.self, UInt32.self) },
        quad: { CPU($0).scanBits(OpCursor($1), LeadingZeroCount.self, UInt64.self) })

    private static let popcnt = Widths(
        word: { CPU($0).scanBits(OpCursor($1), PopulationCount.self, UInt16.self) },
        long: { CPU($0).scanBits(OpCursor($1), PopulationCount.self, UInt32.self) },
        quad: { CPU($0).scanBits(OpCursor($1), PopulationCount.self, UInt64.self) })
}

extension Lowering {
    /// r, r/m of one width.
    mutating func lowerToRegister(_ widths: Widths) -> Bool {
        guard let destination = offset(of: operand0) else { return false }
        op.destination = destination
        setSource(operand1)
        return use(widths[size(of: operand0)])
    }
}
