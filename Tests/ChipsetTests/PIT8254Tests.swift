import Chipset
import TestLimits
import Testing

@Suite("8254 (Intel 8254 data sheet)", .within(minutes: 20)) struct PIT8254Tests {
    func machine() -> Machine {
        let machine = Machine()
        #expect(machine.chipset.createPIT(speaker: true))
        #expect(!machine.chipset.createPIT(speaker: true))
        machine.initializePICs()
        return machine
    }

    /// Nanoseconds in which so many ticks have just passed.
    func ticks(_ count: UInt64) -> UInt64 { (count * 1_000_000_000 + 1_193_181) / 1_193_182 }

    func latched(_ machine: Machine, _ channel: UInt16) -> UInt16 {
        machine.out(0x43, UInt8(channel) << 6)
        return UInt16(machine.in(0x40 + channel)) | UInt16(machine.in(0x40 + channel)) << 8
    }

    @Test("counting in each mode", arguments: [UInt8(0), 1, 2, 3, 4, 5, 6, 7])
    func counting(mode: UInt8) {
        let machine = machine()
        machine.program(2, mode: mode, count: 1000)
        #expect(latched(machine, 2) == 1000)
        machine.pass(ticks(100))
        #expect(latched(machine, 2) == (mode & 3 == 3 ? 800 : 900))
        machine.pass(ticks(1100) - ticks(100))
        switch mode {
        case 2, 6: #expect(latched(machine, 2) == 900)
        case 3, 7: #expect(latched(machine, 2) == 800)
        default: #expect(latched(machine, 2) == 65436)
        }
    }

    @Test("OUT in each mode, by read-back", arguments: [UInt8(0), 1, 2, 3, 4, 5])
    func output(mode: UInt8) {
        let machine = machine()
        machine.program(2, mode: mode, count: 1000)
        func out() -> Bool {
            machine.out(0x43, 0xE8)
            let status = machine.in(0x42)
            #expect(status & 0x3F == 0x30 | mode << 1)
            return status & 0x80 != 0
        }
        machine.pass(ticks(400))
        #expect(out() == (mode == 1 || mode == 3))
        machine.pass(ticks(600) - ticks(400))
        #expect(out() == (mode == 1))
        machine.pass(ticks(1000) - ticks(600))
        #expect(out() == (mode != 1))
        machine.pass(ticks(1200) - ticks(1000))
        #expect(out() == (mode == 0 || mode == 3))
    }

    @Test("read-back latches status before count, and a latch stays until it is read")
    func readBack() {
        let machine = machine()
        machine.program(1, mode: 2, count: 5000)
        machine.pass(ticks(10))
        machine.out(0x43, 0xC4)
        machine.pass(ticks(500))
        machine.out(0x43, 0xC4)
        #expect(machine.in(0x41) & 0x3F == 0x34)
        #expect(UInt16(machine.in(0x41)) | UInt16(machine.in(0x41)) << 8 == 4990)
        #expect(machine.in(0x43) == 0)
    }

    @Test("access to one byte only")
    func bytes() {
        let machine = machine()
        machine.out(0x43, 0x90)
        machine.out(0x42, 0x50)
        #expect(machine.chipset.pit()?.channels[2].count == 0x50)
        #expect(machine.in(0x42) == 0x50)
        machine.out(0x43, 0xA0)
        machine.out(0x42, 0x12)
        #expect(machine.chipset.pit()?.channels[2].count == 0x1200)
        #expect(machine.in(0x42) == 0x12)
        machine.out(0x43, 0xB0)
        machine.out(0x42, 0)
        machine.out(0x42, 0)
        #expect(machine.chipset.pit()?.channels[2].count == 0x1_0000)
    }

    @Test("port 0x61: gate, speaker data, OUT 2; Linux's calibration loop")
    func speaker() {
        let machine = machine()
        machine.out(0x61, 1)
        machine.program(2, mode: 0, count: 1193)
        #expect(machine.in(0x61) & 0x23 == 0x01)
        machine.pass(1_000_000)
        #expect(machine.in(0x61) & 0x23 == 0x21)
        machine.out(0x61, 2)
        #expect(machine.in(0x61) & 0x03 == 0x02)
        #expect(machine.chipset.pit()?.flags == PITState.speakerDataOn)
        let before = machine.in(0x61) & 0x10
        machine.pass(1 << 14)
        #expect(machine.in(0x61) & 0x10 != before)
        let silent = Machine()
        #expect(silent.chipset.createPIT(speaker: false))
        #expect(silent.chipset.readPort(0x61, size: 1) == nil)
    }

    @Test(
        "a rising gate starts modes 1, 2, 3 and 5 anew; a high or falling one none",
        arguments: [UInt8(0), 1, 2, 3, 4, 5])
    func gate(mode: UInt8) {
        let machine = machine()
        let speed: UInt16 = mode == 3 ? 2 : 1, restarts = mode != 0 && mode != 4
        machine.program(2, mode: mode, count: 1000)
        machine.pass(ticks(100))
        machine.out(0x61, 1)
        #expect(latched(machine, 2) == (restarts ? 1000 : 900))
        let passed: UInt64 = restarts ? 0 : 100
        machine.pass(ticks(passed + 100) - ticks(passed))
        machine.out(0x61, 3)
        #expect(latched(machine, 2) == 1000 - UInt16(passed + 100) * speed)
        // It counts on without its gate, as the kernel's does.
        machine.out(0x61, 0)
        machine.pass(ticks(passed + 200) - ticks(passed + 100))
        #expect(latched(machine, 2) == 1000 - UInt16(passed + 200) * speed)
        machine.out(0x61, 1)
        #expect(latched(machine, 2) == (restarts ? 1000 : 700))
    }

    @Test("a new count counts at once, when its second byte is there", arguments: [UInt8(0), 1, 2, 3, 4, 5])
    func reload(mode: UInt8) {
        let machine = machine()
        let speed: UInt16 = mode == 3 ? 2 : 1
        machine.out(0x61, 1)
        machine.program(2, mode: mode, count: 1000)
        machine.pass(ticks(100))
        machine.out(0x42, 0xF4)
        #expect(latched(machine, 2) == 1000 - 100 * speed)
        machine.out(0x42, 0x01)
        #expect(latched(machine, 2) == 500)
        machine.pass(ticks(100))
        #expect(latched(machine, 2) == 500 - 100 * speed)
        machine.pass(ticks(600) - ticks(100))
        switch mode {
        case 2: #expect(latched(machine, 2) == 400)
        case 3: #expect(latched(machine, 2) == 300)
        default: #expect(latched(machine, 2) == 65436)
        }
    }

    @Test(
        "channel 0 with a new count: the tick that was due is there, the next one comes by the new count",
        arguments: [UInt8(0), 2, 3, 4])
    func reloadOfTheClock(mode: UInt8) {
        let machine = machine(), chipset = machine.chipset
        machine.program(0, mode: mode, count: 11932)
        machine.pass(5_000_000)
        #expect(!chipset.hasInterrupt(0))
        machine.out(0x40, 0x38)
        #expect(chipset.nextDeadline == machine.now - 5_000_000 + 11932 * 1_000_000_000 / 1_193_182)
        machine.out(0x40, 0x4A)
        let period: UInt64 = 19000 * 1_000_000_000 / 1_193_182
        #expect(chipset.nextDeadline == machine.now + period)
        machine.pass(period - 1)
        #expect(!chipset.hasInterrupt(0))
        machine.wait(1)
        machine.program(0, mode: mode, count: 19000)
        #expect(chipset.acknowledge(0) == 0x20)
        #expect(chipset.nextDeadline == machine.now + period)
    }

    @Test("channel 0 interrupts: periodically in mode 2, once in mode 0")
    func interrupts() {
        let machine = machine(), chipset = machine.chipset
        machine.program(0, mode: 2, count: 11932)
        #expect(machine.deadlineChanges == 1)
        let start = machine.now
        #expect(chipset.nextDeadline == start + 11932 * 1_000_000_000 / 1_193_182)
        for _ in 0..<3 {
            machine.pass(10_000_200)
            #expect(chipset.acknowledge(0) == 0x20)
            #expect(chipset.acknowledge(0) == nil)
            machine.out(0x20, 0x20)
        }
        machine.program(0, mode: 0, count: 11932)
        machine.pass(10_000_200)
        #expect(chipset.acknowledge(0) == 0x20)
        machine.out(0x20, 0x20)
        #expect(chipset.nextDeadline == nil)
    }

    @Test("missed ticks are made up for, one at each acknowledgement; or not, if so chosen")
    func reinjection() {
        let machine = machine(), chipset = machine.chipset
        func missThree() -> Int {
            machine.program(0, mode: 2, count: 11932)
            machine.pass(30_000_500)
            var count = 0
            while chipset.acknowledge(0) == 0x20 {
                count += 1
                machine.out(0x20, 0x20)
            }
            return count
        }
        #expect(missThree() == 3)
        #expect(chipset.setPITReinjection(false))
        #expect(missThree() == 1)
    }

    @Test("state goes round; HPET legacy mode stops channel 0")
    func state() throws {
        let machine = machine(), chipset = machine.chipset
        machine.program(0, mode: 2, count: 11932)
        machine.program(2, mode: 3, count: 77)
        machine.out(0x43, 0xC8)
        var state = try #require(chipset.pit())
        #expect(chipset.setPIT(state))
        #expect(chipset.pit() == state)
        state.flags = PITState.hpetLegacy
        #expect(chipset.setPIT(state))
        #expect(chipset.nextDeadline == nil)
        state.flags = 0
        #expect(chipset.setPIT(state))
        #expect(chipset.nextDeadline != nil)
    }

    @Test("no PIT in split mode or before it is made")
    func absent() {
        let split = Machine(mode: .split(pins: 24))
        #expect(!split.chipset.createPIT(speaker: true))
        #expect(split.chipset.readPort(0x40, size: 1) == nil)
        #expect(Machine().chipset.readPort(0x40, size: 1) == nil)
        #expect(split.chipset.pic(.primary) == nil)
        #expect(!split.chipset.writeMMIO(0xFEC0_0000, size: 4, value: 0))
    }
}
