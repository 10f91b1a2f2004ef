import Glibc
import GuestMemory
import TestLimits
import TestSupport
import Testing
import X86

@testable import Processor

/// Whatever a guest holds in its memory and registers, and whatever the client answers, the process goes on: at worst the guest's own
/// processor stops. Each case is made from a seed; MARTLET_LONG_TESTS gives the seconds to go on for.
@Suite(.serialized, .within(minutes: 20)) struct HostileGuestTests {
    @Test func anyGuestLeavesTheProcessAlive() throws {
        let environment = unsafe getenv("MARTLET_LONG_TESTS").flatMap { unsafe Double(String(cString: $0)) }
        let start = unsafe getenv("MARTLET_SEED").flatMap { unsafe UInt64(String(cString: $0)) } ?? 1
        var deadline = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &deadline)
        deadline.tv_sec += Int(environment ?? 0)
        var seed = start
        var runs = 0
        while true {
            let guest = try HostileGuest(seed: seed)
            runs += try guest.exercise(cases: 40)
            seed += 1
            var now = timespec()
            unsafe clock_gettime(CLOCK_MONOTONIC, &now)
            if now.tv_sec >= deadline.tv_sec, seed >= start + 25 { break }
        }
        #expect(runs > 0)
    }
}

/// Numbers with a liking for the values at which arithmetic goes wrong.
struct HostileRandom: RandomNumberGenerator {
    private var source: SplitMix64

    init(seed: UInt64) { source = SplitMix64(seed: seed) }

    mutating func next() -> UInt64 { source.next() }

    mutating func below(_ bound: UInt64) -> UInt64 { next() % bound }
    mutating func chance(_ percent: UInt64) -> Bool { below(100) < percent }
    mutating func byte() -> UInt8 { UInt8(truncatingIfNeeded: next() >> 17) }

    /// Places near which sums wrap, limits end and addresses stop being canonical.
    static let edges: [UInt64] = [
        0, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x1_0000, 0x10_0000, 0x20_0000, 0x7FFF_FFFF, 0x8000_0000, 0xFFF0_0000,
        0xFFFF_FFFF,
        0x1_0000_0000, 0x7FFF_FFFF_FFFF, 0xFFFF_8000_0000_0000, 0x7FFF_FFFF_FFFF_FFFF, 0x8000_0000_0000_0000,
        0xFFFF_FFFF_FFFF_FFFF, 0xFFFF_FFFF_0000_0000, 1 << 36, 1 << 40, 1 << 52,
    ]

    mutating func value() -> UInt64 {
        switch below(8) {
        case 0: return next()
        case 1: return next() >> below(64)
        case 2, 3: return HostileRandom.edges[Int(below(UInt64(HostileRandom.edges.count)))] &+ below(33) &- 16
        case 4: return below(64)
        default: return below(0x20_0000)
        }
    }
}

/// One processor over memory that holds nothing good, with a host that answers at random.
final class HostileGuest: StubHost {
    private static let half = 1 << 20
    private static let gdt: UInt64 = 0x1000, idt: UInt64 = 0x2000, tss: UInt64 = 0x4000, tables: UInt64 = 0x1_0000
    private static let code: UInt64 = 0x2_0000, codeSize: UInt64 = 0x4_0000

    private var random: HostileRandom
    private let memory: GuestMemory
    private let space = AddressSpace()
    private var created: VirtualProcessor?
    private var physicalAddressBits: UInt32 = 40

    init(seed: UInt64) throws {
        random = HostileRandom(seed: seed &* 0x1234_5677)
        memory = try GuestMemory(size: 2 * HostileGuest.half)
        // Two halves: one at 0, one that ends where the addresses of 32 bits do.
        let half = UInt64(HostileGuest.half)
        unsafe space.replaceRegions([
            MemoryRegion(
                base: 0, size: half, host: memory.hostAddress, readOnly: false, slot: 0,
                pages: PageRecords(pageCount: HostileGuest.half / 4096)!),
            MemoryRegion(
                base: 0xFFF0_0000, size: half, host: memory.hostAddress + HostileGuest.half,
                readOnly: random.chance(30), slot: 1, pages: PageRecords(pageCount: HostileGuest.half / 4096)!),
        ])
        super.init()
        created = VirtualProcessor(memory: space, host: self)
        timeStampCounter = .max
    }

