import X86

/// MOV, MOVZX, MOVSX, MOVSXD, MOVBE, MOVNTI, LEA, BSWAP, XLAT, CBW and CWD with their wider forms. Intel SDM vol. 2.
extension CPU {
    @inline(__always) func moveRR<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        setRegister(cursor.op.destination, register(cursor.op.source, as: W.self))
        return proceed(cursor)
    }

    @inline(__always) func moveRI<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        setRegister(cursor.op.destination, W(truncatingIfNeeded: cursor.op.immediate))
        return proceed(cursor)
    }

    @inline(__always) func moveRM<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        guard let place = directOperand(read: cursor, W.self) else { return loadSlowly(cursor, W.self) }
        setRegister(cursor.op.destination, place.value)
        return proceed(cursor)
    }

    @inline(never) private func loadSlowly<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        straight(cursor) { () throws(Stop) in
            setRegister(cursor.op.destination, try readOperand(cursor, as: W.self))
        }
    }

    @inline(__always) private func store<W: OperandWidth>(_ cursor: OpCursor, _ value: W) -> UInt {
        guard let place = directOperand(written: cursor, W.self) else { return storeSlowly(cursor, value) }
        place.value = value
        return proceed(cursor)
    }

    @inline(never) private func storeSlowly<W: OperandWidth>(_ cursor: OpCursor, _ value: W) -> UInt {
        straight(cursor) { () throws(Stop) in try writeOperand(cursor, value) }
    }

    @inline(__always) func moveMR<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        store(cursor, register(cursor.op.source, as: W.self))
    }

    @inline(__always) func moveMI<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        store(cursor, W(truncatingIfNeeded: cursor.op.immediate))
    }

    /// A register of width `D` from one of width `S`.
    @inline(__always) func extendRegister<D: OperandWidth, S: OperandWidth>(
        _ cursor: OpCursor, _: D.Type, _: S.Type, signed: Bool
    ) -> UInt {
        let value: S = register(cursor.op.source)
        setRegister(
            cursor.op.destination, signed ? D(truncatingIfNeeded: value.extended) : D(truncatingIfNeeded: value))
        return proceed(cursor)
    }

    @inline(__always) func extendMemory<D: OperandWidth, S: OperandWidth>(
        _ cursor: OpCursor, _: D.Type, _: S.Type, signed: Bool
    ) -> UInt {
        guard let place = directOperand(read: cursor, S.self) else {
            return extendSlowly(cursor, D.self, S.self, signed: signed)
        }
        setRegister(
            cursor.op.destination,
            signed ? D(truncatingIfNeeded: place.value.extended) : D(truncatingIfNeeded: place.value))
        return proceed(cursor)
    }

    @inline(never) private func extendSlowly<D: OperandWidth, S: OperandWidth>(
        _ cursor: OpCursor, _: D.Type, _: S.Type, signed: Bool
    ) -> UInt {
        straight(cursor) { () throws(Stop) in
            let value: S = try readOperand(cursor)
            setRegister(
                cursor.op.destination, signed ? D(truncatingIfNeeded: value.extended) : D(truncatingIfNeeded: value))
        }
    }

    /// LEA with an address at least as wide as the register.
    @inline(__always) func loadAddress<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        setRegister(cursor.op.destination, W(truncatingIfNeeded: sum(cursor)))
        return proceed(cursor)
    }

    /// LEA with a narrower address.
    @inline(__always) func loadMaskedAddress<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        let sum = sum(cursor)
        setRegister(
            cursor.op.destination, W(truncatingIfNeeded: cursor.op.addressSize == 2 ? sum & 0xFFFF : sum & 0xFFFF_FFFF))
        return proceed(cursor)
    }

    @inline(__always) func moveSwapped<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        straight(cursor) { () throws(Stop) in
            if cursor.op.detail == 0 {
                setRegister(cursor.op.destination, (try readOperand(cursor, as: W.self)).byteSwapped)
            } else {
                try writeOperand(cursor, register(cursor.op.source, as: W.self).byteSwapped)
            }
        }
    }

    /// BSWAP of a 16-bit register, undefined by the manual, clears it as processors do.
    @inline(__always) func swapBytes<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        setRegister(cursor.op.destination, W.bits == 16 ? 0 : register(cursor.op.destination, as: W.self).byteSwapped)
        return proceed(cursor)
    }

    /// AL from the table at rBX.
    func translateByte(_ cursor: OpCursor) -> UInt {
        straight(cursor) { () throws(Stop) in
            let linear = try linearAddress(cursor, offset: rbx &+ (rax & 0xFF), size: 1, .read)
            setRegister(CPUState.offset(ofRegister: 0), try read(linear, cursor.op.segment, as: UInt8.self))
        }
    }

    /// rAX from its lower half.
    @inline(__always) func convertAccumulator<S: OperandWidth, D: OperandWidth>(
        _ cursor: OpCursor, _: S.Type, _: D.Type
    ) -> UInt {
        setRegister(CPUState.offset(ofRegister: 0), D(truncatingIfNeeded: S(truncatingIfNeeded: rax).extended))
        return proceed(cursor)
    }

    /// rDX from the sign of rAX.
    @inline(__always) func extendAccumulator<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        setRegister(CPUState.offset(ofRegister: 2), W(truncatingIfNeeded: rax).isNegative ? ~W(0) : 0)
        return proceed(cursor)
    }
}

