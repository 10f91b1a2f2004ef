import Chipset
import TestLimits
import Testing

@Suite("GSI routing (KVM API, KVM_SET_GSI_ROUTING)", .within(minutes: 20)) struct GSIRoutingTests {
    typealias Entry = GSIRouting.Entry

    @Test("the default table")
    func standard() {
        let machine = Machine(), chipset = machine.chipset
        #expect(chipset.routing.count == 40)
        #expect(chipset.routing.filter { $0.gsi == 9 }.map(\.target) == [.pin(.ioapic, 9), .pin(.secondaryPIC, 1)])
        #expect(Machine(mode: .split(pins: 24)).chipset.routing.isEmpty)
        #expect(chipset.setLine(24, level: true) == -1)
        #expect(chipset.setLine(.max, level: true) == -1)
    }

    @Test("what is refused, and that the old table stays")
    func refusals() {
        let chipset = Machine().chipset
        let message = Entry(gsi: 5, target: .message(address: 0xFEE0_0000, data: 0x30))
        let pin = Entry(gsi: 5, target: .pin(.ioapic, 5))
        func refusal(_ entries: [Entry]) -> GSIRouting.Refusal? {
            do throws(GSIRouting.Refusal) {
                try chipset.setRouting(entries)
                return nil
            } catch { return error }
        }
        #expect(refusal([Entry(gsi: 4096, target: pin.target)]) == .gsiOutOfRange(4096))
        let wrong = Entry(gsi: 0, target: .pin(.primaryPIC, 8)), wrong2 = Entry(gsi: 0, target: .pin(.ioapic, 24))
        #expect(refusal([wrong]) == .noSuchPin(wrong))
        #expect(refusal([wrong2]) == .noSuchPin(wrong2))
        #expect(refusal([pin, message]) == .duplicate(message))
        #expect(refusal([message, message]) == .duplicate(message))
        #expect(refusal([pin, pin]) == .duplicate(pin))
        #expect(refusal([Entry](repeating: pin, count: 4097)) == .tooManyEntries(4097))
        #expect(chipset.routing.count == 40)
        let split = Machine(mode: .split(pins: 24)).chipset
        #expect(throws: GSIRouting.Refusal.noSuchController(pin)) { try split.setRouting([pin]) }
        split.setX2APICFormat(wideIDs: true, broadcastQuirkDisabled: false)
        let bad = Entry(gsi: 1, target: .message(address: 0x1_FEE0_0000, data: 0))
        #expect(throws: GSIRouting.Refusal.malformedAddress(bad)) { try split.setRouting([bad]) }
    }

    @Test("4096 messages, given in any order")
    func messages() throws {
        let machine = Machine(), chipset = machine.chipset
        machine.enable()
        let entries = (0..<4096).reversed().map {
            Entry(gsi: $0, target: .message(address: 0xFEE0_0000, data: 0x20 + $0 % 200))
        }
        try chipset.setRouting(entries)
        #expect(chipset.routing == entries)
        chipset.pulse(4095)
        #expect(chipset.acknowledge(0) == UInt8(0x20 + 4095 % 200))
        chipset.pulse(0)
        #expect(machine.requested(0x20))
        #expect(chipset.setLine(7, level: false) == -1)
        try chipset.setRouting([])
        #expect(chipset.setLine(0, level: true) == -1)
    }

    @Test("a GSI on another pin, as with the timer on I/O APIC pin 2")
    func override() throws {
        let machine = Machine(), chipset = machine.chipset
        machine.enable()
        try chipset.setRouting([
            Entry(gsi: 0, target: .pin(.ioapic, 2)), Entry(gsi: 0, target: .pin(.primaryPIC, 0)),
        ])
        machine.redirect(2, 0x30)
        #expect(chipset.setLine(0, level: true) >= 1)
        #expect(machine.requested(0x30))
    }

    @Test("split mode: level routes of reserved GSIs report their EOI, others don't")
    func split() throws {
        let machine = Machine(mode: .split(pins: 4)), chipset = machine.chipset
        machine.enable()
        try chipset.setRouting([
            Entry(gsi: 1, target: .message(address: 0xFEE0_0000, data: 0x8051)),
            Entry(gsi: 2, target: .message(address: 0xFEE0_0000, data: 0x52)),
            Entry(gsi: 9, target: .message(address: 0xFEE0_0000, data: 0x8053)),
        ])
        for gsi: UInt32 in [1, 2, 9] {
            chipset.setLine(gsi, level: true)
            #expect(chipset.acknowledge(0) == UInt8(gsi == 9 ? 0x53 : 0x50 + gsi))
            machine.end()
            #expect(chipset.takeEvents(0).ioapicEOI == (gsi == 1 ? 0x51 : nil))
        }
        machine.write(0x350, 0x700)
        #expect(chipset.setExternalInterrupt(0, vector: 0x77))
        #expect(!chipset.setExternalInterrupt(0, vector: 0x78))
        #expect(machine.cpus[0].pending == .interrupt)
        #expect(chipset.acknowledge(0) == 0x77)
        #expect(machine.cpus[0].pending == [])
    }
}
