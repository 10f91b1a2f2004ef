import X86

/// What an access does. Raw values are the page-fault error code's bits where there are such.
enum MemoryAccess: UInt8 {
    case read = 0, write = 2, execute = 16
}

extension CPU {
    // MARK: The fast path. Linear addresses in, one compare, straight to host memory.

    @inline(__always) private func entry(_ linear: UInt64) -> UnsafeMutablePointer<TLBEntry> {
        unsafe pointer.pointee.tlb + Int(truncatingIfNeeded: (linear >> 12) & TLBEntry.indexMask)
    }

    @inline(__always) private func readTag(_ linear: UInt64, size: Int) -> UInt64 {
        // The last byte's page: an access that leaves the entry's page matches nothing.
        unsafe ((linear &+ UInt64(truncatingIfNeeded: size &- 1)) & ~0xFFF) | pointer.pointee.tlbGeneration
    }

    @inline(__always) private func writeTag(_ linear: UInt64, size: Int) -> UInt64 {
        unsafe ((linear &+ UInt64(truncatingIfNeeded: size &- 1)) & ~0xFFF) | pointer.pointee.tlbWriteGeneration
    }

    /// Reads `W` at a linear address. `segment` tells #SS from #GP where the address is not canonical.
    @inline(__always) func read<W: OperandWidth>(_ linear: UInt64, _ segment: SegmentName, as type: W.Type = W.self)
        throws(Stop) -> W
    {
        let entry = unsafe entry(linear)
        if unsafe entry.pointee.read == readTag(linear, size: W.bytes) {
            return unsafe UnsafeRawPointer(bitPattern: UInt(linear &+ entry.pointee.addend)).unsafelyUnwrapped
                .loadUnaligned(as: W.self)
        }
        return W(truncatingIfNeeded: try readSlowly(linear, size: W.bytes, segment: segment, intent: .read))
    }

    /// Reads `W` that the same instruction will write: faults are those of the write.
    @inline(__always) func readForWrite<W: OperandWidth>(
        _ linear: UInt64, _ segment: SegmentName, as type: W.Type = W.self
    ) throws(Stop) -> W {
        let entry = unsafe entry(linear)
        if unsafe entry.pointee.write == writeTag(linear, size: W.bytes) {
            return unsafe UnsafeRawPointer(bitPattern: UInt(linear &+ entry.pointee.addend)).unsafelyUnwrapped
                .loadUnaligned(as: W.self)
        }
        return W(truncatingIfNeeded: try readSlowly(linear, size: W.bytes, segment: segment, intent: .write))
    }

    /// Writes `W` at a linear address.
    @inline(__always) func write<W: OperandWidth>(_ linear: UInt64, _ segment: SegmentName, _ value: W) throws(Stop) {
        let entry = unsafe entry(linear)
        if unsafe entry.pointee.write == writeTag(linear, size: W.bytes) {
            unsafe UnsafeMutableRawPointer(bitPattern: UInt(linear &+ entry.pointee.addend)).unsafelyUnwrapped
                .storeBytes(of: value, as: W.self)
            return
        }
        try writeSlowly(linear, size: W.bytes, segment: segment, value: UInt64(truncatingIfNeeded: value))
    }

    /// The host address of `size` bytes at `linear` where a store may go straight to them, else nil. For LOCK'd forms,
    /// string instructions and vector stores; never crosses a page.
    @inline(__always) func hostAddressForWrite(_ linear: UInt64, size: Int) -> UnsafeMutableRawPointer? {
        let entry = unsafe entry(linear)
        guard unsafe entry.pointee.write == writeTag(linear, size: size) else { return nil }
        return unsafe UnsafeMutableRawPointer(bitPattern: UInt(linear &+ entry.pointee.addend))
    }

    /// The host address of `size` bytes at `linear` where a load may go straight to them, else nil.
    @inline(__always) func hostAddressForRead(_ linear: UInt64, size: Int) -> UnsafeRawPointer? {
        let entry = unsafe entry(linear)
        guard unsafe entry.pointee.read == readTag(linear, size: size) else { return nil }
        return unsafe UnsafeRawPointer(bitPattern: UInt(linear &+ entry.pointee.addend))
    }

    // MARK: Operands

    /// base + index × scale + displacement, before any mask or segment.
    @inline(__always) func sum(_ cursor: OpCursor) -> UInt64 {
        register(cursor.op.base, as: UInt64.self)
            &+ (register(cursor.op.index, as: UInt64.self) &<< UInt64(cursor.op.scale)) &+ cursor.op.displacement
    }

    /// What of an index register counts, by the op's address size.
    @inline(__always) func addressMask(_ cursor: OpCursor) -> UInt64 {
        cursor.op.addressSize == 8 ? .max : cursor.op.addressSize == 4 ? 0xFFFF_FFFF : 0xFFFF
    }

    /// The linear address of the op's memory operand of `size` bytes; segment checks done where the mode has any.
    @inline(__always) func linearAddress(_ cursor: OpCursor, size: Int, _ access: MemoryAccess) throws(Stop) -> UInt64 {
        let sum = sum(cursor)
        if cursor.op.addressing == .flat {
            return sum &+ register(cursor.op.segmentBase, as: UInt64.self)
        }
        if cursor.op.addressing == .flat32 {
            return (sum & 0xFFFF_FFFF) &+ register(cursor.op.segmentBase, as: UInt64.self)
        }
        let offset = cursor.op.addressSize == 2 ? sum & 0xFFFF : sum & 0xFFFF_FFFF
        return try checkedLinear(cursor.op.segment, offset: offset, size: size, access)
    }

    /// Reads the memory operand.
    @inline(__always) func readOperand<W: OperandWidth>(_ cursor: OpCursor, as type: W.Type = W.self) throws(Stop) -> W
    {
        try read(try linearAddress(cursor, size: W.bytes, .read), cursor.op.segment)
    }

    /// Writes the memory operand.
    @inline(__always) func writeOperand<W: OperandWidth>(_ cursor: OpCursor, _ value: W) throws(Stop) {
        try write(try linearAddress(cursor, size: W.bytes, .write), cursor.op.segment, value)
    }
}