    // MARK: Running

    /// Makes `cases` states and runs each for a while; the number of runs.
    func exercise(cases: Int) throws -> Int {
        guard let processor = created else { return 0 }
        try fillMemory()
        let watchdog = Watchdog(processor, patience: .milliseconds(1))
        var runs = 0
        for _ in 0..<cases {
            if random.chance(20) { processor.reset() }
            try fillTables()
            setState(processor)
            for _ in 0..<24 {
                runs += 1
                let exit = watchdog.watch { processor.run() }
                processor.withdraw(.leave)
                guard answer(exit, processor) else { break }
            }
            // The next state begins at a boundary, whatever this one waited for.
            processor.unfinished.abandon()
        }
        return runs
    }

    /// Whether there is a point in going on.
    private func answer(_ exit: ProcessorExit, _ processor: VirtualProcessor) -> Bool {
        switch exit {
        case .portRead(_, let size, let count): complete(processor, size * count)
        case .mmioRead(_, let size): complete(processor, size)
        case .portWrite, .mmioWrite: unsafe processor.withExitData { _ = unsafe $0.reduce(0, ^) }
        case .readMSR, .writeMSR: processor.completeMSR(value: random.value(), error: random.chance(30))
        case .shutdown, .requested: return false
        default: break
        }
        if random.chance(10) { processor.request(.nmi) }
        if random.chance(20) { processor.request([.interrupt]) }
        if random.chance(10) { processor.request([.flushTLB, .interruptWindow]) }
        return true
    }

    private func complete(_ processor: VirtualProcessor, _ count: Int) {
        let bytes = (0..<count).map { _ in random.byte() }
        unsafe bytes.withUnsafeBytes { unsafe processor.completeRead($0) }
    }

    // MARK: State

    private func setState(_ processor: VirtualProcessor) {
        for index in 0..<16 { processor.state.registers[index] = random.value() }
        for index in 0..<4 { processor.state.dr[index] = random.value() }
        for index in 0..<66 where random.chance(20) { processor.state.xsave[index] = random.value() }
        processor.state.xsave[3] = 0x1F80 | (random.next() & 0xE07F) | 0xFFFF << 32
        processor.state.dr7 = random.chance(10) ? random.next() & 0xFFFF_FFFF : 0x400
        processor.state.cr2 = random.value()
        processor.state.star = random.next()
        processor.state.lstar = random.value()
        processor.state.cstar = random.value()
        processor.state.kernelGSBase = random.value()
        processor.state.sysenterCS = random.below(0x80)
        processor.state.sysenterESP = random.value()
        processor.state.sysenterEIP = random.value()
        processor.state.gdtr = DescriptorTableRegister(
            base: random.chance(90) ? HostileGuest.gdt : random.value(), limit: random.chance(80) ? 0x3FF : limit16())
        processor.state.idtr = DescriptorTableRegister(
            base: random.chance(90) ? HostileGuest.idt : random.value(), limit: random.chance(80) ? 0xFFF : limit16())
        processor.state.interruptShadow = random.chance(10) ? random.byte() & 3 : 0
        processor.state.nmiBlocked = random.chance(10)
        processor.state.pendingException = PendingException()
        if random.chance(10) {
            processor.state.pendingException.isPending = true
            processor.state.pendingException.vector = random.byte()
            processor.state.pendingException.hasErrorCode = random.chance(50)
            processor.state.pendingException.errorCode = UInt32(truncatingIfNeeded: random.value())
        }
        processor.debugging = GuestDebugging()
        if random.chance(10) {
            processor.debugging.enabled = true
            processor.debugging.singleStep = random.chance(30)
            processor.debugging.softwareBreakpoints = random.chance(50)
            processor.debugging.hardwareBreakpoints = random.chance(50)
            for index in 0..<8 { processor.debugging.debugRegisters[index] = random.value() }
        }
        setMode(processor)
        physicalAddressBits = random.chance(80) ? 40 : UInt32(random.byte())
        processor.stateChanged()
    }

    private func limit16() -> UInt16 { UInt16(truncatingIfNeeded: random.value()) }

