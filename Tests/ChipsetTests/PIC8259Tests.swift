import Chipset
import TestLimits
import Testing

@Suite("8259 pair (Intel 8259A data sheet)", .within(minutes: 20)) struct PIC8259Tests {
    /// A vCPU with its local APIC as after reset: LINT0 is ExtINT, virtual wire.
    func machine() -> Machine {
        let machine = Machine()
        machine.initializePICs()
        return machine
    }

    @Test("fully nested mode: the lower input wins, and masks those below until its EOI")
    func fullyNested() {
        let machine = machine(), chipset = machine.chipset
        #expect(chipset.setLine(5, level: true) >= 1)
        chipset.setLine(3, level: true)
        #expect(chipset.acknowledge(0) == 0x23)
        #expect(chipset.acknowledge(0) == nil)
        chipset.setLine(1, level: true)
        #expect(chipset.acknowledge(0) == 0x21)
        machine.out(0x20, 0x20)
        #expect(chipset.acknowledge(0) == nil)
        machine.out(0x20, 0x20)
        #expect(chipset.acknowledge(0) == 0x25)
        machine.out(0x20, 0x0B)
        #expect(machine.in(0x20) == 0x20)
    }

    @Test("the secondary's inputs come through input 2")
    func cascade() {
        let machine = machine(), chipset = machine.chipset
        chipset.setLine(12, level: true)
        chipset.setLine(4, level: true)
        #expect(chipset.acknowledge(0) == 0x2C)
        #expect(chipset.acknowledge(0) == nil)
        machine.out(0xA0, 0x20)
        machine.out(0x20, 0x20)
        #expect(chipset.acknowledge(0) == 0x24)
    }

    @Test("an edge is remembered, a second one coalesces, a masked one says so")
    func edges() {
        let machine = machine(), chipset = machine.chipset
        // Both controllers are on GSI 6: the I/O APIC's pin is masked, so the status is the 8259's.
        #expect(chipset.setLine(6, level: true) == 1)
        chipset.setLine(6, level: false)
        #expect(chipset.setLine(6, level: true) == 0)
        machine.out(0x21, 0x40)
        #expect(!chipset.hasInterrupt(0))
        chipset.setLine(6, level: false)
        #expect(chipset.setLine(6, level: true) == -1)
        machine.out(0x21, 0)
        #expect(chipset.acknowledge(0) == 0x26)
    }

    @Test("a level (ELCR) asks again until it falls; sources are OR'ed")
    func levels() {
        let machine = machine(), chipset = machine.chipset
        machine.out(0x4D1, 0xFF)
        #expect(machine.in(0x4D1) == 0xDE)
        machine.out(0x4D0, 0xFF)
        #expect(machine.in(0x4D0) == 0xF8)
        let other = Chipset.Source(rawValue: 5)
        chipset.setLine(10, level: true)
        chipset.setLine(10, level: true, source: other)
        for _ in 0..<2 {
            #expect(chipset.acknowledge(0) == 0x2A)
            machine.out(0xA0, 0x20)
            machine.out(0x20, 0x20)
            chipset.setLine(10, level: false)
        }
        #expect(chipset.hasInterrupt(0))
        chipset.setLine(10, level: false, source: other)
        // The primary keeps the cascade's edge: a spurious interrupt of the secondary.
        #expect(chipset.acknowledge(0) == 0x2F)
    }

    @Test("a level of either chip asks again by itself after its end, while it is high", arguments: [5, 10])
    func levelAsksAgain(input: UInt32) {
        let machine = machine(), chipset = machine.chipset
        machine.out(input < 8 ? 0x4D0 : 0x4D1, 1 << UInt8(input & 7))
        chipset.setLine(input, level: true)
        for _ in 0..<3 {
            #expect(chipset.acknowledge(0) == 0x20 + UInt8(input))
            #expect(chipset.acknowledge(0) == nil)
            if input >= 8 { machine.out(0xA0, 0x20) }
            machine.out(0x20, 0x20)
        }
        #expect(chipset.acknowledge(0) == 0x20 + UInt8(input))
        chipset.setLine(input, level: false)
        if input >= 8 { machine.out(0xA0, 0x20) }
        machine.out(0x20, 0x20)
        #expect(chipset.acknowledge(0) == nil)
        // An edge does not.
        machine.out(0x4D0, 0)
        chipset.setLine(4, level: true)
        #expect(chipset.acknowledge(0) == 0x24)
        machine.out(0x20, 0x20)
        #expect(chipset.acknowledge(0) == nil)
    }

    @Test("a spurious interrupt of the secondary: in service at the primary alone, which wants its EOI")
    func spurious() {
        let machine = machine(), chipset = machine.chipset
        chipset.setLine(10, level: true)
        machine.out(0xA1, 0x04)
        #expect(chipset.acknowledge(0) == 0x2F)
        #expect(chipset.pic(.primary)?.isr == 0x04)
        #expect(chipset.pic(.secondary)?.isr == 0)
        chipset.setLine(4, level: true)
        #expect(chipset.acknowledge(0) == nil)
        machine.out(0x20, 0x20)
        #expect(chipset.pic(.primary)?.isr == 0)
        #expect(chipset.acknowledge(0) == 0x24)
        machine.out(0x20, 0x20)
        machine.out(0xA1, 0)
        #expect(chipset.acknowledge(0) == 0x2A)
        #expect(chipset.pic(.primary)?.isr == 0x04)
        #expect(chipset.pic(.secondary)?.isr == 0x04)
    }

    @Test("rotation: on EOI, on specific EOI, by command")
    func rotation() {
        let machine = machine(), chipset = machine.chipset
        for gsi: UInt32 in [3, 4] { chipset.setLine(gsi, level: true) }
        #expect(chipset.acknowledge(0) == 0x23)
        machine.out(0x20, 0xA0)
        chipset.setLine(3, level: false)
        chipset.setLine(3, level: true)
        #expect(chipset.acknowledge(0) == 0x24)
        machine.out(0x20, 0xE0 | 2)
        machine.out(0x20, 0x60 | 4)
        #expect(chipset.acknowledge(0) == 0x23)
        machine.out(0x20, 0x60 | 3)
        machine.out(0x20, 0xC0 | 5)
        for gsi: UInt32 in [0, 1, 6] {
            chipset.setLine(gsi, level: false)
            chipset.setLine(gsi, level: true)
        }
        #expect(chipset.acknowledge(0) == 0x26)
    }

    @Test("automatic EOI, with and without rotation")
    func automaticEOI() {
        let machine = Machine(), chipset = machine.chipset
        machine.initializePICs(icw4: 3)
        for gsi: UInt32 in [3, 4] { chipset.setLine(gsi, level: true) }
        #expect(chipset.acknowledge(0) == 0x23)
        machine.out(0x20, 0x80)
        #expect(chipset.acknowledge(0) == 0x24)
        for gsi: UInt32 in [4, 5] {
            chipset.setLine(gsi, level: false)
            chipset.setLine(gsi, level: true)
        }
        #expect(chipset.acknowledge(0) == 0x25)
        #expect(chipset.pic(.primary)?.isr == 0)
    }

    @Test("special mask mode: what is masked in service lets lower ones through")
    func specialMask() {
        let machine = machine(), chipset = machine.chipset
        chipset.setLine(1, level: true)
        #expect(chipset.acknowledge(0) == 0x21)
        chipset.setLine(6, level: true)
        machine.out(0x21, 0x02)
        #expect(!chipset.hasInterrupt(0))
        machine.out(0x20, 0x68)
        #expect(chipset.acknowledge(0) == 0x26)
    }

    @Test("special fully nested mode: the secondary interrupts its own lower inputs")
    func specialFullyNested() {
        let machine = Machine(), chipset = machine.chipset
        machine.initializePICs(icw4: 0x11)
        chipset.setLine(12, level: true)
        #expect(chipset.acknowledge(0) == 0x2C)
        chipset.setLine(9, level: true)
        #expect(chipset.acknowledge(0) == 0x29)
    }

    @Test("poll command")
    func poll() {
        let machine = machine(), chipset = machine.chipset
        machine.out(0x20, 0x0C)
        #expect(machine.in(0x20) == 0x07)
        chipset.setLine(5, level: true)
        machine.out(0x20, 0x0C)
        #expect(machine.in(0x20) == 0x85)
        #expect(!chipset.hasInterrupt(0))
        #expect(machine.in(0x21) == 0)
    }

    @Test("ICW1 forgets edges, masks and priorities; ports of another size")
    func initialization() {
        let machine = machine(), chipset = machine.chipset
        chipset.setLine(5, level: true)
        machine.out(0x21, 0xFF)
        machine.out(0x20, 0xC3)
        machine.out(0x20, 0x11)
        #expect(chipset.pic(.primary)?.imr == 0)
        #expect(chipset.pic(.primary)?.priorityAdd == 0)
        #expect(chipset.pic(.primary)?.irr == 0)
        #expect(chipset.readPort(0x20, size: 2) == 0)
        #expect(chipset.readPort(0x21, size: 2) == nil)
        #expect(!chipset.writePort(0x22, size: 1, value: 0))
    }

    @Test("ExtINT: through LINT0, through a disabled APIC, not through a masked LINT0")
    func externalInterrupt() {
        let machine = machine(), chipset = machine.chipset
        #expect(machine.read(0x350) == 0x700)
        chipset.setLine(1, level: true)
        #expect(machine.cpus[0].pending == .interrupt)
        #expect(machine.takeWakes() == [0])
        machine.enable()
        machine.write(0x350, 0x1_0700)
        #expect(machine.cpus[0].pending == [])
        #expect(chipset.acknowledge(0) == nil)
        #expect(!chipset.acceptsExternalInterrupt(0))
        #expect(chipset.setAPICBase(0, 0xFEE0_0100, fromHost: false))
        #expect(machine.cpus[0].pending == .interrupt)
        #expect(chipset.acknowledge(0) == 0x21)
    }
}
