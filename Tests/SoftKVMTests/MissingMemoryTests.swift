// The client's memory behind a slot that goes while a guest uses it.

import Glibc
import GuestMemory
import KVM
import KVMABI
import Synchronization
import TestLimits
import Testing

@Suite(.enabled(if: Assembler.isAvailable, "nasm is not installed"), .within(minutes: 20))
struct MissingMemoryTests {
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
}