    /// Real, virtual-8086, protected of 16 and 32 bits with each kind of paging, long with its sub-modes, or a mixture that no
    /// processor could be in.
    private func setMode(_ processor: VirtualProcessor) {
        let kind = random.below(12)
        let cpl: UInt8 = kind == 1 ? 3 : kind == 0 ? 0 : [0, 0, 3, 1, 2][Int(random.below(5))]
        let paging = kind >= 2 && (kind >= 8 || random.chance(60))
        let long = kind >= 8
        let wide64 = long && kind < 11
        var cr0: UInt64 = 0x10 | (kind == 0 ? 0 : 1) | (paging ? 1 << 31 : 0)
        cr0 |= random.next() & 0x5_0020
        if random.chance(20) { cr0 |= random.next() & 0xE }
        var cr4: UInt64 = 0x600 | 1 << 18
        if long || random.chance(40) { cr4 |= 0x20 }
        cr4 |= random.next() & 0x0031_089F
        if long && random.chance(15) { cr4 |= 1 << 12 | 1 << 17 }
        processor.state.efer = (long ? 0x500 : 0) | (random.next() & 0x801)
        processor.state.cr3 = random.chance(90) ? HostileGuest.tables : random.value()
        processor.state.xcr0 = random.chance(90) ? 7 : 1 | (random.next() & 0xFF)
        var flags: UInt64 = 2 | (random.next() & 0x24_0ED5)
        if random.chance(10) { flags |= 0x100 }
        if random.chance(10) { flags |= 0x4000 }
        flags |= random.below(4) << 12
        if kind == 1 { flags |= 0x2_0000 }
        if random.chance(4) {
            cr0 = random.next()
            cr4 = random.next()
            processor.state.efer = random.next()
            flags = random.next()
        }
        processor.state.cr0 = cr0
        processor.state.cr4 = cr4
        processor.rflags = flags
        processor.state.cpl = cpl
        for index in 0..<6 {
            let selector =
                kind < 2 ? UInt16(truncatingIfNeeded: random.next()) : UInt16(random.below(0x80)) & ~3 | UInt16(cpl)
            var segment = SegmentRegister(
                base: kind < 2 ? UInt64(selector) << 4 : 0, limit: kind < 2 ? 0xFFFF : .max, selector: selector,
                attributes: kind < 2 ? (kind == 1 ? 0xF3 : 0x93) : 0xC093 | UInt16(cpl) << 5)
            if index == 1 {
                segment.base = kind < 2 ? HostileGuest.code : 0
                segment.attributes = (wide64 ? 0xA09B : kind & 1 == 0 ? 0xC09B : 0x809B) | UInt16(cpl) << 5
                if kind < 2 { segment.attributes = kind == 1 ? 0xF3 : 0x93 }
            }
            if random.chance(8) { segment.base = random.value() }
            if random.chance(8) { segment.limit = UInt32(truncatingIfNeeded: random.value()) }
            if random.chance(5) { segment.attributes = UInt16(truncatingIfNeeded: random.next()) }
            processor.state.segments[index] = segment
        }
        processor.state.segments[6] = SegmentRegister(
            base: HostileGuest.gdt, limit: random.chance(80) ? 0x3FF : UInt32(truncatingIfNeeded: random.value()),
            selector: 8,
            attributes: 0x82)
        processor.state.segments[7] = SegmentRegister(
            base: random.chance(90) ? HostileGuest.tss : random.value(),
            limit: random.chance(80) ? 0x2067 : UInt32(truncatingIfNeeded: random.value()),
            selector: UInt16(random.below(0x80)) & ~7, attributes: random.chance(80) ? 0x8B : 0x83)
        let place = random.below(kind < 2 ? 0xF000 : HostileGuest.codeSize)
        processor.state.rip = random.chance(95) ? (kind < 2 ? place : HostileGuest.code + place) : random.value()
    }

    // MARK: Memory

    private func fillMemory() throws {
        for address in stride(from: UInt64(0), to: UInt64(2 * HostileGuest.half), by: 8) {
            try memory.store(random.next(), at: address)
        }
        if random.chance(85) {
            var address = HostileGuest.code
            while address < HostileGuest.code + HostileGuest.codeSize {
                let bytes = instruction()
                try memory.write(bytes, at: address)
                address += UInt64(bytes.count)
            }
        }
    }

