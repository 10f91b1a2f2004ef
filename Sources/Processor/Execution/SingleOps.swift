import X86

/// Fetching one instruction by itself: across pages, near the code segment's limit, for stepping.
///
/// What was decoded is kept by its bytes, so that an instruction across two pages in a loop is not decoded each time.
@safe final class SingleOps {
    private struct Entry {
        var bytes = InlineArray<16, UInt8>(repeating: 0)
        /// Bytes that are valid; 0: empty.
        var length = 0
        var mode = CodeMode(rawValue: 0)
    }

    private static let count = 256
    private var entries = [Entry](repeating: Entry(), count: SingleOps.count)
    // SAFETY: two ops for each entry (the second ends the step), from init to deinit.
    private let ops: UnsafeMutablePointer<Op>

    init() {
        unsafe ops = .allocate(capacity: SingleOps.count * 2)
        unsafe ops.initialize(repeating: Op(handler: Interpreter.endOfStep), count: SingleOps.count * 2)
    }

    deinit { unsafe ops.deallocate() }

    /// The address of the op for `bytes` (an instruction and perhaps more), decoded now or before.
    func op(for bytes: InlineArray<16, UInt8>, count: Int, mode: CodeMode) throws(DecodeError) -> UInt {
        let index = Int(bytes[0] ^ (bytes[1] &* 31) ^ (bytes[2] &* 7) ^ bytes[3])
        let entry = entries[index]
        if entry.length > 0, entry.length <= count, entry.mode == mode,
            (0..<entry.length).allSatisfy({ entry.bytes[$0] == bytes[$0] })
        {
            return unsafe UInt(bitPattern: ops + index * 2)
        }
        let copy = bytes
        // SAFETY: 16 bytes.
        let code = unsafe copy.span.withUnsafeBytes {
            unsafe CodeBytes($0.baseAddress.unsafelyUnwrapped, count: count)
        }
        let instruction = try mode.decode(code)
        let lowered = Lowering.lower(instruction, mode: mode, offset: 0)
        unsafe ops[index * 2] = lowered.op
        entries[index] = Entry(bytes: bytes, length: Int(instruction.length), mode: mode)
        return unsafe UInt(bitPattern: ops + index * 2)
    }
}

extension VirtualProcessor {
    /// The op of the instruction at `state.rip`. Throws what fetching it raises; #UD and #GP for bytes that are none.
    func fetchSingle() throws(Stop) -> UInt {
        let rip = cpu.state.rip
        var bytes = InlineArray<16, UInt8>(repeating: 0x90)
        var count = 0
        var problem: Stop?
        // Offsets that the segment's limit allows.
        var allowed = 15
        if cpu.state.codeMode.codeSize != 8 {
            let limit = UInt64(cpu[segment: .cs].limit)
            guard rip <= limit else { throw .generalProtection }
            if limit - rip < 14 {
                allowed = Int(limit - rip) + 1
                problem = .generalProtection
            }
        }
        while count < allowed {
            let linear = cpu.codeLinear(rip &+ UInt64(count))
            do throws(Stop) {
                let host = unsafe try cpu.executableHost(linear)
                let available = min(4096 - Int(linear & 0xFFF), allowed - count)
                for index in 0..<available {
                    bytes[count + index] = unsafe host.load(fromByteOffset: index, as: UInt8.self)
                }
                count += available
            } catch {
                // Only an instruction that reaches there faults.
                if count == 0 { throw error }
                problem = error
                break
            }
        }
        let cr2 = cpu.state.cr2
        cpu.settleMXCSR()
        do throws(DecodeError) {
            return try singleOps.op(for: bytes, count: count, mode: cpu.state.codeMode)
        } catch {
            switch error {
            case .invalid: throw .invalidOpcode
            case .tooLong: throw .generalProtection
            case .truncated:
                cpu.state.cr2 = cr2
                throw problem ?? .generalProtection
            }
        }
    }
}
