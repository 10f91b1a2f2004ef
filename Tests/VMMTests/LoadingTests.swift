import TestLimits
import Testing

@testable import VMM

@Suite(.within(minutes: 20)) struct LoadingTests {
    let memory: MachineMemory

    init() throws { memory = try MachineMemory(size: 64 << 20) }

    func word<T: FixedWidthInteger & UnsignedInteger>(_ address: UInt64, as type: T.Type = T.self) throws -> T {
        try #require(ByteReader(try memory.read(count: T.bitWidth / 8, at: address)).load(0))
    }
    func text(_ address: UInt64) throws -> String {
        String(decoding: try memory.read(count: 256, at: address).prefix { $0 != 0 }, as: UTF8.self)
    }

    @Test func bzImageBy64BitProtocol() throws {
        let initrd = try TemporaryFile([UInt8](repeating: 0x5a, count: 5000))
        let image = try KernelImage(
            GuestBuilder.bzImage([0x11], code64: [0x22], preferredAddress: 0x100_0000), file: "k")
        let entry = try image.load(
            into: memory,
            BootMaterial(commandLine: "console=ttyS0", initrd: try ImageFile(initrd.path), rsdp: 0xe0000))
        #expect(entry == .linux64(rip: 0x100_0200, bootParameters: 0x7000))
        #expect(try word(0x100_0000, as: UInt8.self) == 0x11)
        #expect(try word(0x100_0200, as: UInt8.self) == 0x22)
        #expect(try word(0x71fe, as: UInt16.self) == 0xaa55)
        #expect(try word(0x7202, as: UInt32.self) == 0x5372_6448)
        #expect(try word(0x7210, as: UInt8.self) == 0xff)
        #expect(try word(0x7070, as: UInt64.self) == 0xe0000)
        #expect(try text(UInt64(try word(0x7228, as: UInt32.self))) == "console=ttyS0")
        #expect(try word(0x721c, as: UInt32.self) == 5000)
        let place = UInt64(try word(0x7218, as: UInt32.self))
        #expect(place % 4096 == 0 && place + 5000 <= 64 << 20 && place + 16384 > 64 << 20)
        #expect(try memory.read(count: 5000, at: place).allSatisfy { $0 == 0x5a })
        #expect(try word(0x71e8, as: UInt8.self) == UInt8(memory.map.count))
        #expect(try word(0x72d0 + 8, as: UInt64.self) == 0x9fc00)
        try entry.storeTables(into: memory)
        // 3 GiB and a bit is mapped to itself.
        let directory = try word(0xa000 + 3 * 8, as: UInt64.self) & ~0xfff
        #expect(try word(directory + 8, as: UInt64.self) == 0xc020_0083)
    }

    @Test func bzImageBy32BitProtocol() throws {
        let image = try KernelImage(GuestBuilder.bzImage([0x11]), file: "k")
        let entry = try image.load(into: memory, BootMaterial(commandLine: ""))
        #expect(entry == .linux32(eip: 0x10_0000, bootParameters: 0x7000))
        #expect(throws: BootError.self) {
            try image.load(into: memory, BootMaterial(commandLine: ""), by: .linux64)
        }
        #expect(throws: BootError.self) { try image.load(into: memory, BootMaterial(commandLine: ""), by: .pvh) }
    }

    @Test func initrdStaysBelowItsLimit() throws {
        let initrd = try TemporaryFile([1, 2, 3])
        let image = try KernelImage(GuestBuilder.bzImage([0x11], initrdLimit: 0x1ff_ffff), file: "k")
        _ = try image.load(into: memory, BootMaterial(commandLine: "", initrd: try ImageFile(initrd.path)))
        #expect(try word(0x7218, as: UInt32.self) == 0x1ff_f000)
    }

    @Test func whatDoesNotFitIsRefused() throws {
        let big = try KernelImage(GuestBuilder.bzImage([0x11], initSize: 0x800_0000), file: "k")
        #expect(throws: BootError.tooLarge(file: "k", needs: 0x810_0000, memory: 64 << 20)) {
            try big.load(into: memory, BootMaterial(commandLine: ""))
        }
        let bss = try KernelImage(GuestBuilder.elf([0x11], memorySize: 0x800_0000), file: "k")
        #expect(throws: BootError.tooLarge(file: "k", needs: 0x810_0000, memory: 64 << 20)) {
            try bss.load(into: memory, BootMaterial(commandLine: ""))
        }
        let low = try KernelImage(GuestBuilder.elf([0x11], at: 0x7000), file: "k")
        #expect(throws: BootError.self) { try low.load(into: memory, BootMaterial(commandLine: "")) }
        let short = try KernelImage(GuestBuilder.bzImage([0x11], commandLineSize: 8), file: "k")
        #expect(throws: BootError.commandLineTooLong(length: 9, limit: 8)) {
            try short.load(into: memory, BootMaterial(commandLine: "123456789"))
        }
        let initrd = try TemporaryFile([UInt8](repeating: 0, count: 63 << 20))
        let kernel = try KernelImage(GuestBuilder.bzImage([0x11]), file: "k")
        #expect(throws: BootError.self) {
            try kernel.load(into: memory, BootMaterial(commandLine: "", initrd: try ImageFile(initrd.path)))
        }
    }

    @Test func whatWouldLieOnBootDataIsRefused() throws {
        var file = GuestBuilder.bzImage([0x11], preferredAddress: 0x7000)
        file[0x234] = 0  // relocatable_kernel
        let image = try KernelImage(file, file: "k")
        #expect(throws: BootError.self) { try image.load(into: memory, BootMaterial(commandLine: "")) }
    }

    @Test func elfByPVH() throws {
        let initrd = try TemporaryFile([7, 8, 9])
        let image = try KernelImage(GuestBuilder.elf([0x11], pvhEntry: 0x10_0000), file: "k")
        let entry = try image.load(
            into: memory, BootMaterial(commandLine: "abc", initrd: try ImageFile(initrd.path), rsdp: 0xe0000))
        #expect(entry == .pvh(eip: 0x10_0000, startInfo: 0x6000))
        #expect(try word(0x6000, as: UInt32.self) == 0x336e_c578)
        #expect(try word(0x6004, as: UInt32.self) == 1)
        #expect(try word(0x600c, as: UInt32.self) == 1)
        let module: UInt64 = try word(0x6010)
        #expect(try memory.read(count: 3, at: try word(module)) == [7, 8, 9])
        #expect(try word(module + 8, as: UInt64.self) == 3)
        #expect(try text(try word(0x6018)) == "abc")
        #expect(try word(0x6020, as: UInt64.self) == 0xe0000)
        #expect(try word(0x6030, as: UInt32.self) == UInt32(memory.map.count))
        let table: UInt64 = try word(0x6028)
        #expect(try word(table + 16, as: UInt32.self) == 1)
    }

    @Test func elfByItsEntry() throws {
        let image = try KernelImage(GuestBuilder.elf([0x11]), file: "k")
        let entry = try image.load(into: memory, BootMaterial(commandLine: "abc"))
        #expect(entry == .linux64(rip: 0x10_0000, bootParameters: 0x7000))
        #expect(try word(0x7202, as: UInt32.self) == 0x5372_6448)
        #expect(throws: BootError.self) { try image.load(into: memory, BootMaterial(commandLine: ""), by: .pvh) }
        let narrow = try KernelImage(GuestBuilder.elf([0x11], machine: 3, is64Bit: false), file: "k")
        #expect(
            try narrow.load(into: memory, BootMaterial(commandLine: ""))
                == .linux32(eip: 0x10_0000, bootParameters: 0x7000))
    }

    @Test func memoryMapHasTheHole() throws {
        let large = try MachineMemory(size: 5 << 30)
        #expect(large.lowEnd == 3 << 30)
        #expect(
            large.map.suffix(2) == [
                MemoryRange(base: 1 << 20, size: 3 << 30 - 1 << 20, kind: .ram),
                MemoryRange(base: 4 << 30, size: 2 << 30, kind: .ram),
            ])
        #expect(large.map.first == MemoryRange(base: 0, size: 0x9fc00, kind: .ram))
        let end = try MachineMemory(size: 3 << 30)
        #expect(end.regions.count == 1 && end.map.last?.base == 1 << 20)
        for (range, next) in zip(large.map, large.map.dropFirst()) { #expect(range.base + range.size <= next.base) }
    }

    @Test func writesOutsideMemoryAreErrors() {
        #expect(throws: BootError.self) { try memory.write([1, 2], at: 64 << 20 - 1) }
        #expect(throws: BootError.self) { try memory.write([1], at: .max) }
        #expect(throws: BootError.self) { try memory.read(count: 1, at: 64 << 20) }
    }
}
