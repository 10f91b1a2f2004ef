import Glibc
import GuestMemory
import TestSupport
import X86

@testable import Processor

/// A processor over 64 KiB, with devices everywhere else.
final class PagingMachine {
    // SAFETY: libFuzzer calls on one thread.
    nonisolated(unsafe) static let shared = PagingMachine()

    private let memory: GuestMemory
    private let space = AddressSpace()
    private let host = PagingHost()
    let processor: VirtualProcessor
    var cpu: CPU { processor.cpu }

    var physicalBits: UInt32 = 40 { didSet { host.physicalBits = physicalBits } }
    var gigabytePages = true { didSet { host.gigabytePages = gigabytePages } }
    /// Physical addresses of device accesses.
    var read: UInt64? {
        get { host.read }
        set { host.read = newValue }
    }
    var writes: [UInt64] {
        get { host.writes }
        set { host.writes = newValue }
    }

    private init() {
        guard let memory = try? GuestMemory(size: PagingCase.memorySize) else { fatalError("no memory") }
        self.memory = memory
        // SAFETY: the memory lives as long as this object.
        unsafe space.replaceRegions([
            MemoryRegion(
                base: 0, size: UInt64(PagingCase.memorySize), host: memory.hostAddress, readOnly: false, slot: 0,
                pages: PageRecords(pageCount: PagingCase.memorySize / 4096)!)
        ])
        processor = VirtualProcessor(memory: space, host: host)
    }

    func clear() { unsafe memset(memory.hostAddress, 0, PagingCase.memorySize) }

    func store(_ place: UInt64, _ size: Int, _ value: UInt64) {
        for index in 0..<size where place + UInt64(index) < UInt64(PagingCase.memorySize) {
            try? memory.store(UInt8(truncatingIfNeeded: value >> UInt64(index * 8)), at: place + UInt64(index))
        }
    }

    func load(_ place: UInt64, _ size: Int) -> UInt64 {
        var value: UInt64 = 0
        for index in (0..<size).reversed() {
            value = value << 8 | UInt64((try? memory.load(UInt8.self, at: place &+ UInt64(index))) ?? 0)
        }
        return value
    }

    func firstDifference(from bytes: [UInt8]) -> Int? {
        // SAFETY: both have the memory's size.
        if unsafe memcmp(memory.hostAddress, bytes, bytes.count) == 0 { return nil }
        return bytes.indices.first { (try? memory.load(UInt8.self, at: UInt64($0))) != bytes[$0] }
    }
}

/// Answers nothing, and tells which devices were reached.
private final class PagingHost: StubHost {
    var physicalBits: UInt32 = 40
    var gigabytePages = true
    var read: UInt64?
    var writes: [UInt64] = []

    override func readMMIO(_ address: UInt64, size: Int) -> UInt64? {
        // The first device of an access.
        if read == nil { read = address }
        return nil
    }
    override func writeMMIO(_ address: UInt64, size: Int, value: UInt64) -> Bool {
        writes.append(address)
        return true
    }
    override func cpuid(leaf: UInt32, subleaf: UInt32) -> (eax: UInt32, ebx: UInt32, ecx: UInt32, edx: UInt32) {
        switch leaf {
        case 0x8000_0001: (0, 0, 0, 1 << 20 | 1 << 29 | (gigabytePages ? 1 << 26 : 0))
        case 0x8000_0008: (physicalBits, 0, 0, 0)
        default: (0, 0, 0, 0)
        }
    }
}
