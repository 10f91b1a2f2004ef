// INIT and start-up messages, by their effect on a processor that runs. Intel SDM vol. 3, 9.4.2 and 11.6.1.

import KVM
import KVMABI
import TestLimits
import TestSupport
import Testing

@Suite(.within(minutes: 20))
struct ProcessorStartTests {
    /// A bootstrap processor that counts at a port, from its reset vector on: `again: out 0x80, al; inc al; jmp again`.
    private func machine(_ hypervisor: Hypervisor) throws -> TestMachine {
        var code = [UInt8](repeating: 0, count: 0x1_0000)
        code.replaceSubrange(0xFFF0..<0xFFF6, with: [0xE6, 0x80, 0xFE, 0xC0, 0xEB, 0xFA])
        return try TestMachine(hypervisor, .reset, code) { try $0.createInterruptControllers() }
    }

    private func count(_ cpu: inout VirtualCPU, _ watchdog: Watchdog) throws -> UInt32 {
        watchdog.begin()
        try cpu.run()
        watchdog.end()
        guard case .portOut(let out) = cpu.exit else { throw Unexpected(cpu.exit) }
        return out.value
    }

    /// A start-up is for those that wait for one; the others go on.
    @Test(arguments: hypervisors)
    func aStartUpIsNothingToOneThatRuns(_ hypervisor: Hypervisor) throws {
        let machine = try machine(hypervisor)
        var cpu = try machine.makeCPU()
        let watchdog = Watchdog(cpu.kickHandle)
        #expect(try count(&cpu, watchdog) == 0)
        try machine.machine.signalMSI(address: 0xFEE0_0000, data: 0x610)
        #expect(try count(&cpu, watchdog) == 1)
        #expect(try count(&cpu, watchdog) == 2)
    }

    /// INIT sends the bootstrap processor to its reset vector, and it does not wait for a start-up there.
    @Test(arguments: hypervisors)
    func INITRestartsTheBootProcessor(_ hypervisor: Hypervisor) throws {
        let machine = try machine(hypervisor)
        var cpu = try machine.makeCPU()
        let watchdog = Watchdog(cpu.kickHandle)
        #expect(try count(&cpu, watchdog) == 0)
        #expect(try count(&cpu, watchdog) == 1)
        let delivery = try machine.machine.signalMSI(address: 0xFEE0_0000, data: 0x500)
        if hypervisor == .kernel, delivery != .delivered(1) {
            return try skip("INIT by a message", "this kind of /dev/kvm delivers it to nobody")
        }
        #expect(delivery == .delivered(1))
        #expect(try count(&cpu, watchdog) == 0)
        #expect(try cpu.multiprocessorState() == .runnable)
    }
}
