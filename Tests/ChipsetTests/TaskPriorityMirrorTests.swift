import Chipset
import TestLimits
import Testing

@Suite("Task priority in guest memory (KVM_SET_VAPIC_ADDR)", .within(minutes: 20)) struct TaskPriorityMirrorTests {
    private static let period: UInt64 = 1_000_000

    private func mirrored() -> Machine {
        let machine = Machine()
        machine.enable()
        machine.write(0x350, 0x1_0000)
        machine.chipset.setTaskPriorityMirrored(0, true)
        return machine
    }

    private func send(_ vector: UInt32, _ machine: Machine) {
        machine.chipset.deliverMSI(address: 0xFEE0_0000, data: vector)
    }

    @Test("The word: task priority, class in service, highest requested vector")
    func word() {
        let machine = mirrored(), chipset = machine.chipset
        chipset.setTaskPriority(0, 0x25)
        #expect(chipset.taskPriorityWord(0) == 0x25)
        #expect(machine.read(0x80) == 0x25)
        send(0x47, machine)
        send(0x31, machine)
        #expect(chipset.taskPriorityWord(0) == 0x4700_0025)
        #expect(chipset.acknowledge(0) == 0x47)
        #expect(chipset.taskPriorityWord(0) == 0x3100_4025)
        machine.write(0xF0, 0xFF)
        #expect(chipset.taskPriorityWord(0) == nil)
        #expect(chipset.taskPriorityWord(3) == nil)
    }

    @Test("Each request is announced, as the word has to show it though the priority that is known holds it back")
    func announcement() {
        let machine = mirrored(), chipset = machine.chipset
        chipset.setTaskPriority(0, 0x80)
        _ = machine.takeWakes()
        for vector: UInt32 in [0x41, 0x51] {
            send(vector, machine)
            #expect(machine.cpus[0].pending == .taskPriority)
            #expect(machine.takeWakes() == [0])
            #expect(chipset.takeEvents(0).taskPriority)
            #expect(machine.cpus[0].pending == [])
        }
        chipset.setTaskPriority(0, 0x40)
        #expect(machine.cpus[0].pending == .interrupt)
        chipset.setTaskPriorityMirrored(0, false)
        send(0x61, machine)
        #expect(machine.cpus[0].pending == .interrupt)
    }

    @Test("While a vector is held back the word is looked at again and again")
    func look() {
        let machine = mirrored(), chipset = machine.chipset
        chipset.setTaskPriority(0, 0x40)
        #expect(chipset.nextDeadline == nil)
        send(0x41, machine)
        _ = chipset.takeEvents(0)
        #expect(chipset.taskPriorityWord(0) == 0x4100_0040)
        for _ in 0..<3 {
            #expect(chipset.nextDeadline == machine.now + TaskPriorityMirrorTests.period)
            machine.pass(TaskPriorityMirrorTests.period)
            #expect(machine.cpus[0].pending == .taskPriority)
            #expect(chipset.takeEvents(0).taskPriority)
            #expect(chipset.nextDeadline == nil)
            _ = chipset.taskPriorityWord(0)
        }
        // One that an interrupt in service holds back waits for its end, which needs no look.
        chipset.setTaskPriority(0, 0)
        #expect(chipset.acknowledge(0) == 0x41)
        machine.pass(TaskPriorityMirrorTests.period)
        _ = chipset.takeEvents(0)
        send(0x42, machine)
        _ = chipset.taskPriorityWord(0)
        #expect(chipset.nextDeadline == nil)
    }

    @Test("INIT and reset end it", arguments: [true, false])
    func reset(initialize: Bool) {
        let machine = mirrored(), chipset = machine.chipset
        chipset.setTaskPriority(0, 0x40)
        send(0x41, machine)
        _ = chipset.taskPriorityWord(0)
        chipset.reset(0, initialize: initialize)
        _ = chipset.takeEvents(0)
        #expect(chipset.nextDeadline == nil)
        machine.enable()
        chipset.setTaskPriority(0, 0x80)
        send(0x41, machine)
        #expect(machine.cpus[0].pending == [])
    }
}
