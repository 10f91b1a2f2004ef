import X86

/// MMX, SSE and AVX instructions that the host executes (`HostInstruction`). The op: `link` the code, `immediate` the slots,
/// `detail` the memory operand's size, `extra` its alignment less one, `source` what `VectorExceptions` wants to know.
enum VectorOps {
    /// A memory operand that is read.
    static let reading: Op.Handler = { CPU($0).runReading(OpCursor($1)) }
    /// A memory operand that is written, and nothing else is.
    static let writing: Op.Handler = { CPU($0).runWriting(OpCursor($1)) }
    /// MMX registers, or MMX and XMM, without a memory operand, with one that is read, with one that is written.
    static let mmx: Op.Handler = { cpu, op in
        CPU(cpu).instruction(OpCursor(op)) { () throws(Stop) in try CPU(cpu).runMMX(OpCursor(op)) }
    }
    static let mmxReading: Op.Handler = { CPU($0).runMMXReading(OpCursor($1)) }
    static let mmxWriting: Op.Handler = { CPU($0).runMMXWriting(OpCursor($1)) }
}

extension CPU {
    /// Runs the op's code with a memory operand.
    @inline(__always) fileprivate func run(_ cursor: OpCursor, memory: UnsafeRawPointer) -> UInt {
        HostCode.call(cursor.op.link, address, cursor.address, UInt(bitPattern: memory))
    }

    fileprivate func runReading(_ cursor: OpCursor) -> UInt {
        do throws(Stop) {
            let size = Int(cursor.op.detail)
            let linear = try vectorAddress(cursor, size: size, .read)
            if let host = unsafe hostAddressForRead(linear, size: size) { return unsafe run(cursor, memory: host) }
            var value = try readPieces(linear, cursor.op.segment, size: size)
            return unsafe withUnsafePointer(to: &value) { unsafe run(cursor, memory: UnsafeRawPointer($0)) }
        } catch {
            return stopped(error)
        }
    }

    fileprivate func runWriting(_ cursor: OpCursor) -> UInt {
        do throws(Stop) {
            let size = Int(cursor.op.detail)
            let linear = try vectorAddress(cursor, size: size, .write)
            if let host = unsafe hostAddressForWrite(linear, size: size) {
                return unsafe run(cursor, memory: UnsafeRawPointer(host))
            }
            try checkWritable(linear, size: size, cursor.op.segment)
            var value = SIMD4<UInt64>()
            let next = unsafe withUnsafeMutablePointer(to: &value) { unsafe run(cursor, memory: UnsafeRawPointer($0)) }
            if next != 0 { try writePieces(linear, cursor.op.segment, size: size, value) }
            return next
        } catch {
            return stopped(error)
        }
    }

    // MARK: MMX

    /// What every MMX instruction but EMMS does to the x87 state: the top of the stack is 0, all registers are valid.
    /// Intel SDM vol. 1, 9.5.
    func enterMMX() {
        rotateStack()
        setTags(0xFF)
    }

    /// Throws #MF where an x87 exception is pending.
    @inline(__always) func checkPendingX87() throws(Stop) {
        if x87StatusWord & ~x87ControlWord & 0x3F != 0 { throw .fault(16) }
    }

    fileprivate func runMMX(_ cursor: OpCursor) throws(Stop) {
        try checkPendingX87()
        enterMMX()
        if HostCode.call(cursor.op.link, address, cursor.address, 0) == 0 { throw state.stop }
    }

    fileprivate func runMMXReading(_ cursor: OpCursor) -> UInt {
        do throws(Stop) {
            let size = Int(cursor.op.detail)
            try checkPendingX87()
            let linear = try vectorAddress(cursor, size: size, .read)
            var value = try readPieces(linear, cursor.op.segment, size: size)
            if cursor.op.destination != CPUState.zeroOffset { enterMMX() }
            return unsafe withUnsafePointer(to: &value) { unsafe run(cursor, memory: UnsafeRawPointer($0)) }
        } catch {
            return stopped(error)
        }
    }

    fileprivate func runMMXWriting(_ cursor: OpCursor) -> UInt {
        do throws(Stop) {
            let size = Int(cursor.op.detail)
            try checkPendingX87()
            let linear = try vectorAddress(cursor, size: size, .write)
            if unsafe hostAddressForWrite(linear, size: size) == nil {
                try checkWritable(linear, size: size, cursor.op.segment)
            }
            var next: UInt = 0
            try storingX87 { () throws(Stop) in
                enterMMX()
                var value = SIMD4<UInt64>()
                next = unsafe withUnsafeMutablePointer(to: &value) { unsafe run(cursor, memory: UnsafeRawPointer($0)) }
                try writePieces(linear, cursor.op.segment, size: size, value)
            }
            return next
        } catch {
            return stopped(error)
        }
    }
}

extension OpCursor {
    /// What handlers are given.
    @inline(__always) var address: UInt { unsafe UInt(bitPattern: pointer) }
}
