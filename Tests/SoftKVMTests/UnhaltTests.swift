// KVM_HC_KICK_CPU, by which Linux's paravirtual spinlocks wake a vCPU that waits in HLT with interrupts off.

import KVM
import KVMABI
import TestLimits
import TestSupport
import Testing

@Suite(.enabled(if: Assembler.isAvailable, "nasm is not installed"), .within(minutes: 20))
struct UnhaltTests {
    /// A kick that comes before HLT is not lost: whoever unlocks may be faster than the one that goes to wait.
    @Test(arguments: hypervisors)
    func aKickBeforeHLTEndsIt(_ hypervisor: Hypervisor) throws {
        // Real mode, interrupts off: the vCPU kicks itself, exits, and halts twice; only the first HLT ends.
        let source = """
            mov eax, 5
            xor ebx, ebx
            xor ecx, ecx
            db 0x0F, 0x01, 0xC1  ; vmcall
            out 0x10, al
            hlt
            out 0x11, al
            hlt
            out 0x12, al
            """
        let machine = try TestMachine(hypervisor, .real, source: source) { try $0.createInterruptControllers() }
        var cpu = try machine.makeCPU()
        try cpu.setMultiprocessorState(.runnable)
        let hanging = Watchdog(cpu.kickHandle, patience: .seconds(20), of: .wall)
        for expected in [[0x10, 0], [0x11, 0]] as [[UInt8]] {
            hanging.begin()
            try cpu.run()
            hanging.end()
            if hypervisor == .kernel, cpu.exit.reason != .io { try Test.cancel("this /dev/kvm passes no kick on") }
            #expect(try port(cpu) == expected)
        }
        // The last one waits until it is kicked, and that may be before it waits.
        let watchdog = Watchdog(cpu.kickHandle, patience: .milliseconds(100), of: .wall)
        repeat {
            watchdog.begin()
            try cpu.run()
            watchdog.end()
        } while try cpu.exit.reason == .intr && cpu.multiprocessorState() != .halted
        #expect(cpu.exit.reason == .intr)
    }

    private func port(_ cpu: borrowing VirtualCPU) throws -> [UInt8] {
        guard case .portOut(let access) = cpu.exit else { throw Unexpected(cpu.exit) }
        return [UInt8(truncatingIfNeeded: access.port)] + access.bytes
    }
}
