import X86

/// BOUND, CRC32, RDRAND, RDSEED, RDPID. Intel SDM vol. 2.
extension CPU {
    /// The index is signed and between the two words of the memory operand, or #BR.
    @inline(__always) func checkBounds<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        straight(cursor) { () throws(Stop) in
            let offset = sum(cursor)
            let lower: W = try read(try linearAddress(cursor, offset: offset, size: W.bytes, .read), cursor.op.segment)
            let upperOffset = offset &+ UInt64(W.bytes)
            let upper: W = try read(
                try linearAddress(cursor, offset: upperOffset, size: W.bytes, .read), cursor.op.segment)
            let index: W = register(cursor.op.destination)
            guard index.signed >= lower.signed, index.signed <= upper.signed else {
                throw .fault(Exception.boundRange.vector)
            }
        }
    }

    /// CRC32 (Castagnoli's polynomial, bits reflected).
    @inline(__always) func accumulateCRC<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        straight(cursor) { () throws(Stop) in
            var source: W = try readSource(cursor)
            var crc: UInt32 = register(cursor.op.destination)
            for _ in 0..<W.bytes {
                crc = CRC32C.step(crc, UInt8(truncatingIfNeeded: source))
                source = W(truncatingIfNeeded: UInt64(truncatingIfNeeded: source) >> 8)
            }
            setRegister(cursor.op.destination, crc)
        }
    }

    /// RDRAND, RDSEED: the host's random bytes; CF says that there were some.
    @inline(__always) func readRandom<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        var generator = SystemRandomNumberGenerator()
        setRegister(cursor.op.destination, W(truncatingIfNeeded: generator.next()))
        setStatusFlags(1)
        return proceed(cursor)
    }

    func readProcessorID(_ cursor: OpCursor) -> UInt {
        let value = state.tscAux & 0xFFFF_FFFF
        setRegister(cursor.op.destination, value)
        return proceed(cursor)
    }
}

/// CRC-32C by the byte.
enum CRC32C {
    private static let table: InlineArray<256, UInt32> = {
        var table = InlineArray<256, UInt32>(repeating: 0)
        for index in 0..<256 {
            var crc = UInt32(index)
            for _ in 0..<8 { crc = crc & 1 != 0 ? crc >> 1 ^ 0x82F6_3B78 : crc >> 1 }
            table[index] = crc
        }
        return table
    }()

    @inline(__always) static func step(_ crc: UInt32, _ byte: UInt8) -> UInt32 {
        table[Int((crc ^ UInt32(byte)) & 0xFF)] ^ crc >> 8
    }
}

extension Interpreter {
    static let special: [(Mnemonic, Lowering.Lowerer)] = [
        (
            .bound,
            { l in
                guard let index = l.offset(of: l.operand0) else { return false }
                l.op.destination = index
                return l.use(bound[l.op.operandSize])
            }
        ),
        (
            .crc32,
            { l in
                guard let destination = l.offset(of: l.operand0) else { return false }
                l.op.destination = destination
                l.setSource(l.operand1)
                return l.use(crc32[l.size(of: l.operand1)])
            }
        ),
        (.rdrand, { l in l.lowerRandom() }), (.rdseed, { l in l.lowerRandom() }),
        (
            .rdpid,
            { l in
                l.setDestination(l.operand0)
                return l.use { CPU($0).readProcessorID(OpCursor($1)) }
            }
        ),
    ]

    static let random = Widths(
        word: { CPU($0).readRandom(OpCursor($1), UInt16.self) },
        long: { CPU($0).readRandom(OpCursor($1), UInt32.self) },
        quad: { CPU($0).readRandom(OpCursor($1), UInt64.self) })

    private static let bound = Widths(
        word: { CPU($0).checkBounds(OpCursor($1), UInt16.self) },
        long: { CPU($0).checkBounds(OpCursor($1), UInt32.self) })

    private static let crc32 = Widths(
        byte: { CPU($0).accumulateCRC(OpCursor($1), UInt8.self) },
        word: { CPU($0).accumulateCRC(OpCursor($1), UInt16.self) },
        long: { CPU($0).accumulateCRC(OpCursor($1), UInt32.self) },
        quad: { CPU($0).accumulateCRC(OpCursor($1), UInt64.self) })
}

extension Lowering {
    fileprivate mutating func lowerRandom() -> Bool {
        setDestination(operand0)
        return use(Interpreter.random[size(of: operand0)])
    }
}
