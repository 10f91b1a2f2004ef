import Chipset
import TestLimits
import Testing

@Suite("Local APIC (Intel SDM vol. 3, ch. 11)", .within(minutes: 20)) struct LocalAPICTests {
    @Test("11.4.7.1: state after power-up")
    func powerUp() {
        let machine = Machine(cpus: 2), chipset = machine.chipset
        #expect(chipset.apicBase(0) == 0xFEE0_0900)
        #expect(chipset.apicBase(1) == 0xFEE0_0800)
        #expect(machine.cpus[1].apicPage == 0xFEE0_0000)
        #expect(machine.read(0x20, cpu: 1) == 1 << 24)
        #expect(machine.read(0x30) == 0x5_0014)
        #expect(machine.read(0xE0) == ~0)
        #expect(machine.read(0xF0) == 0xFF)
        #expect(machine.read(0x350) == 0x700)
        #expect(machine.read(0x350, cpu: 1) == 0x1_0000)
        for offset: UInt32 in [0x320, 0x330, 0x340, 0x360, 0x370] { #expect(machine.read(offset) == 0x1_0000) }
        for offset: UInt32 in [0x80, 0xA0, 0xD0, 0x280, 0x300, 0x310, 0x380, 0x390, 0x3E0, 0x100, 0x270] {
            #expect(machine.read(offset) == 0)
        }
        #expect(chipset.addVirtualCPU(0) == nil)
        #expect(chipset.addVirtualCPU(-1) == nil)
        #expect(chipset.addVirtualCPU(1 << 20) == nil)
        #expect(chipset.readAPIC(7, offset: 0x20, size: 4) == nil)
        #expect(chipset.acknowledge(7) == nil)
    }

    @Test("11.4.1: sizes and alignment")
    func access() {
        let machine = Machine(), chipset = machine.chipset
        #expect(chipset.readAPIC(0, offset: 0x30, size: 1) == 0x14)
        #expect(chipset.readAPIC(0, offset: 0x32, size: 2) == 5)
        #expect(chipset.readAPIC(0, offset: 0x32, size: 4) == 0)
        #expect(chipset.readAPIC(0, offset: 0x30, size: 8) == 0)
        #expect(chipset.readAPIC(0, offset: 0xC0, size: 4) == 0)
        #expect(chipset.readAPIC(0, offset: 0xFFFF_FFF0, size: 4) == 0)
        #expect(chipset.writeAPIC(0, offset: 0x80, size: 1, value: 0xFF))
        #expect(chipset.writeAPIC(0, offset: 0x84, size: 4, value: 0xFF))
        #expect(machine.read(0x80) == 0)
        machine.write(0x310, ~0)
        #expect(machine.read(0x310) == 0xFF00_0000)
        machine.write(0xE0, 0)
        #expect(machine.read(0xE0) == 0x0FFF_FFFF)
        machine.write(0xD0, ~0)
        #expect(machine.read(0xD0) == 0xFF00_0000)
    }

    @Test("11.4.7.2: software disable masks the LVT and refuses interrupts, NMI gets through")
    func softwareDisable() {
        let machine = Machine(), chipset = machine.chipset
        machine.enable()
        machine.write(0x320, 0x40)
        machine.write(0x370, 0xFFFF_FFFF)
        #expect(machine.read(0x370) == 0x1_00FF)
        machine.write(0xF0, 0xFF)
        #expect(machine.read(0x320) == 0x1_0040)
        machine.write(0x320, 0x40)
        #expect(machine.read(0x320) == 0x1_0040)
        #expect(chipset.deliverMSI(address: 0xFEE0_0000, data: 0x40) == 0)
        #expect(chipset.deliverMSI(address: 0xFEE0_0000, data: 0x400) == 1)
        #expect(chipset.pendingEvents(0).nmis == 1)
    }

    @Test("11.8: TPR and PPR mask, CR8 is the TPR's class, EOI uncovers")
    func priorities() {
        let machine = Machine(), chipset = machine.chipset
        machine.enable()
        machine.write(0x350, 0x1_0000)
        func send(_ vector: UInt32) { chipset.deliverMSI(address: 0xFEE0_0000, data: vector) }
        machine.write(0x80, 0x45)
        #expect(chipset.cr8(0) == 4)
        send(0x4F)
        #expect(machine.cpus[0].pending == [])
        #expect(chipset.acknowledge(0) == nil)
        send(0x50)
        #expect(machine.cpus[0].pending == .interrupt)
        #expect(chipset.acknowledge(0) == 0x50)
        #expect(machine.read(0xA0) == 0x50)
        chipset.setCR8(0, 0)
        #expect(machine.read(0x80) == 0)
        send(0x5F)
        #expect(!chipset.hasInterrupt(0))
        send(0x61)
        #expect(chipset.acknowledge(0) == 0x61)
        machine.end()
        #expect(machine.cpus[0].pending == [])
        machine.end()
        #expect(machine.cpus[0].pending == .interrupt)
        #expect(chipset.acknowledge(0) == 0x5F)
        machine.end()
        #expect(chipset.acknowledge(0) == 0x4F)
        machine.end()
        #expect(machine.read(0xA0) == 0)
        machine.end()
        _ = machine.takeWakes()
        send(0x40)
        #expect(machine.takeWakes() == [0])
        send(0x41)
        #expect(machine.takeWakes() == [])
    }

    @Test(
        "11.8.3.1: PPR is the higher class, with TPR's subclass where TPR's is not the lower",
        arguments: [
            (UInt32(0x45), UInt32(0x4F), UInt32(0x45)), (0x4F, 0x41, 0x4F), (0x40, 0x4F, 0x40), (0x35, 0x4F, 0x40),
            (0x3F, 0x41, 0x40), (0x55, 0x4F, 0x55), (0x50, 0x4F, 0x50), (0x00, 0x4F, 0x40),
        ])
    func processorPriority(task: UInt32, service: UInt32, wanted: UInt32) {
        let machine = Machine(), chipset = machine.chipset
        machine.enable()
        machine.write(0x350, 0x1_0000)
        chipset.deliverMSI(address: 0xFEE0_0000, data: service)
        #expect(chipset.acknowledge(0).map(UInt32.init) == service)
        machine.write(0x80, task)
        #expect(machine.read(0xA0) == wanted)
        // The subclass holds nothing back: the class does.
        chipset.deliverMSI(address: 0xFEE0_0000, data: wanted | 0xF)
        #expect(!chipset.hasInterrupt(0))
        chipset.deliverMSI(address: 0xFEE0_0000, data: (wanted & 0xF0) + 0x10)
        #expect(chipset.hasInterrupt(0))
        machine.end()
        #expect(machine.read(0xA0) == task)
    }

    @Test("11.12.5: transitions of IA32_APIC_BASE")
    func base() {
        let machine = Machine(), chipset = machine.chipset
        let xapic: UInt64 = 0xFEE0_0900, x2apic: UInt64 = 0xFEE0_0D00, disabled: UInt64 = 0xFEE0_0100
        func set(_ value: UInt64, host: Bool = false) -> Bool { chipset.setAPICBase(0, value, fromHost: host) }
        #expect(!set(xapic | 1))
        #expect(!set(xapic | 1 << 52))
        #expect(!set(0xFEE0_0500))
        #expect(set(disabled))
        #expect(!set(x2apic))
        #expect(set(xapic))
        #expect(set(x2apic))
        #expect(!set(xapic))
        #expect(set(xapic, host: true))
        #expect(set(x2apic))
        #expect(set(disabled))
        #expect(set(0x1234_5900))
        #expect(machine.cpus[0].apicPage == 0x1234_5000)
        chipset.setFeatures(0, ProcessorFeatures(x2APIC: false, tscDeadline: false, physicalAddressBits: 40))
        #expect(!set(x2apic))
        #expect(!set(xapic | 1 << 40))
        #expect(set(disabled))
        #expect(chipset.readAPIC(0, offset: 0x20, size: 4) == 0xFFFF_FFFF)
        chipset.setQuirks(lint0Reenabled: true, mmioHole: false)
        #expect(chipset.readAPIC(0, offset: 0x20, size: 4) == nil)
        #expect(!chipset.writeAPIC(0, offset: 0x20, size: 4, value: 0))
    }

    @Test("11.12: x2APIC ids and registers")
    func x2APIC() {
        let machine = Machine(cpus: 1), chipset = machine.chipset
        let far = chipset.addVirtualCPU(0x123)
        #expect(far?.id == 0x123)
        #expect(machine.enableX2APIC(0x123))
        #expect(chipset.readX2APIC(0x123, msr: 0x802) == 0x123)
        #expect(chipset.readX2APIC(0x123, msr: 0x80D) == 0x12_0008)
        #expect(chipset.readX2APIC(0, msr: 0x802) == nil)
        #expect(chipset.readX2APIC(0x123, msr: 0x803) == 0x5_0014)
        for msr: UInt32 in [0x800, 0x809, 0x80B, 0x80C, 0x80E, 0x831, 0x83F, 0x840, 0x8FF, 0x7FF, 0, .max] {
            #expect(chipset.readX2APIC(0x123, msr: msr) == nil)
        }
        for msr: UInt32 in [0x802, 0x803, 0x809, 0x80A, 0x80D, 0x80E, 0x810, 0x831, 0x839, 0x840, .max] {
            #expect(!chipset.writeX2APIC(0x123, msr: msr, value: 0))
        }
        #expect(!chipset.writeX2APIC(0x123, msr: 0x808, value: 1 << 32))
        #expect(chipset.writeX2APIC(0x123, msr: 0x808, value: 0x20))
        #expect(chipset.cr8(0x123) == 2)
        #expect(!chipset.writeX2APIC(0x123, msr: 0x828, value: 1))
        #expect(chipset.writeX2APIC(0x123, msr: 0x828, value: 0))
        #expect(chipset.writeX2APIC(0x123, msr: 0x80F, value: 0x1FF))
        #expect(!chipset.writeX2APIC(0x123, msr: 0x83F, value: 0x100))
        #expect(chipset.writeX2APIC(0x123, msr: 0x83F, value: 0x99))
        #expect(chipset.acknowledge(0x123) == 0x99)
        #expect(chipset.writeX2APIC(0x123, msr: 0x80B, value: 0))
        #expect(!chipset.writeX2APIC(0x123, msr: 0x830, value: 1 << 20))
        #expect(chipset.writeX2APIC(0x123, msr: 0x830, value: 0x0000_0123_0000_0055))
        #expect(chipset.readX2APIC(0x123, msr: 0x830) == 0x0000_0123_0000_0055)
        #expect(chipset.acknowledge(0x123) == 0x55)
    }

    @Test("11.9: suppressed EOI broadcast is offered only without the I/O APIC here")
    func directedEOI() {
        let machine = Machine()
        machine.write(0xF0, 0x11FF)
        #expect(machine.read(0xF0) == 0x1FF)
        let split = Machine(mode: .split(pins: 24))
        #expect(split.read(0x30) == 0x105_0014)
        split.write(0xF0, 0x11FF)
        #expect(split.read(0xF0) == 0x11FF)
    }

    @Test("the page goes round, with its timer and x2APIC's forms of id and command")
    func page() throws {
        let machine = Machine(cpus: 2), chipset = machine.chipset
        machine.enable()
        machine.write(0x320, 0x2_0040)
        machine.write(0x3E0, 0xB)
        machine.write(0x380, 10_000_000)
        chipset.deliverMSI(address: 0xFEE0_0000, data: 0x61)
        let page = try #require(chipset.localAPICPage(0))
        #expect(page.count == 1024)
        chipset.reset(0, initialize: false)
        #expect(chipset.nextDeadline == nil)
        #expect(!chipset.setLocalAPICPage(0, [], tsc: 0))
        #expect(chipset.setLocalAPICPage(0, page, tsc: 0))
        #expect(chipset.localAPICPage(0) == page)
        #expect(chipset.nextDeadline == machine.now + 10_000_000)
        #expect(chipset.acknowledge(0) == 0x61)

        #expect(machine.enableX2APIC(1))
        #expect(chipset.writeX2APIC(1, msr: 0x830, value: 0x7777_0000_0000))
        let narrow = try #require(chipset.localAPICPage(1))
        #expect(narrow[0x20..<0x24] == [0, 0, 0, 1])
        #expect(narrow[0x304..<0x308] == [0x77, 0x77, 0, 0])
        #expect(chipset.setLocalAPICPage(1, narrow, tsc: 0))
        #expect(chipset.localAPICPage(1) == narrow)
        chipset.setX2APICFormat(wideIDs: true, broadcastQuirkDisabled: true)
        #expect(!chipset.setLocalAPICPage(1, narrow, tsc: 0))
        #expect(chipset.localAPICPage(1)?[0x20..<0x24] == [1, 0, 0, 0])
    }
}
