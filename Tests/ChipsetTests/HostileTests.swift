import Chipset
import Foundation
import TestLimits
import Testing

@Suite("Hostile guests and clients", .within(minutes: 20)) struct HostileTests {
    /// Addresses and values that are near something.
    func value(_ random: inout Seeded) -> UInt64 {
        let any = random.next()
        switch any >> 61 {
        case 0: return any & 0xFF
        case 1: return .max
        case 2: return 1 << (any & 63)
        case 3: return any & 0xFFFF_FFFF
        default: return any
        }
    }

    @Test("random accesses never trap", arguments: [UInt64(1), 2, 3, 4])
    func random(seed: UInt64) throws {
        var random = Seeded(state: seed &* 0x9E37_79B9_7F4A_7C15)
        let machine = Machine(cpus: 3, mode: seed == 4 ? .split(pins: 24) : .full), chipset = machine.chipset
        _ = chipset.createPIT(speaker: true)
        let ports: [UInt16] = [0x20, 0x21, 0xA0, 0xA1, 0x40, 0x41, 0x42, 0x43, 0x61, 0x4D0, 0x4D1, 0x60]
        let sizes = [1, 2, 4, 8, 0, -1, 3, 16]
        for _ in 0..<30_000 {
            let value = value(&random), other = self.value(&random)
            let cpu = Int(random.next() % 4), size = sizes[Int(random.next() % 8)]
            let port = ports[Int(random.next() % 12)]
            switch random.next() % 22 {
            case 0: _ = chipset.writeAPIC(cpu, offset: UInt32(other & 0x3F) << 4, size: 4, value: value)
            case 1: _ = chipset.writeAPIC(cpu, offset: UInt32(truncatingIfNeeded: other), size: size, value: value)
            case 2: _ = chipset.readAPIC(cpu, offset: UInt32(truncatingIfNeeded: other), size: size)
            case 3: _ = chipset.writeX2APIC(cpu, msr: 0x800 + UInt32(other & 0x3F), value: value)
            case 4: _ = chipset.readX2APIC(cpu, msr: UInt32(truncatingIfNeeded: other))
            case 5: _ = chipset.setAPICBase(cpu, 0xFEE0_0000 | value & 0xF00, fromHost: other & 1 == 0)
            case 6, 7: _ = chipset.writePort(port, size: 1, value: UInt32(truncatingIfNeeded: value))
            case 8: _ = chipset.writePort(port, size: size, value: UInt32(truncatingIfNeeded: value))
            case 9: _ = chipset.readPort(port, size: size)
            case 10: _ = chipset.writeMMIO(0xFEC0_0000, size: 4, value: value & 0x3F)
            case 11: _ = chipset.writeMMIO(0xFEC0_0010, size: 4, value: value)
            case 12:
                _ = chipset.writeMMIO(0xFEC0_0000 &+ (other & 0x1FF), size: size, value: value)
                _ = chipset.readMMIO(value, size: size)
            case 13:
                chipset.setLine(
                    UInt32(other % 26), level: value & 1 != 0,
                    source: .init(rawValue: UInt8(truncatingIfNeeded: value)),
                    wantsStatus: value & 2 != 0)
            case 14: chipset.deliverMSI(address: other, data: UInt32(truncatingIfNeeded: value))
            case 15: _ = chipset.acknowledge(cpu)
            case 16: _ = chipset.takeEvents(cpu)
            case 17:
                machine.pass(value & 0xFFFF_FFFF)
            case 18: chipset.setTSCDeadline(cpu, value, tsc: other)
            case 19:
                chipset.setCR8(cpu, value)
                chipset.setTSC(cpu, value, kilohertz: UInt32(truncatingIfNeeded: other))
            case 20:
                let page = (0..<1024).map { _ in UInt8(truncatingIfNeeded: random.next() >> 20) }
                _ = chipset.setLocalAPICPage(cpu, page, tsc: value)
                chipset.reset(cpu, initialize: other & 1 == 0)
            default: setRandomState(chipset, &random)
            }
        }
    }

    func setRandomState(_ chipset: Chipset, _ random: inout Seeded) {
        func byte() -> UInt8 { UInt8(truncatingIfNeeded: random.next() >> 30) }
        var pic = PICState()
        for field in [
            \PICState.lastIRR, \.irr, \.imr, \.isr, \.priorityAdd, \.irqBase, \.readRegisterSelect, \.poll,
            \.specialMask,
            \.initState, \.autoEOI, \.rotateOnAutoEOI, \.specialFullyNestedMode, \.init4, \.elcr, \.elcrMask,
        ] {
            pic[keyPath: field] = byte()
        }
        _ = chipset.setPIC(byte() & 1 == 0 ? .primary : .secondary, pic)
        var ioapic = IOAPICState()
        ioapic.ioregsel = UInt32(truncatingIfNeeded: random.next())
        ioapic.irr = UInt32(truncatingIfNeeded: random.next())
        ioapic.id = .max
        ioapic.redirectionTable = (0..<Int(byte() % 40)).map { _ in random.next() }
        _ = chipset.setIOAPIC(ioapic)
        var pit = PITState()
        pit.flags = UInt32(truncatingIfNeeded: random.next())
        pit.channels = (0..<Int(byte() % 5)).map { _ in
            var channel = PITState.Channel()
            channel.count = UInt32(truncatingIfNeeded: random.next())
            channel.mode = byte() & 7
            channel.countLatched = byte()
            channel.readState = byte()
            channel.writeState = byte()
            channel.countLoadTime = Int64(bitPattern: random.next())
            return channel
        }
        _ = chipset.setPIT(pit)
    }

    @Test("threads at once: lines, messages, acknowledgements and time lose no interrupt")
    func threads() async {
        let machine = Machine(cpus: 2), chipset = machine.chipset
        machine.enable()
        let rounds = 2000
        await withTaskGroup(of: Void.self) { group in
            for cpu in 0..<2 {
                group.addTask {
                    for round in 0..<rounds {
                        let vector = UInt32(0x20 + round % 0x80)
                        chipset.deliverMSI(address: 0xFEE0_0000 | UInt64(cpu) << 12, data: vector)
                        chipset.setLine(UInt32(round % 24), level: round & 1 == 0)
                    }
                }
                group.addTask {
                    for _ in 0..<rounds {
                        if chipset.acknowledge(cpu) != nil { machine.end(cpu: cpu) }
                        chipset.advance(to: machine.now)
                    }
                }
            }
        }
        for cpu in 0..<2 {
            while chipset.acknowledge(cpu) != nil { machine.end(cpu: cpu) }
            #expect(machine.cpus[cpu].pending == [])
        }
    }
}

