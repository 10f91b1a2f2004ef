import GuestMemory
import X86

/// Reads and writes that the fast path could not make: fills of the TLB, MMIO, accesses that cross a page, stores to pages that
/// hold code or are being logged.
extension CPU {
    var isUser: Bool { state.cpl == 3 }

    // MARK: Reads

    /// `size` is 1, 2, 4 or 8.
    @inline(never) func readSlowly(_ linear: UInt64, size: Int, segment: SegmentName, intent: MemoryAccess) throws(Stop)
        -> UInt64
    {
        let linear = wrapped(linear)
        try watch(linear, size: size, intent, segment)
        let inPage = 4096 - Int(linear & 0xFFF)
        if size > inPage {
            // Both pages are translated before a device in the first is read.
            try checkCanonical(linear, size: size, segment)
            let next = following(linear, inPage)
            _ = try physical(linear, intent, segment: segment, user: isUser)
            _ = try physical(next, intent, segment: segment, user: isUser)
            let low = try readPart(linear, size: inPage, segment: segment, intent: intent, user: isUser)
            let high = try readPart(next, size: size - inPage, segment: segment, intent: intent, user: isUser)
            return low | high << UInt64(8 * inPage)
        }
        return try readPart(linear, size: size, segment: segment, intent: intent, user: isUser)
    }

    /// Within one page; any size from 1 to 8.
    func readPart(_ linear: UInt64, size: Int, segment: SegmentName, intent: MemoryAccess, user: Bool)
        throws(Stop) -> UInt64
    {
        let (address, translation) = try physical(linear, intent, segment: segment, user: user)
        if let region = unsafe processor.memory.region(at: address), unsafe intent != .write || !region.pointee.readOnly
        {
            if intent == .write { _ = try claimForWrite(unsafe region.pointee, address, size) }
            if user == isUser { unsafe fill(linear, translation, region) }
            let host = unsafe region.pointee.host + Int(address - region.pointee.base)
            return unsafe CPU.load(host, size)
        }
        if intent == .write || processor.isolatesHostAccesses, !processor.underWay.isCareful { throw .careful }
        return try readMMIO(address, size: size)
    }

    @inline(__always) private static func load(_ host: UnsafeMutableRawPointer, _ size: Int) -> UInt64 {
        switch size {
        case 1: return UInt64(unsafe host.load(as: UInt8.self))
        case 2: return UInt64(unsafe host.loadUnaligned(as: UInt16.self))
        case 4: return UInt64(unsafe host.loadUnaligned(as: UInt32.self))
        case 8: return unsafe host.loadUnaligned(as: UInt64.self)
        default:
            var value: UInt64 = 0
            for index in (0..<min(size, 8)).reversed() {
                value = value << 8 | UInt64(unsafe host.load(fromByteOffset: index, as: UInt8.self))
            }
            return value
        }
    }

    /// A device's register, ours or the client's.
    func readMMIO(_ address: UInt64, size: Int) throws(Stop) -> UInt64 {
        let processor = processor
        if let value = processor.unfinished.take(size) { return value }
        let isCareful = processor.underWay.isCareful
        if !processor.unfinished.wasRefused(address, size: size, isWrite: false),
            let value = processor.host.readMMIO(address, size: size)
        {
            if isCareful {
                processor.unfinished.keep(value, size)
            } else {
                processor.unfinished.ownRead = instructionRIP
            }
            return value
        }
        if !isCareful, processor.unfinished.ownRead == instructionRIP {
            // It may have read a device of the host's before, which is not to be read again for each answer.
            processor.unfinished.ownRead = nil
            processor.unfinished.refuse(address, size: size, isWrite: false)
            throw .careful
        }
        processor.exit = .mmioRead(address: address, size: size)
        throw .exitBefore
    }

    // MARK: Writes

