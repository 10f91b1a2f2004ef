import X86

/// Instructions on segment registers and descriptors: MOV, PUSH, POP, LDS and its kin, LAR, LSL, VERR, VERW, ARPL, LLDT,
/// LTR, SLDT, STR. Intel SDM vol. 2.
extension Interpreter {
    static let segments: [(Mnemonic, Lowering.Lowerer)] = [
        (.movSeg, { lowerMove(&$0) }),
        (.pushSeg, { lowerPush(&$0) }),
        (.popSeg, { lowerPop(&$0) }),
        (.les, { lowerFarLoad(&$0, .es) }),
        (.lds, { lowerFarLoad(&$0, .ds) }),
        (.lss, { lowerFarLoad(&$0, .ss) }),
        (.lfs, { lowerFarLoad(&$0, .fs) }),
        (.lgs, { lowerFarLoad(&$0, .gs) }),
        (.lar, { lowerQuery(&$0) { CPU($0).accessRights(OpCursor($1)) } }),
        (.lsl, { lowerQuery(&$0) { CPU($0).segmentLimit(OpCursor($1)) } }),
        (.verr, { lowerSelector(&$0) { CPU($0).verify(OpCursor($1), forWrite: false) } }),
        (.verw, { lowerSelector(&$0) { CPU($0).verify(OpCursor($1), forWrite: true) } }),
        (.arpl, { lowerAdjust(&$0) }),
        (.lldt, { lowerSelector(&$0) { CPU($0).loadLocalTable(OpCursor($1)) } }),
        (.ltr, { lowerSelector(&$0) { CPU($0).loadTask(OpCursor($1)) } }),
        (.sldt, { lowerStore(&$0, .ldtr) }),
        (.str, { lowerStore(&$0, .tr) }),
    ]

    private static func lowerMove(_ l: inout Lowering) -> Bool {
        if case .segment(let name) = l.operand0 {
            guard name != .cs else { return false }
            l.op.extra = UInt32(name.rawValue)
            l.setGeneral(l.operand1)
            return l.endsBlock
                ? l.use { CPU($0).moveToSegment(OpCursor($1), isLast: true) }
                : l.use { CPU($0).moveToSegment(OpCursor($1), isLast: false) }
        }
        guard case .segment(let name) = l.operand1 else { return false }
        l.op.extra = UInt32(name.rawValue)
        l.setGeneral(l.operand0)
        return l.use { CPU($0).storeSelector(OpCursor($1), protected: false) }
    }

    private static func lowerPush(_ l: inout Lowering) -> Bool {
        guard case .segment(let name) = l.operand0 else { return false }
        l.op.extra = UInt32(name.rawValue)
        return l.use { CPU($0).pushSegment(OpCursor($1)) }
    }

    private static func lowerPop(_ l: inout Lowering) -> Bool {
        guard case .segment(let name) = l.operand0, name != .cs else { return false }
        l.op.extra = UInt32(name.rawValue)
        return l.endsBlock
            ? l.use { CPU($0).popSegment(OpCursor($1), isLast: true) }
            : l.use { CPU($0).popSegment(OpCursor($1), isLast: false) }
    }

    private static func lowerFarLoad(_ l: inout Lowering, _ name: SegmentName) -> Bool {
        guard let destination = l.offset(of: l.operand0), l.isMemory(l.operand1) else { return false }
        l.op.destination = destination
        l.op.extra = UInt32(name.rawValue)
        return l.use { CPU($0).loadFarPointer(OpCursor($1)) }
    }

    /// LAR and LSL.
    private static func lowerQuery(_ l: inout Lowering, _ handler: Op.Handler) -> Bool {
        guard !l.mode.contains(.realOrV86), let destination = l.offset(of: l.operand0) else { return false }
        l.setGeneral(l.operand1)
        l.op.source = l.op.destination
        l.op.destination = destination
        return l.use(handler)
    }

    private static func lowerSelector(_ l: inout Lowering, _ handler: Op.Handler) -> Bool {
        guard !l.mode.contains(.realOrV86) else { return false }
        l.setGeneral(l.operand0)
        l.op.source = l.op.destination
        return l.use(handler)
    }

