// HLT under the guest's own single steps and under the client's. Intel SDM vol. 2, HLT: a debug exception ends its wait.

import KVM
import KVMABI
import TestLimits
import TestSupport
import Testing

@Suite(.enabled(if: Assembler.isAvailable, "nasm is not installed"), .within(minutes: 20))
struct HaltStepTests {
    /// Real mode, interrupts off. #DB tells whether it came behind HLT, the NMI handler that it ran.
    private static let source = """
        mov word [4], debug
        mov word [6], 0
        mov word [8], nonmaskable
        mov word [10], 0
        push word FLAGS
        popf
        hlt
        behind: out 0x12, al
        debug: pop ax
        cmp ax, behind
        sete al
        out 0x10, al
        nonmaskable: out 0x11, al
        """

    private func machine(_ hypervisor: Hypervisor, stepsItself: Bool, chips: Bool) throws -> TestMachine {
        let source = Self.source.replacing("FLAGS", with: stepsItself ? "0x102" : "2")
        return try TestMachine(hypervisor, .real, source: source) { if chips { try $0.createInterruptControllers() } }
    }

    private func port(_ cpu: borrowing VirtualCPU) throws -> [UInt8] {
        guard case .portOut(let access) = cpu.exit else { throw Unexpected(cpu.exit) }
        return [UInt8(truncatingIfNeeded: access.port)] + access.bytes
    }

    @Test(arguments: hypervisors)
    func theTrapOfHLTEndsItsWait(_ hypervisor: Hypervisor) throws {
        var cpu = try machine(hypervisor, stepsItself: true, chips: true).makeCPU()
        try cpu.setMultiprocessorState(.runnable)
        try Watchdog(cpu.kickHandle).watch { try cpu.run() }
        #expect(try port(cpu) == [0x10, 1])
    }

    /// Without controllers the client has the halt, and the trap comes when it runs the guest again.
    @Test(arguments: hypervisors)
    func theTrapFollowsTheClientsHalt(_ hypervisor: Hypervisor) throws {
        var cpu = try machine(hypervisor, stepsItself: true, chips: false).makeCPU()
        try cpu.run()
        guard case .halt = cpu.exit else { throw Unexpected(cpu.exit) }
        try cpu.run()
        #expect(try port(cpu) == [0x10, 1])
    }

    /// The step over HLT is the client's at once; then the guest waits, until something wakes it.
    @Test(arguments: hypervisors)
    func aClientStepsOverHLT(_ hypervisor: Hypervisor) throws {
        var cpu = try machine(hypervisor, stepsItself: false, chips: true).makeCPU()
        try cpu.setMultiprocessorState(.runnable)
        try cpu.setDebugging(.singleStepping)
        let watchdog = Watchdog(cpu.kickHandle)
        watchdog.begin()
        defer { watchdog.end() }
        var state = try cpu.multiprocessorState()
        for _ in 0..<7 {
            try cpu.run()
            guard case .debug = cpu.exit else { throw Unexpected(cpu.exit) }
            state = try cpu.multiprocessorState()
        }
        if hypervisor == .kernel, state == .runnable {
            print("/dev/kvm deviates: its emulator tells of the step over HLT before the halt")
        } else {
            #expect(state == .halted)
        }
        try cpu.setDebugging(nil)
        try cpu.injectNMI()
        try cpu.run()
        #expect(try port(cpu).first == 0x11)
    }
}
