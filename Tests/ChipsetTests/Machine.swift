// A chipset with a clock that the test sets, and a record of its callbacks.

import Chipset
import Synchronization

final class Machine: Sendable {
    struct Record {
        var now: UInt64 = 1_000_000_000
        var wakes: [Int] = []
        var ended: [UInt32] = []
        var deadlineChanges = 0
    }

    final class Log: Sendable {
        let record = Mutex(Record())
    }

    let log = Log()
    let chipset: Chipset
    let cpus: [VirtualCPUStatus]

    init(cpus count: Int = 1, mode: Chipset.Mode = .full) {
        let log = log
        let chipset = Chipset(
            mode: mode, clock: { log.record.withLock { $0.now } },
            wake: { id in log.record.withLock { $0.wakes.append(id) } },
            deadlineChanged: { log.record.withLock { $0.deadlineChanges += 1 } },
            endOfInterrupt: { gsi in log.record.withLock { $0.ended.append(gsi) } })
        self.chipset = chipset
        cpus = (0..<count).compactMap { chipset.addVirtualCPU($0) }
    }

    var now: UInt64 { log.record.withLock { $0.now } }
    var deadlineChanges: Int { log.record.withLock { $0.deadlineChanges } }
    func takeWakes() -> [Int] {
        log.record.withLock { record in
            defer { record.wakes = [] }; return record.wakes
        }
    }
    func takeEnded() -> [UInt32] {
        log.record.withLock { record in
            defer { record.ended = [] }; return record.ended
        }
    }

    /// Lets time pass, and nobody comes to fire what is due.
    func wait(_ nanoseconds: UInt64) { log.record.withLock { $0.now &+= nanoseconds } }

    /// Lets time pass and fires what is due.
    func pass(_ nanoseconds: UInt64) {
        let now = log.record.withLock { record in
            record.now &+= nanoseconds
            return record.now
        }
        chipset.advance(to: now)
    }

    // The APIC page.
    func read(_ offset: UInt32, cpu: Int = 0) -> UInt32 {
        UInt32(truncatingIfNeeded: chipset.readAPIC(cpu, offset: offset, size: 4) ?? 0xDEAD)
    }
    func write(_ offset: UInt32, _ value: UInt32, cpu: Int = 0) {
        _ = chipset.writeAPIC(cpu, offset: offset, size: 4, value: UInt64(value))
    }
    func enable() { for cpu in cpus { write(0xF0, 0x1FF, cpu: cpu.id) } }
    func enableX2APIC(_ cpu: Int) -> Bool {
        chipset.setAPICBase(cpu, chipset.apicBase(cpu) | 0x400, fromHost: false)
    }
    func end(cpu: Int = 0) { write(0xB0, 0, cpu: cpu) }
    /// Sends an IPI from an xAPIC.
    func command(_ low: UInt32, to destination: UInt32 = 0, cpu: Int = 0) {
        write(0x310, destination << 24, cpu: cpu)
        write(0x300, low, cpu: cpu)
    }
    func requested(_ vector: UInt8, cpu: Int = 0) -> Bool {
        read(0x200 + UInt32(vector >> 5) * 16, cpu: cpu) & 1 << UInt32(vector & 31) != 0
    }
    /// Which vCPUs have the vector requested.
    func receivers(_ vector: UInt8) -> [Int] { cpus.map(\.id).filter { requested(vector, cpu: $0) } }

    // The I/O APIC.
    func ioapic(_ register: UInt32) -> UInt32 {
        _ = chipset.writeMMIO(0xFEC0_0000, size: 4, value: UInt64(register))
        return UInt32(truncatingIfNeeded: chipset.readMMIO(0xFEC0_0010, size: 4) ?? 0xDEAD)
    }
    func setIOAPIC(_ register: UInt32, _ value: UInt32) {
        _ = chipset.writeMMIO(0xFEC0_0000, size: 4, value: UInt64(register))
        _ = chipset.writeMMIO(0xFEC0_0010, size: 4, value: UInt64(value))
    }
    func redirect(_ pin: UInt32, _ low: UInt32, destination: UInt32 = 0) {
        setIOAPIC(0x11 + pin * 2, destination << 24)
        setIOAPIC(0x10 + pin * 2, low)
    }

    // Ports.
    func out(_ port: UInt16, _ value: UInt8) { _ = chipset.writePort(port, size: 1, value: UInt32(value)) }
    func `in`(_ port: UInt16) -> UInt8 { UInt8(truncatingIfNeeded: chipset.readPort(port, size: 1) ?? 0xEE) }
    /// ICW1 to ICW4 of both 8259s, nothing masked.
    func initializePICs(primary: UInt8 = 0x20, secondary: UInt8 = 0x28, icw4: UInt8 = 1) {
        for (port, base, wiring) in [(UInt16(0x20), primary, UInt8(4)), (0xA0, secondary, 2)] {
            out(port, 0x11)
            out(port + 1, base)
            out(port + 1, wiring)
            out(port + 1, icw4)
            out(port + 1, 0)
        }
    }
    /// Programs a PIT channel with a 16-bit count.
    func program(_ channel: UInt16, mode: UInt8, count: UInt16) {
        out(0x43, UInt8(channel) << 6 | 0x30 | mode << 1)
        out(0x40 + channel, UInt8(truncatingIfNeeded: count))
        out(0x40 + channel, UInt8(count >> 8))
    }
}

/// A seeded generator: xorshift64*.
struct Seeded: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state ^= state >> 12
        state ^= state << 25
        state ^= state >> 27
        return state &* 0x2545_F491_4F6C_DD1D
    }
}
