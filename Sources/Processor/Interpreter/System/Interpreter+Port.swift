import X86

/// IN, OUT, INS, OUTS. Intel SDM vol. 1, chapter 19 (permission: IOPL and the bitmap of the TSS); vol. 2.
///
/// A port that nothing here models leaves to the client: IN and INS before they complete, OUT likewise (RIP at the
/// instruction, which completes when it is executed again), OUTS after its elements were taken from memory.
extension Interpreter {
    static let ports: [(Mnemonic, Lowering.Lowerer)] = [
        (.in, { lowerPort(&$0, isInput: true) }),
        (.out, { lowerPort(&$0, isInput: false) }),
        (.ins, { lowerString(&$0, $0.operand0) { CPU($0).inputString(OpCursor($1)) } }),
        (.outs, { lowerString(&$0, $0.operand1) { CPU($0).outputString(OpCursor($1)) } }),
    ]

    private static func lowerPort(_ l: inout Lowering, isInput: Bool) -> Bool {
        let data = isInput ? l.operand0 : l.operand1
        let port = isInput ? l.operand1 : l.operand0
        // 1: the port is in DX.
        l.op.detail = l.isImmediate(port) ? 0 : 1
        switch (l.size(of: data), isInput) {
        case (1, true): return l.use { CPU($0).input(OpCursor($1), UInt8.self) }
        case (2, true): return l.use { CPU($0).input(OpCursor($1), UInt16.self) }
        case (_, true): return l.use { CPU($0).input(OpCursor($1), UInt32.self) }
        case (1, false): return l.use { CPU($0).output(OpCursor($1), UInt8.self) }
        case (2, false): return l.use { CPU($0).output(OpCursor($1), UInt16.self) }
        case (_, false): return l.use { CPU($0).output(OpCursor($1), UInt32.self) }
        }
    }

    private static func lowerString(_ l: inout Lowering, _ element: Operand, _ handler: Op.Handler) -> Bool {
        l.op.detail = l.size(of: element)
        return l.use(handler)
    }
}

extension CPU {
    /// #GP(0) unless IOPL or the I/O permission bitmap allows all of the ports.
    @inline(__always) private func checkPort(_ port: UInt16, size: Int) throws(Stop) {
        if isProtected, state.cpl > iopl || isV86 { try checkPermissionBitmap(port, size: size) }
        if processor.isStepping { processor.notePortBreakpoints(port, size: size) }
    }

    /// Leaves the instruction to the client that asked for all of them.
    @inline(__always) private func checkIntercept() throws(Stop) {
        guard processor.intercepts.contains(.ports) else { return }
        processor.exit = .intercepted(.ports)
        throw .exitBefore
    }

    private func checkPermissionBitmap(_ port: UInt16, size: Int) throws(Stop) {
        let tr = self[segment: .tr]
        // A 32-bit (or 64-bit) TSS that reaches the map's base.
        guard tr.isUsable, tr.attributes & 0x1D == 0x09, tr.limit >= 103 else { throw .generalProtection }
        let map = UInt64(try readTable(tr.base &+ 102, as: UInt16.self))
        let place = map + UInt64(port >> 3)
        guard place + 1 <= UInt64(tr.limit) else { throw .generalProtection }
        let bits: UInt16 = try readTable(tr.base &+ place)
        guard bits >> (port & 7) & ((1 << UInt16(size)) - 1) == 0 else { throw .generalProtection }
    }

    @inline(__always) private func port(_ cursor: OpCursor) -> UInt16 {
        UInt16(truncatingIfNeeded: cursor.op.detail != 0 ? rdx : cursor.op.immediate & 0xFF)
    }

    // MARK: IN and OUT

