// What a client does while its guest runs: kicks, slots that come, go and move, dirty logs, code that is overwritten.

import Foundation
import GuestMemory
import KVM
import KVMABI
import Synchronization
import TestLimits
import TestSupport
import Testing

/// Runs a closure on a thread of its own; `join` waits for it.
final class Helper: Sendable {
    private let done = DispatchSemaphore(value: 0)
    private let failure = Mutex<(any Error)?>(nil)

    init(_ body: @escaping @Sendable () throws -> Void) {
        let time = TestTime.current
        Thread.detachNewThread { [self] in
            do {
                try TestTime.$current.withValue(time) { try body() }
            } catch {
                failure.withLock { $0 = error }
            }
            done.signal()
        }
    }

    func join() throws {
        done.wait()
        if let error = failure.withLock({ $0 }) { throw error }
    }
}

/// Nothing that was expected.
struct Unexpected: Error, CustomStringConvertible {
    let description: String
    init(_ exit: borrowing Exit) { description = "exit \(exit.reason) \(exit.rawBytes)" }
}

extension TestMachine {
    /// A machine with the code of some source, which `prelude.inc` precedes.
    convenience init(
        _ hypervisor: Hypervisor, _ mode: EntryMode = .long, source: String,
        prepare: (borrowing VirtualMachine) throws -> Void = { _ in }
    ) throws {
        let bits = mode == .long ? 64 : mode == .protected ? 32 : 16
        let code = try Assembler.assemble("bits \(bits)\norg 0x1000\n\(source)")
        try self.init(hypervisor, mode, code.bytes, prepare: prepare)
    }
}

/// The flag by which a guest and a helper thread talk, in the guest's memory.
extension GuestMemory {
    /// Waits until the byte differs, giving the processor away.
    func waitWhile(_ value: UInt32, at address: UInt64) throws {
        while try load(UInt32.self, at: address) == value { sched_yield() }
    }
}

@Suite(.enabled(if: Assembler.isAvailable, "nasm is not installed"), .within(minutes: 20))
struct InteractionTests {
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

    // MARK: Dirty log

    @Test(arguments: hypervisors)
    func theDirtyLogIsExact(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(
            hypervisor,
            source: """
                mov byte [0x101000], 1
                mov eax, [0x102000]
                mov dword [0x103ffe], 5
                hlt
                lock inc dword [0x110000]
                mov edi, 0x120ff8
                mov ecx, 4
                rep stosd
                mov byte [0x101000], 2
                hlt
                hlt
                """)
        try machine.machine.setFlags(.logDirtyPages, of: machine.high)
        _ = try machine.machine.dirtyLog(of: machine.high)
        var cpu = try machine.makeCPU()
        try cpu.run()
        guard case .halt = cpu.exit else { throw Unexpected(cpu.exit) }
        #expect(try machine.machine.dirtyPages(of: machine.high) == [0x1000, 0x3000, 0x4000])
        #expect(try machine.machine.dirtyPages(of: machine.high) == [])
        try cpu.run()
        guard case .halt = cpu.exit else { throw Unexpected(cpu.exit) }
        #expect(try machine.machine.dirtyPages(of: machine.high) == [0x1000, 0x10000, 0x20000, 0x21000])
        // The client's own writes are not the guest's.
        try machine.memory.store(UInt32(1), at: 0x130000)
        try cpu.run()
        guard case .halt = cpu.exit else { throw Unexpected(cpu.exit) }
        #expect(try machine.machine.dirtyPages(of: machine.high) == [])
    }

