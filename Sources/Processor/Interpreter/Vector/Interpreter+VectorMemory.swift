import X86

/// Vector instructions that access memory element by element: masked moves and gathers, and the clearing of registers.
/// Intel SDM vol. 2: MASKMOVQ, MASKMOVDQU, VMASKMOV, VPMASKMOV, VGATHER…, VPGATHER…, VZEROUPPER, VZEROALL.
enum VectorMemory {
    static let maskedLoad: Op.Handler = { cpu, op in
        CPU(cpu).instruction(OpCursor(op)) { () throws(Stop) in
            try CPU(cpu).exemptFromAlignment { () throws(Stop) in try CPU(cpu).loadMasked(OpCursor(op)) }
        }
    }
    static let maskedStore: Op.Handler = { cpu, op in
        CPU(cpu).instruction(OpCursor(op)) { () throws(Stop) in
            try CPU(cpu).exemptFromAlignment { () throws(Stop) in try CPU(cpu).storeMasked(OpCursor(op)) }
        }
    }
    static let byteMaskedStore: Op.Handler = { cpu, op in
        CPU(cpu).instruction(OpCursor(op)) { () throws(Stop) in try CPU(cpu).storeBytesMasked(OpCursor(op)) }
    }
    static let gather: Op.Handler = { cpu, op in
        CPU(cpu).instruction(OpCursor(op)) { () throws(Stop) in
            try CPU(cpu).exemptFromAlignment { () throws(Stop) in try CPU(cpu).gather(OpCursor(op)) }
        }
    }
    static let zeroUpper: Op.Handler = { cpu, op in
        for register in 0..<(CPU(cpu).state.codeMode.codeSize == 8 ? 16 : 8) as Range<UInt8> {
            CPU(cpu).setUpperHalf(CPUState.offset(ofVector: register), SIMD2())
        }
        return OpCursor(op).next
    }
    static let zeroAll: Op.Handler = { cpu, op in
        for register in 0..<(CPU(cpu).state.codeMode.codeSize == 8 ? 16 : 8) as Range<UInt8> {
            CPU(cpu).setVector(CPUState.offset(ofVector: register), SIMD2())
        }
        return zeroUpper(cpu, op)
    }

    /// In an op's `extra`.
    struct Form: OptionSet {
        let rawValue: UInt32
        /// Elements of eight bytes, else four.
        static let quad = Form(rawValue: 1)
        /// A YMM register's worth of elements.
        static let wide = Form(rawValue: 2)
        /// Gathers: indices of eight bytes.
        static let quadIndex = Form(rawValue: 4)
        /// MASKMOVQ.
        static let mmx = Form(rawValue: 8)
    }
}

extension Lowering {
    static let vectorMemory: Lowerer = { $0.lowerVectorMemory() }

    private mutating func lowerVectorMemory() -> Bool {
        let row = instruction.opcodeRow
        let host = HostInstruction(instruction)
        op.immediate = host.slots
        var form: VectorMemory.Form = instruction.vectorLength == 32 ? .wide : []
        switch row.mnemonic {
        case .vzeroupper: op.handler = VectorMemory.zeroUpper
        case .vzeroall: op.handler = VectorMemory.zeroAll
        case .emms:
            op.handler = X87Ops.emms
            return check(.mmx)
        case .maskmovq, .maskmovdqu, .vmaskmovdqu:
            if row.mnemonic == .maskmovq { form.insert(.mmx) }
            op.base = CPUState.offset(ofRegister: 7)
            op.extra = form.rawValue
            op.handler = VectorMemory.byteMaskedStore
            return check(row.mnemonic == .maskmovq ? .mmx : row.isVEX ? .avx : .sse)
        case .vmaskmovps, .vmaskmovpd, .vpmaskmovd, .vpmaskmovq:
            if row.mnemonic == .vmaskmovpd || row.mnemonic == .vpmaskmovq { form.insert(.quad) }
            op.handler = host.writesMemory ? VectorMemory.maskedStore : VectorMemory.maskedLoad
        default:
            guard row.vsib else { return false }
            if instruction.rexW { form.insert(.quad) }
            if instruction.opcode & 1 != 0 { form.insert(.quadIndex) }
            op.index = CPUState.offset(ofVector: instruction.memory.index)
            op.handler = VectorMemory.gather
        }
        op.extra = form.rawValue
        return check(.avx)
    }
}

