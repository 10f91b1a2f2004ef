import X86

/// XMM and YMM registers, and memory operands larger than eight bytes.
extension CPU {
    /// The 16 bytes at `offset` in the state.
    @inline(__always) func vector(_ offset: UInt16) -> SIMD2<UInt64> {
        unsafe UnsafeRawPointer(pointer).loadUnaligned(fromByteOffset: Int(offset), as: SIMD2<UInt64>.self)
    }

    @inline(__always) func setVector(_ offset: UInt16, _ value: SIMD2<UInt64>) {
        unsafe UnsafeMutableRawPointer(pointer).storeBytes(of: value, toByteOffset: Int(offset), as: SIMD2<UInt64>.self)
    }

    /// The upper half of the YMM register whose lower half is at `offset`.
    @inline(__always) func upperHalf(_ offset: UInt16) -> SIMD2<UInt64> {
        vector(offset &+ UInt16(CPUState.upperHalfDistance))
    }
    @inline(__always) func setUpperHalf(_ offset: UInt16, _ value: SIMD2<UInt64>) {
        setVector(offset &+ UInt16(CPUState.upperHalfDistance), value)
    }

    // MARK: Memory

    /// Reads 16 bytes.
    @inline(__always) func readVector(_ linear: UInt64, _ segment: SegmentName) throws(Stop) -> SIMD2<UInt64> {
        if let host = unsafe hostAddressForRead(linear, size: 16) {
            return unsafe host.loadUnaligned(as: SIMD2<UInt64>.self)
        }
        try checkCanonical(linear, size: 16, segment)
        try checkAlignment(linear, size: 16, segment)
        let low: UInt64 = try read(linear, segment)
        // Now that the translation is known, in one piece: 16 aligned bytes are atomic. Intel SDM vol. 3, 8.1.1.
        if let host = unsafe hostAddressForRead(linear, size: 16) {
            return unsafe host.loadUnaligned(as: SIMD2<UInt64>.self)
        }
        let high: UInt64 = try read(linear &+ 8, segment)
        return SIMD2(low, high)
    }

    /// Writes 16 bytes, all or none.
    @inline(__always) func writeVector(_ linear: UInt64, _ segment: SegmentName, _ value: SIMD2<UInt64>) throws(Stop) {
        if let host = unsafe hostAddressForWrite(linear, size: 16) {
            unsafe host.storeBytes(of: value, as: SIMD2<UInt64>.self)
            return
        }
        try checkWritable(linear, size: 16, segment)
        if let host = unsafe hostAddressForWrite(linear, size: 16) {
            unsafe host.storeBytes(of: value, as: SIMD2<UInt64>.self)
            return
        }
        try write(linear, segment, value[0])
        try write(linear &+ 8, segment, value[1])
    }

    /// The linear address of the op's memory operand; #GP(0) where it is not aligned as the op's `extra` (a mask) asks.
    @inline(__always) func vectorAddress(_ cursor: OpCursor, size: Int, _ access: MemoryAccess) throws(Stop) -> UInt64 {
        let linear: UInt64
        do throws(Stop) {
            linear = try linearAddress(cursor, size: size, access)
        } catch {
            // Beyond its segment as well: AMD's processors look at the alignment first, and don't say #SS(0) then. The manuals
            // leave it open.
            let place = self[segment: cursor.op.segment].base &+ sum(cursor)
            if place & UInt64(cursor.op.extra) != 0 { throw .generalProtection }
            throw error
        }
        if linear & UInt64(cursor.op.extra) != 0 { throw .generalProtection }
        return linear
    }

    /// Reads `size` bytes (at most 32) piece by piece: across pages, from devices.
    func readPieces(_ linear: UInt64, _ segment: SegmentName, size: Int) throws(Stop) -> SIMD4<UInt64> {
        try checkCanonical(linear, size: size, segment)
        try checkAlignment(linear, size: size, segment)
        var value = SIMD4<UInt64>()
        var done = 0
        while done < size {
            let place = linear &+ UInt64(done), left = size - done
            let shift = UInt64(done % 8 * 8)
            if left >= 8 {
                value[done / 8] = try read(place, segment)
                done += 8
            } else if left >= 4 {
                value[done / 8] |= UInt64(try read(place, segment, as: UInt32.self)) << shift
                done += 4
            } else if left >= 2 {
                value[done / 8] |= UInt64(try read(place, segment, as: UInt16.self)) << shift
                done += 2
            } else {
                value[done / 8] |= UInt64(try read(place, segment, as: UInt8.self)) << shift
                done += 1
            }
        }
        return value
    }

    /// Writes `size` bytes (at most 32), all or none.
    func writePieces(_ linear: UInt64, _ segment: SegmentName, size: Int, _ value: SIMD4<UInt64>) throws(Stop) {
        if unsafe hostAddressForWrite(linear, size: size) == nil { try checkWritable(linear, size: size, segment) }
        var done = 0
        while done < size {
            let place = linear &+ UInt64(done), left = size - done
            let word = value[done / 8] >> UInt64(done % 8 * 8)
            if left >= 8 {
                try write(place, segment, word)
                done += 8
            } else if left >= 4 {
                try write(place, segment, UInt32(truncatingIfNeeded: word))
                done += 4
            } else if left >= 2 {
                try write(place, segment, UInt16(truncatingIfNeeded: word))
                done += 2
            } else {
                try write(place, segment, UInt8(truncatingIfNeeded: word))
                done += 1
            }
        }
    }
}