    @inline(never) func writeSlowly(_ linear: UInt64, size: Int, segment: SegmentName, value: UInt64) throws(Stop) {
        let linear = wrapped(linear)
        try watch(linear, size: size, .write, segment)
        let inPage = 4096 - Int(linear & 0xFFF)
        if size > inPage {
            // Both pages are checked before either is written.
            try checkCanonical(linear, size: size, segment)
            let next = following(linear, inPage)
            let low = try target(linear, size: inPage, segment: segment, user: isUser)
            let high = try target(next, size: size - inPage, segment: segment, user: isUser)
            if !processor.underWay.isCareful, low.isDevice || high.isDevice { throw .careful }
            // The host's second page is found to be there before the first changes.
            if case .memory(let host, _) = high { unsafe AtomicPlace<UInt8>(host).touch() }
            store(low, value, inPage)
            store(high, value >> UInt64(8 * inPage), size - inPage)
            return
        }
        let place = try target(linear, size: size, segment: segment, user: isUser)
        if case .device(let address) = place, !processor.underWay.isCareful {
            // One of our own devices takes it at once; for the client's the instruction is executed by itself.
            if !processor.isolatesHostAccesses {
                if processor.host.writeMMIO(address, size: size, value: value) { return }
                processor.unfinished.refuse(address, size: size, isWrite: true)
            }
            throw .careful
        }
        store(place, value, size)
    }

    /// Where a store goes: host memory, or a device at a guest-physical address.
    @safe enum StoreTarget {
        /// `code`: the guest-physical address, where the page holds code.
        case memory(UnsafeMutableRawPointer, code: UInt64?)
        case device(UInt64)

        var isDevice: Bool { if case .device = self { true } else { false } }
    }

    func target(_ linear: UInt64, size: Int, segment: SegmentName, user: Bool) throws(Stop) -> StoreTarget {
        let (address, translation) = try physical(linear, .write, segment: segment, user: user)
        guard let region = unsafe processor.memory.region(at: address), unsafe !region.pointee.readOnly else {
            return .device(address)
        }
        let holdsCode = try claimForWrite(unsafe region.pointee, address, size)
        if user == isUser { unsafe fill(linear, translation, region) }
        let host = unsafe region.pointee.host + Int(address - region.pointee.base)
        return unsafe .memory(host, code: holdsCode ? address : nil)
    }

    func store(_ target: StoreTarget, _ value: UInt64, _ size: Int) {
        switch target {
        case .memory(let host, let code):
            switch size {
            case 1: unsafe host.storeBytes(of: UInt8(truncatingIfNeeded: value), as: UInt8.self)
            case 2: unsafe host.storeBytes(of: UInt16(truncatingIfNeeded: value), as: UInt16.self)
            case 4: unsafe host.storeBytes(of: UInt32(truncatingIfNeeded: value), as: UInt32.self)
            case 8: unsafe host.storeBytes(of: value, as: UInt64.self)
            default:
                for index in 0..<min(size, 8) {
                    unsafe host.storeBytes(
                        of: UInt8(truncatingIfNeeded: value >> UInt64(8 * index)), toByteOffset: index, as: UInt8.self)
                }
            }
            if let code { noteCodeStore(code, size) }
        case .device(let address):
            if !processor.unfinished.wasRefused(address, size: size, isWrite: true),
                processor.host.writeMMIO(address, size: size, value: value)
            {
                return
            }
            processor.unfinished.putOff(address, value, size: size)
            // A device under a stack or a descriptor table: the run loop hands the write out after the event.
            if !processor.underWay.isCareful { processor.request(.deferredWrites) }
        }
    }

    // MARK: Without an access

    /// Throws what a write of `size` bytes at `linear` would, and changes nothing.
    func checkWritable(_ linear: UInt64, size: Int, _ segment: SegmentName) throws(Stop) {
        let linear = wrapped(linear)
        try checkCanonical(linear, size: size, segment)
        try checkAlignment(linear, size: size, segment)
        _ = try target(linear, size: 1, segment: segment, user: isUser)
        let last = wrapped(linear &+ UInt64(truncatingIfNeeded: size &- 1))
        if (linear ^ last) & ~0xFFF != 0 { _ = try target(last & ~0xFFF, size: 1, segment: segment, user: isUser) }
    }

    /// Throws what a read of `size` bytes at `linear` would, and reads nothing.
    func checkReadable(_ linear: UInt64, size: Int, _ segment: SegmentName) throws(Stop) {
        let linear = wrapped(linear)
        try checkCanonical(linear, size: size, segment)
        try checkAlignment(linear, size: size, segment)
        _ = try translate(linear, .read, user: isUser)
        let last = wrapped(linear &+ UInt64(truncatingIfNeeded: size &- 1))
        if (linear ^ last) & ~0xFFF != 0 { _ = try translate(last & ~0xFFF, .read, user: isUser) }
    }
}
