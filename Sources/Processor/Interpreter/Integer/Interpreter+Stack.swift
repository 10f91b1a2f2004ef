import X86

/// PUSH, POP, PUSHA, POPA, ENTER, LEAVE. Intel SDM vol. 1, 6.2 and 6.5, vol. 2.
///
/// 64-bit code has handlers of its own; in 16- and 32-bit code SS says how wide the stack pointer is.
extension CPU {
    // MARK: The stack in any mode

    /// What of rSP addresses the stack.
    private var stackMask: UInt64 {
        if state.codeMode.codeSize == 8 { return .max }
        return state.codeMode.contains(.wideStack) ? 0xFFFF_FFFF : 0xFFFF
    }

    func stackLinear(_ pointer: UInt64, size: Int, _ access: MemoryAccess) throws(Stop) -> UInt64 {
        let offset = pointer & stackMask
        if state.codeMode.codeSize == 8 { return offset }
        return try checkedLinear(.ss, offset: offset, size: size, access)
    }

    /// Reads the stack at `pointer`, which is masked here.
    func readStack<W: OperandWidth>(_ pointer: UInt64, as type: W.Type = W.self) throws(Stop) -> W {
        try read(try stackLinear(pointer, size: W.bytes, .read), .ss)
    }

    func writeStack<W: OperandWidth>(_ pointer: UInt64, _ value: W) throws(Stop) {
        try write(try stackLinear(pointer, size: W.bytes, .write), .ss, value)
    }

    /// rSP with what counts of it replaced: of a 16-bit stack SP alone, and no borrow reaches the upper half.
    private func stackPointer(movedTo pointer: UInt64) -> UInt64 {
        let mask = stackMask
        return mask == 0xFFFF ? rsp & ~0xFFFF | pointer & 0xFFFF : pointer & mask
    }

    /// Replaces what counts of rSP.
    func setStackPointer(_ pointer: UInt64) { rsp = stackPointer(movedTo: pointer) }

    /// Pushes, in any mode.
    func pushAnywhere<W: OperandWidth>(_ value: W) throws(Stop) {
        try writeStack(rsp &- UInt64(W.bytes), value)
        setStackPointer(rsp &- UInt64(W.bytes))
    }

    func popAnywhere<W: OperandWidth>(as type: W.Type = W.self) throws(Stop) -> W {
        let value: W = try readStack(rsp)
        setStackPointer(rsp &+ UInt64(W.bytes))
        return value
    }

    // MARK: 64-bit code

    @inline(__always) func pushLong(_ value: UInt64) throws(Stop) {
        let pointer = rsp &- 8
        try write(pointer, .ss, value)
        rsp = pointer
    }

    @inline(__always) func pushLongRegister(_ cursor: OpCursor) -> UInt {
        push(cursor, register(cursor.op.source))
    }

    @inline(__always) private func push(_ cursor: OpCursor, _ value: UInt64) -> UInt {
        let pointer = rsp &- 8
        guard let place = directPlace(writtenAt: pointer, UInt64.self) else { return pushSlowly(cursor, value) }
        place.value = value
        rsp = pointer
        return proceed(cursor)
    }

    @inline(never) private func pushSlowly(_ cursor: OpCursor, _ value: UInt64) -> UInt {
        straight(cursor) { () throws(Stop) in try pushLong(value) }
    }

    @inline(__always) func pushLongImmediate(_ cursor: OpCursor) -> UInt {
        push(cursor, cursor.op.immediate)
    }

    @inline(__always) func popLongRegister(_ cursor: OpCursor) -> UInt {
        guard let place = directPlace(readAt: rsp, UInt64.self) else { return popSlowly(cursor) }
        let value = place.value
        rsp = rsp &+ 8
        setRegister(cursor.op.destination, value)
        return proceed(cursor)
    }

    @inline(never) private func popSlowly(_ cursor: OpCursor) -> UInt {
        straight(cursor) { () throws(Stop) in
            let value: UInt64 = try read(rsp, .ss)
            rsp = rsp &+ 8
            setRegister(cursor.op.destination, value)
        }
    }

    @inline(__always) func leaveLong(_ cursor: OpCursor) -> UInt {
        straight(cursor) { () throws(Stop) in
            let frame = rbp
            rbp = try read(frame, .ss)
            rsp = frame &+ 8
        }
    }

    // MARK: All forms

