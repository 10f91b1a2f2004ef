import X86

/// SETcc and CMOVcc, and what reads and changes single flags: CLC, STC, CMC, CLD, STD, LAHF, SAHF, SALC. Intel SDM vol. 2.
extension CPU {
    /// Replaces ZF alone.
    @inline(__always) func setZeroFlag(_ zero: Bool) {
        let sign = signFlag
        state.lazyResult = zero ? 0 : 1
        state.lazySignFlip = sign ? 1 : 0
    }

    @inline(__always) func setByte(_ cursor: OpCursor, if code: UInt8) -> UInt {
        straight(cursor) { () throws(Stop) in
            try writeDestination(cursor, condition(code) ? 1 as UInt8 : 0)
        }
    }

    /// The source is read in any case, and a 32-bit destination loses its upper half in any case.
    @inline(__always) func move(_ cursor: OpCursor, if code: UInt8) -> UInt {
        straight(cursor) { () throws(Stop) in
            switch cursor.op.operandSize {
            case 8: try moveIf(cursor, condition(code), UInt64.self)
            case 4: try moveIf(cursor, condition(code), UInt32.self)
            default: try moveIf(cursor, condition(code), UInt16.self)
            }
        }
    }

    @inline(__always) private func moveIf<W: OperandWidth>(_ cursor: OpCursor, _ holds: Bool, _: W.Type) throws(Stop) {
        let source: W = try readSource(cursor)
        let old: W = register(cursor.op.destination)
        setRegister(cursor.op.destination, holds ? source : old)
    }

    private static var ah: UInt16 { CPUState.offset(ofHighByte: 0) }

    func loadFlagsToAH(_ cursor: OpCursor) -> UInt {
        setRegister(CPU.ah, UInt8(truncatingIfNeeded: statusFlags) | 2)
        return proceed(cursor)
    }

    func storeAHToFlags(_ cursor: OpCursor) -> UInt {
        let overflow: UInt64 = overflowFlag ? 1 << 11 : 0
        setStatusFlags(UInt64(register(CPU.ah, as: UInt8.self)) & 0xD5 | overflow)
        return proceed(cursor)
    }

    func setALFromCarry(_ cursor: OpCursor) -> UInt {
        setRegister(CPUState.offset(ofRegister: 0), carryFlag ? 0xFF as UInt8 : 0)
        return proceed(cursor)
    }

    @inline(__always) func changeCarry(_ cursor: OpCursor, to carry: Bool) -> UInt {
        setCarry(carry)
        return proceed(cursor)
    }

    @inline(__always) func changeDirection(_ cursor: OpCursor, _ down: Bool) -> UInt {
        state.systemFlags = state.systemFlags & ~RFLAGS.DF.rawValue | (down ? RFLAGS.DF.rawValue : 0)
        return proceed(cursor)
    }
}

extension Interpreter {
    static let conditions: [(Mnemonic, Lowering.Lowerer)] = [
        (
            .setcc,
            { l in
                l.setDestination(l.operand0)
                return l.use(setters[Int(l.instruction.opcode & 15)])
            }
        ),
        (
            .cmovcc,
            { l in
                guard let destination = l.offset(of: l.operand0) else { return false }
                l.op.destination = destination
                l.setSource(l.operand1)
                return l.use(conditionalMoves[Int(l.instruction.opcode & 15)])
            }
        ),
        (.clc, { l in l.use { CPU($0).changeCarry(OpCursor($1), to: false) } }),
        (.stc, { l in l.use { CPU($0).changeCarry(OpCursor($1), to: true) } }),
        (.cmc, { l in l.use { CPU($0).changeCarry(OpCursor($1), to: !CPU($0).carryFlag) } }),
        (.cld, { l in l.use { CPU($0).changeDirection(OpCursor($1), false) } }),
        (.std, { l in l.use { CPU($0).changeDirection(OpCursor($1), true) } }),
        (.lahf, { l in l.use { CPU($0).loadFlagsToAH(OpCursor($1)) } }),
        (.sahf, { l in l.use { CPU($0).storeAHToFlags(OpCursor($1)) } }),
        (.salc, { l in l.use { CPU($0).setALFromCarry(OpCursor($1)) } }),
    ]

    /// By condition code.
    private static let setters: [Op.Handler] = [
        { CPU($0).setByte(OpCursor($1), if: 0) }, { CPU($0).setByte(OpCursor($1), if: 1) },
        { CPU($0).setByte(OpCursor($1), if: 2) }, { CPU($0).setByte(OpCursor($1), if: 3) },
        { CPU($0).setByte(OpCursor($1), if: 4) }, { CPU($0).setByte(OpCursor($1), if: 5) },
        { CPU($0).setByte(OpCursor($1), if: 6) }, { CPU($0).setByte(OpCursor($1), if: 7) },
        { CPU($0).setByte(OpCursor($1), if: 8) }, { CPU($0).setByte(OpCursor($1), if: 9) },
        { CPU($0).setByte(OpCursor($1), if: 10) }, { CPU($0).setByte(OpCursor($1), if: 11) },
        { CPU($0).setByte(OpCursor($1), if: 12) }, { CPU($0).setByte(OpCursor($1), if: 13) },
        { CPU($0).setByte(OpCursor($1), if: 14) }, { CPU($0).setByte(OpCursor($1), if: 15) },
    ]

    private static let conditionalMoves: [Op.Handler] = [
        { CPU($0).move(OpCursor($1), if: 0) }, { CPU($0).move(OpCursor($1), if: 1) },
        { CPU($0).move(OpCursor($1), if: 2) }, { CPU($0).move(OpCursor($1), if: 3) },
        { CPU($0).move(OpCursor($1), if: 4) }, { CPU($0).move(OpCursor($1), if: 5) },
        { CPU($0).move(OpCursor($1), if: 6) }, { CPU($0).move(OpCursor($1), if: 7) },
        { CPU($0).move(OpCursor($1), if: 8) }, { CPU($0).move(OpCursor($1), if: 9) },
        { CPU($0).move(OpCursor($1), if: 10) }, { CPU($0).move(OpCursor($1), if: 11) },
        { CPU($0).move(OpCursor($1), if: 12) }, { CPU($0).move(OpCursor($1), if: 13) },
        { CPU($0).move(OpCursor($1), if: 14) }, { CPU($0).move(OpCursor($1), if: 15) },
    ]
}
