// What ends a run from another thread, and when.

import GuestMemory
import KVM
import KVMABI
import TestLimits
import Testing

@Suite(.enabled(if: Assembler.isAvailable, "nasm is not installed"), .within(minutes: 20))
struct KickTests {
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
        for _ in 0..<20 {
            let before = try machine.memory.load(UInt32.self, at: 0x8000)
            let helper = Helper {
                try machine.memory.waitWhile(before, at: 0x8000)
                kick.kick()
            }
            try cpu.run()
            guard case .interrupted = cpu.exit else { throw Unexpected(cpu.exit) }
            try helper.join()
        }
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
        let kick = cpu.kickHandle
        for _ in 0..<3 {
            let before = try machine.memory.load(UInt32.self, at: 0x8000)
            let helper = Helper {
                try machine.memory.waitWhile(before, at: 0x8000)
                kick.kick()
            }
            try cpu.run()
            guard case .interrupted = cpu.exit else { throw Unexpected(cpu.exit) }
            try helper.join()
        }
        let registers = try cpu.generalRegisters()
        #expect(registers.rdi + registers.rcx == 0x200000 || registers.rcx == 0)
    }
}
