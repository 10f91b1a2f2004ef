import X86

/// XCHG, XADD, CMPXCHG, CMPXCHG8B, CMPXCHG16B. Intel SDM vol. 2. XCHG with memory is LOCK'd with or without the prefix.
extension CPU {
    @inline(__always) func exchange<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        straight(cursor) { () throws(Stop) in
            let new: W = register(cursor.op.source)
            let old: W = try modifyDestination(cursor) { _ in new }
            setRegister(cursor.op.source, old)
        }
    }

    @inline(__always) func exchangeAdd<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        straight(cursor) { () throws(Stop) in
            let b: W = register(cursor.op.source)
            let a: W
            if cursor.op.extra == OperandPlace.register {
                // The sum wins where both are one register.
                a = register(cursor.op.destination)
                setRegister(cursor.op.source, a)
                setRegister(cursor.op.destination, a &+ b)
            } else {
                a = try modifyDestination(cursor) { $0 &+ b }
                setRegister(cursor.op.source, a)
            }
            setFlagsAdding(a, b, a &+ b)
        }
    }

    @inline(__always) func compareExchange<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        straight(cursor) { () throws(Stop) in
            let new: W = register(cursor.op.source)
            let expected = W(truncatingIfNeeded: rax)
            let old: W
            if cursor.op.extra == OperandPlace.register {
                // A register that differs is not touched, not even its upper half.
                old = register(cursor.op.destination)
                if old == expected { setRegister(cursor.op.destination, new) }
            } else {
                // Memory is written in any case.
                old = try modifyDestination(cursor) { $0 == expected ? new : $0 }
            }
            if old != expected { setRegister(CPUState.offset(ofRegister: 0), old) }
            setFlagsSubtracting(expected, old, expected &- old)
        }
    }

    func compareExchange8(_ cursor: OpCursor) -> UInt {
        straight(cursor) { () throws(Stop) in
            let expected = rdx << 32 | rax & 0xFFFF_FFFF
            let new = rcx << 32 | rbx & 0xFFFF_FFFF
            let old: UInt64 = try modifyDestination(cursor) { $0 == expected ? new : $0 }
            if old != expected {
                rax = old & 0xFFFF_FFFF
                rdx = old >> 32
            }
            setZeroFlag(old == expected)
        }
    }

    func compareExchange16(_ cursor: OpCursor) -> UInt {
        straight(cursor) { () throws(Stop) in
            let linear = try linearAddress(cursor, size: 16, .write)
            guard linear & 15 == 0 else { throw .generalProtection }
            let segment = cursor.op.segment
            let old: (low: UInt64, high: UInt64)
            if let locked = try lockedPlace(linear, size: 16, segment) {
                let place = unsafe AtomicPair(locked.host)
                old = place.compareExchange(expected: (rax, rdx), desired: (rbx, rcx))
                finish(locked, size: 16)
            } else {
                // A device, which knows no atomic access of this size.
                old = (try readForWrite(linear, segment), try readForWrite(linear &+ 8, segment))
                let isEqual = old == (rax, rdx)
                try write(linear, segment, isEqual ? rbx : old.low)
                try write(linear &+ 8, segment, isEqual ? rcx : old.high)
            }
            let isEqual = old == (rax, rdx)
            (rax, rdx) = old
            setZeroFlag(isEqual)
        }
    }
}

extension Interpreter {
    static let exchanges: [(Mnemonic, Lowering.Lowerer)] = [
        (
            .xchg,
            { l in
                // Either operand of the one form may be the memory operand's place in the encoding: it comes first.
                guard let source = l.offset(of: l.operand1) else { return false }
                l.op.source = source
                l.setDestination(l.operand0)
                if l.op.extra == OperandPlace.memory { l.op.extra = OperandPlace.lockedMemory }
                return l.use(xchg[l.size(of: l.operand0)])
            }
        ),
        (.xadd, { lowerPair(&$0, xadd) }), (.cmpxchg, { lowerPair(&$0, cmpxchg) }),
        (
            .cmpxchg8b,
            { l in
                l.setDestination(l.operand0)
                return l.use { CPU($0).compareExchange8(OpCursor($1)) }
            }
        ),
        (.cmpxchg16b, { l in l.use { CPU($0).compareExchange16(OpCursor($1)) } }),
    ]

    private static func lowerPair(_ l: inout Lowering, _ widths: Widths) -> Bool {
        guard let source = l.offset(of: l.operand1) else { return false }
        l.op.source = source
        l.setDestination(l.operand0)
        return l.use(widths[l.size(of: l.operand0)])
    }

    private static let xchg = Widths(
        byte: { CPU($0).exchange(OpCursor($1), UInt8.self) },
        word: { CPU($0).exchange(OpCursor($1), UInt16.self) },
        long: { CPU($0).exchange(OpCursor($1), UInt32.self) },
        quad: { CPU($0).exchange(OpCursor($1), UInt64.self) })

    private static let xadd = Widths(
        byte: { CPU($0).exchangeAdd(OpCursor($1), UInt8.self) },
        word: { CPU($0).exchangeAdd(OpCursor($1), UInt16.self) },
        long: { CPU($0).exchangeAdd(OpCursor($1), UInt32.self) },
        quad: { CPU($0).exchangeAdd(OpCursor($1), UInt64.self) })

    private static let cmpxchg = Widths(
        byte: { CPU($0).compareExchange(OpCursor($1), UInt8.self) },
        word: { CPU($0).compareExchange(OpCursor($1), UInt16.self) },
        long: { CPU($0).compareExchange(OpCursor($1), UInt32.self) },
        quad: { CPU($0).compareExchange(OpCursor($1), UInt64.self) })
}
