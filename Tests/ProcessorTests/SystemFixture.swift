import GuestMemory
import TestSupport
import Testing
import X86

@testable import Processor

/// A hypervisor with nothing in it: every port and device is the client's, CPUID says what a test wants.
final class BareHost: StubHost {
    var interrupts: [UInt8] = []
    var isAMD = false
    var hasGigabytePages = false
    var physicalBits: UInt32 = 40
    var deniedMSRs: Set<UInt32> = []
    var msrReason: UInt32?
    var msrs: [UInt32: UInt64] = [:]
    /// Values that reads of these ports are answered with, by the hypervisor itself.
    var ports: [UInt16: UInt32] = [:]
    var written: [UInt32] = []
    var answersHypercalls = false

    /// Devices of the hypervisor's own, and which addresses it was asked for.
    var devices: [UInt64: UInt64] = [:]
    var asked: [UInt64] = []

    override init() {
        super.init()
        timeStampCounter = 0x1234_5678_9ABC
    }

    override func readMMIO(_ address: UInt64, size: Int) -> UInt64? {
        asked.append(address)
        return devices[address]
    }
    override func writeMMIO(_ address: UInt64, size: Int, value: UInt64) -> Bool {
        asked.append(address)
        guard devices[address] != nil else { return false }
        devices[address] = value
        return true
    }
    override func readPort(_ port: UInt16, size: Int) -> UInt32? { ports[port] }
    override func writePort(_ port: UInt16, size: Int, value: UInt32) -> Bool {
        guard ports[port] != nil else { return false }
        written.append(value)
        return true
    }
    override func readMSR(_ index: UInt32) -> MSRAnswer {
        if let value = msrs[index] { return .value(value) }
        return msrReason.map { .userspace(reason: $0) } ?? .invalid
    }
    override func writeMSR(_ index: UInt32, _ value: UInt64) -> MSRAnswer {
        guard msrs[index] != nil else { return msrReason.map { .userspace(reason: $0) } ?? .invalid }
        msrs[index] = value
        return .done
    }
    override func allowsMSR(_ index: UInt32, write: Bool) -> Bool { !deniedMSRs.contains(index) }
    override func cpuid(leaf: UInt32, subleaf: UInt32) -> (eax: UInt32, ebx: UInt32, ecx: UInt32, edx: UInt32) {
        switch leaf {
        case 0:
            (
                0xD, isAMD ? 0x6874_7541 : 0x756E_6547, isAMD ? 0x444D_4163 : 0x6C65_746E,
                isAMD ? 0x6974_6E65 : 0x4965_6E69
            )
        case 1: (0x306C3, 0, 1 << 17 | 1 << 26 | 1 << 30, 0)
        case 7: (0, 1 | 1 << 7 | 1 << 20 | 1 << 10 | 1 << 18, 1 << 2 | 1 << 22, 0)
        case 0xD: subleaf == 0 ? (7, 0x340, 0x340, 0) : (15, 0, 0, 0)
        case 0x8000_0001: (0, 0, 0, 1 << 11 | 1 << 20 | 1 << 27 | 1 << 29 | (hasGigabytePages ? 1 << 26 : 0))
        case 0x8000_0008: (0x3000 | physicalBits, 0, 0, 0)
        default: (0, 0, 0, 0)
        }
    }
    /// A vector that is there at every other look.
    var recurrent: UInt8?
    private var isThere = false
    override func acknowledgeInterrupt() -> UInt8? {
        isThere.toggle()
        if let recurrent { return isThere ? recurrent : nil }
        return interrupts.isEmpty ? nil : interrupts.removeFirst()
    }
    override func hypercall() -> Bool { answersHypercalls }
    /// How many have stopped the others and not let them go on.
    var stops = 0
    /// What the others do before this one's turn.
    var onStop: () -> Void = {}
    override func stopOthers() {
        onStop()
        stops += 1
    }
    override func letOthersRun() { stops -= 1 }
    override func returnInterrupt(_ vector: UInt8) { interrupts.insert(vector, at: 0) }
}

/// A processor with tables that every mode can use. Each event's handler is a HLT, so that a run ends there and tells its
/// vector by RIP.
final class SystemMachine {
    static let gdt: UInt64 = 0x1000, idt: UInt64 = 0x2000, tss: UInt64 = 0x3000, handlers: UInt64 = 0x8000
    static let kernelStack: UInt64 = 0x7000, userStack: UInt64 = 0x6000, code: UInt64 = 0x2_0000,
        tables: UInt64 = 0x1_0000
    // Selectors; SYSCALL and SYSRET want this order.
    static let code32: UInt16 = 0x08, code64: UInt16 = 0x10, data: UInt16 = 0x18
    static let userCode32: UInt16 = 0x23, userData: UInt16 = 0x2B, userCode64: UInt16 = 0x33, task: UInt16 = 0x38
    static let free: UInt16 = 0x48

