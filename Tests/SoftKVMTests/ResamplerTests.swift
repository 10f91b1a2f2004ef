// Level-triggered irqfds: the line that they hold together, and who hears of the end of the interrupt.
// Documentation/virt/kvm/api.rst, section 4.75 (KVM_IRQFD_FLAG_RESAMPLE).

import Glibc
import KVM
import KVMABI
import TestLimits
import Testing

@Suite(.enabled(if: Assembler.isAvailable, "nasm is not installed"), .within(minutes: 20))
struct ResamplerTests {
    private static let gsi: UInt32 = 7

    /// Whether the pin is high: a kernel raises it by a thread of its own.
    private func isHigh(_ machine: borrowing VirtualMachine) throws -> Bool {
        let state = try machine.interruptController(.ioapic)
        return unsafe state.chip.ioapic.irr & 1 << Self.gsi != 0
    }

    private func waitUntilHigh(_ machine: borrowing VirtualMachine) throws {
        while try !isHigh(machine) { sched_yield() }
    }

    /// Of two on a line the last one takes the line down with it, whichever raised it.
    @Test(arguments: hypervisors, [true, false])
    func aLineIsHighUntilTheLastGoes(_ hypervisor: Hypervisor, _ firstRaises: Bool) throws {
        let machine = try TestMachine(hypervisor, source: "hlt") { try $0.createInterruptControllers() }
        _ = try machine.makeCPU()
        let first = try EventDescriptor()
        let second = try EventDescriptor()
        let heard = try EventDescriptor()
        let other = try EventDescriptor()
        try machine.machine.attach(first, toGSI: Self.gsi, resample: heard)
        try machine.machine.attach(second, toGSI: Self.gsi, resample: other)
        if firstRaises { first.signal() } else { second.signal() }
        try waitUntilHigh(machine.machine)
        try machine.machine.detach(first, fromGSI: Self.gsi)
        #expect(try isHigh(machine.machine))
        try machine.machine.detach(second, fromGSI: Self.gsi)
        #expect(try !isHigh(machine.machine))
        // Nobody's interrupt has ended.
        #expect(heard.drain() == 0 && other.drain() == 0)
        // The line is as it was, for who comes next.
        try machine.machine.attach(first, toGSI: Self.gsi, resample: heard)
        #expect(try !isHigh(machine.machine))
        first.signal()
        try waitUntilHigh(machine.machine)
    }

    /// A device of the client's that holds the line, too, goes on holding it.
    @Test(arguments: hypervisors)
    func aLineThatTheClientHoldsStaysHigh(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(hypervisor, source: "hlt") { try $0.createInterruptControllers() }
        _ = try machine.makeCPU()
        let event = try EventDescriptor()
        let heard = try EventDescriptor()
        try machine.machine.attach(event, toGSI: Self.gsi, resample: heard)
        try machine.machine.setLine(Self.gsi, to: true)
        event.signal()
        try waitUntilHigh(machine.machine)
        try machine.machine.detach(event, fromGSI: Self.gsi)
        #expect(try isHigh(machine.machine))
        try machine.machine.setLine(Self.gsi, to: false)
        #expect(try !isHigh(machine.machine))
    }

    private static let source = """
        handlers
        mov word [0x6d000 + 0x24 * 16], handler
        mov al, 0xff
        out 0x21, al
        out 0xa1, al
        mov r12d, 0xfee00000
        mov r13d, 0xfec00000
        mov dword [r12 + 0xf0], 0x1ff
        mov dword [r13], 0x1e       ; pin 7: vector 0x24, level-triggered
        mov dword [r13 + 0x10], 0x8024
        out 0x80, al
        sti
        again: hlt
        jmp again
        handler: out 0x81, al
        mov dword [r12 + 0xb0], 0
        out 0x82, al
        out 0x83, al
        iretq
        """

    /// The end of an interrupt is told to everyone on the line, and to nobody who has gone.
    @Test(arguments: hypervisors)
    func theEndIsToldToAll(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(hypervisor, source: Self.source) { try $0.createInterruptControllers() }
        let first = try EventDescriptor()
        let second = try EventDescriptor()
        let heard = try EventDescriptor()
        let other = try EventDescriptor()
        try machine.machine.attach(first, toGSI: Self.gsi, resample: heard)
        try machine.machine.attach(second, toGSI: Self.gsi, resample: other)
        var cpu = try machine.makeCPU()
        func run(to port: UInt16) throws {
            try cpu.run()
            guard case .portOut(let out) = cpu.exit else { throw Unexpected(cpu.exit) }
            #expect(out.port == port)
        }
        try run(to: 0x80)
        for isAlone in [false, true] {
            if isAlone { try machine.machine.detach(second, fromGSI: Self.gsi) }
            first.signal()
            // A kernel that emulates is further on at an exit, and may tell of the end later than that.
            try run(to: 0x81)
            try run(to: 0x82)
            try run(to: 0x83)
            #expect(heard.wait(milliseconds: -1) && heard.drain() == 1)
            #expect(other.drain() == (isAlone ? 0 : 1))
            #expect(try !isHigh(machine.machine))
        }
    }
}