    private static func lowerAdjust(_ l: inout Lowering) -> Bool {
        guard !l.mode.contains(.realOrV86), let source = l.offset(of: l.operand1) else { return false }
        l.setGeneral(l.operand0)
        l.op.source = source
        return l.use { CPU($0).adjustRequestedLevel(OpCursor($1)) }
    }

    private static func lowerStore(_ l: inout Lowering, _ name: SegmentName) -> Bool {
        guard !l.mode.contains(.realOrV86) else { return false }
        l.op.extra = UInt32(name.rawValue)
        l.setGeneral(l.operand0)
        return l.use { CPU($0).storeSelector(OpCursor($1), protected: true) }
    }
}

extension Lowering {
    /// A register operand into `op.destination`, or 1 into `op.detail` for one in memory.
    mutating func setGeneral(_ operand: Operand) {
        if let offset = offset(of: operand) { op.destination = offset } else { op.detail = 1 }
    }
}

extension OpCursor {
    /// The operand that `Lowering.setGeneral` was given is in memory.
    @inline(__always) var isMemory: Bool { op.detail == 1 }
    /// The segment register that the op names in `extra`.
    @inline(__always) var named: SegmentName { SegmentName(rawValue: UInt8(truncatingIfNeeded: op.extra)) ?? .ds }
}

extension CPU {
    /// The 16-bit operand in `register` or memory.
    func word(_ cursor: OpCursor, _ register: UInt16) throws(Stop) -> UInt16 {
        cursor.isMemory ? try readOperand(cursor) : self.register(register)
    }

    /// Stores `value` as SLDT, STR, SMSW and MOV from a segment register do: 16 bits in memory, the operand size in a register.
    func storeWord(_ cursor: OpCursor, _ value: UInt64) throws(Stop) {
        if cursor.isMemory {
            try writeOperand(cursor, UInt16(truncatingIfNeeded: value))
        } else {
            setGeneral(cursor.op.destination, value, size: cursor.op.operandSize)
        }
    }

    @inline(__always) func setGeneral(_ offset: UInt16, _ value: UInt64, size: UInt8) {
        switch size {
        case 2: setRegister(offset, UInt16(truncatingIfNeeded: value))
        case 4: setRegister(offset, UInt32(truncatingIfNeeded: value))
        default: setRegister(offset, value)
        }
    }

    // MARK: MOV, PUSH, POP

    private func finishLoad(_ name: SegmentName, isLast: Bool) {
        if name == .ss { state.interruptShadow = 2 }
        if isLast { updateMode() }
    }

    func moveToSegment(_ cursor: OpCursor, isLast: Bool) -> UInt {
        let outcome = instruction(cursor) { () throws(Stop) in
            try loadSegment(cursor.named, try word(cursor, cursor.op.destination))
            finishLoad(cursor.named, isLast: isLast)
        }
        return outcome != 0 && isLast ? leave(cursor) : outcome
    }

    func storeSelector(_ cursor: OpCursor, protected: Bool) -> UInt {
        instruction(cursor) { () throws(Stop) in
            if protected { try checkUserModePrevention() }
            try storeWord(cursor, UInt64(self[segment: cursor.named].selector))
        }
    }

    func pushSegment(_ cursor: OpCursor) -> UInt {
        instruction(cursor) { () throws(Stop) in
            var stack = StackFrame(self)
            try stack.push(UInt64(self[segment: cursor.named].selector), size: Int(cursor.op.operandSize))
            stack.commit()
        }
    }

    func popSegment(_ cursor: OpCursor, isLast: Bool) -> UInt {
        let outcome = instruction(cursor) { () throws(Stop) in
            var stack = StackFrame(self)
            let selector = try stack.pop(size: Int(cursor.op.operandSize))
            try loadSegment(cursor.named, UInt16(truncatingIfNeeded: selector))
            stack.commit()
            finishLoad(cursor.named, isLast: isLast)
        }
        return outcome != 0 && isLast ? leave(cursor) : outcome
    }