    /// Descriptors, gates, the TSS and paging structures, of which most can be used.
    private func fillTables() throws {
        for index in 0..<128 as Range<UInt64> {
            try memory.store(descriptor(), at: HostileGuest.gdt + index * 8)
        }
        for index in 0..<512 as Range<UInt64> {
            try memory.store(gate(), at: HostileGuest.idt + index * 8)
            if random.chance(60), index & 1 == 1 { try memory.store(UInt64(0), at: HostileGuest.idt + index * 8) }
        }
        for index in 0..<0x40 as Range<UInt64> {
            let value = random.chance(50) ? random.value() : random.below(0x400) | random.below(0x10_0000) << 32
            try memory.store(value, at: HostileGuest.tss + index * 4)
        }
        if random.chance(60) { try memory.store(HostileGuest.tables, at: HostileGuest.tss + 28) }
        for table in 0..<4 as Range<UInt64> {
            for index in 0..<512 as Range<UInt64> {
                let next = HostileGuest.tables + (table + 1) * 0x1000
                var entry = table == 3 ? index << 12 | 0x67 : next | 0x67
                if table == 2, random.chance(30) { entry = index << 21 | 0xE7 }
                if random.chance(15) { entry = random.value() | random.below(256) }
                if index < 2, table < 2, random.chance(95) { entry = next | 0x67 }
                try memory.store(entry, at: HostileGuest.tables + table * 0x1000 + index * 8)
            }
        }
    }

    private func descriptor() -> UInt64 {
        let base = random.chance(60) ? 0 : random.value()
        let limit = random.chance(60) ? UInt32.max : UInt32(truncatingIfNeeded: random.value())
        var attributes = UInt16(truncatingIfNeeded: random.next()) & 0xF07F | (random.chance(90) ? 0x80 : 0)
        if random.chance(60) { attributes |= 0x10 }
        if random.chance(10) { return gate() }
        if random.chance(10) {
            attributes = [0x89, 0x81, 0x8B, 0x83, 0x82][Int(random.below(5))]
            return SegmentDescriptor(base: HostileGuest.tss + random.below(3) * 8, limit: limit, attributes: attributes)
                .rawValue
        }
        return SegmentDescriptor(base: base, limit: limit, attributes: attributes).rawValue
    }

    private func gate() -> UInt64 {
        let offset = HostileGuest.code + random.below(HostileGuest.codeSize)
        let types: [UInt64] = [14, 15, 14, 6, 7, 5, 12, 4, random.below(16)]
        let type = types[Int(random.below(UInt64(types.count)))]
        let access = (type | random.below(4) << 5 | (random.chance(95) ? 0x80 : 0)) << 40
        return offset & 0xFFFF | random.below(0x80) << 16 | random.below(32) << 32 | access | (offset >> 16) << 48
    }

    private static let prefixes: [UInt8] = [0x66, 0x67, 0xF2, 0xF3, 0xF0, 0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65]
    private static let oneByte: [UInt8] = [
        0x06, 0x07, 0x0E, 0x16, 0x17, 0x1E, 0x1F, 0x60, 0x61, 0x62, 0x63, 0x68, 0x6A, 0x6C, 0x6D, 0x6E, 0x6F, 0x8C,
        0x8E, 0x8F, 0x9A,
        0x9B, 0x9C, 0x9D, 0x9E, 0xA0, 0xA1, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7, 0xAA, 0xAB, 0xAC, 0xAD, 0xAE, 0xAF,
        0xC0, 0xC1, 0xC2,
        0xC3, 0xC4, 0xC5, 0xC8, 0xC9, 0xCA, 0xCB, 0xCC, 0xCD, 0xCE, 0xCF, 0xD0, 0xD1, 0xD2, 0xD3, 0xD4, 0xD5, 0xD7,
        0xD8, 0xD9, 0xDA,
        0xDB, 0xDC, 0xDD, 0xDE, 0xDF, 0xE0, 0xE4, 0xE5, 0xE8, 0xEA, 0xEC, 0xED, 0xEE, 0xEF, 0xF6, 0xF7, 0xF7, 0xFA,
        0xFB, 0xFE, 0xFF,
        0xFF, 0xFF, 0xCF, 0xCF, 0xCB,
    ]
    private static let twoByte: [UInt8] = [
        0x00, 0x00, 0x01, 0x01, 0x01, 0x02, 0x03, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0B, 0x20, 0x21, 0x22, 0x22, 0x23,
        0x30, 0x31, 0x32,
        0x33, 0x34, 0x35, 0xA0, 0xA1, 0xA2, 0xA3, 0xA4, 0xA5, 0xA8, 0xA9, 0xAB, 0xAC, 0xAD, 0xAE, 0xAE, 0xAE, 0xB0,
        0xB1, 0xB2, 0xB3,
        0xB4, 0xB5, 0xBA, 0xBB, 0xC7, 0xC7, 0xAF, 0xA2, 0xFF, 0xB9,
    ]

