import Foundation
import TestLimits
import TestSupport
import Testing
import X86

@testable import Processor

/// What is written of translated code, and the names that it is given.
@Suite(.within(minutes: 5)) struct TranslationTraceTests {
    @Test func namesOfASystemMap() {
        let text = """
            0000000000000000 A fixed_percpu_data
            ffffffff81000000 T _text
            ffffffff81000000 D data_is_no_function
            ffffffff81000040 t secondary_startup_64
            not a line
            ffffffff81000100 W weak_one\t[module]

            """
        let symbols = GuestSymbols(Array(text.utf8))
        #expect(symbols.name(of: 0xFFFF_FFFF_8100_0000) == "_text")
        #expect(symbols.name(of: 0xFFFF_FFFF_8100_003F) == "_text")
        #expect(symbols.name(of: 0xFFFF_FFFF_8100_0040) == "secondary_startup_64")
        #expect(symbols.name(of: 0xFFFF_FFFF_8100_0123) == "weak_one")
        #expect(symbols.name(of: 0xFFFF_FFFF_8FFF_0000) == nil)
        #expect(symbols.name(of: 0xFFFF_FFFF_80FF_FFFF) == nil)
    }

    /// One section header for the table, one for the names.
    private static func elf(_ symbols: [(name: String, value: UInt64, type: UInt8)]) -> [UInt8] {
        func number(_ value: UInt64, _ count: Int) -> [UInt8] {
            (0..<count).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) }
        }
        var names: [UInt8] = [0]
        var table = [UInt8](repeating: 0, count: 24)
        for symbol in symbols {
            table += number(UInt64(names.count), 4) + [symbol.type, 0, 0, 0] + number(symbol.value, 8) + number(0, 8)
            names += Array(symbol.name.utf8) + [0]
        }
        let sections = 64 + table.count + names.count
        var file: [UInt8] = [0x7F, 0x45, 0x4C, 0x46, 2, 1] + [UInt8](repeating: 0, count: 34)
        file += number(UInt64(sections), 8) + [UInt8](repeating: 0, count: 10)
        file += number(64, 2) + number(2, 2) + number(0, 2)
        file += table + names
        func header(_ type: UInt64, _ offset: Int, _ size: Int, link: UInt64) -> [UInt8] {
            number(0, 4) + number(type, 4) + number(0, 16) + number(UInt64(offset), 8) + number(UInt64(size), 8)
                + number(link, 4) + number(0, 20)
        }
        file += header(2, 64, table.count, link: 1) + header(3, 64 + table.count, names.count, link: 0)
        return file
    }

    @Test func namesOfAnELFFile() {
        let file = Self.elf([("start", 0x1000, 0x12), ("an_object", 0x1010, 0x11), ("next", 0x1020, 2)])
        let symbols = GuestSymbols(file)
        #expect(symbols.name(of: 0x1015) == "start" && symbols.name(of: 0x1020) == "next")
        #expect(symbols.name(of: 0xFFF) == nil)
        // Whatever is wrong with it.
        var random = SplitMix64(seed: 5)
        for _ in 0..<20_000 {
            var broken = file
            for _ in 0..<3 {
                broken[6 + Int(random.next() % UInt64(broken.count - 6))] = UInt8(truncatingIfNeeded: random.next())
            }
            if random.next() % 4 == 0 { broken.removeLast(Int(random.next() % UInt64(broken.count - 6))) }
            _ = GuestSymbols(broken).name(of: 0x1015)
        }
    }

    @Test func filesThatAreNot() {
        #expect(throws: TranslationTrace.Failure.self) { try GuestSymbols(file: "/nonexistent") }
        #expect(throws: TranslationTrace.Failure.self) { try GuestSymbols(file: "/dev/null") }
        #expect(throws: TranslationTrace.Failure.self) { try TextFile("/nonexistent/file") }
    }

    @Test(.enabled(if: LockstepTests.isPossible, "this host can't run translated code"))
    func whatIsTranslatedIsCounted() throws {
        // again: lea rbx, [rbx + rax*2 + 7]; dec ecx; jnz again; hlt
        let code: [UInt8] = [0xB9, 100, 0, 0, 0, 0x48, 0x8D, 0x5C, 0x43, 7, 0xFF, 0xC9, 0x75, 0xF7, 0xF4]
        let machine = try SystemMachine.long(code, executor: ExecutorOptions(.translator))
        try machine.runToHalt()
        let counters = try #require(machine.processor.translationCounters)
        // The loop, and HLT behind it.
        #expect(counters.translations == 1 && counters.instructions == 4, "\(counters)")
    }

    /// In a process of its own, since what is asked for is asked for of all of it.
    @Test(.enabled(if: LockstepTests.isPossible, "this host can't run translated code"))
    func whatIsTranslatedIsWritten() async {
        await #expect(processExitsWith: .success) {
            let folder = FileManager.default.temporaryDirectory.path
            let (listing, map) = ("\(folder)/martlet-\(getpid()).listing", "\(folder)/martlet-\(getpid()).map")
            try "20000 T entry\n21000 T elsewhere\n".write(toFile: map, atomically: true, encoding: .utf8)
            try TranslationTrace.writeListing(to: listing)
            try TranslationTrace.writePerfMap(symbols: map)
            // mov ecx, 100; again: lea rbx, [rbx + rax*2 + 7]; dec ecx; jnz again; hlt
            let code: [UInt8] = [0xB9, 100, 0, 0, 0, 0x48, 0x8D, 0x5C, 0x43, 7, 0xFF, 0xC9, 0x75, 0xF7, 0xF4]
            let machine = try SystemMachine.long(code, executor: ExecutorOptions(.translator))
            try machine.runToHalt()
            let text = try String(contentsOfFile: listing, encoding: .utf8)
            let lines = text.split(separator: "\n").filter { $0.contains("lea rbx") }
            let names = try String(contentsOfFile: PerfMap.path, encoding: .utf8)
            for file in [listing, map, PerfMap.path] { try FileManager.default.removeItem(atPath: file) }
            // The guest's, and right of it the host's.
            #expect(
                lines.contains { $0.components(separatedBy: "lea rbx").count == 3 && $0.contains("20005") }, "\(text)")
            #expect(names.hasSuffix(" entry\n"), "\(names)")
        }
    }
}
