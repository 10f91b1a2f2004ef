import Chipset
import TestLimits
import Testing

@Suite("IPIs and messages (Intel SDM vol. 3, 11.6 and 11.11)", .within(minutes: 20)) struct InterprocessorTests {
    func machine(_ count: Int = 4) -> Machine {
        let machine = Machine(cpus: count)
        machine.enable()
        return machine
    }

    @Test("physical destinations and shorthands")
    func physical() {
        let machine = machine()
        machine.command(0x40, to: 2)
        #expect(machine.receivers(0x40) == [2])
        machine.command(0x41, to: 0xFF)
        #expect(machine.receivers(0x41) == [0, 1, 2, 3])
        machine.command(0x4_0042, to: 3, cpu: 1)
        #expect(machine.receivers(0x42) == [1])
        machine.command(0x8_0043, cpu: 1)
        #expect(machine.receivers(0x43) == [0, 1, 2, 3])
        machine.command(0xC_0044, cpu: 1)
        #expect(machine.receivers(0x44) == [0, 2, 3])
        machine.command(0x45, to: 9)
        #expect(machine.receivers(0x45) == [])
        machine.command(0x1046, to: 1)
        #expect(machine.read(0x300) == 0x46)
        machine.write(0x20, 0x7700_0000, cpu: 3)
        machine.command(0x47, to: 0x77)
        #expect(machine.receivers(0x47) == [3])
    }

    @Test("logical destinations: flat and cluster")
    func logical() {
        let machine = machine()
        for cpu in 0..<4 { machine.write(0xD0, 1 << UInt32(24 + cpu), cpu: cpu) }
        machine.command(0x850, to: 0b0110)
        #expect(machine.receivers(0x50) == [1, 2])
        for cpu in 0..<4 {
            machine.write(0xE0, 0, cpu: cpu)
            machine.write(0xD0, UInt32(cpu / 2) << 28 | 1 << UInt32(24 + cpu % 2), cpu: cpu)
        }
        machine.command(0x851, to: 0x13)
        #expect(machine.receivers(0x51) == [2, 3])
        machine.command(0x852, to: 0x02)
        #expect(machine.receivers(0x52) == [1])
        machine.write(0xE0, 0x5000_0000, cpu: 1)
        machine.command(0x853, to: 0x02)
        #expect(machine.receivers(0x53) == [])
        machine.command(0x854, to: 0xFF)
        #expect(machine.receivers(0x54) == [0, 1, 2, 3])
    }

    @Test("x2APIC: 32-bit physical ids, logical clusters of sixteen, broadcast")
    func x2APIC() {
        let machine = machine(20), chipset = machine.chipset
        for cpu in 0..<20 { #expect(machine.enableX2APIC(cpu)) }
        func receivers(_ vector: UInt8) -> [Int] {
            (0..<20).filter { cpu in
                let word = chipset.readX2APIC(cpu, msr: 0x820 + UInt32(vector >> 5)) ?? 0
                return word & 1 << UInt64(vector & 31) != 0
            }
        }
        func send(_ icr: UInt64) { #expect(chipset.writeX2APIC(0, msr: 0x830, value: icr)) }
        send(0x0000_0011_0000_0060)
        #expect(receivers(0x60) == [17])
        send(0x0001_0005_0000_0861)
        #expect(receivers(0x61) == [16, 18])
        send(0xFFFF_FFFF_0000_0062)
        #expect(receivers(0x62).count == 20)
        send(0x0000_00FF_0000_0063)
        #expect(receivers(0x63) == [])
        #expect(chipset.deliverMSI(address: 0xFEEF_F000, data: 0x64) == 20)
        chipset.setX2APICFormat(wideIDs: true, broadcastQuirkDisabled: true)
        #expect(chipset.deliverMSI(address: 0xFEEF_F000, data: 0x65) == 0)
        #expect(chipset.sendIPIs(bitmap: [0b101, 0], minimum: 17, icr: 0x66) == 2)
        #expect(receivers(0x66) == [17, 19])
        #expect(chipset.sendIPIs(bitmap: [1], minimum: 0, icr: 0x4_0066) == -22)
        #expect(chipset.sendIPIs(bitmap: [~0, ~0], minimum: .max, icr: 0x66) == 0)
    }

    @Test("lowest priority goes to one, chosen by the vector, among those that are enabled")
    func lowestPriority() {
        let machine = machine()
        for cpu in 0..<4 { machine.write(0xD0, 1 << UInt32(24 + cpu), cpu: cpu) }
        var seen: Set<Int> = []
        for vector: UInt8 in 0x60..<0x64 {
            machine.command(0x900 | UInt32(vector), to: 0xF)
            #expect(machine.receivers(vector).count == 1)
            seen.formUnion(machine.receivers(vector))
        }
        #expect(seen == [0, 1, 2, 3])
        machine.write(0xF0, 0xFF, cpu: 1)
        for vector: UInt8 in 0x70..<0x78 {
            machine.command(0x900 | UInt32(vector), to: 0b0011)
            #expect(machine.receivers(vector) == [0])
        }
        machine.command(0x178, to: 0xFF)
        #expect(machine.receivers(0x78) == [0, 2, 3])
    }

    @Test("NMI, INIT, SIPI, SMI, and what they wake")
    func events() {
        let machine = machine(), chipset = machine.chipset
        for _ in 0..<3 { machine.command(0x400, to: 1) }
        #expect(machine.takeWakes() == [1])
        #expect(machine.cpus[1].pending == .nmi)
        #expect(chipset.takeEvents(1).nmis == 2)
        #expect(machine.cpus[1].pending == [])

        machine.command(0x699, to: 2)
        machine.command(0xC500, to: 2)
        #expect(machine.cpus[2].pending == .initialize)
        machine.command(0x8500, to: 2)
        machine.command(0x69A, to: 2)
        #expect(machine.cpus[2].pending == [.initialize, .startUp])
        let events = chipset.takeStartup(2)
        #expect(events.initialize && events.startUp == 0x9A)
        #expect(chipset.pendingEvents(2).isEmpty)

        machine.command(0x200, to: 3)
        #expect(chipset.takeEvents(3).systemManagement)
        chipset.unhalt(apicID: 3)
        #expect(machine.cpus[3].pending == .unhalt)
        chipset.sendNMI(3)
        var posted = VirtualCPUEvents()
        posted.startUp = 5
        chipset.post(3, posted)
        #expect(chipset.pendingEvents(3).startUp == 5)
        chipset.reset(3, initialize: true)
        #expect(chipset.pendingEvents(3).nmis == 1)
        chipset.reset(3, initialize: false)
        #expect(chipset.pendingEvents(3).isEmpty)
        #expect(machine.cpus[3].pending == [])
    }

    @Test("11.6.1: INIT's level de-assert is no INIT")
    func deassert() {
        let machine = machine()
        machine.command(0x8500, to: 2)
        #expect(machine.cpus[2].pending == [])
        // Nor does it take back a start-up.
        machine.command(0x69A, to: 2)
        machine.command(0x8500, to: 2)
        #expect(machine.chipset.pendingEvents(2).startUp == 0x9A)
    }

    @Test("whatever comes beside what is pending already wakes, too")
    func wakes() {
        let machine = machine(), chipset = machine.chipset
        machine.command(0x40, to: 1)
        #expect(machine.takeWakes() == [1])
        // Another interrupt is no news.
        machine.command(0x50, to: 1)
        #expect(machine.takeWakes() == [])
        machine.command(0x400, to: 1)
        #expect(machine.takeWakes() == [1])
        machine.command(0xC500, to: 1)
        #expect(machine.takeWakes() == [1])
        machine.command(0x69A, to: 1)
        #expect(machine.takeWakes() == [1])
        chipset.unhalt(apicID: 1)
        #expect(machine.takeWakes() == [1])
        #expect(machine.cpus[1].pending == [.interrupt, .nmi, .initialize, .startUp, .unhalt])
    }

    @Test("11.8.4: a vector's TMR bit is that of its last message")
    func triggerMode() {
        let machine = machine(), chipset = machine.chipset
        #expect(chipset.deliverMSI(address: 0xFEE0_2000, data: 0xC063) == 1)
        #expect(machine.read(0x1B0, cpu: 2) == 1 << 3)
        #expect(chipset.acknowledge(2) == 0x63)
        machine.end(cpu: 2)
        #expect(chipset.deliverMSI(address: 0xFEE0_2000, data: 0x63) == 1)
        #expect(machine.read(0x1B0, cpu: 2) == 0)
        // Its neighbours' are left alone.
        #expect(chipset.deliverMSI(address: 0xFEE0_2000, data: 0xC062) == 1)
        #expect(chipset.deliverMSI(address: 0xFEE0_2000, data: 0x64) == 1)
        #expect(machine.read(0x1B0, cpu: 2) == 1 << 2)
    }

    @Test("11.4.7.3: INIT keeps base and id")
    func initialize() {
        let machine = machine(), chipset = machine.chipset
        machine.write(0x80, 0x50, cpu: 2)
        machine.command(0x60, to: 2)
        #expect(machine.enableX2APIC(2))
        chipset.reset(2, initialize: true)
        #expect(chipset.apicBase(2) == 0xFEE0_0C00)
        #expect(chipset.readX2APIC(2, msr: 0x802) == 2)
        #expect(chipset.readX2APIC(2, msr: 0x80D) == 4)
        #expect(chipset.readX2APIC(2, msr: 0x80F) == 0xFF)
        #expect(chipset.readX2APIC(2, msr: 0x823) == 0)
        #expect(chipset.cr8(2) == 0)
    }

    @Test("11.11: MSI's address and data")
    func messages() {
        let machine = machine(), chipset = machine.chipset
        for cpu in 0..<4 { machine.write(0xD0, 1 << UInt32(24 + cpu), cpu: cpu) }
        #expect(chipset.deliverMSI(address: 0xFEE0_2000, data: 0x60) == 1)
        #expect(machine.receivers(0x60) == [2])
        #expect(chipset.deliverMSI(address: 0xFEE0_6004, data: 0x61) == 2)
        #expect(machine.receivers(0x61) == [1, 2])
        #expect(chipset.deliverMSI(address: 0xFEE0_600C, data: 0x62) == 1)
        #expect(chipset.deliverMSI(address: 0xFEE0_2000, data: 0x8063) == 1)
        #expect(machine.read(0x1B0, cpu: 2) == 1 << 3)
        #expect(chipset.deliverMSI(address: 0x1_FEE0_2000, data: 0x64) == 1)
        chipset.setX2APICFormat(wideIDs: true, broadcastQuirkDisabled: false)
        #expect(chipset.deliverMSI(address: 0x1_FEE0_2000, data: 0x64) == -22)
        #expect(chipset.deliverMSI(address: 0x100_FEE0_2000, data: 0x65) == 0)
        #expect(chipset.addVirtualCPU(0x102) != nil)
        #expect(chipset.setAPICBase(0x102, 0xFEE0_0C00, fromHost: false))
        #expect(chipset.writeX2APIC(0x102, msr: 0x80F, value: 0x1FF))
        #expect(chipset.deliverMSI(address: 0x100_FEE0_2000, data: 0x65) == 1)
        #expect(chipset.acknowledge(0x102) == 0x65)
    }
}
