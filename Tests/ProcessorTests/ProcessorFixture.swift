import Glibc
import GuestMemory
import Synchronization
import TestSupport
import X86

@testable import Processor

/// A processor in 64-bit mode at privilege level 0 whose linear addresses are the host's own.
///
/// SAFETY: `base` is a mapping of `size` bytes that lives as long as the process.
@safe final class ProcessorFixture: StubHost {
    static let size = 16 << 20
    static let codeOffset: UInt64 = 0x1_0000
    static let stackOffset: UInt64 = 0x2_8000
    static let dataOffset: UInt64 = 0x10_0000
    static let dataSize = 8192

    private static let instances = Atomic<UInt64>(0)

    let base: UInt64
    let memory = AddressSpace()
    private var created: VirtualProcessor?
    var processor: VirtualProcessor { created.unsafelyUnwrappedOrFail }

    var code: UInt64 { base + ProcessorFixture.codeOffset }
    var stack: UInt64 { base + ProcessorFixture.stackOffset }
    var data: UInt64 { base + ProcessorFixture.dataOffset }

    override init() {
        let number = ProcessorFixture.instances.wrappingAdd(1, ordering: .relaxed).oldValue
        // A place of its own in a part of the address space that nothing else uses; 1 GiB aligned.
        base = 0x2000_0000_0000 + number << 30
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED
        let place = unsafe mmap(
            UnsafeMutableRawPointer(bitPattern: UInt(base)), ProcessorFixture.size, PROT_READ | PROT_WRITE, flags, -1, 0
        )
        guard let place = unsafe place, unsafe place != MAP_FAILED else {
            fatalError("the host has no room at \(String(base, radix: 16)); the thread sanitizer keeps it for itself")
        }
        let pages = PageRecords(pageCount: ProcessorFixture.size / 4096)!
        memory.replaceRegions([
            unsafe MemoryRegion(
                base: 0, size: UInt64(ProcessorFixture.size), host: place, readOnly: false, slot: 0, pages: pages)
        ])
        super.init()
        let processor = VirtualProcessor(memory: memory, host: self)
        created = processor
        mapMemory()
        enterLongMode(processor)
    }

    /// Four levels of tables, with 2 MiB pages from `base` on.
    private func mapMemory() {
        store(0x2000 as UInt64 | 3, at: 0x1000 + (base >> 39 & 511) * 8)
        store(0x3000 as UInt64 | 3, at: 0x2000 + (base >> 30 & 511) * 8)
        for index: UInt64 in 0..<8 { store(index << 21 | 0x83, at: 0x3000 + index * 8) }
    }

    private func enterLongMode(_ processor: VirtualProcessor) {
        processor.state.cr3 = 0x1000
        processor.state.cr4 = 0x20  // PAE
        processor.state.efer = 0x500  // LME, LMA
        processor.state.cr0 = 0x8000_0011  // PG, ET, PE
        let data = SegmentRegister(base: 0, limit: .max, selector: 0x10, attributes: 0xC093)
        for name in [SegmentName.es, .ss, .ds, .fs, .gs] { processor.cpu[segment: name] = data }
        processor.cpu[segment: .cs] = SegmentRegister(base: 0, limit: .max, selector: 8, attributes: 0xA09B)
        processor.state.gdtr = DescriptorTableRegister(base: 0, limit: 0)
        processor.state.idtr = DescriptorTableRegister(base: 0, limit: 0)
        processor.stateChanged()
    }

    // MARK: Memory, by offset from `base`

    func store<T: BitwiseCopyable>(_ value: T, at offset: UInt64) {
        unsafe UnsafeMutableRawPointer(bitPattern: UInt(base + offset)).unsafelyUnwrapped.storeBytes(
            of: value, as: T.self)
    }

    func load<T: BitwiseCopyable>(_ type: T.Type = T.self, at offset: UInt64) -> T {
        unsafe UnsafeRawPointer(bitPattern: UInt(base + offset)).unsafelyUnwrapped.loadUnaligned(as: T.self)
    }

    func write(_ bytes: [UInt8], at offset: UInt64) {
        unsafe UnsafeMutableRawBufferPointer(
            start: UnsafeMutableRawPointer(bitPattern: UInt(base + offset)), count: bytes.count
        )
        .copyBytes(from: bytes)
    }

    func read(count: Int, at offset: UInt64) -> [UInt8] {
        unsafe [UInt8](UnsafeRawBufferPointer(start: UnsafeRawPointer(bitPattern: UInt(base + offset)), count: count))
    }

    var dataBytes: [UInt8] {
        get { read(count: ProcessorFixture.dataSize, at: ProcessorFixture.dataOffset) }
        set { write(newValue, at: ProcessorFixture.dataOffset) }
    }

    // MARK: Execution

    /// Executes one instruction by its handler; what stopped it, or nil. `registers` go in and come out.
    func execute(_ bytes: [UInt8], _ registers: inout RegisterImage) -> Stop? {
        write(bytes + [0x90, 0x90], at: ProcessorFixture.codeOffset)
        let cpu = processor.cpu
        for number: UInt8 in 0..<16 { cpu[number] = registers[number] }
        cpu.rflags = registers.flags
        cpu.state.rip = code
        do throws(Stop) {
            let op = try processor.fetchSingle()
            cpu.state.blockRIP = code
            cpu.state.currentOp = op
            let next = OpCursor(op).op.handler(cpu.address, op)
            for number: UInt8 in 0..<16 { registers[number] = cpu[number] }
            registers.flags = cpu.rflags
            return next == 0 ? cpu.state.stop : nil
        } catch {
            return error
        }
    }

    /// Executes a program until it halts (or fails otherwise), through blocks.
    func run(_ bytes: [UInt8], _ registers: inout RegisterImage) -> ProcessorExit {
        write(bytes, at: ProcessorFixture.codeOffset)
        let cpu = processor.cpu
        for number: UInt8 in 0..<16 { cpu[number] = registers[number] }
        cpu.rflags = registers.flags
        cpu.state.rip = code
        let exit = processor.run()
        for number: UInt8 in 0..<16 { registers[number] = cpu[number] }
        registers.flags = cpu.rflags
        return exit
    }

    // MARK: ProcessorHost

    /// What the hypervisor does while it answers CPUID.
    var onCPUID: () -> Void = {}
    override func cpuid(leaf: UInt32, subleaf: UInt32) -> (eax: UInt32, ebx: UInt32, ecx: UInt32, edx: UInt32) {
        onCPUID()
        // RDRAND and RDSEED, which go with their bits.
        return (0, leaf == 7 ? 1 << 18 : 0, leaf == 1 ? 1 << 30 : 0, 0)
    }
    override func hypercall() -> Bool { true }
}

extension Optional {
    /// The value of an option that the initialiser has filled.
    fileprivate var unsafelyUnwrappedOrFail: Wrapped {
        guard let self else { preconditionFailure("the fixture has no processor yet") }
        return self
    }
}

/// General registers and flags.
struct RegisterImage: Equatable {
    var registers = InlineArray<16, UInt64>(repeating: 0)
    var flags: UInt64 = 2

    subscript(number: UInt8) -> UInt64 {
        get { registers[Int(number & 15)] }
        set { registers[Int(number & 15)] = newValue }
    }

    static func == (a: RegisterImage, b: RegisterImage) -> Bool {
        a.flags == b.flags && (0..<16).allSatisfy { a.registers[$0] == b.registers[$0] }
    }
}
