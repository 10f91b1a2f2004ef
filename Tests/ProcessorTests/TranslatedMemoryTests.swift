import GuestMemory
import TestLimits
import TestSupport
import Testing
import X86

@testable import Processor

/// Translated accesses whose addresses wander: they look into the table of translations, and see what it sees.
@Suite(.within(minutes: 20)) struct TranslatedMemoryTests {
    private static let data: UInt64 = 0x80_0000, other: UInt64 = 0xA0_0000
    /// The page directory's entry of `data`.
    private static let entry = SystemMachine.tables + 0x2000 + (data >> 21) * 8

    /// Adds up and changes words all over 2 MiB, across pages too, then does so again where the same addresses are another page's.
    private static let code = Assembler.code { a in
        let walk = a.label()
        a.mov(.rbx, 0, .long)
        a.mov(.rax, 12345, .long)
        a.call(walk)
        a.mov(.at(.rsi), .r13)
        a.bytes(0x0F, 0x01, 0x3F)  // invlpg [rdi]
        a.call(walk)
        // And where it may not be written any more.
        a.mov(.at(.rsi), .r14)
        a.bytes(0x0F, 0x01, 0x3F)  // invlpg [rdi]
        a.call(walk)
        a.hlt()
        a.place(walk)
        a.mov(.rcx, 2000, .long)
        let again = a.here()
        a.imul(.rax, .rax, by: 1_664_525)
        a.add(.rax, 1_013_904_223)
        a.mov(.rdx, .rax)
        a.shr(.rdx, 20)
        a.and(.rdx, 0x1F_FFFF - 4096, .long)
        a.add(.rbx, .at(.rdi, index: .rdx))
        a.add(Assembler.Memory(.rdi, index: .rdx, 61), .rbx)
        a.lea(.r8, .at(.rdi, index: .rdx))
        a.xor(.rbx, .at(.r8, 8))
        a.mov(.at(.r8, 16), .rbx, .long)
        a.dec(.rcx, .long)
        a.jcc(.nz, again)
        a.ret()
    }

    private static func machine(_ executor: ExecutorOptions) throws -> SystemMachine {
        let machine = try SystemMachine.long(code, executor: executor)
        var random = SplitMix64(seed: 7)
        for base in [data, other] {
            for offset in stride(from: 0, to: UInt64(1) << 21, by: 512) {
                try machine.memory.store(random.next(), at: base + offset)
            }
        }
        machine.state.registers[6] = entry
        machine.state.registers[7] = data
        machine.state.registers[13] = other | 0x83
        machine.state.registers[14] = data | 0x81
        machine.state.cr0 |= 1 << 16
        machine.processor.stateChanged()
        return machine
    }

    @Test(arguments: [0, 4, 240] as [UInt8]) func whatWandersIsFound(_ slotChanges: UInt8) throws {
        var options = ExecutorOptions(.translator, threshold: 2, codeCacheSize: 1 << 20)
        options.slotChanges = slotChanges
        let (here, there) = (try Self.machine(ExecutorOptions(.interpreter)), try Self.machine(options))
        let vectors = (try here.runToVector(), try there.runToVector())
        #expect(vectors.0 == 14 && vectors.1 == 14)
        #expect(here.state.cr2 == there.state.cr2)
        for register in 0..<16 {
            #expect(here.state.registers[register] == there.state.registers[register], "\(register)")
        }
        for base in [Self.data, Self.other] {
            for offset in stride(from: 0, to: UInt64(1) << 21, by: 8) {
                let words = try [here, there].map { try $0.memory.load(UInt64.self, at: base + offset) }
                guard words[0] == words[1] else {
                    Issue.record("\(String(base + offset, radix: 16))")
                    return
                }
            }
        }
        let counters = try #require(there.processor.translationCounters)
        #expect(counters.translations > 0 && (slotChanges != 0) == (counters.renewals > 0), "\(counters)")
    }
}