extension CPU {
    /// A register by slot of the op's `immediate`: 0 ModRM.reg, 2 VEX.vvvv.
    private func slot(_ cursor: OpCursor, _ slot: UInt64) -> UInt16 {
        UInt16(truncatingIfNeeded: cursor.op.immediate >> (slot * 16))
    }

    private func whole(_ offset: UInt16) -> SIMD4<UInt64> {
        let low = vector(offset), high = upperHalf(offset)
        return SIMD4(low[0], low[1], high[0], high[1])
    }

    private func setWhole(_ offset: UInt16, _ value: SIMD4<UInt64>) {
        setVector(offset, SIMD2(value[0], value[1]))
        setUpperHalf(offset, SIMD2(value[2], value[3]))
    }

    private static func element(_ vector: SIMD4<UInt64>, _ index: Int, quad: Bool) -> UInt64 {
        quad ? vector[index] : vector[index / 2] >> UInt64(index % 2 * 32) & 0xFFFF_FFFF
    }

    private static func set(_ vector: inout SIMD4<UInt64>, _ index: Int, quad: Bool, _ value: UInt64) {
        if quad {
            vector[index] = value
        } else {
            let shift = UInt64(index % 2 * 32)
            vector[index / 2] = vector[index / 2] & ~(0xFFFF_FFFF << shift) | value << shift
        }
    }

    /// Whether an element of a mask selects: its sign.
    private static func selects(_ mask: SIMD4<UInt64>, _ index: Int, quad: Bool) -> Bool {
        element(mask, index, quad: quad) >> (quad ? 63 : 31) != 0
    }

    private func readElement(_ linear: UInt64, _ segment: SegmentName, quad: Bool) throws(Stop) -> UInt64 {
        if quad { return try read(linear, segment) }
        return UInt64(try read(linear, segment, as: UInt32.self))
    }

    fileprivate func exemptFromAlignment(_ body: () throws(Stop) -> Void) throws(Stop) {
        processor.underWay.isExemptFromAlignment = true
        defer { processor.underWay.isExemptFromAlignment = false }
        try body()
    }

    /// The address of what lies `distance` bytes into the memory operand: each piece is in the segment, or isn't, by itself.
    private func pieceAddress(
        _ cursor: OpCursor, _ distance: Int, size: Int, _ access: MemoryAccess
    ) throws(Stop) -> UInt64 {
        try linearAddress(cursor, offset: sum(cursor) &+ UInt64(distance), size: size, access)
    }

    fileprivate func loadMasked(_ cursor: OpCursor) throws(Stop) {
        let form = VectorMemory.Form(rawValue: cursor.op.extra), quad = form.contains(.quad)
        let size = quad ? 8 : 4
        let mask = whole(slot(cursor, 2))
        var result = SIMD4<UInt64>()
        for index in 0..<(form.contains(.wide) ? 32 : 16) / size where CPU.selects(mask, index, quad: quad) {
            let linear = try pieceAddress(cursor, index * size, size: size, .read)
            CPU.set(&result, index, quad: quad, try readElement(linear, cursor.op.segment, quad: quad))
        }
        setWhole(slot(cursor, 0), result)
    }

    fileprivate func storeMasked(_ cursor: OpCursor) throws(Stop) {
        let form = VectorMemory.Form(rawValue: cursor.op.extra), quad = form.contains(.quad)
        let size = quad ? 8 : 4
        let mask = whole(slot(cursor, 2)), source = whole(slot(cursor, 0))
        let count = (form.contains(.wide) ? 32 : 16) / size, segment = cursor.op.segment
        for index in 0..<count where CPU.selects(mask, index, quad: quad) {
            try checkWritable(try pieceAddress(cursor, index * size, size: size, .write), size: size, segment)
        }
        for index in 0..<count where CPU.selects(mask, index, quad: quad) {
            let linear = try pieceAddress(cursor, index * size, size: size, .write)
            let value = CPU.element(source, index, quad: quad)
            if quad {
                try write(linear, segment, value)
            } else {
                try write(linear, segment, UInt32(truncatingIfNeeded: value))
            }
        }
    }