    func loadFarPointer(_ cursor: OpCursor) -> UInt {
        lastInstruction(cursor) { () throws(Stop) in
            let (selector, offset) = try readFarPointer(cursor)
            try loadSegment(cursor.named, selector)
            setGeneral(cursor.op.destination, offset, size: cursor.op.operandSize)
            updateMode()
        }
    }

    /// m16:16, m16:32 or m16:64.
    func readFarPointer(_ cursor: OpCursor) throws(Stop) -> (selector: UInt16, offset: UInt64) {
        let size = Int(cursor.op.operandSize)
        let segment = cursor.op.segment
        let linear = try linearAddress(cursor, size: size + 2, .read)
        let offset: UInt64
        switch size {
        case 2: offset = UInt64(try read(linear, segment, as: UInt16.self))
        case 4: offset = UInt64(try read(linear, segment, as: UInt32.self))
        default: offset = try read(linear, segment)
        }
        return (try read(linear &+ UInt64(size), segment), offset)
    }

    // MARK: Descriptors

    func accessRights(_ cursor: OpCursor) -> UInt {
        instruction(cursor) { () throws(Stop) in
            let types: Set<UInt8> = isLongMode ? [2, 9, 11, 12] : [1, 2, 3, 4, 5, 9, 11, 12]
            let found = try visibleDescriptor(try word(cursor, cursor.op.source), systemTypes: types)
            if let found {
                setGeneral(cursor.op.destination, found.rawValue >> 32 & 0x00F0_FF00, size: cursor.op.operandSize)
            }
            setZeroFlag(found != nil)
        }
    }

    func segmentLimit(_ cursor: OpCursor) -> UInt {
        instruction(cursor) { () throws(Stop) in
            let types: Set<UInt8> = isLongMode ? [2, 9, 11] : [1, 2, 3, 9, 11]
            let found = try visibleDescriptor(try word(cursor, cursor.op.source), systemTypes: types)
            if let found { setGeneral(cursor.op.destination, UInt64(found.limit), size: cursor.op.operandSize) }
            setZeroFlag(found != nil)
        }
    }

    func verify(_ cursor: OpCursor, forWrite: Bool) -> UInt {
        instruction(cursor) { () throws(Stop) in
            let found = try visibleDescriptor(try word(cursor, cursor.op.source), systemTypes: [])
            setZeroFlag(found.map { forWrite ? $0.isWritable : $0.isReadable } ?? false)
        }
    }

    func adjustRequestedLevel(_ cursor: OpCursor) -> UInt {
        instruction(cursor) { () throws(Stop) in
            let source: UInt16 = register(cursor.op.source)
            let old = try word(cursor, cursor.op.destination)
            let lower = old & 3 < source & 3
            // What stays as it is isn't written: no right to write it is asked for.
            if lower {
                let new = old & ~3 | source & 3
                if cursor.isMemory { try writeOperand(cursor, new) } else { setRegister(cursor.op.destination, new) }
            }
            setZeroFlag(lower)
        }
    }

    func loadLocalTable(_ cursor: OpCursor) -> UInt {
        serializingInstruction(cursor) { () throws(Stop) in
            try requirePrivilege()
            try loadLDT(try word(cursor, cursor.op.source))
        }
    }

    func loadTask(_ cursor: OpCursor) -> UInt {
        serializingInstruction(cursor) { () throws(Stop) in
            try requirePrivilege()
            try loadTaskRegister(try word(cursor, cursor.op.source))
        }
    }

    // MARK: Privilege

    /// #GP(0) unless CPL is 0.
    @inline(__always) func requirePrivilege() throws(Stop) {
        guard state.cpl == 0 else { throw .generalProtection }
    }

    /// SGDT, SIDT, SLDT, SMSW and STR outside of CPL 0 with CR4.UMIP: #GP(0).
    @inline(__always) func checkUserModePrevention() throws(Stop) {
        guard state.cpl == 0 || state.cr4 & CR4.UMIP.rawValue == 0 else { throw .generalProtection }
    }
}
