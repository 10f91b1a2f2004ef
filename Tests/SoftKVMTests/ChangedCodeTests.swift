// Code that changes under a guest by what its client does: in other slots, and by stores of its own.

import GuestMemory
import KVM
import KVMABI
import TestLimits
import Testing

@Suite(.enabled(if: Assembler.isAvailable, "nasm is not installed"), .within(minutes: 20))
struct ChangedCodeTests {
    /// A slot that goes and comes back with the same memory: the code in it is executed as it is now, and stores to it are
    /// seen, though it was decoded before.
    @Test(arguments: hypervisors)
    func codeOfASlotThatComesBackIsTrueToItsMemory(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(
            hypervisor,
            source: """
                again:
                mov ebp, 0x500000
                call rbp
                mov ebx, eax
                hlt
                call rbp
                add ebx, eax
                inc byte [0x500001]
                call rbp
                add ebx, eax
                hlt
                jmp again
                """)
        let code = try GuestMemory(size: 4096)
        try code.write([0xB8, 1, 0, 0, 0, 0xC3], at: 0)  // mov eax, 1; ret
        var slot = try machine.machine.addSlot(code, at: 0x500000)
        var cpu = try machine.makeCPU()
        for round in 0..<100 as Range<UInt64> {
            try cpu.run()
            guard case .halt = cpu.exit else { throw Unexpected(cpu.exit) }
            #expect(try cpu.generalRegisters().rbx == round + 1)
            try machine.machine.remove(slot)
            // Another may be kept now where what was known of the first was.
            let other = try machine.machine.addSlot(try GuestMemory(size: 4096), at: 0x600000)
            slot = try machine.machine.addSlot(code, at: 0x500000)
            try cpu.run()
            guard case .halt = cpu.exit else { throw Unexpected(cpu.exit) }
            #expect(try cpu.generalRegisters().rbx == 3 * round + 4)
            try machine.machine.remove(other)
        }
    }

    /// Two slots that show the same memory, and two that overlap in it by a page: a store through one changes the code that is
    /// executed through the other at once, as on a processor, which knows memory by one address.
    @Test(arguments: hypervisors)
    func codeThatIsChangedThroughAnotherSlotIsExecutedAnew(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(
            hypervisor,
            source: """
                mov ebp, 0x501000
                xor ebx, ebx
                again:
                call rbp
                add ebx, eax
                inc byte [0x600001]
                call rbp
                add ebx, eax
                inc byte [0x700001]
                dec ecx
                jnz again
                hlt
                """)
        let code = try GuestMemory(size: 3 * 4096)
        try code.write([0xB8, 0, 0, 0, 0, 0xC3], at: 0x1000)  // mov eax, 0; ret
        try machine.machine.addSlot(code, offset: 0, size: 0x2000, at: 0x50_0000)
        try machine.machine.addSlot(code, offset: 0x1000, size: 0x2000, at: 0x60_0000)
        let third = try machine.machine.addSlot(code, offset: 0x1000, size: 0x1000, at: 0x70_0000)
        var cpu = try machine.makeCPU()
        let rounds: UInt64 = 60
        try cpu.update { $0.rcx = rounds }
        try cpu.run()
        guard case .halt = cpu.exit else { throw Unexpected(cpu.exit) }
        // 0 + 1 + … + 119
        #expect(try cpu.generalRegisters().rbx == rounds * (2 * rounds - 1))
        // What is left still belongs together.
        try machine.machine.remove(third)
        try machine.machine.addSlot(code, offset: 0x1000, size: 0x1000, at: 0x70_0000)
        try code.store(UInt8(0), at: 0x1001)
        try cpu.update { ($0.rip, $0.rcx) = (Place.code, rounds) }
        try cpu.run()
        guard case .halt = cpu.exit else { throw Unexpected(cpu.exit) }
        #expect(try cpu.generalRegisters().rbx == rounds * (2 * rounds - 1))
    }

    @Test(arguments: hypervisors)
    func codeThatTheClientOverwritesIsExecutedAnew(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(
            hypervisor,
            source: """
                again: call near routine
                out 0xe9, eax
                jmp again
                align 64
                routine: mov eax, 0
                ret
                """)
        var cpu = try machine.makeCPU()
        for value in UInt32(1)..<50 {
            try machine.memory.store(value, at: 0x1041)
            try cpu.run()
            guard case .portOut(let out) = cpu.exit else { throw Unexpected(cpu.exit) }
            #expect(out.value == value)
        }
    }

    @Test(arguments: hypervisors)
    func aThreadOverwritesCodeUnderTheRunningGuestAndInterrupts(_ hypervisor: Hypervisor) throws {
        // The loop runs until the operand of MOV is overwritten; after the kick the new one counts.
        let machine = try TestMachine(
            hypervisor,
            source: """
                again: inc dword [0x8000]
                mov eax, 1
                cmp eax, 1
                je again
                out 0xe9, eax
                hlt
                """)
        var cpu = try machine.makeCPU()
        let kick = cpu.kickHandle
        let place = try #require((0x1000..<0x1020).first { try machine.memory.load(UInt8.self, at: $0) == 0xb8 })
        let helper = Helper {
            try machine.memory.waitWhile(0, at: 0x8000)
            try machine.memory.store(UInt8(0x42), at: place + 1)
            kick.kick()
        }
        run: while true {
            try cpu.run()
            switch cpu.exit {
            case .interrupted: continue
            case .portOut(let out):
                #expect(out.value == 0x42)
                break run
            case let exit: throw Unexpected(exit)
            }
        }
        try helper.join()
    }
}
