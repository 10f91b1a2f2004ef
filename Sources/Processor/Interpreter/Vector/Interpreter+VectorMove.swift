import X86

/// Plain moves between XMM or YMM registers and memory or general registers, without a detour through emitted code: loads and
/// stores of 4, 8, 16 and 32 bytes. The op: `destination` or `source` the register, `extra` the alignment less one.
enum VectorMoves {
    // Loads; what lies above in the XMM register becomes zero. `vex`: and above that in the YMM register.
    static let load4: Op.Handler = { CPU($0).load(OpCursor($1), UInt32.self, vex: false) }
    static let load8: Op.Handler = { CPU($0).load(OpCursor($1), UInt64.self, vex: false) }
    static let load16: Op.Handler = { CPU($0).load16(OpCursor($1), vex: false) }
    static let vexLoad4: Op.Handler = { CPU($0).load(OpCursor($1), UInt32.self, vex: true) }
    static let vexLoad8: Op.Handler = { CPU($0).load(OpCursor($1), UInt64.self, vex: true) }
    static let vexLoad16: Op.Handler = { CPU($0).load16(OpCursor($1), vex: true) }
    static let load32: Op.Handler = { CPU($0).load32(OpCursor($1)) }
    /// MOVLPS, MOVHPS: eight bytes of the register at `destination`, nothing else.
    static let loadHalf: Op.Handler = { cpu, op in
        CPU(cpu).instruction(OpCursor(op)) { () throws(Stop) in
            let cursor = OpCursor(op)
            CPU(cpu).setRegister(cursor.op.destination, try CPU(cpu).readOperand(cursor, as: UInt64.self))
        }
    }

    static let store4: Op.Handler = { CPU($0).store(OpCursor($1), UInt32.self) }
    static let store8: Op.Handler = { CPU($0).store(OpCursor($1), UInt64.self) }
    static let store16: Op.Handler = { cpu, op in
        CPU(cpu).instruction(OpCursor(op)) { () throws(Stop) in
            let cursor = OpCursor(op)
            let linear = try CPU(cpu).vectorAddress(cursor, size: 16, .write)
            try CPU(cpu).writeVector(linear, cursor.op.segment, CPU(cpu).vector(cursor.op.source))
        }
    }
    static let store32: Op.Handler = { CPU($0).store32(OpCursor($1)) }

    /// The handler of a load of `size` bytes.
    static func load(_ size: UInt8, vex: Bool) -> Op.Handler? {
        switch size {
        case 4: vex ? vexLoad4 : load4
        case 8: vex ? vexLoad8 : load8
        case 16: vex ? vexLoad16 : load16
        case 32: load32
        default: nil
        }
    }

    static func store(_ size: UInt8) -> Op.Handler? {
        switch size {
        case 4: store4
        case 8: store8
        case 16: store16
        case 32: store32
        default: nil
        }
    }

    // Between general registers and vectors.
    static let fromGeneral4: Op.Handler = { CPU($0).fromGeneral(OpCursor($1), UInt32.self, vex: false) }
    static let fromGeneral8: Op.Handler = { CPU($0).fromGeneral(OpCursor($1), UInt64.self, vex: false) }
    static let vexFromGeneral4: Op.Handler = { CPU($0).fromGeneral(OpCursor($1), UInt32.self, vex: true) }
    static let vexFromGeneral8: Op.Handler = { CPU($0).fromGeneral(OpCursor($1), UInt64.self, vex: true) }
    static let toGeneral4: Op.Handler = { CPU($0).toGeneral(OpCursor($1), UInt32.self) }
    static let toGeneral8: Op.Handler = { CPU($0).toGeneral(OpCursor($1), UInt64.self) }

    /// MOVAPS, MOVDQA and their kin from register to register.
    static let copy: Op.Handler = { cpu, op in
        let cursor = OpCursor(op)
        CPU(cpu).setVector(cursor.op.destination, CPU(cpu).vector(cursor.op.source))
        return cursor.next
    }
}

extension CPU {
    @inline(__always) fileprivate func load<W: OperandWidth>(_ cursor: OpCursor, _: W.Type, vex: Bool) -> UInt {
        instruction(cursor) { () throws(Stop) in
            let value: W = try readOperand(cursor)
            setVector(cursor.op.destination, SIMD2(UInt64(truncatingIfNeeded: value), 0))
            if vex { setUpperHalf(cursor.op.destination, SIMD2()) }
        }
    }

    @inline(__always) fileprivate func load16(_ cursor: OpCursor, vex: Bool) -> UInt {
        instruction(cursor) { () throws(Stop) in
            let linear = try vectorAddress(cursor, size: 16, .read)
            setVector(cursor.op.destination, try readVector(linear, cursor.op.segment))
            if vex { setUpperHalf(cursor.op.destination, SIMD2()) }
        }
    }

    @inline(__always) fileprivate func load32(_ cursor: OpCursor) -> UInt {
        instruction(cursor) { () throws(Stop) in
            let linear = try vectorAddress(cursor, size: 32, .read)
            let low: SIMD2<UInt64>, high: SIMD2<UInt64>
            if let host = unsafe hostAddressForRead(linear, size: 32) {
                low = unsafe host.loadUnaligned(as: SIMD2<UInt64>.self)
                high = unsafe host.loadUnaligned(fromByteOffset: 16, as: SIMD2<UInt64>.self)
            } else {
                try checkCanonical(linear, size: 32, cursor.op.segment)
                low = try readVector(linear, cursor.op.segment)
                high = try readVector(linear &+ 16, cursor.op.segment)
            }
            setVector(cursor.op.destination, low)
            setUpperHalf(cursor.op.destination, high)
        }
    }

    @inline(__always) fileprivate func store<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        instruction(cursor) { () throws(Stop) in
            try writeOperand(cursor, register(cursor.op.source, as: W.self))
        }
    }

    @inline(__always) fileprivate func store32(_ cursor: OpCursor) -> UInt {
        instruction(cursor) { () throws(Stop) in
            let linear = try vectorAddress(cursor, size: 32, .write)
            let low = vector(cursor.op.source), high = upperHalf(cursor.op.source)
            if let host = unsafe hostAddressForWrite(linear, size: 32) {
                unsafe host.storeBytes(of: low, as: SIMD2<UInt64>.self)
                unsafe host.storeBytes(of: high, toByteOffset: 16, as: SIMD2<UInt64>.self)
            } else {
                try writePieces(linear, cursor.op.segment, size: 32, SIMD4(low[0], low[1], high[0], high[1]))
            }
        }
    }

    @inline(__always) fileprivate func fromGeneral<W: OperandWidth>(_ cursor: OpCursor, _: W.Type, vex: Bool) -> UInt {
        setVector(cursor.op.destination, SIMD2(UInt64(truncatingIfNeeded: register(cursor.op.source, as: W.self)), 0))
        if vex { setUpperHalf(cursor.op.destination, SIMD2()) }
        return cursor.next
    }

    @inline(__always) fileprivate func toGeneral<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        setRegister(cursor.op.destination, register(cursor.op.source, as: W.self))
        return cursor.next
    }
}
