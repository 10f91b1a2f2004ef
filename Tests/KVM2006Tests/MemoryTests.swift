// Guest memory of the hypervisor's, its dirty log, KVM_TRANSLATE, and what is refused.

import Glibc
import KVM2006
import KVMABI
import TestLimits
import Testing

@Suite(.within(minutes: 20)) struct MemoryTests {
    @Test(arguments: Host.present)
    func piecesCoverWhatIsMapped(_ host: Host) throws {
        let client = try FirstClient(try host.makeEndpoint())
        let pieces = try client.interface.place(offset: 0x9F000, length: 0x6_2001)
        #expect(pieces.map(\.length) == [0x1000, 0x6_0000, 0x2000])
        #expect(pieces.map(\.offset) == [0x9F000, 0, 0])
        #expect(Set(pieces.map(\.descriptor)).count == 3)
        var status = stat()
        #expect(unsafe fstat(pieces[1].descriptor, &status) == 0 && status.st_size == 0)
        #expect(try client.interface.place(offset: 0x4000_0000, length: 1).map(\.length) == [4096])
        let interface = client.interface
        #expect(client.failure { _ = try interface.place(offset: 1, length: 4096) } == .invalidArgument)
        #expect(client.failure { _ = try interface.place(offset: 0, length: 0) } == .invalidArgument)
        #expect(client.failure { _ = try interface.place(offset: -4096, length: 4096) } == .invalidArgument)
        let overflow = Errno(rawValue: EOVERFLOW)
        #expect(client.failure { _ = try interface.place(offset: Int.max - 4095, length: 8192) } == overflow)
        #expect(client.failure { _ = try interface.place(offset: 0, length: Int.max) } == overflow)
    }

    @Test(arguments: Host.present)
    func regionsAreMadeMovedAndRemoved(_ host: Host) throws {
        let client = try FirstClient(try host.makeEndpoint())
        client[0x10_0000] = 0x77
        let descriptor = try client.interface.place(offset: 0x10_0000, length: 1)[0].descriptor
        try client.setRegion(slot: 0, at: 0x40_0000, size: 0x10_0000)
        #expect(try client.interface.place(offset: 0x40_0000, length: 1)[0].descriptor == descriptor)
        #expect(client[0x10_0000] == 0x77)

        func refusal(_ slot: UInt32, _ address: UInt64, _ size: UInt64) -> Errno? {
            client.failure { try client.setRegion(slot: slot, at: address, size: size) }
        }
        #expect(refusal(0, 0x40_0000, 0x20_0000) == .invalidArgument)
        #expect(refusal(1, 0x9_F000, 0x1000) == .fileExists)
        #expect(refusal(1, 0, 0x1000_0000) == .fileExists)
        #expect(refusal(1, 0x20_0800, 0x1000) == .invalidArgument)
        #expect(refusal(1, 0x20_0000, 0x800) == .invalidArgument)
        #expect(refusal(1, UInt64.max - 4095, 0x2000) == .invalidArgument)
        #expect(refusal(UInt32.max, 0x20_0000, 0x1000) == .invalidArgument)
        #expect(refusal(1, 1 << 32, 1 << 62) == .outOfMemory)

        try client.setRegion(slot: 0, at: 0x40_0000, size: 0)
        try client.setRegion(slot: 0, at: 0x40_0000, size: 0)
        try client.setRegion(slot: 2, at: 0x40_0000, size: 0x2000)
        #expect(try client.interface.place(offset: 0x40_0000, length: 0x4000).map(\.length) == [0x2000, 0x2000])
    }

    @Test(arguments: Host.present)
    func dirtyLog(_ host: Host) throws {
        let client = try FirstClient(
            host,
            [
                0xA2, 0x00, 0x50,  // mov [0x5000], al
                0xE6, 0x80,  // out 0x80, al
                0xA2, 0x00, 0x70,  // mov [0x7000], al
                0xF4,
            ])
        #expect(client.failure { _ = try client.dirtyLog(slot: 3, byteCount: 20) } == .noSuchFile)
        #expect(client.failure { _ = try client.dirtyLog(slot: UInt32.max, byteCount: 20) } == .invalidArgument)
        try client.setRegion(slot: 3, at: 0, size: 0xA0000, flags: 1)
        func dirtyPages() throws -> [Int] {
            let bitmap = try client.dirtyLog(slot: 3, byteCount: 20)
            return (0..<160).filter { bitmap[$0 / 8] >> ($0 % 8) & 1 != 0 }
        }
        _ = try dirtyPages()
        var run = FirstRun()
        try client.run(&run, to: 2)
        #expect(try dirtyPages() == [5])
        #expect(try dirtyPages() == [])
        run.emulated = 1
        try client.run(&run, to: 5)
        // A log that can't be handed out is not lost.
        var bad = FirstClient.bytes(UInt64(3)) + FirstClient.bytes(UInt64(8))
        #expect(client.failure { try client.ioctl(.getDirtyLog, &bad) } == .badAddress)
        #expect(try dirtyPages() == [7])
        try client.setRegion(slot: 3, at: 0, size: 0xA0000)
        #expect(client.failure { _ = try client.dirtyLog(slot: 3, byteCount: 20) } == .noSuchFile)
    }

    @Test(arguments: Host.present)
    func translation(_ host: Host) throws {
        let client = try FirstClient(host, [0xF4])
        #expect(try client.translate(0x1234) == FirstClient.Translation(address: 0x1234, valid: 1))
        try client.enterProtectedMode()
        // 64-bit mode; 0x400000 leads to 0x104000, its next page nowhere.
        for (entry, value) in [
            (0x10_0000, 0x10_1007), (0x10_1000, 0x10_2007), (0x10_2010, 0x10_3007), (0x10_3000, 0x10_4007),
        ] {
            client.write(FirstClient.bytes(UInt64(value)), at: UInt64(entry))
        }
        var special = try client.specialRegisters()
        (special[25], special[27]) = (0, 1)  // CS.D, CS.L
        special[235] |= 0x80  // CR0.PG
        special.replaceSubrange(248..<256, with: FirstClient.bytes(UInt64(0x10_0000)))  // CR3
        special.replaceSubrange(256..<264, with: FirstClient.bytes(UInt64(0x20)))  // CR4.PAE
        special.replaceSubrange(272..<280, with: FirstClient.bytes(UInt64(0x500)))  // EFER.LME, LMA
        try client.setSpecialRegisters(special)
        #expect(try client.translate(0x40_0123) == FirstClient.Translation(address: 0x10_4123, valid: 1))
        #expect(try client.translate(0x40_1000).valid == 0)
    }

    @Test(arguments: Host.present)
    func vcpusThatAreNotThere(_ host: Host) throws {
        let client = try FirstClient(try host.makeEndpoint())
        #expect(client.failure { _ = try client.registers() } == .noSuchFile)
        try client.ioctl(.createVCPU, 0)
        #expect(client.failure { try client.ioctl(.createVCPU, 0) } == .fileExists)
        #expect(client.failure { try client.ioctl(.createVCPU, UInt(UInt32.max)) } == .invalidArgument)
        #expect(client.failure { try client.ioctl(.createVCPU, 1 << 20) } == .invalidArgument)
        #expect(client.failure { _ = try client.registers(1) } == .noSuchFile)
        #expect(client.failure { _ = try client.registers(UInt32.max) } == .invalidArgument)
        #expect(client.failure { _ = try client.translate(0, vcpu: 1) } == .noSuchFile)
        #expect(client.failure { try client.interrupt(0x20, vcpu: 1) } == .noSuchFile)
        #expect(client.failure { try client.interrupt(256) } == .invalidArgument)
        var run = FirstRun(vcpu: 1)
        #expect(client.failure { try client.run(&run) } == .noSuchFile)
        #expect(run == FirstRun(vcpu: 1))
    }

    /// Where a vCPU of that time begins: F000:FFF0, in the first MiB.
    @Test(arguments: Host.present)
    func firstInstruction(_ host: Host) throws {
        let client = try FirstClient(try host.makeEndpoint())
        try client.setRegion(slot: 4, at: 0xF0000, size: 0x10000)
        try client.map()
        client.write([0xE6, 0x42], at: 0xFFFF0)
        try client.ioctl(.createVCPU, 0)
        var run = FirstRun()
        try client.run(&run, to: 2)
        #expect(run.port.port == 0x42)
    }

    @Test func requestsThatAreNone() throws {
        let client = try FirstClient(try Host.software.makeEndpoint())
        let interface = client.interface
        // Today's KVM_GET_API_VERSION and KVM_CREATE_VM, numbers beside those of then, and one with another size.
        for request: UInt32 in [0xAE00, 0xAE01, 0xC030_AE01, 0x4010_AE0D, 0xC038_AE02, 0xC030_AF02, 0, UInt32.max] {
            #expect(client.failure { _ = try interface.ioctl(request: request, argument: 0) } == .invalidArgument)
        }
    }

    @Test func pointersThatAreBad() throws {
        let client = try FirstClient(.software, [0xE6, 0x10, 0xF4])
        for request in FirstRequest.allCases where request != .createVCPU {
            for address in [UInt(0), 8, UInt.max - 16, 0xFFFF_8000_0000_0000] {
                #expect(client.failure { try client.ioctl(request, address) } == .badAddress)
            }
        }
        // A structure whose end is missing, and one that can be read only.
        let pages = unsafe mmap(nil, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        let address = UInt(bitPattern: pages)
        defer { unsafe munmap(pages, 8192) }
        unsafe mprotect(UnsafeMutableRawPointer(bitPattern: address + 4096), 4096, PROT_NONE)
        #expect(client.failure { try client.ioctl(.getRegisters, address + 4096 - 144) } == .badAddress)
        unsafe mprotect(pages, 4096, PROT_READ)
        #expect(client.failure { try client.ioctl(.getRegisters, address) } == .badAddress)
        #expect(client.failure { try client.ioctl(.setMemoryRegion, address) } == nil)
        #expect(client.failure { try client.ioctl(.run, address) } == .badAddress)
    }
}
