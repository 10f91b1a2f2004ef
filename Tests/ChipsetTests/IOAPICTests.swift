import Chipset
import TestLimits
import Testing

@Suite("I/O APIC (Intel 82093AA data sheet)", .within(minutes: 20)) struct IOAPICTests {
    func machine(cpus: Int = 1) -> Machine {
        let machine = Machine(cpus: cpus)
        machine.enable()
        for cpu in machine.cpus { machine.write(0x350, 0x1_0000, cpu: cpu.id) }
        return machine
    }

    @Test("registers: id, version, entries with their read-only bits")
    func registers() {
        let machine = machine()
        #expect(machine.ioapic(1) == 0x0017_0011)
        machine.setIOAPIC(1, 0)
        machine.setIOAPIC(0, 0xFF12_3456)
        #expect(machine.ioapic(0) == 0x0F00_0000)
        #expect(machine.ioapic(2) == 0x0F00_0000)
        #expect(machine.ioapic(0x10) == 0x1_0000)
        machine.redirect(23, 0x1_F0FF, destination: 0xAB)
        #expect(machine.ioapic(0x3E) == 0x1_A0FF)
        #expect(machine.ioapic(0x3F) == 0xAB00_0000)
        #expect(machine.ioapic(0x40) == ~0)
        #expect(machine.ioapic(0x05) == ~0)
        #expect(machine.chipset.readMMIO(0xFEC0_0010, size: 1) == 0xFF)
        #expect(machine.chipset.readMMIO(0xFEC0_0100, size: 4) == nil)
        #expect(machine.chipset.readMMIO(0xFEC0_00FE, size: 4) == nil)
        #expect(machine.chipset.readMMIO(0xFEBF_FFFF, size: 1) == nil)
        #expect(machine.chipset.readMMIO(.max, size: 8) == nil)
        #expect(machine.chipset.readMMIO(0xFEC0_0020, size: 4) == 0)
    }

    @Test("an edge goes once; while the line stays high it coalesces; while masked it is lost")
    func edge() {
        let machine = machine(), chipset = machine.chipset
        machine.redirect(20, 0x41)
        #expect(chipset.setLine(20, level: true) == 1)
        #expect(chipset.setLine(20, level: true) == 0)
        #expect(chipset.acknowledge(0) == 0x41)
        machine.end()
        chipset.setLine(20, level: false)
        #expect(chipset.setLine(20, level: true) == 1)
        #expect(chipset.acknowledge(0) == 0x41)
        machine.end()
        machine.redirect(20, 0x1_0041)
        chipset.setLine(20, level: false)
        #expect(chipset.setLine(20, level: true) == -1)
        machine.redirect(20, 0x41)
        #expect(!chipset.hasInterrupt(0))
    }

    @Test("a level sets remote IRR and comes again after EOI while the line is high; polarity is ignored")
    func level() {
        let machine = machine(), chipset = machine.chipset
        machine.redirect(21, 0xA051)
        chipset.watchEndOfInterrupt(21, true)
        #expect(chipset.setLine(21, level: true) == 1)
        #expect(chipset.setLine(21, level: true) == -1)
        #expect(machine.ioapic(0x3A) == 0xE051)
        #expect(chipset.acknowledge(0) == 0x51)
        #expect(machine.read(0x1A0) == 1 << 17)
        machine.end()
        #expect(machine.takeEnded() == [21])
        #expect(chipset.acknowledge(0) == 0x51)
        chipset.setLine(21, level: false)
        machine.end()
        #expect(machine.ioapic(0x3A) == 0xA051)
        #expect(chipset.acknowledge(0) == nil)
    }

    @Test("a level that rises while masked comes when it is unmasked; writing an edge entry clears remote IRR")
    func unmasking() {
        let machine = machine(), chipset = machine.chipset
        machine.redirect(21, 0x1_8051)
        #expect(chipset.setLine(21, level: true) == -1)
        machine.redirect(21, 0x8051)
        #expect(chipset.acknowledge(0) == 0x51)
        #expect(machine.ioapic(0x3A) & 0x4000 != 0)
        machine.redirect(21, 0x1_0051)
        #expect(machine.ioapic(0x3A) & 0x4000 == 0)
    }

    @Test("82093AA, 3.2.4: masked in service, ended while masked, unmasked: it comes again, once, and remote IRR tells")
    func maskEndUnmask() {
        let machine = machine(), chipset = machine.chipset
        machine.redirect(21, 0x8051)
        chipset.setLine(21, level: true)
        #expect(chipset.acknowledge(0) == 0x51)
        // Writing the entry does not clear remote IRR, and unmasking it with remote IRR set sends nothing.
        machine.setIOAPIC(0x3A, 0x1_8051)
        #expect(machine.ioapic(0x3A) == 0x1_C051)
        machine.setIOAPIC(0x3A, 0x8051)
        #expect(machine.ioapic(0x3A) == 0xC051)
        #expect(!machine.requested(0x51))
        machine.setIOAPIC(0x3A, 0x1_8051)
        machine.end()
        #expect(machine.ioapic(0x3A) == 0x1_8051)
        #expect(!machine.requested(0x51))
        machine.setIOAPIC(0x3A, 0x8051)
        #expect(machine.ioapic(0x3A) == 0xC051)
        #expect(chipset.acknowledge(0) == 0x51)
        machine.setIOAPIC(0x3A, 0x1_8051)
        chipset.setLine(21, level: false)
        machine.end()
        machine.setIOAPIC(0x3A, 0x8051)
        #expect(!machine.requested(0x51))
        #expect(machine.ioapic(0x3A) == 0x8051)
    }

    @Test("several sources hold one pin: it falls with the last")
    func sources() {
        let machine = machine(), chipset = machine.chipset
        let other = Chipset.Source(rawValue: 31)
        machine.redirect(21, 0x8051)
        chipset.setLine(21, level: true)
        chipset.setLine(21, level: true, source: other)
        chipset.setLine(21, level: false)
        #expect(chipset.acknowledge(0) == 0x51)
        machine.end()
        #expect(chipset.acknowledge(0) == 0x51)
        chipset.setLine(21, level: false, source: other)
        machine.end()
        #expect(!chipset.hasInterrupt(0))
    }

    @Test("two pins with one vector: its end is for the level, and no new edge for the other")
    func sharedVector() {
        let machine = machine(), chipset = machine.chipset
        machine.redirect(20, 0x51)
        machine.redirect(21, 0x8051)
        chipset.setLine(20, level: true)
        chipset.setLine(21, level: true)
        #expect(chipset.acknowledge(0) == 0x51)
        chipset.setLine(21, level: false)
        machine.end()
        #expect(machine.ioapic(0x3A) == 0x8051)
        #expect(!chipset.hasInterrupt(0))
    }

    @Test("a resampling source falls at EOI, before the line is looked at again")
    func resample() {
        let machine = machine(), chipset = machine.chipset
        machine.redirect(21, 0x8051)
        chipset.watchEndOfInterrupt(21, true)
        chipset.pulse(21, source: .resampler)
        #expect(chipset.acknowledge(0) == 0x51)
        machine.end()
        #expect(machine.takeEnded() == [21])
        #expect(chipset.acknowledge(0) == nil)
        chipset.watchEndOfInterrupt(21, false)
        chipset.setLine(21, level: true)
        #expect(chipset.acknowledge(0) == 0x51)
        machine.end()
        #expect(machine.takeEnded() == [])
    }

    @Test("a line that never falls is slowed down after 10,000 turns")
    func storm() {
        let machine = machine(), chipset = machine.chipset
        machine.redirect(21, 0x8051)
        chipset.setLine(21, level: true)
        var turns = 0
        while turns < 20_000, chipset.acknowledge(0) == 0x51 {
            turns += 1
            machine.end()
        }
        #expect(turns == 10_000)
        #expect(chipset.nextDeadline == machine.now + 10_000_000)
        machine.pass(10_000_000)
        #expect(chipset.acknowledge(0) == 0x51)
        #expect(chipset.nextDeadline == nil)
    }

    @Test("destinations: physical, logical, lowest priority, NMI, nobody")
    func destinations() {
        let machine = machine(cpus: 4), chipset = machine.chipset
        for cpu in 0..<4 { machine.write(0xD0, 1 << UInt32(24 + cpu), cpu: cpu) }
        machine.redirect(16, 0x60, destination: 2)
        chipset.pulse(16)
        #expect(machine.receivers(0x60) == [2])
        machine.redirect(16, 0x861, destination: 0b1010)
        #expect(chipset.setLine(16, level: true) == 2)
        #expect(machine.receivers(0x61) == [1, 3])
        machine.redirect(17, 0x970, destination: 0b1110)
        #expect(chipset.setLine(17, level: true) == 1)
        #expect(machine.receivers(0x70).count == 1)
        machine.redirect(18, 0x400, destination: 3)
        chipset.setLine(18, level: true)
        #expect(chipset.takeEvents(3).nmis == 1)
        machine.redirect(19, 0x71, destination: 9)
        #expect(chipset.setLine(19, level: true) == 0)
        machine.redirect(20, 0x8072, destination: 9)
        #expect(chipset.setLine(20, level: true) == 0)
        #expect(machine.ioapic(0x38) == 0x8072)
        for cpu in 0..<4 { #expect(chipset.setAPICBase(cpu, 0xFEE0_0000, fromHost: true)) }
        machine.redirect(22, 0x73, destination: 0)
        #expect(chipset.setLine(22, level: true) == 0)
        machine.redirect(23, 0x74, destination: 0xFF)
        #expect(chipset.setLine(23, level: true) == -1)
    }

    @Test("an RTC tick coalesces until the last one has been ended, if status is wanted")
    func rtc() {
        let machine = machine(), chipset = machine.chipset
        machine.redirect(8, 0x38)
        func tick() -> Int {
            defer { chipset.setLine(8, level: false, wantsStatus: true) }
            return chipset.setLine(8, level: true, wantsStatus: true)
        }
        machine.out(0xA1, 0xFF)
        #expect(tick() == 1)
        #expect(tick() == 0)
        #expect(chipset.acknowledge(0) == 0x38)
        #expect(tick() == 0)
        machine.end()
        #expect(tick() == 1)
        // Nobody is left to end it.
        chipset.reset(0, initialize: true)
        machine.enable()
        #expect(tick() == 1)
        #expect(chipset.acknowledge(0) == 0x38)
        let page = chipset.localAPICPage(0) ?? []
        machine.end()
        #expect(chipset.setLocalAPICPage(0, page, tsc: 0))
        #expect(tick() == 0)
    }

    @Test("state goes round, and what is requested in it is delivered")
    func state() throws {
        let machine = machine(), chipset = machine.chipset
        machine.redirect(21, 0x8051)
        machine.redirect(3, 0x1_0033, destination: 0xF)
        var state = try #require(chipset.ioapic())
        #expect(chipset.setIOAPIC(state))
        #expect(chipset.ioapic() == state)
        state.irr = 1 << 21
        #expect(chipset.setIOAPIC(state))
        #expect(chipset.acknowledge(0) == 0x51)
        #expect(chipset.ioapic()?.irr == 1 << 21)
        state.redirectionTable = []
        #expect(chipset.setIOAPIC(state))
    }
}