extension Interpreter {
    static let moves: [(Mnemonic, Lowering.Lowerer)] = [
        (.mov, { lowerMove(&$0) }), (.movnti, { lowerMove(&$0) }), (.lea, { lowerLea(&$0) }),
        (.movzx, { lowerExtension(&$0, movzx) }), (.movsx, { lowerExtension(&$0, movsx) }),
        (.movsxd, { lowerExtension(&$0, movsx) }),
        (
            .movbe,
            { l in
                if let destination = l.offset(of: l.operand0) { l.op.destination = destination }
                if let source = l.offset(of: l.operand1) {
                    l.op.source = source
                    l.op.detail = 1
                }
                return l.use(movbe[l.size(of: l.operand0)])
            }
        ),
        (
            .bswap,
            { l in
                l.setDestination(l.operand0)
                return l.use(bswap[l.size(of: l.operand0)])
            }
        ),
        (.xlat, { l in l.use { CPU($0).translateByte(OpCursor($1)) } }),
        (.cbw, { l in l.use(cbw[l.op.operandSize]) }),
        (.cwd, { l in l.use(cwd[l.op.operandSize]) }),
    ]

    private static func lowerMove(_ l: inout Lowering) -> Bool {
        let size = l.size(of: l.operand0)
        if let destination = l.offset(of: l.operand0) {
            l.op.destination = destination
            if let source = l.offset(of: l.operand1) {
                l.op.source = source
                return l.use(movRR[size])
            }
            return l.use(l.isImmediate(l.operand1) ? movRI[size] : movRM[size])
        }
        guard let source = l.offset(of: l.operand1) else { return l.use(movMI[size]) }
        l.op.source = source
        return l.use(movMR[size])
    }

    private static func lowerLea(_ l: inout Lowering) -> Bool {
        guard let destination = l.offset(of: l.operand0) else { return false }
        l.op.destination = destination
        let size = l.size(of: l.operand0)
        return l.use((l.op.addressSize >= size ? lea : leaMasked)[size])
    }

    private static func lowerExtension(_ l: inout Lowering, _ forms: ExtensionForms) -> Bool {
        guard let destination = l.offset(of: l.operand0) else { return false }
        l.op.destination = destination
        l.setSource(l.operand1)
        let places = l.op.extra == OperandPlace.register ? forms.register : forms.memory
        let size = l.size(of: l.operand0)
        switch l.size(of: l.operand1) {
        case 1: return l.use(places.fromByte[size])
        case 2: return l.use(places.fromWord[size])
        default: return l.use(places.fromLong[size])
        }
    }

    /// By place and width of the source, then width of the destination.
    private struct ExtensionForms {
        var register: (fromByte: Widths, fromWord: Widths, fromLong: Widths)
        var memory: (fromByte: Widths, fromWord: Widths, fromLong: Widths)
    }

