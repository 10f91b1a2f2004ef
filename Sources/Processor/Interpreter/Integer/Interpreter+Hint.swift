import Synchronization
import X86

/// What does nothing that a guest could see, or orders memory: NOP, PAUSE, ENDBR, prefetches, cache flushes, fences; and UD0,
/// UD1, UD2. Intel SDM vol. 2.
extension CPU {
    /// CLFLUSH, CLFLUSHOPT, CLWB: the address is checked as for a byte load; there is nothing to write back.
    func flushLine(_ cursor: OpCursor) -> UInt {
        straight(cursor) { () throws(Stop) in
            let linear = try linearAddress(cursor, size: 1, .read)
            if unsafe hostAddressForRead(linear, size: 1) == nil {
                try checkCanonical(linear, cursor.op.segment)
                _ = try translate(linear, .read, user: state.cpl == 3)
            }
        }
    }

    /// MFENCE; the others need nothing, since stores and loads keep their order here as on the host.
    func fence(_ cursor: OpCursor) -> UInt {
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        return proceed(cursor)
    }
}

extension Interpreter {
    private static let nothing: Op.Handler = { CPU($0).proceed(OpCursor($1)) }

    static let hints: [(Mnemonic, Lowering.Lowerer)] = [
        (.nop, { $0.use(nothing) }), (.pause, { $0.use(nothing) }), (.endbr, { $0.use(nothing) }),
        (.prefetchnta, { $0.use(nothing) }), (.prefetcht0, { $0.use(nothing) }), (.prefetcht1, { $0.use(nothing) }),
        (.prefetcht2, { $0.use(nothing) }), (.prefetch, { $0.use(nothing) }), (.prefetchw, { $0.use(nothing) }),
        (.lfence, { $0.use(nothing) }), (.sfence, { $0.use(nothing) }),
        (.mfence, { l in l.use { CPU($0).fence(OpCursor($1)) } }),
        (.clflush, { l in l.use { CPU($0).flushLine(OpCursor($1)) } }),
        (.clflushopt, { l in l.use { CPU($0).flushLine(OpCursor($1)) } }),
        (.clwb, { l in l.use { CPU($0).flushLine(OpCursor($1)) } }),
        (.ud0, { _ in false }), (.ud1, { _ in false }), (.ud2, { _ in false }),
    ]
}
