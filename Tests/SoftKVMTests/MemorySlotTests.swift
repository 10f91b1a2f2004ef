// Memory slots that come, go, move and are replaced while a guest runs: what it sees of them, at once.

import GuestMemory
import KVM
import KVMABI
import TestLimits
import Testing

@Suite(.enabled(if: Assembler.isAvailable, "nasm is not installed"), .within(minutes: 20))
struct MemorySlotTests {
    @Test(arguments: hypervisors)
    func aSlotThatIsRemovedWhileTheGuestReadsItBecomesMMIO(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(
            hypervisor,
            source: """
                again: inc dword [0x8000]
                mov eax, [0x180000]
                jmp again
                """)
        try machine.memory.store(UInt32(0x1234), at: 0x180000)
        var cpu = try machine.makeCPU()
        let helper = Helper {
            try machine.memory.waitWhile(0, at: 0x8000)
            try machine.machine.remove(machine.high)
        }
        try cpu.run()
        do {
            guard case .mmioRead(let read) = cpu.exit else { throw Unexpected(cpu.exit) }
            #expect(read.address == 0x180000)
            #expect(read.size == 4)
            read.answer(0x5678)
        }
        try helper.join()
        try cpu.complete()
        #expect(try cpu.generalRegisters().rax == 0x5678)
    }

    @Test(arguments: hypervisors)
    func aSlotThatComesWhileTheGuestPollsItIsMemory(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(
            hypervisor,
            source: """
                again: mov eax, [0x300000]
                inc dword [0x8000]
                cmp eax, 0x77
                jne again
                mov dword [0x300004], 0x88
                hlt
                """)
        let later = try GuestMemory(size: 4096)
        try later.store(UInt32(0x77), at: 0)
        var cpu = try machine.makeCPU()
        let helper = Helper {
            try machine.memory.waitWhile(0, at: 0x8000)
            try machine.machine.addSlot(later, at: 0x300000)
        }
        run: while true {
            try cpu.run()
            switch cpu.exit {
            case .mmioRead(let read):
                #expect(read.address == 0x300000)
                read.answer(0)
            case .halt: break run
            case let exit: throw Unexpected(exit)
            }
        }
        try helper.join()
        #expect(try later.load(UInt32.self, at: 4) == 0x88)
    }

    @Test(arguments: hypervisors)
    func aSlotThatMovesWhileTheGuestRunsIsWhereItMovedTo(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(
            hypervisor,
            source: """
                again: inc dword [0x8000]
                mov eax, [0x400000]
                cmp eax, 0x99
                jne again
                mov eax, [0x100000]
                hlt
                """)
        try machine.memory.store(UInt32(0x99), at: 0x100000)
        var cpu = try machine.makeCPU()
        let helper = Helper {
            try machine.memory.waitWhile(0, at: 0x8000)
            try machine.machine.move(machine.high, to: 0x400000)
        }
        var reads: [UInt64] = []
        run: while true {
            try cpu.run()
            switch cpu.exit {
            case .mmioRead(let read):
                reads.append(read.address)
                read.answer(0)
            case .halt: break run
            case let exit: throw Unexpected(exit)
            }
        }
        try helper.join()
        #expect(reads.last == 0x100000)
        #expect(reads.dropLast().allSatisfy { $0 == 0x400000 })
    }

    @Test(arguments: hypervisors)
    func aReadOnlySlotIsReadAndItsWritesAreExits(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(
            hypervisor,
            source: """
                mov eax, [0x500000]
                mov [0x500008], eax
                mov byte [0x500000], 1
                mov ebx, [0x500000]
                hlt
                """)
        let rom = try GuestMemory(size: 4096)
        try rom.store(UInt32(0xcafe), at: 0)
        try machine.machine.addSlot(rom, at: 0x500000, flags: .readOnly)
        var cpu = try machine.makeCPU()
        try cpu.run()
        do {
            guard case .mmioWrite(let write) = cpu.exit else { throw Unexpected(cpu.exit) }
            #expect(write.address == 0x500008)
            #expect(write.value == 0xcafe)
        }
        try cpu.run()
        do {
            guard case .mmioWrite(let write) = cpu.exit else { throw Unexpected(cpu.exit) }
            #expect(write.address == 0x500000)
            #expect(write.size == 1)
        }
        try cpu.run()
        guard case .halt = cpu.exit else { throw Unexpected(cpu.exit) }
        #expect(try cpu.generalRegisters().rbx == 0xcafe)
    }

    /// Other memory at the same place: reads, writes and code are the new memory's at once, and the old one is left alone.
    @Test(arguments: hypervisors)
    func otherMemoryAtTheSamePlace(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(
            hypervisor,
            source: """
                again: mov eax, [0x600000]
                mov dword [0x600004], eax
                call 0x600100
                hlt
                jmp again
                """)
        var cpu = try machine.makeCPU()
        let memories = try (1...3 as ClosedRange<UInt32>).map { value in
            let memory = try GuestMemory(size: 8192)
            try memory.store(value, at: 0)
            // mov ebx, value; ret
            try memory.write([0xBB, UInt8(value), 0, 0, 0, 0xC3], at: 0x100)
            return memory
        }
        for value: UInt32 in [1, 2, 1, 3, 2] {
            for memory in memories { try memory.store(0 as UInt32, at: 4) }
            let slot = try machine.machine.addSlot(memories[Int(value) - 1], at: 0x600000)
            for _ in 0..<2 {
                try cpu.run()
                guard case .halt = cpu.exit else { throw Unexpected(cpu.exit) }
                let registers = try cpu.generalRegisters()
                #expect(registers.rax == UInt64(value) && registers.rbx == UInt64(value))
            }
            for (number, memory) in memories.enumerated() {
                #expect(try memory.load(UInt32.self, at: 4) == (number + 1 == Int(value) ? value : 0))
            }
            try machine.machine.remove(slot)
        }
    }

    /// A slot that moves takes its memory with it, and leaves nothing where it was.
    @Test(arguments: hypervisors)
    func aSlotThatMoves(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(
            hypervisor, source: "again: mov eax, [0x600000]\nmov ebx, [0x700000]\nhlt\njmp again")
        let memory = try GuestMemory(size: 4096)
        try memory.store(7 as UInt32, at: 0)
        let slot = try machine.machine.addSlot(memory, at: 0x600000)
        var cpu = try machine.makeCPU()
        for address: UInt64 in [0x600000, 0x700000, 0x600000] {
            if try machine.machine.address(of: slot) != address { try machine.machine.move(slot, to: address) }
            for _ in 0..<2 {
                try cpu.run()
                do {
                    guard case .mmioRead(let read) = cpu.exit else { throw Unexpected(cpu.exit) }
                    #expect(read.address == (address == 0x600000 ? 0x700000 : 0x600000))
                    read.answer(9)
                }
                try cpu.run()
                guard case .halt = cpu.exit else { throw Unexpected(cpu.exit) }
                let registers = try cpu.generalRegisters()
                #expect(
                    registers.rax == (address == 0x600000 ? 7 : 9) && registers.rbx == (address == 0x600000 ? 9 : 7))
            }
        }
    }
}