    /// Something that may decode: prefixes, an opcode with a liking for system, segment, string and FP ones, ModRM and operands.
    private func instruction() -> [UInt8] {
        var bytes: [UInt8] = []
        if random.chance(8) {
            // MOV of an extreme value to a register.
            var value = random.value()
            bytes = [random.chance(50) ? 0x48 : 0x66, 0xB8 | random.byte() & 7]
            for _ in 0..<8 {
                bytes.append(UInt8(truncatingIfNeeded: value))
                value >>= 8
            }
            return bytes
        }
        while random.chance(30) { bytes.append(HostileGuest.prefixes[Int(random.below(11))]) }
        if random.chance(25) { bytes.append(0x40 | random.byte() & 15) }
        switch random.below(10) {
        case 0...3: bytes.append(HostileGuest.oneByte[Int(random.below(UInt64(HostileGuest.oneByte.count)))])
        case 4, 5: bytes += [0x0F, HostileGuest.twoByte[Int(random.below(UInt64(HostileGuest.twoByte.count)))]]
        case 6: bytes += [0x0F, random.byte()]
        case 7: bytes += random.chance(50) ? [0x0F, 0x38, random.byte()] : [0x0F, 0x3A, random.byte()]
        case 8: bytes += [0xC4, 0xE1 + random.byte() % 3, random.byte(), random.byte()]
        default: bytes.append(random.byte())
        }
        bytes.append(random.byte())
        for _ in 0..<random.below(6) { bytes.append(random.chance(30) ? 0 : random.byte()) }
        return bytes
    }

    // MARK: ProcessorHost

    override func readMMIO(_ address: UInt64, size: Int) -> UInt64? { random.chance(50) ? random.next() : nil }
    override func writeMMIO(_ address: UInt64, size: Int, value: UInt64) -> Bool { random.chance(50) }
    override func readPort(_ port: UInt16, size: Int) -> UInt32? {
        random.chance(50) ? UInt32(truncatingIfNeeded: random.next()) : nil
    }
    override func writePort(_ port: UInt16, size: Int, value: UInt32) -> Bool { random.chance(50) }
    override func readMSR(_ index: UInt32) -> MSRAnswer { msrAnswer(.value(random.value())) }
    override func writeMSR(_ index: UInt32, _ value: UInt64) -> MSRAnswer { msrAnswer(.done) }
    private func msrAnswer(_ good: MSRAnswer) -> MSRAnswer {
        random.chance(60) ? good : random.chance(50) ? .invalid : .userspace(reason: 1)
    }
    override func allowsMSR(_ index: UInt32, write: Bool) -> Bool { random.chance(95) }
    override func cpuid(leaf: UInt32, subleaf: UInt32) -> (eax: UInt32, ebx: UInt32, ecx: UInt32, edx: UInt32) {
        if leaf == 0x8000_0008 { return (physicalAddressBits, 0, 0, 0) }
        if random.chance(80) { return (.max, .max, .max, .max) }
        let value = random.next()
        return (
            UInt32(truncatingIfNeeded: value), UInt32(value >> 32), UInt32(truncatingIfNeeded: random.value()), .max
        )
    }
    override func acknowledgeInterrupt() -> UInt8? { random.chance(70) ? random.byte() : nil }
    override func hypercall() -> Bool { random.chance(50) }
}
