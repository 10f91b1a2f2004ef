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

    @Test(
        "the count is whole, and rounded down where the divisor doesn't divide what is left", arguments: [false, true])
    func count(isPeriodic: Bool) {
        let machine = machine()
        machine.write(0x3E0, 3)
        machine.write(0x320, isPeriodic ? 0x2_0040 : 0x40)
        machine.write(0x380, 100_000)
        #expect(machine.read(0x390) == 100_000)
        for (wait, count) in [
            (UInt64(1), UInt32(99_999)), (14, 99_999), (1, 99_999), (1, 99_998), (15, 99_998), (1, 99_997),
        ] {
            machine.pass(wait)
            #expect(machine.read(0x390) == count)
        }
        machine.pass(1_600_000 - 33 - 15)
        #expect(machine.read(0x390) == 0)
        machine.pass(15)
        #expect(machine.read(0x390) == (isPeriodic ? 100_000 : 0))
        machine.pass(31)
        #expect(machine.read(0x390) == (isPeriodic ? 99_998 : 0))
        machine.write(0x3E0, 0xA)
        #expect(machine.read(0x390) == (isPeriodic ? 99_998 : 0))
    }

    /// Each write that can set, stop or silence the timer, after it was due and before its owner's thread has come.
    @Test(
        "what was due before a write has happened",
        arguments: [
            ("periodic", UInt32(0x320), UInt32(0x2_0040), nil as UInt64?), ("masked", 0x320, 0x1_0040, nil),
            ("TSC deadline", 0x320, 0x4_0040, nil), ("count", 0x380, 500_000, 500_000), ("stopped", 0x380, 0, nil),
            ("divisor", 0x3E0, 0, nil), ("software disable", 0xF0, 0xFF, nil),
        ])
    func lateness(name: String, register: UInt32, value: UInt32, deadline: UInt64?) {
        let machine = machine(), chipset = machine.chipset
        machine.write(0x350, 0x1_0000)
        machine.write(0x320, 0x40)
        machine.write(0x380, 1000)
        machine.wait(1500)
        machine.write(register, value)
        #expect(machine.requested(0x40), "\(name)")
        #expect(chipset.nextDeadline == deadline.map { machine.now + $0 }, "\(name)")
        machine.pass(300_000)
        #expect(chipset.nextDeadline == deadline.map { machine.now - 300_000 + $0 }, "\(name)")
    }

    @Test("a timer that was due while masked does not interrupt afterwards")
    func unmasked() {
        let machine = machine(), chipset = machine.chipset
        machine.write(0x320, 0x1_0040)
        machine.write(0x380, 1000)
        machine.wait(1500)
        machine.write(0x320, 0x40)
        machine.pass(0)
        #expect(!chipset.hasInterrupt(0))
    }

    @Test("a TSC deadline that is past reads 0 and has interrupted, also before a new one")
    func pastDeadline() {
        let machine = machine(), chipset = machine.chipset
        machine.write(0x320, 0x4_0040)
        chipset.setTSCDeadline(0, 1000, tsc: 0)
        machine.wait(1500)
        #expect(chipset.tscDeadline(0) == 0)
        #expect(chipset.acknowledge(0) == 0x40)
        machine.end()
        chipset.setTSCDeadline(0, 1000, tsc: 0)
        machine.wait(1500)
        chipset.setTSCDeadline(0, 900_000, tsc: 1500)
        #expect(chipset.acknowledge(0) == 0x40)
        #expect(chipset.tscDeadline(0) == 900_000)
    }

    @Test("the page that is saved has the interrupt of a timer that is due, or a count that goes on")
    func saved() throws {
        let machine = machine(), chipset = machine.chipset
        machine.write(0x3E0, 0xA)
        machine.write(0x320, 0x40)
        machine.write(0x380, 10)
        machine.wait(1275)
        let running = try #require(chipset.localAPICPage(0))
        #expect(running[0x390] == 1)
        machine.wait(5)
        let over = try #require(chipset.localAPICPage(0))
        #expect(over[0x390] == 0)
        #expect(over[0x220] == 1)
        #expect(chipset.setLocalAPICPage(0, running, tsc: 0))
        #expect(!machine.requested(0x40))
        #expect(chipset.nextDeadline != nil)
        #expect(chipset.setLocalAPICPage(0, over, tsc: 0))
        #expect(machine.requested(0x40))
        #expect(chipset.nextDeadline == nil)
    }

    @Test("11.5.4.1: TSC deadline")
    func tscDeadline() {
        let machine = machine(), chipset = machine.chipset
        chipset.setTSC(0, 0, kilohertz: 2_500_000)
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

    @Test("11.5.4.1: the deadline is the counter's, whatever becomes of the counter")
    func movedCounter() {
        let machine = machine(), chipset = machine.chipset
        chipset.setTSC(0, 0, kilohertz: 2_000_000)
        machine.write(0x320, 0x4_0040)
        chipset.setTSCDeadline(0, 6_000_000, tsc: 0)
        chipset.setTSC(0, 4_000_000, kilohertz: 2_000_000)
        #expect(chipset.nextDeadline == machine.now + 1_000_000)
        chipset.setTSC(0, 4_000_000, kilohertz: 1_000_000)
        #expect(chipset.nextDeadline == machine.now + 2_000_000)
        // A third of a nanosecond is one: when the timer fires, the counter is there.
        chipset.setTSC(0, 5_999_999, kilohertz: 3_000_000)
        #expect(chipset.nextDeadline == machine.now + 1)
        chipset.setTSC(0, 6_000_001, kilohertz: 3_000_000)
        #expect(chipset.nextDeadline == machine.now)
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