    /// PUSH r, m or imm (`op.detail` set).
    @inline(__always) func pushOperand<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        straight(cursor) { () throws(Stop) in
            try pushAnywhere(
                cursor.op.detail != 0 ? W(truncatingIfNeeded: cursor.op.immediate) : try readSource(cursor))
        }
    }

    /// POP r or m. An address that counts from rSP does so after the increment.
    @inline(__always) func popOperand<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        straight(cursor) { () throws(Stop) in
            let pointer = rsp
            let value: W = try popAnywhere()
            if cursor.op.extra == OperandPlace.register { return setRegister(cursor.op.destination, value) }
            let processor = processor
            processor.underWay.stackPointer = pointer
            do throws(Stop) {
                try writeOperand(cursor, value)
                processor.underWay.stackPointer = nil
            } catch {
                processor.underWay.stackPointer = nil
                rsp = pointer
                throw error
            }
        }
    }

    @inline(__always) func pushAll<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        straight(cursor) { () throws(Stop) in
            var pointer = rsp
            for number: UInt8 in 0..<8 {
                pointer = pointer &- UInt64(W.bytes)
                try writeStack(pointer, register(CPUState.offset(ofRegister: number), as: W.self))
            }
            setStackPointer(pointer)
        }
    }

    @inline(__always) func popAll<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        straight(cursor) { () throws(Stop) in
            var values = InlineArray<8, W>(repeating: 0)
            var pointer = rsp
            for number in (0..<8).reversed() {
                values[number] = try readStack(pointer)
                pointer = pointer &+ UInt64(W.bytes)
            }
            // The pushed rSP is left out.
            for number in 0..<8 where number != 4 {
                setRegister(CPUState.offset(ofRegister: UInt8(truncatingIfNeeded: number)), values[number])
            }
            setStackPointer(pointer)
        }
    }

    /// `op.detail` is the nesting level, 0…31.
    @inline(__always) func enterFrame<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        straight(cursor) { () throws(Stop) in
            var pointer = rsp &- UInt64(W.bytes)
            try writeStack(pointer, W(truncatingIfNeeded: rbp))
            let frame = stackPointer(movedTo: pointer)
            if cursor.op.detail > 0 {
                var outer = rbp
                for _ in 1..<max(cursor.op.detail, 1) {
                    outer = outer &- UInt64(W.bytes)
                    pointer = pointer &- UInt64(W.bytes)
                    try writeStack(pointer, try readStack(outer, as: W.self))
                }
                pointer = pointer &- UInt64(W.bytes)
                try writeStack(pointer, W(truncatingIfNeeded: frame))
            }
            pointer = pointer &- (cursor.op.immediate & 0xFFFF)
            // The new top must be writable, or the next push would fault with the frame half made.
            _ = try readForWrite(try stackLinear(pointer, size: W.bytes, .write), .ss, as: W.self)
            setFramePointer(frame, W.self)
            setStackPointer(pointer)
        }
    }

    @inline(__always) func leaveFrame<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        straight(cursor) { () throws(Stop) in
            let frame = rbp
            let value: W = try readStack(frame)
            setStackPointer(frame &+ UInt64(W.bytes))
            setFramePointer(UInt64(truncatingIfNeeded: value), W.self)
        }
    }

    @inline(__always) private func setFramePointer<W: OperandWidth>(_ value: UInt64, _: W.Type) {
        setRegister(CPUState.offset(ofRegister: 5), W(truncatingIfNeeded: value))
    }
}

extension Interpreter {
    static let stack: [(Mnemonic, Lowering.Lowerer)] = [
        (.push, { lowerPush(&$0) }), (.pop, { lowerPop(&$0) }),
        (.pusha, { l in l.use(pusha[l.op.operandSize]) }), (.popa, { l in l.use(popa[l.op.operandSize]) }),
        (
            .enter,
            { l in
                l.op.detail = UInt8(l.instruction.immediate2 & 31)
                return l.use(enter[l.op.operandSize])
            }
        ),
        (
            .leave,
            { l in
                if l.op.operandSize == 8 { return l.use { CPU($0).leaveLong(OpCursor($1)) } }
                return l.use(leaveForms[l.op.operandSize])
            }
        ),
    ]

    private static func lowerPush(_ l: inout Lowering) -> Bool {
        let size = l.op.operandSize
        if let source = l.offset(of: l.operand0) {
            l.op.source = source
            l.op.extra = OperandPlace.register
            if size == 8 { return l.use { CPU($0).pushLongRegister(OpCursor($1)) } }
            return l.use(push[size])
        }
        if l.isImmediate(l.operand0) {
            l.op.detail = 1
            if size == 8 { return l.use { CPU($0).pushLongImmediate(OpCursor($1)) } }
            return l.use(push[size])
        }
        l.op.extra = OperandPlace.memory
        return l.use(push[size])
    }

    private static func lowerPop(_ l: inout Lowering) -> Bool {
        l.setDestination(l.operand0)
        let size = l.op.operandSize
        if size == 8, l.op.extra == OperandPlace.register { return l.use { CPU($0).popLongRegister(OpCursor($1)) } }
        return l.use(pop[size])
    }

    private static let push = Widths(
        word: { CPU($0).pushOperand(OpCursor($1), UInt16.self) },
        long: { CPU($0).pushOperand(OpCursor($1), UInt32.self) },
        quad: { CPU($0).pushOperand(OpCursor($1), UInt64.self) })

    private static let pop = Widths(
        word: { CPU($0).popOperand(OpCursor($1), UInt16.self) },
        long: { CPU($0).popOperand(OpCursor($1), UInt32.self) },
        quad: { CPU($0).popOperand(OpCursor($1), UInt64.self) })

    private static let pusha = Widths(
        word: { CPU($0).pushAll(OpCursor($1), UInt16.self) },
        long: { CPU($0).pushAll(OpCursor($1), UInt32.self) })

    private static let popa = Widths(
        word: { CPU($0).popAll(OpCursor($1), UInt16.self) },
        long: { CPU($0).popAll(OpCursor($1), UInt32.self) })

    private static let enter = Widths(
        word: { CPU($0).enterFrame(OpCursor($1), UInt16.self) },
        long: { CPU($0).enterFrame(OpCursor($1), UInt32.self) },
        quad: { CPU($0).enterFrame(OpCursor($1), UInt64.self) })

    private static let leaveForms = Widths(
        word: { CPU($0).leaveFrame(OpCursor($1), UInt16.self) },
        long: { CPU($0).leaveFrame(OpCursor($1), UInt32.self) })
}
