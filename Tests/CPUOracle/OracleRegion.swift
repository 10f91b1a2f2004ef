import Glibc

/// Memory shared by the parent and the native process: two batches of cases with their ends, the patterns, and the windows.
///
/// SAFETY: one mapping of `size` bytes from init to deinit; every place is computed from indices that are checked here.
@safe final class OracleRegion {
    /// Cases of a batch, and batches.
    static let batchSize = 256
    static let batches = 2

    /// A case as the native process takes it: the state, then these words, then the code.
    enum Slot {
        static let mode = OracleState.Offset.size
        static let background = mode + 4
        static let codeOffset = mode + 8
        static let codeSize = mode + 12
        static let code = mode + 32
        static let size = (code + OracleCase.maximalCodeSize + 63) & ~63
    }

    private static let endSize = (MemoryLayout<OracleEnd>.size + 63) & ~63
    private static let slotsOffset = 4096
    private static let endsOffset = slotsOffset + batches * batchSize * Slot.size
    private static let imagesOffset = (endsOffset + batches * batchSize * endSize + 4095) & ~4095
    private static let backgroundsOffset = imagesOffset + batches * batchSize * OracleWindows.imageSize
    static let codeOffset = backgroundsOffset + OracleWindows.backgroundCount * OracleWindows.imageSize
    static let dataOffset = codeOffset + OracleWindows.codeSize
    static let stackOffset = dataOffset + OracleWindows.dataSize + OracleWindows.readOnlySize
    static let size = stackOffset + OracleWindows.stackSize

    let descriptor: Int32
    let base: UnsafeMutableRawPointer

    /// A new one, or the one behind a descriptor that was inherited.
    init?(descriptor inherited: Int32? = nil) {
        if let inherited {
            descriptor = inherited
        } else {
            descriptor = unsafe memfd_create("cpu-oracle", UInt32(MFD_CLOEXEC))
            guard descriptor >= 0, ftruncate(descriptor, off_t(OracleRegion.size)) == 0 else { return nil }
        }
        guard let base = unsafe mmap(nil, OracleRegion.size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0),
            unsafe base != MAP_FAILED
        else { return nil }
        unsafe self.base = base
        guard inherited == nil else { return }
        for number in 0..<OracleWindows.backgroundCount {
            let bytes = OracleWindows.background(UInt32(number))
            unsafe bytes.withUnsafeBytes {
                unsafe background(UInt32(number)).copyMemory(from: $0.baseAddress!, byteCount: OracleWindows.imageSize)
            }
        }
        unsafe memset(base + OracleRegion.codeOffset, Int32(OracleWindows.filler), OracleWindows.codeSize)
        unsafe (base + OracleRegion.dataOffset + OracleWindows.dataSize).copyMemory(
            from: background(1), byteCount: OracleWindows.readOnlySize)
    }

    deinit {
        unsafe munmap(base, OracleRegion.size)
        close(descriptor)
    }

    private func index(_ batch: Int, _ number: Int) -> Int {
        precondition((0..<OracleRegion.batches).contains(batch) && (0..<OracleRegion.batchSize).contains(number))
        return batch * OracleRegion.batchSize + number
    }

    func slot(_ batch: Int, _ number: Int) -> UnsafeMutableRawPointer {
        unsafe base + OracleRegion.slotsOffset + index(batch, number) * Slot.size
    }

    func end(_ batch: Int, _ number: Int) -> UnsafeMutablePointer<OracleEnd> {
        unsafe (base + OracleRegion.endsOffset + index(batch, number) * OracleRegion.endSize)
            .assumingMemoryBound(to: OracleEnd.self)
    }

    /// The data and the stack as the case left them.
    func image(_ batch: Int, _ number: Int) -> UnsafeMutableRawPointer {
        unsafe base + OracleRegion.imagesOffset + index(batch, number) * OracleWindows.imageSize
    }

    func background(_ number: UInt32) -> UnsafeMutableRawPointer {
        let number = Int(number) % OracleWindows.backgroundCount
        return unsafe base + OracleRegion.backgroundsOffset + number * OracleWindows.imageSize
    }

    func write(_ test: OracleCase, _ batch: Int, _ number: Int) {
        let slot = unsafe slot(batch, number)
        let count = min(test.code.count, OracleCase.maximalCodeSize)
        unsafe slot.storeBytes(of: test.state, as: OracleState.self)
        unsafe slot.storeBytes(of: test.mode.rawValue, toByteOffset: Slot.mode, as: UInt32.self)
        unsafe slot.storeBytes(of: test.background, toByteOffset: Slot.background, as: UInt32.self)
        unsafe slot.storeBytes(of: test.codeOffset, toByteOffset: Slot.codeOffset, as: UInt32.self)
        unsafe slot.storeBytes(of: UInt32(count), toByteOffset: Slot.codeSize, as: UInt32.self)
        unsafe test.code.withUnsafeBytes {
            guard let source = $0.baseAddress else { return }
            unsafe (slot + Slot.code).copyMemory(from: source, byteCount: count)
        }
    }
}
