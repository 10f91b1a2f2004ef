// The dirty log of a slot: which pages it tells of, and when it forgets them. Documentation/virt/kvm/api.rst, 4.8 and 4.117.

import GuestMemory
import KVM
import KVMABI
import TestLimits
import Testing

@Suite(.enabled(if: Assembler.isAvailable, "nasm is not installed"), .within(minutes: 20))
struct DirtyLogTests {
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
}
