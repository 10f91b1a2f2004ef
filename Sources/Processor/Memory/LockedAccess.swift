import GuestMemory
import X86

/// Atomic accesses: LOCK, XCHG, CMPXCHG16B. Intel SDM vol. 3, 8.1.
extension CPU {
    /// An atomic read-modify-write of `W`; `change` may run more than once. Crossing a page, every other vCPU stands still.
    func modifyLocked<W: OperandWidth>(_ linear: UInt64, _ segment: SegmentName, _ change: (W) throws(Stop) -> W)
        throws(Stop)
    {
        if let locked = try lockedPlace(linear, size: W.bytes, segment) {
            let place = unsafe AtomicPlace<W>(locked.host)
            var old = place.load()
            while true {
                let (done, current) = place.compareExchange(expected: old, desired: try change(old))
                if done { break }
                old = current
            }
            finish(locked, size: W.bytes)
            return
        }
        try exclusively { () throws(Stop) in
            let old: W = try readForWrite(linear, segment)
            try write(linear, segment, try change(old))
        }
    }

    /// Where a LOCK'd access goes to. SAFETY: `host` holds the whole operand, until the next boundary.
    @safe struct LockedPlace {
        @unsafe let host: UnsafeMutableRawPointer
        fileprivate var code: UInt64?
    }

    /// A whole operand in writable memory of one page; nil where it crosses pages or is a device. `finish` follows the access.
    func lockedPlace(_ linear: UInt64, size: Int, _ segment: SegmentName) throws(Stop) -> LockedPlace? {
        if let host = unsafe hostAddressForWrite(linear, size: size) { return unsafe LockedPlace(host: host) }
        let linear = wrapped(linear)
        try watch(linear, size: size, .write, segment)
        guard Int(linear & 0xFFF) + size <= 4096 else { return nil }
        guard case .memory(let host, let code) = try target(linear, size: size, segment: segment, user: isUser) else {
            return nil
        }
        return unsafe LockedPlace(host: host, code: code)
    }

    func finish(_ locked: LockedPlace, size: Int) {
        if let code = locked.code { noteCodeStore(code, size) }
    }

    /// Runs `body` while no other vCPU runs guest code. Others may have had their turn before it, and asked for things that
    /// can't wait for a boundary: what this vCPU holds of translations may be true no longer.
    func exclusively(_ body: () throws(Stop) -> Void) throws(Stop) {
        let processor = processor
        processor.host.stopOthers()
        processor.underWay.othersAreStopped = true
        defer {
            processor.underWay.othersAreStopped = false
            processor.host.letOthersRun()
        }
        if processor.withdraw(.flushTLB) { processor.flushTranslations() }
        processor.serveNewCodePage()
        try body()
    }
}