    let memory: GuestMemory
    let space = AddressSpace()
    let host = BareHost()
    let processor: VirtualProcessor
    /// By address: a coroutine that yields what has one takes a reference too few in unoptimised code.
    var state: CPUState {
        unsafeAddress { unsafe UnsafePointer(processor.cpu.pointer) }
        unsafeMutableAddress { unsafe processor.cpu.pointer }
    }

    init(executor: ExecutorOptions = ExecutorOptions()) throws {
        memory = try GuestMemory(size: 16 << 20)
        unsafe space.replaceRegions([
            MemoryRegion(
                base: 0, size: 16 << 20, host: memory.hostAddress, readOnly: false, slot: 0,
                pages: PageRecords(pageCount: 4096)!)
        ])
        processor = VirtualProcessor(memory: space, host: host, executor: executor)
        for vector in 0..<256 { try memory.store(UInt8(0xF4), at: SystemMachine.handlers + UInt64(vector) * 16) }
    }

    // MARK: Modes

    /// Real-address mode: code at 2000:0, stack at 0:7000, every vector at 0800:16n.
    static func real(_ code: [UInt8]) throws -> SystemMachine {
        let machine = try SystemMachine()
        for vector in 0..<256 { try machine.memory.store(UInt32(vector * 16) | 0x800 << 16, at: UInt64(vector) * 4) }
        machine.state.segments[1] = SegmentRegister(base: 0x2_0000, limit: 0xFFFF, selector: 0x2000, attributes: 0x9B)
        machine.state.registers[4] = kernelStack
        try machine.start(code, rip: 0)
        return machine
    }

    /// 32-bit protected mode without paging, at CPL 0 or 3.
    static func protected(_ code: [UInt8], cpl: UInt8 = 0) throws -> SystemMachine {
        let machine = try SystemMachine()
        machine.state.cr0 = 0x11
        try machine.setTables(isLong: false)
        machine.setSegments(
            code: cpl == 0 ? code32 : userCode32, data: cpl == 0 ? data : userData, cpl: cpl, codeAttributes: 0xC09B)
        try machine.start(code, rip: SystemMachine.code)
        return machine
    }

    /// 64-bit mode, 16 MiB mapped one to one in 2 MiB pages for everyone, at CPL 0 or 3.
    static func long(_ code: [UInt8], cpl: UInt8 = 0, executor: ExecutorOptions = ExecutorOptions()) throws
        -> SystemMachine
    {
        let machine = try SystemMachine(executor: executor)
        try machine.memory.store(tables + 0x1007, at: tables)
        try machine.memory.store(tables + 0x2007, at: tables + 0x1000)
        for index in 0..<8 as Range<UInt64> {
            try machine.memory.store(index << 21 | 0x87, at: tables + 0x2000 + index * 8)
        }
        machine.state.cr0 = 0x8000_0011
        machine.state.cr3 = tables
        machine.state.cr4 = 0x20
        machine.state.efer = 0x501
        try machine.setTables(isLong: true)
        machine.setSegments(
            code: cpl == 0 ? code64 : userCode64, data: cpl == 0 ? data : userData, cpl: cpl, codeAttributes: 0xA09B)
        try machine.start(code, rip: SystemMachine.code)
        return machine
    }

    private func setTables(isLong: Bool) throws {
        let descriptors: [UInt64] = [
            0, 0x00CF_9B00_0000_FFFF, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF, 0x00CF_FB00_0000_FFFF,
            0x00CF_F300_0000_FFFF,
            0x00AF_FB00_0000_FFFF,
        ]
        for (index, descriptor) in descriptors.enumerated() {
            try memory.store(descriptor, at: SystemMachine.gdt + UInt64(index) * 8)
        }
        try setDescriptor(
            SystemMachine.task, SegmentDescriptor(base: SystemMachine.tss, limit: 0x2067, attributes: 0x8B).rawValue)
        state.gdtr = DescriptorTableRegister(base: SystemMachine.gdt, limit: 0xFF)
        state.idtr = DescriptorTableRegister(base: SystemMachine.idt, limit: isLong ? 0xFFF : 0x7FF)
        state.segments[7] = SegmentRegister(
            base: SystemMachine.tss, limit: 0x2067, selector: SystemMachine.task, attributes: 0x8B)
        if isLong {
            try memory.store(SystemMachine.kernelStack, at: SystemMachine.tss + 4)
        } else {
            try memory.store(UInt32(SystemMachine.kernelStack), at: SystemMachine.tss + 4)
            try memory.store(UInt16(SystemMachine.data), at: SystemMachine.tss + 8)
        }
        // The I/O map begins at the end of the 104 bytes; all ports denied.
        try memory.store(UInt16(0x68), at: SystemMachine.tss + 0x66)
        for offset in 0..<UInt64(0x2000) { try memory.store(UInt8(0xFF), at: SystemMachine.tss + 0x68 + offset) }
        for vector in 0..<256 { try setGate(UInt8(vector), isLong: isLong) }
    }

