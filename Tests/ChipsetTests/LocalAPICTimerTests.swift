import Chipset
import TestLimits
import Testing

@Suite("Local APIC timer (Intel SDM vol. 3, 11.5.4)", .within(minutes: 20)) struct LocalAPICTimerTests {
    func machine() -> Machine {
        let machine = Machine()
        machine.enable()
        machine.write(0x3E0, 0xB)
        return machine
    }

    @Test("one-shot counts down and fires once")
    func oneShot() {
        let machine = machine(), chipset = machine.chipset
        machine.write(0x320, 0x40)
        machine.write(0x380, 1_000_000)
        #expect(machine.deadlineChanges == 1)
        #expect(chipset.nextDeadline == machine.now + 1_000_000)
        machine.pass(400_000)
        #expect(machine.read(0x390) == 600_000)
        #expect(!chipset.hasInterrupt(0))
        machine.pass(600_000)
        #expect(machine.read(0x390) == 0)
        #expect(machine.takeWakes() == [0])
        #expect(chipset.acknowledge(0) == 0x40)
        #expect(chipset.nextDeadline == nil)
        machine.write(0x380, 500)
        machine.write(0x380, 0)
        #expect(chipset.nextDeadline == nil)
    }

    @Test(
        "divide configuration",
        arguments: zip([UInt32(0), 1, 2, 3, 8, 9, 10, 11], [UInt64(2), 4, 8, 16, 32, 64, 128, 1]))
    func divisor(configuration: UInt32, divisor: UInt64) {
        let machine = machine()
        machine.write(0x3E0, configuration)
        machine.write(0x380, 1_000_000)
        #expect(machine.chipset.nextDeadline == machine.now + 1_000_000 * divisor)
        machine.pass(divisor * 1000)
        #expect(machine.read(0x390) == 999_000)
        machine.write(0x3E0, 0)
        #expect(machine.chipset.nextDeadline == machine.now + 999_000 * 2)
    }

    @Test("periodic keeps its phase; missed periods are one interrupt; short periods are lengthened")
    func periodic() {
        let machine = machine(), chipset = machine.chipset
        machine.write(0x320, 0x2_0040)
        machine.write(0x380, 1_000_000)
        let start = machine.now
        for turn in 1...3 as ClosedRange<UInt64> {
            machine.pass(1_000_000)
            #expect(chipset.acknowledge(0) == 0x40)
            machine.end()
            #expect(chipset.nextDeadline == start + (turn + 1) * 1_000_000)
        }
        machine.pass(3_300_000)
        #expect(chipset.acknowledge(0) == 0x40)
        machine.end()
        #expect(chipset.acknowledge(0) == nil)
        #expect(chipset.nextDeadline == start + 7_000_000)
        #expect(machine.read(0x390) == 700_000)
        machine.write(0x380, 1)
        #expect(chipset.nextDeadline == machine.now + 200_000)
    }

    @Test("a masked timer runs without interrupting")
    func masked() {
        let machine = machine(), chipset = machine.chipset
        machine.write(0x320, 0x1_0040)
        machine.write(0x380, 1000)
        machine.pass(1000)
        #expect(!chipset.hasInterrupt(0))
        #expect(machine.read(0x390) == 0)
    }

    @Test("11.5.4.1: TSC deadline")
    func tscDeadline() {
        let machine = machine(), chipset = machine.chipset
        chipset.setTSCFrequency(0, kilohertz: 2_500_000)
        chipset.setTSCDeadline(0, 5_000_000, tsc: 0)
        #expect(chipset.tscDeadline(0) == 0)
        machine.write(0x320, 0x4_0040)
        chipset.setTSCDeadline(0, 6_000_000, tsc: 1_000_000)
        #expect(chipset.tscDeadline(0) == 6_000_000)
        #expect(chipset.nextDeadline == machine.now + 2_000_000)
        machine.write(0x380, 1000)
        #expect(machine.read(0x380) == 0)
        #expect(machine.read(0x390) == 0)
        machine.pass(2_000_000)
        #expect(chipset.tscDeadline(0) == 0)
        #expect(chipset.acknowledge(0) == 0x40)
        machine.end()
        chipset.setTSCDeadline(0, 5, tsc: 10)
        #expect(chipset.acknowledge(0) == 0x40)
        machine.end()
        chipset.setTSCDeadline(0, .max, tsc: 0)
        #expect(chipset.tscDeadline(0) == .max)
        chipset.setTSCDeadline(0, 0, tsc: 0)
        #expect(chipset.nextDeadline == nil)
        chipset.setTSCDeadline(0, 1 << 40, tsc: 0)
        machine.write(0x320, 0x40)
        #expect(chipset.nextDeadline == nil)
        chipset.setFeatures(0, ProcessorFeatures(x2APIC: true, tscDeadline: false, physicalAddressBits: 40))
        machine.write(0x320, 0x4_0040)
        #expect(machine.read(0x320) == 0x40)
    }

    @Test("the thread that waits is told only of earlier deadlines")
    func announcements() {
        let machine = machine(), chipset = machine.chipset
        machine.write(0x380, 1_000_000)
        machine.write(0x380, 2_000_000)
        machine.write(0x380, 500_000)
        #expect(machine.deadlineChanges == 2)
        #expect(chipset.nextDeadline == machine.now + 500_000)
        machine.write(0x380, 2_000_000)
        #expect(machine.deadlineChanges == 2)
        #expect(chipset.nextDeadline == machine.now + 2_000_000)
        machine.write(0x380, 1_500_000)
        #expect(machine.deadlineChanges == 3)
    }

    @Test("virtual wire NMI: LINT0 as NMI hears the 8254")
    func watchdog() {
        let machine = machine(), chipset = machine.chipset
        machine.write(0x350, 0x400)
        #expect(chipset.createPIT(speaker: false))
        machine.program(0, mode: 0, count: 1000)
        machine.pass(1_000_000)
        #expect(chipset.takeEvents(0).nmis == 1)
    }
}