    private static let movRR = Widths(
        byte: { CPU($0).moveRR(OpCursor($1), UInt8.self) },
        word: { CPU($0).moveRR(OpCursor($1), UInt16.self) },
        long: { CPU($0).moveRR(OpCursor($1), UInt32.self) },
        quad: { CPU($0).moveRR(OpCursor($1), UInt64.self) })

    private static let movRI = Widths(
        byte: { CPU($0).moveRI(OpCursor($1), UInt8.self) },
        word: { CPU($0).moveRI(OpCursor($1), UInt16.self) },
        long: { CPU($0).moveRI(OpCursor($1), UInt32.self) },
        quad: { CPU($0).moveRI(OpCursor($1), UInt64.self) })

    private static let movRM = Widths(
        byte: { CPU($0).moveRM(OpCursor($1), UInt8.self) },
        word: { CPU($0).moveRM(OpCursor($1), UInt16.self) },
        long: { CPU($0).moveRM(OpCursor($1), UInt32.self) },
        quad: { CPU($0).moveRM(OpCursor($1), UInt64.self) })

    private static let movMR = Widths(
        byte: { CPU($0).moveMR(OpCursor($1), UInt8.self) },
        word: { CPU($0).moveMR(OpCursor($1), UInt16.self) },
        long: { CPU($0).moveMR(OpCursor($1), UInt32.self) },
        quad: { CPU($0).moveMR(OpCursor($1), UInt64.self) })

    private static let movMI = Widths(
        byte: { CPU($0).moveMI(OpCursor($1), UInt8.self) },
        word: { CPU($0).moveMI(OpCursor($1), UInt16.self) },
        long: { CPU($0).moveMI(OpCursor($1), UInt32.self) },
        quad: { CPU($0).moveMI(OpCursor($1), UInt64.self) })

    private static let lea = Widths(
        word: { CPU($0).loadAddress(OpCursor($1), UInt16.self) },
        long: { CPU($0).loadAddress(OpCursor($1), UInt32.self) },
        quad: { CPU($0).loadAddress(OpCursor($1), UInt64.self) })

    private static let leaMasked = Widths(
        word: { CPU($0).loadMaskedAddress(OpCursor($1), UInt16.self) },
        long: { CPU($0).loadMaskedAddress(OpCursor($1), UInt32.self) },
        quad: { CPU($0).loadMaskedAddress(OpCursor($1), UInt64.self) })

    private static let movbe = Widths(
        word: { CPU($0).moveSwapped(OpCursor($1), UInt16.self) },
        long: { CPU($0).moveSwapped(OpCursor($1), UInt32.self) },
        quad: { CPU($0).moveSwapped(OpCursor($1), UInt64.self) })

    private static let bswap = Widths(
        word: { CPU($0).swapBytes(OpCursor($1), UInt16.self) },
        long: { CPU($0).swapBytes(OpCursor($1), UInt32.self) },
        quad: { CPU($0).swapBytes(OpCursor($1), UInt64.self) })

    private static let cbw = Widths(
        word: { CPU($0).convertAccumulator(OpCursor($1), UInt8.self, UInt16.self) },
        long: { CPU($0).convertAccumulator(OpCursor($1), UInt16.self, UInt32.self) },
        quad: { CPU($0).convertAccumulator(OpCursor($1), UInt32.self, UInt64.self) })

    private static let cwd = Widths(
        word: { CPU($0).extendAccumulator(OpCursor($1), UInt16.self) },
        long: { CPU($0).extendAccumulator(OpCursor($1), UInt32.self) },
        quad: { CPU($0).extendAccumulator(OpCursor($1), UInt64.self) })

