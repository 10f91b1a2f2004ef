// The machine that the guests of these tests run in: 640 KiB of memory at 0 and 1 MiB at 1 MiB, a hole for MMIO between
// and above them, one vCPU, and the tables that a guest needs to begin in the mode that it asks for.

import GuestMemory
import KVM
import KVMABI

/// The mode in which a guest begins.
enum EntryMode: String {
    /// As after reset, at F000:FFF0 with the base 0xffff0000; the guest's last 64 KiB lie there too.
    case reset
    /// Real mode, all segments 0.
    case real
    /// 32-bit protected mode, flat, no paging.
    case protected
    /// 64-bit mode, the first 4 GiB mapped to themselves with pages of 2 MiB.
    case long
}

/// Where things lie in the guest's memory.
enum Place {
    static let code: UInt64 = 0x1000
    static let stack: UInt64 = 0x60000
    static let interruptTable: UInt64 = 0x6d000
    static let taskState: UInt64 = 0x6e000
    static let descriptorTable: UInt64 = 0x6f000
    static let pageTables: UInt64 = 0x70000
    static let lowMemory = 0xa0000
    static let highMemory: UInt64 = 0x10_0000
}

/// The machine and its memory; safe to use from other threads while its vCPU runs.
final class TestMachine: Sendable {
    let machine: VirtualMachine
    let memory: GuestMemory
    /// The slot of the first 640 KiB, and that of the second MiB.
    let low: MemorySlot
    let high: MemorySlot
    private let mode: EntryMode
    private let hypervisor: Hypervisor

    /// - Parameter prepare: what has to be enabled before the first slot and the vCPU are made.
    init(
        _ hypervisor: Hypervisor, _ mode: EntryMode, _ code: [UInt8],
        prepare: (borrowing VirtualMachine) throws -> Void = { _ in }
    ) throws {
        let machine = try System(hypervisor).makeVirtualMachine()
        try prepare(machine)
        memory = try GuestMemory(size: 0x20_0000)
        low = try machine.addSlot(memory, offset: 0, size: Place.lowMemory, at: 0)
        high = try machine.addSlot(memory, offset: 0x10_0000, size: 0x10_0000, at: Place.highMemory)
        if mode == .reset {
            // The code ends where the address space below 4 GiB does.
            try memory.write(code, at: 0xa0000)
            try machine.addSlot(memory, offset: 0xa0000, size: 0x10000, at: 0xffff_0000)
        } else {
            try memory.write(code, at: Place.code)
            try TestMachine.writeTables(memory, mode)
        }
        self.machine = machine
        self.mode = mode
        self.hypervisor = hypervisor
    }

    /// A vCPU in the mode, about to execute the code.
    /// - Parameters:
    ///   - id: 0 or more; the next free one if not given.
    ///   - address: where it begins, unless it begins with a reset.
    func makeCPU(id: UInt32? = nil, at address: UInt64 = Place.code) throws -> VirtualCPU {
        let cpu = try machine.makeVirtualCPU(id: id)
        try cpu.setCPUID(try System(hypervisor).supportedCPUID())
        if mode != .reset { try TestMachine.enter(mode, at: address, cpu) }
        return cpu
    }

    /// Puts the vCPU into a mode.
    static func enter(_ mode: EntryMode, at address: UInt64, _ cpu: borrowing VirtualCPU) throws {
        try cpu.update { registers in
            registers.rip = address
            registers.rsp = Place.stack
            registers.rflags = 2
            switch mode {
            case .reset: break
            case .real:
                for path in [\kvm_sregs.cs, \.ds, \.es, \.fs, \.gs, \.ss] {
                    registers.special[keyPath: path].selector = 0
                    registers.special[keyPath: path].base = 0
                }
            case .protected, .long:
                let code: UInt16 = mode == .long ? 0x08 : 0x18
                registers.cs = TestMachine.segment(code, type: 0xb, long: mode == .long)
                for path in [\kvm_sregs.ds, \.es, \.fs, \.gs, \.ss] {
                    registers.special[keyPath: path] = TestMachine.segment(0x10, type: 0x3, long: false)
                }
                registers.gdt.base = Place.descriptorTable
                registers.gdt.limit = 0x5f
                registers.idt.base = Place.interruptTable
                registers.idt.limit = 0x3ff
                registers.tr.selector = 0x48
                registers.tr.base = Place.taskState
                registers.tr.limit = 0x67
                registers.tr.type = 0xb
                registers.tr.s = 0
                registers.tr.present = 1
                registers.cr0 = 0x11
                if mode == .long {
                    registers.cr3 = Place.pageTables
                    registers.cr4 = 0x20
                    registers.cr0 = 0x8000_0011
                    registers.efer = 0xd00  // LME, LMA, NXE
                }
            }
        }
    }

    private static func segment(_ selector: UInt16, type: UInt8, long: Bool) -> kvm_segment {
        var segment = kvm_segment()
        segment.selector = selector
        segment.limit = 0xffff_ffff
        segment.type = type
        segment.present = 1
        segment.s = 1
        segment.g = 1
        segment.l = long ? 1 : 0
        segment.db = long ? 0 : 1
        return segment
    }

    /// GDT, TSS and page tables.
    private static func writeTables(_ memory: GuestMemory, _ mode: EntryMode) throws {
        let descriptors: [UInt64] = [
            0,
            0x00af_9b00_0000_ffff,  // 0x08 64-bit code
            0x00cf_9300_0000_ffff,  // 0x10 data
            0x00cf_9b00_0000_ffff,  // 0x18 32-bit code
            0x0000_9b00_0000_ffff,  // 0x20 16-bit code
            0x0000_9300_0000_ffff,  // 0x28 16-bit data
            0x00cf_f300_0000_ffff,  // 0x30 data of ring 3
            0x00af_fb00_0000_ffff,  // 0x38 64-bit code of ring 3
            0x00cf_fb00_0000_ffff,  // 0x40 32-bit code of ring 3
            0x0000_8b06_e000_0067,  // 0x48 TSS at 0x6e000, busy
            0,
            0x00cf_1300_0000_ffff,  // 0x58 data that is not present
        ]
        for (index, descriptor) in descriptors.enumerated() {
            try memory.store(descriptor, at: Place.descriptorTable + UInt64(index) * 8)
        }
        // ESP0 and SS0 lie where 64-bit RSP0 does.
        try memory.store(UInt32(0x5f000), at: Place.taskState + 4)
        try memory.store(UInt16(mode == .long ? 0 : 0x10), at: Place.taskState + 8)
        let tables = Place.pageTables
        try memory.store(tables + 0x1000 | 7, at: tables)
        for gigabyte in UInt64(0)..<4 {
            let directory = tables + 0x2000 + gigabyte * 0x1000
            try memory.store(directory | 7, at: tables + 0x1000 + gigabyte * 8)
            for entry in UInt64(0)..<512 {
                try memory.store(gigabyte << 30 | entry << 21 | 0x87, at: directory + entry * 8)
            }
        }
    }
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

/// Nothing that was expected.
struct Unexpected: Error, CustomStringConvertible {
    let description: String
    init(_ exit: borrowing Exit) { description = "exit \(exit.reason) \(exit.rawBytes)" }
}
