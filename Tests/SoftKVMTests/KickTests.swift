// What ends a run from another thread, and when.

import GuestMemory
import KVM
import KVMABI
import TestLimits
import Testing

@Suite(.enabled(if: Assembler.isAvailable, "nasm is not installed"), .within(minutes: 20))
struct KickTests {
    /// Another thread kicks the vCPU once its loop has counted, and the run ends.
    private func kickOnceItRuns(_ cpu: inout VirtualCPU, _ machine: TestMachine) throws {
        let kick = cpu.kickHandle
        let before = try machine.memory.load(UInt32.self, at: 0x8000)
        let helper = Helper {
            try machine.memory.waitWhile(before, at: 0x8000)
            kick.kick()
        }
        try cpu.run()
        guard case .interrupted = cpu.exit else { throw Unexpected(cpu.exit) }
        try helper.join()
    }

    @Test(arguments: hypervisors)
    func aKickFromAnotherThreadEndsAnEndlessLoop(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(
            hypervisor,
            source: """
                again: inc dword [0x8000]
                jmp again
                """)
        var cpu = try machine.makeCPU()
        let kick = cpu.kickHandle
        for _ in 0..<20 { try kickOnceItRuns(&cpu, machine) }
        // A kick before the run ends it before an instruction is executed.
        kick.kick()
        let before = try machine.memory.load(UInt32.self, at: 0x8000)
        try cpu.run()
        guard case .interrupted = cpu.exit else { throw Unexpected(cpu.exit) }
        #expect(try machine.memory.load(UInt32.self, at: 0x8000) == before)
    }

    @Test(arguments: hypervisors)
    func aKickEndsALongStringInstruction(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(
            hypervisor,
            source: """
                mov eax, 1
                again: mov edi, 0x100000
                mov ecx, 0x100000
                rep stosb
                inc dword [0x8000]
                jmp again
                """)
        var cpu = try machine.makeCPU()
        for _ in 0..<3 { try kickOnceItRuns(&cpu, machine) }
        let registers = try cpu.generalRegisters()
        #expect(registers.rdi + registers.rcx == 0x200000 || registers.rcx == 0)
    }
}
