// Where things lie in the memory that a case of the system oracle runs in, and what is there before each case.

import Foundation
import GuestMemory
import KVMABI

/// Guest-physical addresses; linear ones are the same, but where a sweep of paging says otherwise.
enum Layout {
    static let size = 0x2_0000
    static let vectors: UInt64 = 0
    static let gdt: UInt64 = 0x1000, ldt: UInt64 = 0x1800, idt: UInt64 = 0x2000
    static let task: UInt64 = 0x3000, otherTask: UInt64 = 0x3400, otherTask16: UInt64 = 0x3800
    /// Tops of the stacks of the four levels, and of the seven interrupt stacks, 256 bytes apart.
    static let stacks: [UInt64] = [0x5000, 0x6000, 0x7000, 0x7C00]
    static let interruptStacks: UInt64 = 0xB800
    /// An OUT every 16 bytes, a place for each vector.
    static let handlers: UInt64 = 0x8000
    static let code: UInt64 = 0x9000, target: UInt64 = 0xA000, data: UInt64 = 0xC000
    static let pageTables: UInt64 = 0x1_0000
    /// 32-bit paging's directory and table, and PAE paging's pointers.
    static let directory32: UInt64 = 0x1_3000, pageTable32: UInt64 = 0x1_4000, pointers: UInt64 = 0x1_5000
    /// `out 0, al`, which ends a case wherever it is reached.
    static let end: [UInt8] = [0xE6, 0x00]
}

/// Selectors of the GDT that every case begins with. RPL is that of the segment's level.
enum Selectors {
    static let code32: [UInt16] = [0x08, 0x29, 0x3A, 0x4B], data32: [UInt16] = [0x10, 0x31, 0x42, 0x53]
    static let code64: [UInt16] = [0x68, 0x99, 0xA2, 0x73]
    static let code16: [UInt16] = [0x18, 0, 0, 0x5B], data16: [UInt16] = [0x20, 0, 0, 0x63]
    static let task: UInt16 = 0x78, ldt: UInt16 = 0x88
    /// Places that cases fill, 16 bytes each; `local` in the LDT.
    static let slot: UInt16 = 0x200, slot2: UInt16 = 0x210, slot3: UInt16 = 0x220, local: UInt16 = 0x14
    static let limit: UInt16 = 0x2FF, localLimit: UInt16 = 0x7F
}

/// A descriptor from its fields: `access` is byte 5, `flags` the high half of byte 6 (G, D/B, L, AVL).
func descriptor(base: UInt64 = 0, limit: UInt64 = 0xFFFFF, access: UInt64, flags: UInt64) -> UInt64 {
    let low = limit & 0xFFFF | (base & 0xFF_FFFF) << 16 | access << 40
    return low | (limit >> 16 & 15) << 48 | flags << 52 | (base >> 24 & 0xFF) << 56
}

/// The low eight bytes of a gate.
func gate(_ selector: UInt16, _ offset: UInt64, access: UInt64, count: UInt64 = 0) -> UInt64 {
    offset & 0xFFFF | UInt64(selector) << 16 | count << 32 | access << 40 | (offset >> 16 & 0xFFFF) << 48
}