    @inline(__always) func input<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        instruction(cursor) { () throws(Stop) in
            let value: UInt64
            if let answer = processor.unfinished.take(W.bytes) {
                // The client may have changed the registers meanwhile, and what they said of the port is past.
                setRegister(CPUState.offset(ofRegister: 0), W(truncatingIfNeeded: answer))
                return
            }
            let port = port(cursor)
            try checkPort(port, size: W.bytes)
            try checkIntercept()
            if let answer = processor.host.readPort(port, size: W.bytes) {
                value = UInt64(answer)
            } else {
                processor.exit = .portRead(port: port, size: W.bytes, count: 1)
                throw .exitBefore
            }
            setRegister(CPUState.offset(ofRegister: 0), W(truncatingIfNeeded: value))
        }
    }

    @inline(__always) func output<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        instruction(cursor) { () throws(Stop) in
            if case .portWritten = processor.unfinished.answer { return }
            let port = port(cursor)
            try checkPort(port, size: W.bytes)
            try checkIntercept()
            let value = UInt64(truncatingIfNeeded: register(CPUState.offset(ofRegister: 0), as: W.self))
            if processor.host.writePort(port, size: W.bytes, value: UInt32(truncatingIfNeeded: value)) { return }
            processor.unfinished.handOut(value, size: W.bytes, following: followingRIP(cursor))
            processor.exit = .portWrite(port: port, size: W.bytes, count: 1)
            throw .exitBefore
        }
    }

    // MARK: INS and OUTS

    /// Writes RCX, RSI or RDI as wide as addresses are.
    private func setIndex(_ number: UInt8, _ value: UInt64, _ cursor: OpCursor) {
        setGeneral(CPUState.offset(ofRegister: number), value, size: cursor.op.addressSize)
    }

    private func isRepeated(_ cursor: OpCursor) -> Bool { !cursor.op.prefixes.isDisjoint(with: [.rep, .repne]) }

    /// Elements that one turn may move: those left, up to the page's end, one at a time downwards.
    private func elements(_ cursor: OpCursor, at linear: UInt64, size: Int) -> Int {
        guard isRepeated(cursor) else { return 1 }
        // A trap may follow each iteration.
        if hasFlag(.DF) || hasFlag(.TF) || processor.isStepping { return 1 }
        let left = rcx & addressMask(cursor)
        let inPage = (4096 - Int(linear & 0xFFF)) / size
        return max(1, min(Int(min(left, 4096)), inPage))
    }

    /// Moves an index register and the count on by `count` elements.
    private func advance(_ cursor: OpCursor, index: UInt8, by count: Int, size: Int) {
        let distance = UInt64(count * size)
        setIndex(index, hasFlag(.DF) ? self[index] &- distance : self[index] &+ distance, cursor)
        if isRepeated(cursor) { setIndex(1, rcx &- UInt64(count), cursor) }
    }

    /// Whether the instruction is to be executed again for what is left.
    private func hasMore(_ cursor: OpCursor) -> Bool { isRepeated(cursor) && rcx & addressMask(cursor) != 0 }

    /// Ends a turn: on to the next instruction, or back to this one by way of the run loop.
    private func endTurn(_ cursor: OpCursor) -> UInt {
        guard hasMore(cursor) else { return cursor.next }
        state.rip = instructionRIP
        resumeBetweenIterations()
        return stopped(.boundary)
    }

    /// The rights to the port are asked for even where nothing is left to do.
    private func hasNothingLeft(_ cursor: OpCursor, _ port: UInt16, size: Int) throws(Stop) -> Bool {
        try checkPort(port, size: size)
        return isRepeated(cursor) && rcx & addressMask(cursor) == 0
    }

    func inputString(_ cursor: OpCursor) -> UInt {
        let size = Int(cursor.op.detail)
        let port = UInt16(truncatingIfNeeded: rdx)
        do throws(Stop) {
            if try hasNothingLeft(cursor, port, size: size) { return cursor.next }
            let linear = try checkedLinear(.es, offset: rdi & addressMask(cursor), size: size, .write)
            var count = elements(cursor, at: linear, size: size)
            if count > 1 {
                // The limit may end the turn earlier than the page.
                let last = rdi & addressMask(cursor) &+ UInt64(count * size - 1)
                if last > addressMask(cursor) || (!is64Bit && last > UInt64(self[segment: .es].limit)) { count = 1 }
            }
            try checkWritable(linear, size: count * size, .es)
            try checkIntercept()
            if processor.unfinished.remaining == 0, let first = processor.host.readPort(port, size: size) {
                try store(UInt64(first), size, linear)
                advance(cursor, index: 7, by: 1, size: size)
                return endTurn(cursor)
            }
            guard processor.unfinished.remaining >= size else {
                processor.exit = .portRead(port: port, size: size, count: count)
                throw .exitBefore
            }
            count = min(count, processor.unfinished.remaining / size)
            for index in 0..<count {
                guard let value = processor.unfinished.take(size) else { break }
                try store(value, size, linear &+ UInt64(index * size))
            }
            advance(cursor, index: 7, by: count, size: size)
            return endTurn(cursor)
        } catch {
            return stopped(error)
        }
    }

    func outputString(_ cursor: OpCursor) -> UInt {
        let size = Int(cursor.op.detail)
        let port = UInt16(truncatingIfNeeded: rdx)
        do throws(Stop) {
            if try hasNothingLeft(cursor, port, size: size) { return cursor.next }
            let segment = cursor.op.segment
            let linear = try checkedLinear(segment, offset: rsi & addressMask(cursor), size: size, .read)
            if processor.intercepts.contains(.ports) { try checkReadable(linear, size: size, segment) }
            try checkIntercept()
            let first = try load(size, linear, segment)
            if processor.host.writePort(port, size: size, value: UInt32(truncatingIfNeeded: first)) {
                advance(cursor, index: 6, by: 1, size: size)
                return endTurn(cursor)
            }
            var count = 0
            let most = elements(cursor, at: linear, size: size)
            processor.unfinished.beginOutgoing()
            var value = first
            while true {
                processor.unfinished.addOutgoing(value, size: size)
                count += 1
                guard count < most else { break }
                // What can't be read ends the turn; the next one faults there.
                let offset = rsi & addressMask(cursor) &+ UInt64(count * size)
                guard offset <= addressMask(cursor),
                    let place = try? checkedLinear(segment, offset: offset, size: size, .read)
                else { break }
                value = try load(size, place, segment)
            }
            advance(cursor, index: 6, by: count, size: size)
            state.rip = hasMore(cursor) ? instructionRIP : followingRIP(cursor)
            processor.exit = .portWrite(port: port, size: size, count: count)
            return stopped(.exitAfter)
        } catch {
            return stopped(error)
        }
    }

    private func store(_ value: UInt64, _ size: Int, _ linear: UInt64) throws(Stop) {
        switch size {
        case 1: try write(linear, .es, UInt8(truncatingIfNeeded: value))
        case 2: try write(linear, .es, UInt16(truncatingIfNeeded: value))
        default: try write(linear, .es, UInt32(truncatingIfNeeded: value))
        }
    }

    private func load(_ size: Int, _ linear: UInt64, _ segment: SegmentName) throws(Stop) -> UInt64 {
        switch size {
        case 1: UInt64(try read(linear, segment, as: UInt8.self))
        case 2: UInt64(try read(linear, segment, as: UInt16.self))
        default: UInt64(try read(linear, segment, as: UInt32.self))
        }
    }
}
