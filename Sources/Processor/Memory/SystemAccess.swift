import X86

/// Accesses of the processor itself to descriptor tables, task state and the like.
extension CPU {
    /// Reads a descriptor table, a TSS or the like: as the supervisor, whatever CPL is. Intel SDM vol. 3, 4.6.1.
    func readSystem<W: OperandWidth>(_ linear: UInt64, as type: W.Type = W.self) throws(Stop) -> W {
        let linear = wrapped(linear)
        let inPage = 4096 - Int(linear & 0xFFF)
        return try implicitly { () throws(Stop) in
            if W.bytes <= inPage {
                return W(
                    truncatingIfNeeded: try readPart(linear, size: W.bytes, segment: .ds, intent: .read, user: false))
            }
            if state.codeMode.codeSize == 8 { try checkCanonical(linear, size: W.bytes, .ds) }
            let next = wrapped(linear &+ UInt64(inPage))
            _ = try physical(linear, .read, segment: .ds, user: false)
            _ = try physical(next, .read, segment: .ds, user: false)
            let low = try readPart(linear, size: inPage, segment: .ds, intent: .read, user: false)
            let high = try readPart(next, size: W.bytes - inPage, segment: .ds, intent: .read, user: false)
            return W(truncatingIfNeeded: low | high << UInt64(8 * inPage))
        }
    }

    /// Writes likewise.
    func writeSystem<W: OperandWidth>(_ linear: UInt64, _ value: W) throws(Stop) {
        let linear = wrapped(linear)
        let inPage = 4096 - Int(linear & 0xFFF)
        let value = UInt64(truncatingIfNeeded: value)
        try implicitly { () throws(Stop) in
            if W.bytes <= inPage {
                store(try target(linear, size: W.bytes, segment: .ds, user: false), value, W.bytes)
                return
            }
            if state.codeMode.codeSize == 8 { try checkCanonical(linear, size: W.bytes, .ds) }
            let low = try target(linear, size: inPage, segment: .ds, user: false)
            let next = following(linear, inPage)
            let high = try target(next, size: W.bytes - inPage, segment: .ds, user: false)
            store(low, value, inPage)
            store(high, value >> UInt64(8 * inPage), W.bytes - inPage)
        }
    }

}
