import GuestMemory
import TestLimits
import Testing
import X86

@testable import Processor

/// What a translation that is kept remembers, and what it must not keep. Intel SDM vol. 3, 4.6, 4.8 and 4.10.
@Suite(.within(minutes: 20)) struct SystemTranslationTests {
    enum Mode: CaseIterable { case legacy, long }
    private static let linear: UInt64 = 0x40_0000, table: UInt64 = SystemMachine.tables + 0x3000

    /// A machine whose page at `linear` has a last-level entry of its own, 0 of `table`, with these flags.
    private func machine(_ mode: Mode, _ code: [UInt8], flags: UInt64) throws -> SystemMachine {
        let machine: SystemMachine
        let entry = Self.linear | flags
        switch mode {
        case .long:
            machine = try SystemMachine.long(code)
            try machine.memory.store(Self.table | 7, at: SystemMachine.tables + 0x2000 + 2 * 8)
            try machine.memory.store(entry, at: Self.table)
        case .legacy:
            machine = try SystemMachine.protected(code)
            for index in 0..<4 as Range<UInt64> {
                try machine.memory.store(UInt32(index << 22 | 0x87), at: SystemMachine.tables + index * 4)
            }
            try machine.memory.store(UInt32(Self.table | 7), at: SystemMachine.tables + 4)
            try machine.memory.store(UInt32(entry), at: Self.table)
            machine.state.cr3 = SystemMachine.tables
            machine.state.cr4 = 0x10
            machine.state.cr0 = 0x8000_0011
        }
        machine.state.registers[7] = Self.linear
        machine.processor.stateChanged()
        return machine
    }

    private func entry(_ machine: SystemMachine) throws -> UInt32 { try machine.memory.load(at: Self.table) }

    /// A comes with the first access, D with the first write, though the translation is known by then. 4.8.
    @Test(arguments: Mode.allCases)
    func aWriteAfterAReadSetsD(_ mode: Mode) throws {
        // mov eax, [rdi]; hlt; mov [rdi], eax; hlt
        let machine = try machine(mode, [0x8B, 0x07, 0xF4, 0x89, 0x07, 0xF4], flags: 7)
        try machine.runToHalt()
        #expect(try entry(machine) & 0xFFF == 0x27)
        try machine.runToHalt()
        #expect(try entry(machine) & 0xFFF == 0x67)
    }

    /// The same in one go, where nothing comes between.
    @Test(arguments: Mode.allCases)
    func aReadAndAWriteInOneBlock(_ mode: Mode) throws {
        // mov eax, [rdi]; mov [rdi], eax; hlt
        let machine = try machine(mode, [0x8B, 0x07, 0x89, 0x07, 0xF4], flags: 7)
        try machine.runToHalt()
        #expect(try entry(machine) & 0xFFF == 0x67)
    }

    /// A and D are stores: the pages of the tables in which they were set are in the dirty log.
    @Test(arguments: Mode.allCases)
    func whatAWalkSetsIsLogged(_ mode: Mode) throws {
        // mov eax, [rdi]; hlt; mov [rdi], eax; hlt
        let machine = try machine(mode, [0x8B, 0x07, 0xF4, 0x89, 0x07, 0xF4], flags: 7)
        let pages = try #require(machine.space.regions.first).pages
        let directory = Int(SystemMachine.tables >> 12), table = Int(Self.table >> 12), page = Int(Self.linear >> 12)
        pages.isLogging = true
        machine.processor.flushTranslations()
        try machine.runToHalt()
        #expect(pages.isDirty(directory) && pages.isDirty(table))
        #expect(!pages.isDirty(page))
        for word in 0..<pages.dirtyWordCount { _ = pages.takeDirty(word: word) }
        machine.processor.flushTranslations()
        try machine.runToHalt()
        #expect(!pages.isDirty(directory) && pages.isDirty(table))
        #expect(pages.isDirty(page))
    }

    /// A supervisor's write that CR0.WP allowed is refused once WP is set, and the other way round. 4.6.1.
    @Test(arguments: Mode.allCases)
    func writeProtectionComesAndGoes(_ mode: Mode) throws {
        // mov [rdi], eax; mov cr0, ebx; mov [rdi], eax
        let code: [UInt8] = [0x89, 0x07, 0x0F, 0x22, 0xC3, 0x89, 0x07, 0xF4]
        let machine = try machine(mode, code, flags: 5)
        machine.state.registers[3] = machine.state.cr0 | CR0.WP.rawValue
        #expect(try machine.runToVector() == 14)
        #expect(try machine.stack(2, size: mode == .long ? 8 : 4) == [3, SystemMachine.code + 5])
        #expect(machine.state.cr2 == Self.linear)

        let other = try self.machine(mode, [0x0F, 0x22, 0xC3, 0x89, 0x07, 0xF4], flags: 5)
        other.state.registers[3] = other.state.cr0
        other.state.cr0 |= CR0.WP.rawValue
        other.processor.stateChanged()
        try other.runToHalt()
        #expect(try entry(other) & 0xFFF == 0x65)
    }
}
