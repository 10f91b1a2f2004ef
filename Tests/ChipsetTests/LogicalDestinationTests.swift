import Chipset
import TestLimits
import Testing

@Suite("Logical destinations with several members (Intel SDM vol. 3, 11.6.2.2 and 11.12.10)", .within(minutes: 20))
struct LogicalDestinationTests {
    /// How a machine's local APICs are named.
    enum Form: CaseIterable { case flat, cluster, x2APIC }

    /// The destination that means each vCPU alone. Eight of them: flat has no more.
    static func address(_ form: Form, _ cpu: Int) -> UInt32 {
        switch form {
        case .flat: 1 << UInt32(cpu)
        // Four members a cluster, of clusters 2 and 9.
        case .cluster: UInt32(cpu < 4 ? 0x20 : 0x90) | 1 << UInt32(cpu & 3)
        case .x2APIC: 1 << UInt32(cpu)
        }
    }

    func machine(_ form: Form) -> Machine {
        let machine = Machine(cpus: 8)
        machine.enable()
        for cpu in 0..<8 {
            if form == .x2APIC {
                #expect(machine.enableX2APIC(cpu))
                continue
            }
            machine.write(0xD0, LogicalDestinationTests.address(form, cpu) << 24, cpu: cpu)
            if form == .cluster { machine.write(0xE0, 0x0FFF_FFFF, cpu: cpu) }
        }
        return machine
    }

    func receivers(_ machine: Machine, _ form: Form, _ vector: UInt8) -> [Int] {
        guard form == .x2APIC else { return machine.receivers(vector) }
        return (0..<8).filter { cpu in
            let word = machine.chipset.readX2APIC(cpu, msr: 0x820 + UInt32(vector >> 5)) ?? 0
            return word & 1 << UInt64(vector & 31) != 0
        }
    }

    /// The destinations of each form: all that eight bits can say, or a whole cluster of x2APICs and others' beside it.
    static func destinations(_ form: Form) -> [UInt32] {
        form == .x2APIC ? Array(0..<256) + [0x1_0001, 0xFFFF_00FF, 0x100] : Array(0..<256)
    }

    /// Who is meant, by the manual.
    static func meant(_ form: Form, _ destination: UInt32) -> [Int] {
        switch form {
        case .flat: (0..<8).filter { destination & 1 << UInt32($0) != 0 }
        case .cluster where destination == 0xFF: Array(0..<8)
        case .cluster:
            (0..<8).filter { destination >> 4 == ($0 < 4 ? 2 : 9) && destination & 1 << UInt32($0 & 3) != 0 }
        case .x2APIC: (0..<8).filter { destination >> 16 == 0 && destination & 1 << UInt32($0) != 0 }
        }
    }

    func send(_ machine: Machine, _ form: Form, _ command: UInt32, to destination: UInt32) {
        if form == .x2APIC {
            let value = UInt64(destination) << 32 | UInt64(command)
            #expect(machine.chipset.writeX2APIC(0, msr: 0x830, value: value))
        } else {
            machine.command(command, to: destination)
        }
    }

    @Test("each member of a fixed message's destination, and nobody else", arguments: Form.allCases)
    func fixed(form: Form) {
        for destination in LogicalDestinationTests.destinations(form) {
            let machine = machine(form)
            send(machine, form, 0x840, to: destination)
            let wanted = LogicalDestinationTests.meant(form, destination)
            #expect(receivers(machine, form, 0x40) == wanted, "\(form), \(destination)")
        }
    }

    @Test("one member for lowest priority, by the vector; the disabled take no part", arguments: Form.allCases)
    func lowestPriority(form: Form) {
        let machine = machine(form)
        let disabled = 2
        if form == .x2APIC {
            #expect(machine.chipset.writeX2APIC(disabled, msr: 0x80F, value: 0xFF))
        } else {
            machine.write(0xF0, 0xFF, cpu: disabled)
        }
        for (index, destination) in LogicalDestinationTests.destinations(form).enumerated() {
            let vector = UInt8(0x20 + index % 0xD0)
            if index % 0xD0 == 0 {
                for cpu in 0..<8 { machine.chipset.reset(cpu, initialize: true) }
                for cpu in 0..<8 where cpu != disabled {
                    if form == .x2APIC {
                        #expect(machine.chipset.writeX2APIC(cpu, msr: 0x80F, value: 0x1FF))
                    } else {
                        machine.write(0xF0, 0x1FF, cpu: cpu)
                        machine.write(0xD0, LogicalDestinationTests.address(form, cpu) << 24, cpu: cpu)
                        if form == .cluster { machine.write(0xE0, 0x0FFF_FFFF, cpu: cpu) }
                    }
                }
            }
            send(machine, form, 0x900 | UInt32(vector), to: destination)
            let candidates = LogicalDestinationTests.meant(form, destination).filter { $0 != disabled }
            let wanted = candidates.isEmpty ? [] : [candidates[Int(vector) % candidates.count]]
            #expect(receivers(machine, form, vector) == wanted, "\(form), \(destination)")
        }
    }
}