@Suite("State as Codable", .within(minutes: 20)) struct CodableTests {
    @Test("a running chipset goes round through JSON and goes on")
    func roundTrip() throws {
        var state = ChipsetState(mode: .full)
        for id: UInt32 in [0, 1, 5] {
            let apic = LocalAPIC(id: id, isBootProcessor: id == 0, hasDirectedEOI: false, reenablesLINT0: true)
            let added = state.apics.add(apic)
            #expect(added)
            _ = state.apics.all[state.apics.place(Int(id)) ?? 0].writePage(0xF0, size: 4, value: 0x1FF, now: 0)
        }
        state.pit = PIT8254(speaker: true, now: 0)
        _ = state.writePort(0x43, size: 1, value: 0x34, now: 0)
        _ = state.writePort(0x40, size: 1, value: 0x34, now: 0)
        _ = state.writePort(0x40, size: 1, value: 0x12, now: 0)
        _ = state.apics.all[0].writePage(0x320, size: 4, value: 0x2_0040, now: 0)
        _ = state.apics.all[0].writePage(0x380, size: 4, value: 1_000_000, now: 0)
        _ = state.setLine(5, level: true, source: .userspace, wantsStatus: true)
        let count = state.deliverMSI(address: 0xFEE0_5000, data: 0x66)
        #expect(count == 1)

        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        let saved = try encoder.encode(state)
        var restored = try JSONDecoder().decode(ChipsetState.self, from: saved)
        #expect(try encoder.encode(restored) == saved)
        #expect(restored.deadline == state.deadline)
        for now: UInt64 in [5_000_000, 9_000_000] {
            state.advance(to: now)
            restored.advance(to: now)
        }
        for place in 0..<3 {
            let vectors = (state.acknowledge(place), restored.acknowledge(place))
            #expect(vectors.0 == vectors.1)
        }
        #expect(try encoder.encode(restored) == encoder.encode(state))
    }

    @Test("a bank of the wrong size is refused")
    func bank() throws {
        #expect(throws: DecodingError.self) { try JSONDecoder().decode(Bank<3, UInt8>.self, from: Data("[1,2]".utf8)) }
        #expect(throws: DecodingError.self) { try JSONDecoder().decode(Bank<1, UInt8>.self, from: Data("[1,2]".utf8)) }
        let bank = try JSONDecoder().decode(Bank<3, UInt8>.self, from: Data("[1,2,3]".utf8))
        #expect(bank.array == [1, 2, 3])
    }
}