    @Test(arguments: hypervisors)
    func theManualDirtyLogIsClearedByPage(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(
            hypervisor,
            source: """
                again: mov byte [0x100000], 1
                mov byte [0x140000], 1
                mov byte [0x17f000], 1
                hlt
                jmp again
                """
        ) { try $0.enable(.manualDirtyLogProtect()) }
        try machine.machine.setFlags(.logDirtyPages, of: machine.high)
        var cpu = try machine.makeCPU()
        try cpu.run()
        guard case .halt = cpu.exit else { throw Unexpected(cpu.exit) }
        #expect(try machine.machine.dirtyPages(of: machine.high) == [0, 0x40000, 0x7f000])
        // Reading does not clear.
        #expect(try machine.machine.dirtyPages(of: machine.high) == [0, 0x40000, 0x7f000])
        try machine.machine.clearDirtyLog(of: machine.high, firstPage: 64, pages: 64, bitmap: [1])
        #expect(try machine.machine.dirtyPages(of: machine.high) == [0, 0x7f000])
        try cpu.run()
        guard case .halt = cpu.exit else { throw Unexpected(cpu.exit) }
        #expect(try machine.machine.dirtyPages(of: machine.high) == [0, 0x40000, 0x7f000])
        #expect(throws: KVMError.failed(.clearDirtyLog, .invalidArgument)) {
            try machine.machine.clearDirtyLog(of: machine.high, firstPage: 1, pages: 64, bitmap: [1])
        }
    }

    @Test(arguments: hypervisors)
    func aSlotWithoutALogHasNone(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(hypervisor, source: "hlt")
        #expect(throws: KVMError.failed(.getDirtyLog, .noSuchFile)) { try machine.machine.dirtyLog(of: machine.high) }
    }

    // MARK: Code that the client writes

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

    // MARK: Memory that goes

    /// A run that fails with EFAULT, which may be described by KVM_EXIT_MEMORY_FAULT. A kernel that emulates the
    /// instruction takes memory that it can't reach for MMIO instead.
    private static func runIntoFault(
        _ cpu: inout VirtualCPU, _ hypervisor: Hypervisor, at address: UInt64
    ) throws {
        do {
            try cpu.run()
        } catch {
            #expect(error == .failed(.run, .badAddress))
            return
        }
        switch cpu.exit {
        case .memoryFault(let fault): #expect(fault.gpa & ~4095 == address)
        case .mmioRead, .mmioWrite:
            if hypervisor == .kernel { try skip("memory that goes", "it emulates, and takes such memory for MMIO") }
            Issue.record("MMIO instead of EFAULT")
        case let exit: throw Unexpected(exit)
        }
    }

    @Test(arguments: hypervisors)
    func slotMemoryThatIsUnmappedIsEFAULT(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(
            hypervisor,
            source: """
                mov eax, [0x600000]
                hlt
                mov eax, [0x600000]
                hlt
                """)
        let region = unsafe try #require(
            unsafe mmap(nil, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
        unsafe region.storeBytes(of: 7, as: UInt32.self)
        unsafe try machine.machine.addSlot(hostAddress: region, size: 8192, at: 0x600000)
        var cpu = try machine.makeCPU()
        try cpu.run()
        guard case .halt = cpu.exit else { throw Unexpected(cpu.exit) }
        #expect(try cpu.generalRegisters().rax == 7)
        // Replaced, so that nothing else of this process can take its place meanwhile.
        _ = unsafe mmap(region, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)
        let before = try cpu.generalRegisters().rip
        try Self.runIntoFault(&cpu, hypervisor, at: 0x600000)
        #expect(try cpu.generalRegisters().rip == before)
        unsafe munmap(region, 8192)
    }

    @Test(arguments: hypervisors)
    func slotMemoryWhoseFileIsTruncatedIsEFAULT(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(
            hypervisor,
            source: """
                again: inc dword [0x600000]
                jmp again
                """)
        let file = unsafe memfd_create("slot", 0)
        #expect(file >= 0)
        #expect(ftruncate(file, 4096) == 0)
        let region = unsafe try #require(unsafe mmap(nil, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0))
        unsafe try machine.machine.addSlot(hostAddress: region, size: 4096, at: 0x600000)
        var cpu = try machine.makeCPU()
        let address = UInt(bitPattern: region)
        let helper = Helper {
            let word = unsafe UnsafeMutableRawPointer(bitPattern: address)
            while unsafe word?.load(as: UInt32.self) == 0 { sched_yield() }
            _ = ftruncate(file, 0)
        }
        defer { close(file) }
        try Self.runIntoFault(&cpu, hypervisor, at: 0x600000)
        try helper.join()
        unsafe munmap(region, 4096)
    }

    /// A LOCK'd access across pages stops all vCPUs. Where its memory has gone it ends with EFAULT, and they go on.
    @Test(.within(minutes: 2))
    func aSplitLockOnMemoryThatGoesHoldsNobodyUp() throws {
        let machine = try TestMachine(
            .software,
            source: """
                lock add dword [0x600ffe], 1
                hlt
                align 0x100
                again: inc dword [0x8000]
                jmp again
                """)
        let region = unsafe try #require(
            unsafe mmap(nil, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
        unsafe try machine.machine.addSlot(hostAddress: region, size: 8192, at: 0x600000)
        unsafe mprotect(region + 4096, 4096, PROT_NONE)
        let kick = Mutex<KickHandle?>(nil)
        let sibling = Helper {
            var cpu = try machine.makeCPU(id: 1, at: Place.code + 0x100)
            kick.withLock { $0 = cpu.kickHandle }
            try cpu.run()
            guard case .interrupted = cpu.exit else { throw Unexpected(cpu.exit) }
        }
        try machine.memory.waitWhile(0, at: 0x8000)
        var cpu = try machine.makeCPU(id: 0)
        for _ in 0..<3 {
            try Self.runIntoFault(&cpu, .software, at: 0x601000)
            #expect(try cpu.generalRegisters().rip == Place.code)
            // The other one runs, and memory can be given and taken.
            let before = try machine.memory.load(UInt32.self, at: 0x8000)
            try machine.memory.waitWhile(before, at: 0x8000)
            try machine.machine.setFlags(.logDirtyPages, of: machine.high)
            try machine.machine.setFlags([], of: machine.high)
        }
        unsafe mprotect(region + 4096, 4096, PROT_READ | PROT_WRITE)
        try cpu.run()
        guard case .halt = cpu.exit else { throw Unexpected(cpu.exit) }
        #expect(unsafe region.load(fromByteOffset: 4092, as: UInt32.self) == 0x1_0000)
        try #require(kick.withLock { $0 }).kick()
        try sibling.join()
        unsafe munmap(region, 8192)
    }

    // MARK: Slots and what vCPUs keep of them

    /// A log that is switched off and on begins anew, and stores that needed no look meanwhile are looked at again.
    @Test(arguments: hypervisors)
    func aDirtyLogThatIsSwitchedOffAndOn(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(
            hypervisor,
            source: """
                again: mov byte [0x101000], 1
                mov byte [0x102000], 1
                hlt
                mov byte [0x102000], 2
                hlt
                jmp again
                """)
        var cpu = try machine.makeCPU()
        for _ in 0..<3 {
            try machine.machine.setFlags(.logDirtyPages, of: machine.high)
            #expect(try machine.machine.dirtyPages(of: machine.high) == [], "it begins clean")
            try Self.runToHalt(&cpu)
            // What is in the log is gone with it.
            try machine.machine.setFlags([], of: machine.high)
            #expect(throws: KVMError.failed(.getDirtyLog, .noSuchFile)) {
                try machine.machine.dirtyLog(of: machine.high)
            }
            try machine.machine.setFlags(.logDirtyPages, of: machine.high)
            #expect(try machine.machine.dirtyPages(of: machine.high) == [])
            try Self.runToHalt(&cpu)
            #expect(try machine.machine.dirtyPages(of: machine.high) == [0x2000])
            try machine.machine.setFlags([], of: machine.high)
        }
    }

    private static func runToHalt(_ cpu: inout VirtualCPU) throws {
        try cpu.run()
        guard case .halt = cpu.exit else { throw Unexpected(cpu.exit) }
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

    // MARK: Answers

    /// The client has moved RIP after an exit: what it answered was another instruction's.
    @Test(arguments: ["in eax, 0x60", "out 0x60, eax", "mov eax, [0x600000]", "mov [0x600000], eax"])
    func anAnswerIsNotAppliedToAnotherInstruction(_ instruction: String) throws {
        let machine = try TestMachine(
            .software, source: "\(instruction)\nhlt\nalign 0x100\n\(instruction)\nhlt\n")
        var cpu = try machine.makeCPU()
        var reasons: [ExitReason] = []
        for moves in [true, false] {
            try cpu.run()
            reasons.append(cpu.exit.reason)
            switch cpu.exit {
            case .portIn(let input): input.answer(moves ? 0x1111 : 0x2222)
            case .mmioRead(let read): read.answer(moves ? 0x1111 : 0x2222)
            case .portOut, .mmioWrite: break
            case let exit: throw Unexpected(exit)
            }
            if moves { try cpu.update { $0.rip = Place.code + 0x100 } }
        }
        #expect(reasons[0] == reasons[1])
        try cpu.run()
        guard case .halt = cpu.exit else { throw Unexpected(cpu.exit) }
        let takes = reasons[0] == .io ? instruction.hasPrefix("in ") : instruction.hasPrefix("mov eax")
        #expect(try cpu.generalRegisters().rax == (takes ? 0x2222 : 0))
    }

    // MARK: Arguments at bad addresses

    @Test(arguments: hypervisors)
    func argumentsAtBadAddressesAreEFAULT(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(hypervisor, source: "hlt") { try $0.createInterruptControllers() }
        let cpu = try machine.makeCPU()
        let ofCPU: [Request] = [
            .getRegs, .setRegs, .getSREGS, .setSREGS, .getSREGS2, .setSREGS2, .getFPU, .setFPU, .getLAPIC, .setLAPIC,
            .getMSRS, .setMSRS, .setCPUID2, .getCPUID2, .getVCPUEvents, .setVCPUEvents, .getDebugregs, .setDebugregs,
            .getXSAVE, .setXSAVE, .getXCRS, .setXCRS, .getMPState, .setMPState, .translate, .setGuestDebug, .enableCap,
            .setVAPICAddr, .tprAccessReporting, .setSignalMask, .x86SetupMCE, .interrupt,
        ]
        // Null is the thread's own mask for KVM_SET_SIGNAL_MASK; the last page below the kernel's half is nobody's.
        for bad in [UInt(8), 0x7fff_ffff_e000, UInt.max - 4095] {
            for request in ofCPU {
                #expect(throws: KVMError.failed(request, .badAddress), "\(request) at \(String(bad, radix: 16))") {
                    unsafe try cpu.request(request, bad)
                }
            }
            let ofMachine: [Request] = [
                .setUserMemoryRegion, .getDirtyLog, .irqLine, .irqLineStatus, .getIRQCHIP, .setIRQCHIP, .createPIT2,
                .setGSIRouting, .irqfd, .ioeventfd, .setClock, .getClock, .signalMSI, .registerCoalescedMMIO,
                .x86SetMSRFilter, .enableCap, .clearDirtyLog,
            ]
            for request in ofMachine {
                #expect(throws: KVMError.failed(request, .badAddress), "\(request) at \(String(bad, radix: 16))") {
                    unsafe try machine.machine.request(request, bad)
                }
            }
        }
    }

    // The order of checks: that there are vCPUs already comes before the argument is read.
    @Test(arguments: hypervisors)
    func theIdentityMapIsTooLateOnceThereIsACPU(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(hypervisor, source: "hlt")
        #expect(throws: KVMError.failed(.setIdentityMapAddr, .badAddress)) {
            unsafe try machine.machine.request(.setIdentityMapAddr, 8)
        }
        let cpu = try machine.makeCPU()
        #expect(throws: KVMError.failed(.setIdentityMapAddr, .invalidArgument)) {
            unsafe try machine.machine.request(.setIdentityMapAddr, 8)
        }
        _ = cpu.id
    }

    @Test(arguments: hypervisors)
    func anUnknownRequestIsENOTTY(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(hypervisor, source: "hlt")
        let cpu = try machine.makeCPU()
        let unknown = Request(rawValue: 0xaeff)
        #expect(throws: KVMError.failed(unknown, .inappropriateRequest)) { unsafe try machine.machine.request(unknown) }
        #expect(throws: KVMError.failed(.createVM, .inappropriateRequest)) {
            unsafe try machine.machine.request(.createVM)
        }
        #expect(throws: KVMError.self) { unsafe try cpu.request(unknown) }
        #expect(throws: KVMError.failed(.run, .invalidArgument)) { unsafe try cpu.request(.run, 1) }
    }
}
