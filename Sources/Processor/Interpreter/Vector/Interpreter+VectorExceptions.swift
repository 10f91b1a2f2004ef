import X86

/// SIMD floating-point instructions while the guest has unmasked one of their exceptions: run masked, then decide.
/// Intel SDM vol. 1, 11.5 and 4.9.
enum VectorExceptions {
    static let invalid: UInt64 = 1, denormal: UInt64 = 2, zeroDivide: UInt64 = 4, overflow: UInt64 = 8,
        underflow: UInt64 = 16
    static let precision: UInt64 = 32

    /// What an op's `source` says of the instruction, for the case of an unmasked underflow.
    struct Result: OptionSet {
        let rawValue: UInt16
        /// Slot of the destination.
        static let slotMask: UInt16 = 3
        /// It can be denormal, and that would be an underflow.
        static let mayUnderflow = Result(rawValue: 4)
        static let double = Result(rawValue: 8)
        /// Only its first element counts.
        static let scalar = Result(rawValue: 16)
        static let wide = Result(rawValue: 32)
        /// It is in memory: half-precision numbers.
        static let half = Result(rawValue: 64)

        init(rawValue: UInt16) { self.rawValue = rawValue }

        init(_ host: HostInstruction) {
            var result = Result(rawValue: UInt16((host.roles.first { $0.access != .read }?.field ?? .reg).rawValue))
            let name = Substring(host.row.mnemonic.rawValue)
            let stem = host.row.isVEX ? name.dropFirst() : name
            let prefixes = [
                "add", "sub", "mul", "div", "hadd", "hsub", "dpp", "fm", "fnm", "cvtsd2ss", "cvtpd2ps", "cvtps2ph",
            ]
            if prefixes.contains(where: { stem.hasPrefix($0) }) { result.insert(.mayUnderflow) }
            if stem.hasSuffix("d") { result.insert(.double) }
            if stem.hasSuffix("ss") || stem.hasSuffix("sd") { result.insert(.scalar) }
            if stem.hasSuffix("ph") { result.insert(.half) }
            if host.instruction.vectorLength == 32 { result.insert(.wide) }
            self = result
        }
    }

    /// Entered from the emitted code in place of its own work, with the same arguments.
    static let run: HostCode.Function = { CPU($0).runUnmasked(OpCursor($1), memory: $2) }
}

extension CPU {
    /// MXCSR. Reserved bits are zero.
    var mxcsr: UInt32 {
        get {
            settleMXCSR()
            return UInt32(truncatingIfNeeded: state.xsave[3])
        }
        nonmutating set {
            settleMXCSR()
            state.xsave[3] = state.xsave[3] & 0xFFFF_FFFF_0000_0000 | UInt64(newValue)
        }
    }

    /// The host's register may hold exception flags of the guest that its MXCSR lacks (`Assembler.withMXCSR`). They are
    /// fetched here: before anything reads or replaces MXCSR, and before the run loop is left.
    @inline(__always) func settleMXCSR() {
        if state.loadedMXCSR != 0 { _ = HostCode.call(HostInstruction.settlingMXCSR, address, 0, 0) }
    }

    /// The same from what the host's register held when its frames were abandoned.
    func settleMXCSR(from hostMXCSR: UInt32) {
        guard state.loadedMXCSR != 0 else { return }
        state.xsave[3] |= UInt64(hostMXCSR & 0x3F)
        state.loadedMXCSR = 0
    }