    fileprivate func storeBytesMasked(_ cursor: OpCursor) throws(Stop) {
        let form = VectorMemory.Form(rawValue: cursor.op.extra), segment = cursor.op.segment
        let isMMX = form.contains(.mmx)
        let size = isMMX ? 8 : 16
        if isMMX {
            try checkPendingX87()
            // Whether the operand faults or not.
            enterMMX()
        }
        let source = vector(slot(cursor, 0)), mask = vector(slot(cursor, 1))
        if state.codeMode.contains(.amd) {
            // AMD's processors look at the whole operand, whatever the mask selects, by halves.
            for half in stride(from: 0, to: size, by: 8) {
                try checkWritable(try pieceAddress(cursor, half, size: 8, .write), size: 8, segment)
            }
        } else {
            let linear = try pieceAddress(cursor, 0, size: size, .write)
            try checkCanonical(linear, size: size, segment)
            try checkAlignment(linear, size: 8, segment)
        }
        func byte(_ vector: SIMD2<UInt64>, _ index: Int) -> UInt8 {
            UInt8(truncatingIfNeeded: vector[index / 8] >> UInt64(index % 8 * 8))
        }
        for index in 0..<size where byte(mask, index) & 0x80 != 0 {
            try checkWritable(try pieceAddress(cursor, index, size: 1, .write), size: 1, segment)
        }
        for index in 0..<size where byte(mask, index) & 0x80 != 0 {
            try write(try pieceAddress(cursor, index, size: 1, .write), segment, byte(source, index))
        }
    }

    /// Elements are fetched from the lowest on. A fault leaves those before it in the destination, their masks cleared, so
    /// that the instruction goes on from there; the answer of a device makes it start again instead.
    fileprivate func gather(_ cursor: OpCursor) throws(Stop) {
        let form = VectorMemory.Form(rawValue: cursor.op.extra)
        let quad = form.contains(.quad), quadIndex = form.contains(.quadIndex)
        let registerSize = form.contains(.wide) ? 32 : 16
        let count = registerSize / (quad || quadIndex ? 8 : 4)
        var result = whole(slot(cursor, 0)), mask = whole(slot(cursor, 2))
        let indices = whole(cursor.op.index)
        let base = register(cursor.op.base, as: UInt64.self) &+ cursor.op.displacement
        let segment = cursor.op.segment
        do throws(Stop) {
            for index in 0..<count where CPU.selects(mask, index, quad: quad) {
                let raw = CPU.element(indices, index, quad: quadIndex)
                let signed = quadIndex ? raw : UInt64(bitPattern: Int64(Int32(truncatingIfNeeded: raw)))
                let sum = base &+ (signed << UInt64(cursor.op.scale))
                let linear: UInt64
                switch cursor.op.addressing {
                case .flat: linear = sum &+ register(cursor.op.segmentBase)
                case .flat32: linear = (sum & 0xFFFF_FFFF) &+ register(cursor.op.segmentBase)
                case .checked: linear = try checkedLinear(segment, offset: sum & 0xFFFF_FFFF, size: quad ? 8 : 4, .read)
                }
                CPU.set(&result, index, quad: quad, try readElement(linear, segment, quad: quad))
                CPU.set(&mask, index, quad: quad, 0)
            }
        } catch {
            if error.kind == .fault {
                setWhole(slot(cursor, 0), keepingUpper(result, registerSize))
                setWhole(slot(cursor, 2), keepingUpper(mask, registerSize))
            }
            throw error
        }
        // What lies beyond the elements is zero, in the mask as well.
        let used = count * (quad ? 8 : 4)
        for word in 0..<4 where word * 8 >= used { result[word] = 0 }
        setWhole(slot(cursor, 0), result)
        setWhole(slot(cursor, 2), SIMD4())
    }

    private func keepingUpper(_ value: SIMD4<UInt64>, _ size: Int) -> SIMD4<UInt64> {
        size == 32 ? value : SIMD4(value[0], value[1], 0, 0)
    }
}
