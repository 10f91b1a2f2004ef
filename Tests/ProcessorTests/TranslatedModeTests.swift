import Foundation
import Glibc
import GuestMemory
import Synchronization
import TestLimits
import TestSupport
import Testing
import X86

@testable import Processor

/// Translated code between modes and requests: what was found under one mode serves no other, and whoever wants the vCPU gets it.
@Suite(.within(minutes: 20)) struct TranslatedModeTests {
    /// A user's page, and words of the supervisor's.
    private static let userData: UInt64 = 0x80_0000, data: UInt64 = 0x9_0000
    private static let translating = ExecutorOptions(.translator, threshold: 1, codeCacheSize: 1 << 20)

    /// How a piece of code is gone to, and back from.
    enum Way: CaseIterable, Sendable { case call, jump, ret }

    /// Goes to `there` and comes back; the way back is in RDX or on the stack.
    private static func go(_ a: inout Assembler, _ way: Way, _ there: Assembler.Label) {
        guard way != .call else { return a.call(there) }
        let back = a.label()
        a.lea(.rdx, Assembler.Memory(back))
        a.lea(.rax, Assembler.Memory(there))
        if way == .jump {
            a.jmp(.rax)
        } else {
            a.push(.rdx)
            a.push(.rax)
            a.ret()
        }
        a.place(back)
    }

    private static func goBack(_ a: inout Assembler, _ way: Way) {
        if way == .jump { a.jmp(.rdx) } else { a.ret() }
    }

    /// With SMAP in force a user's page is data only while EFLAGS.AC is set, whichever code has reached it before.
    @Test(arguments: Way.allCases) func userPagesAreForWhoSetsAC(_ way: Way) throws {
        let code = Assembler.code { a in
            let reads = a.label()
            a.mov(.rbx, 8, .long)
            a.bytes(0x0F, 0x01, 0xCB)  // stac
            let again = a.here()
            Self.go(&a, way, reads)
            a.dec(.rbx, .long)
            a.jcc(.nz, again)
            a.bytes(0x0F, 0x01, 0xCA)  // clac
            Self.go(&a, way, reads)
            a.hlt()
            a.place(reads)
            a.mov(.rsi, .at(.rdi))
            Self.goBack(&a, way)
        }
        let machine = try SystemMachine.long(code, executor: Self.translating)
        // Code, tables and stacks are the supervisor's.
        try machine.memory.store(UInt64(0x83), at: SystemMachine.tables + 0x2000)
        machine.state.cr4 |= 1 << 21
        machine.state.registers[7] = Self.userData
        machine.processor.stateChanged()
        #expect(try machine.runToVector() == 14)
        #expect(machine.state.cr2 == Self.userData && machine.hasTranslated)
    }

    /// Code with vector instructions that was translated while they were allowed is #NM once CR0.TS is set.
    @Test(arguments: Way.allCases) func aTaskSwitchedFPUIsSeen(_ way: Way) throws {
        let code = Assembler.code { a in
            let moves = a.label(), isDone = a.label()
            let all = a.here()
            a.mov(.rbx, 8, .long)
            let again = a.here()
            Self.go(&a, way, moves)
            a.dec(.rbx, .long)
            a.jcc(.nz, again)
            a.mov(.rax, control: 0)
            a.bts(.rax, 3)
            a.jcc(.b, isDone)
            a.mov(control: 0, .rax)
            a.jmp(all)
            a.place(isDone)
            a.hlt()
            a.place(moves)
            a.movaps(.xmm(0), .xmm(1))
            Self.goBack(&a, way)
        }
        let machine = try SystemMachine.long(code, executor: Self.translating)
        machine.state.cr4 |= 0x600
        machine.processor.stateChanged()
        #expect(try machine.runToVector() == 7)
        #expect(machine.hasTranslated)
    }

    /// A loop whose every way back is a return is left when somebody asks.
    @Test func aLoopOfReturnsIsLeft() throws {
        let turns: UInt64 = 100_000_000
        let code = Assembler.code { a in
            let end = a.label()
            let again = a.here()
            a.dec(.rcx)
            a.mov(.at(.rdi), .rcx)
            a.jcc(.z, end)
            a.lea(.rax, Assembler.Memory(again))
            a.push(.rax)
            a.ret()
            a.place(end)
            a.hlt()
        }
        let machine = try SystemMachine.long(code, executor: Self.translating)
        machine.state.registers[1] = turns
        machine.state.registers[7] = Self.data
        try machine.memory.store(turns, at: Self.data)
        machine.processor.stateChanged()
        let processor = machine.processor
        // SAFETY: the word lives as long as the machine; the vCPU is the one that writes it. A request may come from any thread.
        nonisolated(unsafe) let place = unsafe (machine.memory.hostAddress + Int(Self.data))
        nonisolated(unsafe) let requested = processor
        let thread = Thread {
            while unsafe place.load(as: UInt64.self) > turns - 1000 { sched_yield() }
            unsafe requested.request(.leave)
        }
        thread.start()
        #expect(machine.processor.run() == .requested)
        #expect(machine.state.registers[1] != 0 && machine.hasTranslated)
    }

    /// Whenever an interrupt comes, the instruction behind STI is executed first, also where it is left to the interpreter.
    @Test func noInterruptComesBehindSTI() throws {
        let wanted = 3000
        let code = Assembler.code { a in
            let shadowed = a.label()
            a.lea(.r15, Assembler.Memory(shadowed))
            let again = a.here()
            a.cli()
            // So that nobody knows where the next access goes.
            a.bytes(0x0F, 0x01, 0x3F)  // invlpg [rdi]
            a.sti()
            a.place(shadowed)
            a.mov(.rax, .at(.rdi))
            a.inc(.at(.rdi, 8))
            a.cmp(.r13, wanted)
            a.jcc(.b, again)
            a.cli()
            a.hlt()
        }
        let handler = Assembler.code { a in
            let isElsewhere = a.label()
            a.inc(.r13)
            a.cmp(.r15, .at(.rsp))
            a.jcc(.nz, isElsewhere)
            a.inc(.r14)
            a.place(isElsewhere)
            a.iret()
        }
        let machine = try SystemMachine.long(code, executor: ExecutorOptions(.translator, threshold: 5))
        try machine.memory.write(handler, at: SystemMachine.handlers + 0x40 * 16)
        (machine.state.registers[13], machine.state.registers[14]) = (0, 0)
        machine.state.registers[7] = Self.data
        machine.host.recurrent = 0x40
        machine.processor.stateChanged()
        let isOver = Atomic(false)
        // SAFETY: a request may come from any thread; the word lives as long as the machine, and is the vCPU's to write.
        nonisolated(unsafe) let processor = machine.processor
        nonisolated(unsafe) let place = unsafe machine.memory.hostAddress + Int(Self.data + 8)
        let storm = Thread {
            var random = SplitMix64(seed: 1)
            var turn: UInt64 = 0
            while !isOver.load(ordering: .relaxed) {
                // One in a turn: what is always there leaves no time for anything but its handler.
                let now = unsafe place.load(as: UInt64.self)
                guard now != turn else { continue }
                turn = now
                for _ in 0..<random.next() % 512 where isOver.load(ordering: .relaxed) { break }
                unsafe processor.request(.interrupt)
            }
        }
        storm.start()
        defer { isOver.store(true, ordering: .relaxed) }
        try machine.runToHalt()
        #expect(machine.state.registers[13] >= wanted && machine.hasTranslated)
        #expect(machine.state.registers[14] == 0, "of \(machine.state.registers[13]) interrupts")
    }

    /// A slot that no list has room for is filled all the same: the list is emptied before.
    @Test func aFullListOfSlotsIsEmptied() throws {
        let code = Assembler.code { a in
            let again = a.here()
            a.add(.rax, .at(.rdi))
            a.mov(.at(.rdi, 4096), .rax)
            a.dec(.rcx, .long)
            a.jcc(.nz, again)
            a.hlt()
        }
        let machine = try SystemMachine.long(code, executor: Self.translating)
        machine.state.registers[0] = 0
        machine.state.registers[1] = 100
        machine.state.registers[7] = Self.data
        try machine.memory.store(3 as UInt64, at: Self.data)
        machine.processor.stateChanged()
        machine.state.filledSlots = InlineArray(repeating: UInt32(EmittedData.slotCount))
        try machine.runToHalt()
        #expect(machine.state.registers[0] == 300 && machine.hasTranslated)
        #expect(try machine.memory.load(UInt64.self, at: Self.data + 4096) == 300)
    }
}