extension GuestMemory {
    /// What a case finds: tables for every mode. With `long`, those of IA-32e mode.
    static func ofCases(long: Bool) throws -> GuestMemory {
        let memory = try GuestMemory(size: Layout.size)
        for vector in UInt64(0)..<256 {
            let handler = Layout.handlers + vector * 16
            try memory.write(Layout.end, at: handler)
            try memory.store(UInt32(handler), at: Layout.vectors + vector * 4)
            let entry = gate(long ? Selectors.code64[0] : Selectors.code32[0], handler, access: 0x8E)
            try memory.store(entry, at: Layout.idt + vector * (long ? 16 : 8))
        }
        func put(_ selector: UInt16, _ value: UInt64, _ upper: UInt64? = nil) throws {
            try memory.store(value, at: Layout.gdt + UInt64(selector & 0xFFF8))
            if let upper { try memory.store(upper, at: Layout.gdt + UInt64(selector & 0xFFF8) + 8) }
        }
        for level in 0..<4 {
            let dpl = UInt64(level) << 5
            try put(Selectors.code32[level], descriptor(access: 0x9B | dpl, flags: 0xC))
            try put(Selectors.data32[level], descriptor(access: 0x93 | dpl, flags: 0xC))
            try put(Selectors.code64[level], descriptor(access: 0x9B | dpl, flags: 0xA))
            if level % 3 == 0 {
                try put(Selectors.code16[level], descriptor(limit: 0xFFFF, access: 0x9B | dpl, flags: 0))
                try put(Selectors.data16[level], descriptor(limit: 0xFFFF, access: 0x93 | dpl, flags: 0))
            }
        }
        try put(Selectors.task, descriptor(base: Layout.task, limit: 0x8F, access: 0x8B, flags: 0), long ? 0 : nil)
        let local = descriptor(base: Layout.ldt, limit: UInt64(Selectors.localLimit), access: 0x82, flags: 0)
        try put(Selectors.ldt, local, long ? 0 : nil)
        // The TSS: stacks, and a map that allows every port below 256.
        for level in 0..<3 {
            if long {
                try memory.store(Layout.stacks[level], at: Layout.task + 4 + UInt64(level) * 8)
            } else {
                try memory.store(UInt32(Layout.stacks[level]), at: Layout.task + 4 + UInt64(level) * 8)
                try memory.store(UInt32(Selectors.data32[level]), at: Layout.task + 8 + UInt64(level) * 8)
            }
        }
        if long {
            for stack in UInt64(0)..<7 {
                try memory.store(Layout.interruptStacks + stack * 0x100, at: Layout.task + 0x24 + stack * 8)
            }
        }
        try memory.store(UInt16(0x68), at: Layout.task + 0x66)
        try memory.store(UInt8(0xFF), at: Layout.task + 0x88)
        try memory.write(Layout.end, at: Layout.target)
        // 2 MiB one to one, accessed and dirty already, for every level.
        try memory.store(Layout.pageTables + 0x1027, at: Layout.pageTables)
        try memory.store(Layout.pageTables + 0x2027, at: Layout.pageTables + 0x1000)
        try memory.store(UInt64(0xE7), at: Layout.pageTables + 0x2000)
        // The same memory for 32-bit and for PAE paging.
        try memory.store(UInt32(truncatingIfNeeded: Layout.pageTable32 | 0x67), at: Layout.directory32)
        for page in UInt64(0)..<32 {
            try memory.store(UInt32(truncatingIfNeeded: page << 12 | 0x67), at: Layout.pageTable32 + page * 4)
        }
        try memory.store(Layout.pageTables + 0x2001, at: Layout.pointers)
        return memory
    }

    /// Gives every page of this memory that differs from `other` its contents.
    func restore(from other: GuestMemory) {
        for page in stride(from: 0, to: min(size, other.size), by: 4096) {
            // SAFETY: both memories are alive, and `page` lies within both.
            unsafe GuestMemory.restore(hostAddress + page, other.hostAddress + page)
        }
    }

    private static func restore(_ page: UnsafeMutableRawPointer, _ wanted: UnsafeMutableRawPointer) {
        if unsafe memcmp(page, wanted, 4096) != 0 { unsafe memcpy(page, wanted, 4096) }
    }

    /// The addresses at which bytes differ, with this memory's byte and the other's.
    func differences(from other: GuestMemory) -> [(address: UInt64, here: UInt8, there: UInt8)] {
        var found: [(address: UInt64, here: UInt8, there: UInt8)] = []
        for page in stride(from: 0, to: min(size, other.size), by: 4096) {
            // SAFETY: both memories are alive, and `page` lies within both.
            guard unsafe memcmp(hostAddress + page, other.hostAddress + page, 4096) != 0 else { continue }
            for offset in page..<page + 4096 {
                let here = unsafe hostAddress.load(fromByteOffset: offset, as: UInt8.self)
                let there = unsafe other.hostAddress.load(fromByteOffset: offset, as: UInt8.self)
                if here != there { found.append((UInt64(offset), here, there)) }
            }
        }
        return found
    }
}