    private static var movzx: ExtensionForms {
        ExtensionForms(
            register: (
                fromByte: Widths(
                    word: { CPU($0).extendRegister(OpCursor($1), UInt16.self, UInt8.self, signed: false) },
                    long: { CPU($0).extendRegister(OpCursor($1), UInt32.self, UInt8.self, signed: false) },
                    quad: { CPU($0).extendRegister(OpCursor($1), UInt64.self, UInt8.self, signed: false) }),
                fromWord: Widths(
                    word: { CPU($0).extendRegister(OpCursor($1), UInt16.self, UInt16.self, signed: false) },
                    long: { CPU($0).extendRegister(OpCursor($1), UInt32.self, UInt16.self, signed: false) },
                    quad: { CPU($0).extendRegister(OpCursor($1), UInt64.self, UInt16.self, signed: false) }),
                fromLong: Widths(
                    long: { CPU($0).extendRegister(OpCursor($1), UInt32.self, UInt32.self, signed: false) },
                    quad: { CPU($0).extendRegister(OpCursor($1), UInt64.self, UInt32.self, signed: false) })
            ),
            memory: (
                fromByte: Widths(
                    word: { CPU($0).extendMemory(OpCursor($1), UInt16.self, UInt8.self, signed: false) },
                    long: { CPU($0).extendMemory(OpCursor($1), UInt32.self, UInt8.self, signed: false) },
                    quad: { CPU($0).extendMemory(OpCursor($1), UInt64.self, UInt8.self, signed: false) }),
                fromWord: Widths(
                    word: { CPU($0).extendMemory(OpCursor($1), UInt16.self, UInt16.self, signed: false) },
                    long: { CPU($0).extendMemory(OpCursor($1), UInt32.self, UInt16.self, signed: false) },
                    quad: { CPU($0).extendMemory(OpCursor($1), UInt64.self, UInt16.self, signed: false) }),
                fromLong: Widths(
                    long: { CPU($0).extendMemory(OpCursor($1), UInt32.self, UInt32.self, signed: false) },
                    quad: { CPU($0).extendMemory(OpCursor($1), UInt64.self, UInt32.self, signed: false) })
            ))
    }

    private static var movsx: ExtensionForms {
        ExtensionForms(
            register: (
                fromByte: Widths(
                    word: { CPU($0).extendRegister(OpCursor($1), UInt16.self, UInt8.self, signed: true) },
                    long: { CPU($0).extendRegister(OpCursor($1), UInt32.self, UInt8.self, signed: true) },
                    quad: { CPU($0).extendRegister(OpCursor($1), UInt64.self, UInt8.self, signed: true) }),
                fromWord: Widths(
                    word: { CPU($0).extendRegister(OpCursor($1), UInt16.self, UInt16.self, signed: true) },
                    long: { CPU($0).extendRegister(OpCursor($1), UInt32.self, UInt16.self, signed: true) },
                    quad: { CPU($0).extendRegister(OpCursor($1), UInt64.self, UInt16.self, signed: true) }),
                fromLong: Widths(
                    long: { CPU($0).extendRegister(OpCursor($1), UInt32.self, UInt32.self, signed: true) },
                    quad: { CPU($0).extendRegister(OpCursor($1), UInt64.self, UInt32.self, signed: true) })
            ),
            memory: (
                fromByte: Widths(
                    word: { CPU($0).extendMemory(OpCursor($1), UInt16.self, UInt8.self, signed: true) },
                    long: { CPU($0).extendMemory(OpCursor($1), UInt32.self, UInt8.self, signed: true) },
                    quad: { CPU($0).extendMemory(OpCursor($1), UInt64.self, UInt8.self, signed: true) }),
                fromWord: Widths(
                    word: { CPU($0).extendMemory(OpCursor($1), UInt16.self, UInt16.self, signed: true) },
                    long: { CPU($0).extendMemory(OpCursor($1), UInt32.self, UInt16.self, signed: true) },
                    quad: { CPU($0).extendMemory(OpCursor($1), UInt64.self, UInt16.self, signed: true) }),
                fromLong: Widths(
                    long: { CPU($0).extendMemory(OpCursor($1), UInt32.self, UInt32.self, signed: true) },
                    quad: { CPU($0).extendMemory(OpCursor($1), UInt64.self, UInt32.self, signed: true) })
            ))
    }
}
