import FuzzInput
import Glibc
import GuestMemory
import TestSupport
import X86

@testable import Processor

/// A processor over 256 KiB from 0 on, without devices.
final class FuzzedMachine {
    static let size = 256 << 10

    let memory: GuestMemory
    let processor: VirtualProcessor
    private let space = AddressSpace()
    private let host = SilentHost()
    private var tables: [UInt8] = []
    private var cr3: UInt64 = 0

    init() {
        guard let memory = try? GuestMemory(size: FuzzedMachine.size) else { fatalError("no memory") }
        self.memory = memory
        // SAFETY: the memory lives as long as this object.
        unsafe space.replaceRegions([
            MemoryRegion(
                base: 0, size: UInt64(FuzzedMachine.size), host: memory.hostAddress, readOnly: false, slot: 0,
                pages: PageRecords(pageCount: FuzzedMachine.size / 4096)!)
        ])
        processor = VirtualProcessor(memory: space, host: host)
    }

    /// What a guest's state is compared by, beside general registers, segments and vectors.
    static let values: [(String, @Sendable (VirtualProcessor) -> UInt64)] = [
        ("RIP", { $0.state.rip }), ("RFLAGS", { $0.rflags }), ("CR0", { $0.state.cr0 }), ("CR2", { $0.state.cr2 }),
        ("CR3", { $0.state.cr3 }), ("CR4", { $0.state.cr4 }), ("EFER", { $0.state.efer }), ("DR6", { $0.state.dr6 }),
        ("DR7", { $0.state.dr7 }), ("CPL", { UInt64($0.state.cpl) }), ("XCR0", { $0.state.xcr0 }),
        ("GDTR", { $0.state.gdtr.base ^ UInt64($0.state.gdtr.limit) << 48 }),
        ("IDTR", { $0.state.idtr.base ^ UInt64($0.state.idtr.limit) << 48 }),
        ("LSTAR", { $0.state.lstar }), ("KERNEL_GS_BASE", { $0.state.kernelGSBase }), ("STAR", { $0.state.star }),
        ("shadow", { UInt64($0.state.interruptShadow) }),
        (
            "pending exception",
            { $0.state.pendingException.isPending ? UInt64($0.state.pendingException.vector) : .max }
        ),
    ]

    // MARK: Memory

    func clear() { unsafe memset(memory.hostAddress, 0, FuzzedMachine.size) }

    func write(_ bytes: some Collection<UInt8>, at address: UInt64) {
        guard (try? memory.write(bytes, at: address)) != nil else { report("the state does not fit") }
    }

    func write<T: FixedWidthInteger>(_ value: T, at address: UInt64) { write(bytes(value), at: address) }

    /// Where the memories differ, but for A in paging entries: instructions are fetched ahead of what is executed.
    func firstDifference(from other: FuzzedMachine) -> Int? {
        // SAFETY: both have this size.
        if unsafe memcmp(memory.hostAddress, other.memory.hostAddress, FuzzedMachine.size) == 0 { return nil }
        let tables = Int(GuestState.tables)..<Int(GuestState.tables) + GuestState.tablesSize
        return (0..<FuzzedMachine.size).first { place in
            let one = (try? memory.load(UInt8.self, at: UInt64(place))) ?? 0
            let two = (try? other.memory.load(UInt8.self, at: UInt64(place))) ?? 0
            let ignored: UInt8 = tables.contains(place) && place & 3 == 0 ? 0x20 : 0
            return (one ^ two) & ~ignored != 0
        }
    }

    /// The state is complete.
    func begin() {
        processor.unfinished.abandon()
        processor.withdraw([.leave, .interrupt, .careful, .deferredWrites])
        processor.stateChanged()
        tables = tableBytes
        cr3 = processor.state.cr3
    }

    // Without A and D.
    private var tableBytes: [UInt8] {
        let bytes = (try? memory.read(count: GuestState.tablesSize, at: GuestState.tables)) ?? []
        return bytes.enumerated().map { $0.offset & 3 == 0 ? $0.element & ~0x60 : $0.element }
    }

    var hasChangedTables: Bool {
        processor.state.cr0 >> 31 & 1 != 0 && (processor.state.cr3 != cr3 || tableBytes != tables)
    }

    // MARK: Single instructions

    /// Executes as the run loop does, but each instruction by itself; nil if the guest did not leave.
    func step(atMost count: Int) -> ProcessorExit? {
        defer { processor.cpu.settleMXCSR() }
        for _ in 0..<count {
            if let exit = processor.attend() { return exit }
            if let exit = processor.step() { return exit }
        }
        return nil
    }
}

/// Nothing answers and time stands still, so that both processors see the same.
private final class SilentHost: StubHost {
    override func cpuid(leaf: UInt32, subleaf: UInt32) -> (eax: UInt32, ebx: UInt32, ecx: UInt32, edx: UInt32) {
        switch leaf {
        case 0: (0xD, 0x756E_6547, 0x6C65_746E, 0x4965_6E69)
        case 0xD: subleaf == 0 ? (7, 0x340, 0x340, 0) : (7, 0, 0, 0)
        case 0x8000_0008: (0x3028, 0, 0, 0)
        default: (.max, .max, .max, .max)
        }
    }
    override var timeStampCounter: UInt64 {
        get { 0x1234_5678 }
        set {}
    }
    override var taskPriority: UInt8 {
        get { 0 }
        set {}
    }
}