    fileprivate func runUnmasked(_ cursor: OpCursor, memory: UInt) -> UInt {
        let control = UInt64(mxcsr)
        let unmasked = ~(control >> 7) & 0x3F
        let result = VectorExceptions.Result(rawValue: cursor.op.source)
        // Registers, vectors and flags as they were; a result in memory goes to a buffer first.
        let saved = snapshot
        var buffer = SIMD4<UInt64>()
        // While underflow is unmasked nothing is flushed to zero.
        let flush: UInt64 = unmasked & VectorExceptions.underflow != 0 ? 0x8000 : 0
        processor.underWay.mxcsr = UInt32(truncatingIfNeeded: control)
        mxcsr = UInt32(truncatingIfNeeded: (control | 0x1F80) & ~0x3F & ~flush)
        // Without a memory operand `memory` is whatever the caller's register held.
        let storesHalves = result.contains(.half) && cursor.op.detail != 0
        let next = unsafe withUnsafeMutablePointer(to: &buffer) { buffer in
            HostCode.call(
                cursor.op.link + HostInstruction.maskedEntry, address, cursor.address,
                storesHalves ? UInt(bitPattern: buffer) : memory)
        }
        var raised = UInt64(mxcsr) & 0x3F
        processor.underWay.mxcsr = nil
        if unmasked & VectorExceptions.underflow != 0, isTiny(cursor, result, buffer) {
            raised |= VectorExceptions.underflow
        }
        let early = VectorExceptions.invalid | VectorExceptions.denormal | VectorExceptions.zeroDivide
        if raised & unmasked & early != 0 { raised &= early }
        if raised & unmasked != 0 {
            restore(saved)
            mxcsr = UInt32(truncatingIfNeeded: control | raised)
            return stopped(state.cr4 & CR4.OSXMMEXCPT.rawValue != 0 ? .fault(19) : .invalidOpcode)
        }
        mxcsr = UInt32(truncatingIfNeeded: control | raised)
        if storesHalves { copyHalves(buffer, to: memory, wide: result.contains(.wide)) }
        return next
    }

    private func copyHalves(_ buffer: SIMD4<UInt64>, to memory: UInt, wide: Bool) {
        // SAFETY: the caller gave the address of an operand of 8 or 16 bytes.
        guard let place = unsafe UnsafeMutableRawPointer(bitPattern: memory) else { return }
        unsafe place.storeBytes(of: buffer[0], as: UInt64.self)
        if wide { unsafe place.storeBytes(of: buffer[1], toByteOffset: 8, as: UInt64.self) }
    }

    /// A result that is denormal is tiny, exact or not.
    private func isTiny(_ cursor: OpCursor, _ result: VectorExceptions.Result, _ buffer: SIMD4<UInt64>) -> Bool {
        guard result.contains(.mayUnderflow) else { return false }
        var words = buffer
        if !result.contains(.half) || cursor.op.detail == 0 {
            let slot = UInt64(result.rawValue & VectorExceptions.Result.slotMask)
            let offset = UInt16(truncatingIfNeeded: cursor.op.immediate >> (slot * 16))
            let low = vector(offset), high = vector(offset + UInt16(CPUState.upperHalfDistance))
            words = SIMD4(low[0], low[1], high[0], high[1])
        }
        let count = result.contains(.scalar) ? 1 : result.contains(.wide) && !result.contains(.half) ? 4 : 2
        for index in 0..<count {
            let word = words[index]
            if result.contains(.double) {
                if word << 1 != 0, word & 0x7FF0_0000_0000_0000 == 0 { return true }
            } else if result.contains(.half) {
                for shift in [0, 16, 32, 48] as [UInt64] {
                    let half = word >> shift & 0xFFFF
                    if half & 0x3FF != 0, half & 0x7C00 == 0 { return true }
                }
            } else {
                if word & 0x7F_FFFF != 0, word & 0x7F80_0000 == 0 { return true }
                let upper = word >> 32
                if !result.contains(.scalar), upper & 0x7F_FFFF != 0, upper & 0x7F80_0000 == 0 { return true }
            }
        }
        return false
    }

    // MARK: Undoing

    struct Snapshot {
        var xsave: InlineArray<128, UInt64>
        var registers: InlineArray<16, UInt64>
        var flags: UInt64
    }

    var snapshot: Snapshot { Snapshot(xsave: state.xsave, registers: state.registers, flags: rflags) }

    func restore(_ snapshot: Snapshot) {
        state.xsave = snapshot.xsave
        state.registers = snapshot.registers
        rflags = snapshot.flags
    }
}