    /// An interrupt gate to the vector's HLT.
    func setGate(
        _ vector: UInt8, isLong: Bool, type: UInt64 = 14, dpl: UInt64 = 0, ist: UInt64 = 0, selector: UInt16? = nil,
        present: Bool = true
    ) throws {
        let entry = SystemMachine.handlers + UInt64(vector) * 16
        let selector = UInt64(selector ?? (isLong ? SystemMachine.code64 : SystemMachine.code32))
        let low =
            entry & 0xFFFF | selector << 16 | ist << 32 | (type | dpl << 5 | (present ? 0x80 : 0)) << 40
            | (entry >> 16 & 0xFFFF) << 48
        try memory.store(low, at: SystemMachine.idt + UInt64(vector) * (isLong ? 16 : 8))
        if isLong { try memory.store(UInt64(0), at: SystemMachine.idt + UInt64(vector) * 16 + 8) }
    }

    func setDescriptor(_ selector: UInt16, _ raw: UInt64, upper: UInt64? = nil) throws {
        try memory.store(raw, at: SystemMachine.gdt + UInt64(selector & 0xFFF8))
        if let upper { try memory.store(upper, at: SystemMachine.gdt + UInt64(selector & 0xFFF8) + 8) }
    }

    private func setSegments(code: UInt16, data: UInt16, cpl: UInt8, codeAttributes: UInt16) {
        let level = UInt16(cpl) << 5
        for index in [0, 2, 3, 4, 5] {
            state.segments[index] = SegmentRegister(limit: .max, selector: data, attributes: 0xC093 | level)
        }
        state.segments[1] = SegmentRegister(limit: .max, selector: code, attributes: codeAttributes | level)
        state.cpl = cpl
        state.registers[4] = cpl == 0 ? SystemMachine.kernelStack : SystemMachine.userStack
    }

    private func start(_ code: [UInt8], rip: UInt64) throws {
        try memory.write(code, at: SystemMachine.code)
        state.rip = rip
        // RESET leaves the processor's signature there.
        state.registers[2] = 0
        processor.stateChanged()
    }

    // MARK: Looking

    /// Runs until the processor halts in a handler, and tells the handler's vector.
    func runToVector(sourceLocation: SourceLocation = #_sourceLocation) throws -> UInt8 {
        let exit = processor.run()
        try #require(exit == .halted, sourceLocation: sourceLocation)
        let linear = state.segments[1].base + state.rip - 1
        try #require(
            linear >= SystemMachine.handlers && linear < SystemMachine.handlers + 4096, "halted at \(linear)",
            sourceLocation: sourceLocation)
        return UInt8((linear - SystemMachine.handlers) / 16)
    }

    /// Runs code that ends in HLT of its own.
    func runToHalt(sourceLocation: SourceLocation = #_sourceLocation) throws {
        try #require(processor.run() == .halted, sourceLocation: sourceLocation)
        let linear = state.segments[1].base + state.rip - 1
        try #require(linear >= SystemMachine.code, "an event came: halted at \(linear)", sourceLocation: sourceLocation)
    }

    /// `count` elements of `size` bytes from the top of the stack.
    func stack(_ count: Int, size: Int) throws -> [UInt64] {
        let top = state.segments[2].base + state.registers[4]
        return try (0..<count).map { index in
            let bytes = try memory.read(count: size, at: top + UInt64(index * size))
            return bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
        }
    }

    func complete(_ bytes: [UInt8]) {
        unsafe bytes.withUnsafeBytes { unsafe processor.completeRead($0) }
    }

    var outgoing: [UInt8] { unsafe processor.withExitData { unsafe [UInt8]($0) } }
}
