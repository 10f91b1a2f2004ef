import GuestMemory
import TestLimits
import Testing
import X86

@testable import Processor

/// What INVLPG and its like drop: all that is stale, by what the guest reads then, and no more than that.
@Suite(.within(minutes: 20)) struct TLBTests {
    enum LargePage: CaseIterable, Sendable { case twoMiB, fourMiB, oneGiB }

    /// A machine whose linear addresses from `base` on lie in one large page, of which `remap` makes another.
    private struct Setting {
        let machine: SystemMachine
        let base: UInt64
        let remap: () throws -> Void
    }

    // mov eax, [rsi]; mov ebx, [rdi]; hlt; invlpg [rcx]; mov eax, [rsi]; mov ebx, [rdi]; hlt
    private static let code: [UInt8] = [0x8B, 0x06, 0x8B, 0x1F, 0xF4, 0x0F, 0x01, 0x39, 0x8B, 0x06, 0x8B, 0x1F, 0xF4]

    private func setting(_ size: LargePage) throws -> Setting {
        switch size {
        case .twoMiB:
            let machine = try SystemMachine.long(Self.code)
            return Setting(machine: machine, base: 4 << 20) {
                try machine.memory.store(6 << 20 | 0x87 as UInt64, at: SystemMachine.tables + 0x2010)
            }
        case .fourMiB:
            let machine = try SystemMachine.protected(Self.code)
            for index in 0..<4 as Range<UInt32> {
                try machine.memory.store(index << 22 | 0x87, at: SystemMachine.tables + UInt64(index) * 4)
            }
            machine.state.cr3 = SystemMachine.tables
            machine.state.cr4 = 0x10
            machine.state.cr0 = 0x8000_0011
            return Setting(machine: machine, base: 4 << 20) {
                try machine.memory.store(8 << 20 | 0x87 as UInt32, at: SystemMachine.tables + 4)
            }
        case .oneGiB:
            let machine = try SystemMachine.long(Self.code)
            machine.host.hasGigabytePages = true
            // The second gigabyte shows the first's memory; then the same, 2 MiB on.
            try machine.memory.store(0x87 as UInt64, at: SystemMachine.tables + 0x1008)
            return Setting(machine: machine, base: 1 << 30) {
                try machine.memory.store(SystemMachine.tables + 0x3007, at: SystemMachine.tables + 0x1008)
                for index in 0..<512 as Range<UInt64> {
                    let page = ((index + 1) % 8) << 21
                    try machine.memory.store(page | 0x87, at: SystemMachine.tables + 0x3000 + index * 8)
                }
            }
        }
    }

    /// Each address of a large page stands for all of it.
    @Test(arguments: LargePage.allCases) func invalidatingOneAddressOfALargePage(_ size: LargePage) throws {
        let setting = try setting(size)
        let machine = setting.machine
        let near = size == .oneGiB ? UInt64(4 << 20) : 0
        for (page, value) in [(4, 1), (6, 3), (8, 5)] as [(UInt64, UInt32)] {
            try machine.memory.store(value, at: page << 20 + 0x1000)
            try machine.memory.store(value + 1, at: page << 20 + 0x10_0000)
        }
        machine.state.registers[6] = setting.base + near + 0x1000
        machine.state.registers[7] = setting.base + near + 0x10_0000
        machine.state.registers[1] = setting.base + near + 0x5000
        machine.processor.stateChanged()
        #expect(machine.processor.run() == .halted)
        #expect(machine.state.registers[0] == 1 && machine.state.registers[3] == 2)
        try setting.remap()
        #expect(machine.processor.run() == .halted)
        let shown: UInt64 = size == .fourMiB ? 5 : 3
        #expect(machine.state.registers[0] == shown && machine.state.registers[3] == shown + 1)
    }

    /// Between two large pages there are small ones, and INVLPG of one of those is not everyone's loss.
    @Test func otherPagesKeepTheirTranslations() throws {
        // mov eax, [rsi]; mov eax, [rdi]; mov eax, [rbx]; hlt; invlpg [rbx]; hlt; invlpg [rsi]; hlt
        let machine = try SystemMachine.long([
            0x8B, 0x06, 0x8B, 0x07, 0x8B, 0x03, 0xF4, 0x0F, 0x01, 0x3B, 0xF4, 0x0F, 0x01, 0x3E, 0xF4,
        ])
        let low: UInt64 = 2 << 20, small: UInt64 = 4 << 20 + 0x3000, high: UInt64 = 6 << 20
        try machine.memory.store(SystemMachine.tables + 0x3007, at: SystemMachine.tables + 0x2010)
        try machine.memory.store(small | 7, at: SystemMachine.tables + 0x3018)
        (machine.state.registers[6], machine.state.registers[7], machine.state.registers[3]) = (low, high, small)
        machine.processor.stateChanged()
        let tlb = machine.processor.tlb
        func isKnown(_ linear: UInt64) -> Bool { tlb.walked(linear) != nil }
        #expect(machine.processor.run() == .halted)
        #expect(isKnown(low) && isKnown(small) && isKnown(high))
        #expect(machine.processor.run() == .halted)
        #expect(isKnown(low) && !isKnown(small) && isKnown(high))
        #expect(machine.processor.run() == .halted)
        #expect(!isKnown(low) && isKnown(high))
    }

    /// Many INVLPGs of a large page, more than it has epochs, and as many generations of write tags.
    @Test func countersThatComeRound() throws {
        // again: mov eax, [rsi]; invlpg [rsi]; mov [rdi], ecx; dec ecx; jnz again; hlt
        let machine = try SystemMachine.long([0x8B, 0x06, 0x0F, 0x01, 0x3E, 0x89, 0x0F, 0xFF, 0xC9, 0x75, 0xF5, 0xF4])
        machine.state.registers[6] = 4 << 20
        machine.state.registers[7] = 6 << 20
        machine.state.registers[1] = 70_000
        try machine.memory.store(1 as UInt32, at: 4 << 20)
        machine.processor.stateChanged()
        #expect(machine.processor.run() == .halted)
        #expect(machine.state.registers[0] == 1)
        #expect(try machine.memory.load(UInt32.self, at: 6 << 20) == 1)
    }

    /// A LOCK'd operand across pages waits for its turn, and others have theirs meanwhile: what they shoot down is not used.
    /// Intel SDM vol. 3, 4.10.5.
    @Test(
        arguments: [
            [0xF0, 0x01, 0x07],  // lock add [rdi], eax
            [0x87, 0x07],  // xchg [rdi], eax
            [0xF0, 0x0F, 0xC1, 0x07],  // lock xadd [rdi], eax
        ] as [[UInt8]]) func shootdownBeforeALockAcrossPages(lock: [UInt8]) throws
    {
        let machine = try SystemMachine.long(lock + [0xB8, 0x11, 0x11, 0x11, 0x11] + lock + [0xF4])
        // Two small pages, of which the second is to be elsewhere.
        try machine.memory.store(SystemMachine.tables + 0x3007, at: SystemMachine.tables + 0x2010)
        try machine.memory.store(4 << 20 | 7 as UInt64, at: SystemMachine.tables + 0x3000)
        try machine.memory.store(5 << 20 | 7 as UInt64, at: SystemMachine.tables + 0x3008)
        machine.state.registers[0] = 0x1111_1111
        machine.state.registers[7] = 4 << 20 + 0xFFE
        let memory = machine.memory
        var turns = 0
        machine.host.onStop = { [processor = machine.processor] in
            turns += 1
            guard turns == 2 else { return }
            try? memory.store(6 << 20 | 7 as UInt64, at: SystemMachine.tables + 0x3008)
            processor.request(.flushTLB)
        }
        try memory.store(UInt16(0x2222), at: 6 << 20)
        machine.processor.stateChanged()
        #expect(machine.processor.run() == .halted)
        machine.host.onStop = {}
        #expect(turns == 2 && machine.host.stops == 0)
        #expect(
            try memory.load(UInt16.self, at: 5 << 20) == 0x1111, "the second was made by a translation that is no more")
        #expect(try memory.load(UInt16.self, at: 6 << 20) != 0x2222)
    }

    // MARK: The walker's own stores

    struct Walk: Sendable, CustomTestStringConvertible {
        let testDescription: String
        /// The tables' entries and what they are after a read and a write: place, before, accessed, dirty.
        let entries: [(place: UInt64, value: UInt64)]
        let isWide: Bool
        let isLarge: Bool
    }

    static let walks = [
        Walk(
            testDescription: "32-bit, 4 KiB", entries: [(0x1_0004, 0x1_4007), (0x1_4000, 0x40_0007)], isWide: false,
            isLarge: false),
        Walk(testDescription: "32-bit, 4 MiB", entries: [(0x1_0004, 0x40_0087)], isWide: false, isLarge: true),
        Walk(
            testDescription: "long, 4 KiB",
            entries: [(0x1_2010, 0x1_4007), (0x1_4000, 0x40_0007)], isWide: true, isLarge: false),
        Walk(testDescription: "long, 2 MiB", entries: [(0x1_2010, 0x40_0087)], isWide: true, isLarge: true),
    ]

    /// Accessed and dirty bits are stores: the pages that the tables lie in are in the dirty log, each once it has changed.
    @Test(arguments: walks) func accessedAndDirtyBitsAreLogged(_ walk: Walk) throws {
        // mov eax, [rsi]; hlt; mov [rsi], eax; hlt; mov [rsi + 8], eax; hlt
        let code: [UInt8] = [0x8B, 0x06, 0xF4, 0x89, 0x06, 0xF4, 0x89, 0x46, 0x08, 0xF4]
        let machine = walk.isWide ? try SystemMachine.long(code) : try SystemMachine.protected(code)
        if !walk.isWide {
            try machine.memory.store(0x83 as UInt32, at: SystemMachine.tables)
            machine.state.cr3 = SystemMachine.tables
            machine.state.cr4 = 0x10
            machine.state.cr0 = 0x8000_0011
        }
        for entry in walk.entries {
            if walk.isWide {
                try machine.memory.store(entry.value, at: entry.place)
            } else {
                try machine.memory.store(UInt32(entry.value), at: entry.place)
            }
        }
        machine.state.registers[6] = 4 << 20
        machine.processor.stateChanged()
        // The code's own translation is made before anything is logged.
        let start = machine.state.rip
        try machine.memory.store(UInt8(0xF4), at: start)
        #expect(machine.processor.run() == .halted)
        try machine.memory.store(UInt8(0x8B), at: start)
        machine.state.rip = start
        let pages = try #require(machine.space.regions.first).pages
        pages.isLogging = true
        machine.processor.flushTranslations()
        func logged() -> Set<Int> {
            var found: Set<Int> = []
            for page in 0..<4096 where pages.isDirty(page) { found.insert(page) }
            pages.setDirty(false)
            machine.processor.flushTranslations()
            return found
        }
        let tables = Set(walk.entries.map { Int($0.place >> 12) })
        #expect(machine.processor.run() == .halted)
        #expect(logged() == tables, "accessed bits")
        for entry in walk.entries { #expect(try machine.memory.load(UInt8.self, at: entry.place) & 0x60 == 0x20) }
        #expect(machine.processor.run() == .halted)
        let last = try #require(walk.entries.last)
        #expect(logged() == [Int(last.place >> 12), 0x400], "a dirty bit and the store itself")
        #expect(try machine.memory.load(UInt8.self, at: last.place) & 0x60 == 0x60)
        #expect(machine.processor.run() == .halted)
        #expect(logged() == [0x400], "nothing but the store")
    }
}
