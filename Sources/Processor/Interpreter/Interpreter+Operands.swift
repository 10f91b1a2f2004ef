import X86

/// Where an integer instruction finds its r/m operand: in `Op.extra`, for handlers that serve both.
enum OperandPlace {
    static let register: UInt32 = 0
    static let memory: UInt32 = 1
    /// With LOCK: read, changed and written back as one atomic access.
    static let lockedMemory: UInt32 = 2
}

/// An integer in host memory, for plain access.
///
/// SAFETY: made from addresses that `CPU.hostAddressForRead` or `hostAddressForWrite` gave for an operand of this width.
@safe struct DirectPlace<W: OperandWidth> {
    private let pointer: UnsafeMutableRawPointer

    @inline(__always) init(_ pointer: UnsafeMutableRawPointer) { unsafe self.pointer = pointer }

    @inline(__always) var value: W {
        get { unsafe pointer.loadUnaligned(as: W.self) }
        nonmutating set { unsafe pointer.storeBytes(of: newValue, as: W.self) }
    }
}

extension CPU {
    // MARK: Memory that is directly at hand. The hot forms take these first and leave everything else to a function of
    // their own, so that the short way has no calls in it.

    @inline(__always) func directPlace<W: OperandWidth>(readAt linear: UInt64, _: W.Type = W.self) -> DirectPlace<W>? {
        guard let host = unsafe hostAddressForRead(linear, size: W.bytes) else { return nil }
        return unsafe DirectPlace(UnsafeMutableRawPointer(mutating: host))
    }

    @inline(__always) func directPlace<W: OperandWidth>(writtenAt linear: UInt64, _: W.Type = W.self) -> DirectPlace<W>?
    {
        guard let host = unsafe hostAddressForWrite(linear, size: W.bytes) else { return nil }
        return unsafe DirectPlace(host)
    }

    /// The memory operand, where no segment has to be checked.
    @inline(__always) private func flatAddress(_ cursor: OpCursor) -> UInt64 {
        let sum = sum(cursor)
        return (cursor.op.addressing == .flat ? sum : sum & 0xFFFF_FFFF)
            &+ register(cursor.op.segmentBase, as: UInt64.self)
    }

    @inline(__always) func directOperand<W: OperandWidth>(read cursor: OpCursor, _: W.Type = W.self) -> DirectPlace<W>?
    {
        if cursor.op.addressing == .checked { return nil }
        return directPlace(readAt: flatAddress(cursor))
    }

    @inline(__always) func directOperand<W: OperandWidth>(written cursor: OpCursor, _: W.Type = W.self) -> DirectPlace<
        W
    >? {
        if cursor.op.addressing == .checked { return nil }
        return directPlace(writtenAt: flatAddress(cursor))
    }

    // MARK: Operands

    /// The linear address of an offset that the instruction computes itself, in the op's segment.
    @inline(__always) func linearAddress(_ cursor: OpCursor, offset: UInt64, size: Int, _ access: MemoryAccess)
        throws(Stop) -> UInt64
    {
        if cursor.op.addressing == .flat { return offset &+ register(cursor.op.segmentBase, as: UInt64.self) }
        let offset = cursor.op.addressSize == 2 ? offset & 0xFFFF : offset & 0xFFFF_FFFF
        if cursor.op.addressing == .flat32 { return offset &+ register(cursor.op.segmentBase, as: UInt64.self) }
        return try checkedLinear(cursor.op.segment, offset: offset, size: size, access)
    }

    /// The r/m operand as a source: the register `op.source`, or memory.
    @inline(__always) func readSource<W: OperandWidth>(_ cursor: OpCursor, as type: W.Type = W.self) throws(Stop) -> W {
        if cursor.op.extra == OperandPlace.register { return register(cursor.op.source) }
        return try readOperand(cursor)
    }

    /// The r/m operand as a destination that is only written: the register `op.destination`, or memory.
    @inline(__always) func writeDestination<W: OperandWidth>(_ cursor: OpCursor, _ value: W) throws(Stop) {
        if cursor.op.extra == OperandPlace.register {
            setRegister(cursor.op.destination, value)
        } else {
            try writeOperand(cursor, value)
        }
    }

    /// Reads, changes and writes back memory, not atomically; one look-up where the store may go straight to it.
    /// `change` has no effects of its own. Returns what was there.
    @inline(__always) func modifyMemory<W: OperandWidth>(_ cursor: OpCursor, _ change: (W) -> W) throws(Stop) -> W {
        try modifyMemory(at: try linearAddress(cursor, size: W.bytes, .write), cursor.op.segment, change)
    }

    @inline(__always) func modifyMemory<W: OperandWidth>(at linear: UInt64, _ segment: SegmentName, _ change: (W) -> W)
        throws(Stop) -> W
    {
        if let host = unsafe hostAddressForWrite(linear, size: W.bytes) {
            let old = unsafe host.loadUnaligned(as: W.self)
            unsafe host.storeBytes(of: change(old), as: W.self)
            return old
        }
        let old: W = try readForWrite(linear, segment)
        try write(linear, segment, change(old))
        return old
    }

    /// As `modifyMemory`, atomically. `change` may be asked more than once; what it returned last was written.
    @inline(__always) func modifyLockedMemory<W: OperandWidth>(
        at linear: UInt64, _ segment: SegmentName, _ change: (W) -> W
    ) throws(Stop) -> W {
        var old: W = 0
        try modifyLocked(linear, segment) { (value: W) throws(Stop) -> W in
            old = value
            return change(value)
        }
        return old
    }

    /// Reads, changes and writes back the r/m operand, wherever it is. Returns what was there.
    @inline(__always) func modifyDestination<W: OperandWidth>(_ cursor: OpCursor, _ change: (W) -> W) throws(Stop) -> W
    {
        if cursor.op.extra == OperandPlace.register {
            let old: W = register(cursor.op.destination)
            setRegister(cursor.op.destination, change(old))
            return old
        }
        if cursor.op.extra == OperandPlace.memory { return try modifyMemory(cursor, change) }
        return try modifyLockedMemory(at: try linearAddress(cursor, size: W.bytes, .write), cursor.op.segment, change)
    }
}

extension Lowering {
    /// Notes an r/m operand that is written.
    mutating func setDestination(_ operand: Operand) {
        if let offset = offset(of: operand) {
            op.destination = offset
            op.extra = OperandPlace.register
        } else {
            op.extra = op.prefixes.contains(.lock) ? OperandPlace.lockedMemory : OperandPlace.memory
        }
    }

    /// Notes an r/m operand that is only read.
    mutating func setSource(_ operand: Operand) {
        if let offset = offset(of: operand) {
            op.source = offset
            op.extra = OperandPlace.register
        } else {
            op.extra = OperandPlace.memory
        }
    }

    /// Takes the handler of a width; false where there is none.
    mutating func use(_ handler: Op.Handler?) -> Bool {
        guard let handler = handler else { return false }
        op.handler = handler
        return true
    }
}
