import Glibc
import Processor
import TestLimits
import TestSupport
import Testing
import X86

@testable import CPUOracle

/// Each executor against the host's own CPU, at user level: see docs/processor.md, "How it is checked".
@Suite(.serialized, .within(minutes: 20, long: 120)) struct CPUOracleTests {
    /// Seconds that MARTLET_LONG_TESTS gives to each of the long ones; nil in ordinary runs.
    static let longSeconds: Double? = unsafe getenv("MARTLET_LONG_TESTS").flatMap {
        unsafe Double(String(cString: $0))
    }

    /// On the executors that the host has: all cases on the interpreter, in short runs a share of them on the translator, where
    /// each piece of code is translated before it is first executed.
    static let executors = TestExecutor.present

    /// A number of cases, or the share of it.
    static func share(_ count: Int, _ executor: ExecutorOptions) -> Int {
        executor.executor == .interpreter || longSeconds != nil ? count : count / 3
    }

    func runner(_ mode: OracleCase.Mode = .bits64, _ executor: ExecutorOptions = ExecutorOptions()) throws
        -> OracleRunner
    {
        guard OracleCase.Mode.offered.contains(mode) else {
            try Test.cancel(
                "the host's system has no modify_ldt, without which a process has no \(mode.codeSize * 8)-bit code")
        }
        do {
            return try OracleRunner(executor)
        } catch let failure as NativeProcess.Failure {
            try Test.cancel("\(failure)")
        }
    }

    /// Runs them all; each kind of finding is recorded once, shrunk.
    private func expectAgreement(
        _ mode: OracleCase.Mode = .bits64, _ executor: ExecutorOptions, _ next: () -> OracleCase?
    ) throws -> OracleRunner.Tally {
        let runner = try runner(mode, executor)
        var findings: [Finding] = []
        try runner.run(next) { finding in
            findings.append(finding)
            return findings.count < 100
        }
        var kinds: Set<String> = []
        if executor.executor == .interpreter { #expect(runner.tally.translated == 0) }
        for finding in findings {
            let small = try runner.shrink(finding)
            if kinds.insert(small.kind).inserted { Issue.record("\(small.text)") }
        }
        return runner.tally
    }

    /// That the translator was what executed, by its own count.
    private func expectTranslation(_ tally: OracleRunner.Tally, _ executor: ExecutorOptions) {
        print("\(executor): \(tally.cases) cases, of whose instructions \(tally.translated) began translated")
        if executor.executor == .translator { #expect(tally.translated > tally.cases) }
    }

    @Test(arguments: executors) func randomSequences(_ executor: ExecutorOptions) throws {
        var generator = SequenceGenerator(seed: 20_261)
        let count = Self.share(CPUOracleTests.longSeconds == nil ? 150_000 : 3_000_000, executor)
        var left = count
        let tally = try expectAgreement(.bits64, executor) {
            left -= 1
            return left < 0 ? nil : generator.next()
        }
        #expect(tally.cases >= count)
        expectTranslation(tally, executor)
        // Most run to their end, some fault in each way that user-level code can.
        #expect(tally.inconclusive * 1000 < tally.cases)
        for vector in [0, 1, 12, 13, 14, 16, 17, 19] as [UInt32] {
            #expect(tally.vectors[vector] ?? 0 > 0, "\(vector)")
        }
    }

    @Test(arguments: executors) func everyRowInEveryForm(_ executor: ExecutorOptions) throws {
        let rounds = Self.share(CPUOracleTests.longSeconds == nil ? 12 : 200, executor)
        var cases = SystematicCases(seed: 7, rounds: rounds)
        let tally = try expectAgreement(.bits64, executor) { cases.next() }
        expectTranslation(tally, executor)
        #expect(tally.inconclusive * 100 < tally.cases)
        for (number, row) in OpcodeTable.rows.enumerated() where NativeRows.isCompared(row) {
            #expect(cases.counts[number] > 0, "\(row.mnemonic): no case")
        }
        if executor.executor == .interpreter, let path = unsafe getenv("MARTLET_INSTRUCTION_REPORT") {
            let file = unsafe try #require(fopen(path, "w"))
            unsafe fputs(InstructionReport.text(cases.counts), file)
            unsafe fclose(file)
        }
    }

    /// A row that the host can't judge names tests that are there.
    @Test func everyOtherRowNamesItsTests() {
        for row in OpcodeTable.rows {
            guard let reason = NativeRows.elsewhere(row) else { continue }
            #expect(reason.contains("Tests"), "\(row.mnemonic): \(reason)")
        }
    }

    // These two go step by step, which is never translated.
    @Test(arguments: OracleCase.Mode.allCases) func encodings(_ mode: OracleCase.Mode) throws {
        var cases = EncodingCases(seed: 11, mode: mode, modRMs: CPUOracleTests.longSeconds == nil ? 8 : 256)
        let tally = try expectAgreement(mode, ExecutorOptions()) { cases.next() }
        #expect(tally.vectors[1] ?? 0 > tally.cases / 10 && tally.vectors[6] ?? 0 > 0)
        #expect(tally.inconclusive * 100 < tally.cases)
    }

    @Test(arguments: OracleCase.Mode.allCases) func lengths(_ mode: OracleCase.Mode) throws {
        var cases = LengthCases(seed: 13, mode: mode, count: CPUOracleTests.longSeconds == nil ? 1500 : 100_000)
        let tally = try expectAgreement(mode, ExecutorOptions()) { cases.next() }
        #expect(tally.vectors[14] ?? 0 > 0 && tally.vectors[13] ?? 0 > 0)
        #expect(tally.inconclusive * 100 < tally.cases)
    }

    @Test(arguments: OracleCase.Mode.allCases, executors)
    func stateImages(_ mode: OracleCase.Mode, _ executor: ExecutorOptions) throws {
        let count = Self.share(CPUOracleTests.longSeconds == nil ? 4000 : 200_000, executor)
        var cases = ImageCases(seed: 17, mode: mode, count: count)
        let tally = try expectAgreement(mode, executor) { cases.next() }
        #expect(tally.cases >= count && tally.inconclusive * 5 < tally.cases)
    }

    /// What was found once and mended stays so: a file each in Cases.
    @Test(arguments: executors) func keptCases(_ executor: ExecutorOptions) throws {
        let runner = try runner(.bits64, executor)
        var count = 0
        for (name, text) in KeptCases.all {
            let test = try #require(CaseText.read(text), "\(name) is not a case")
            guard OracleCase.Mode.offered.contains(test.mode) else { continue }
            let differences = try runner.differences(of: test)
            #expect(differences.isEmpty, "\(name): \(differences)")
            count += 1
        }
        #expect(count > 10)
    }

    /// Where models differ the interpreter does the same on every host.
    @Test(arguments: ModelChoice.all) func ourChoices(_ choice: ModelChoice) throws {
        let test = try #require(CaseText.read(choice.example))
        let end = try GuestExecutor(ExecutorOptions()).run(test)
        #expect(ModelChoice.Ending(end, of: test) == choice.outcomes[0].end, "\(choice.situation)")
    }

    /// A host may do what a model was seen to do, and nothing else.
    @Test(arguments: ModelChoice.all) func aModelMayDoWhatModelsDo(_ choice: ModelChoice) throws {
        let test = try #require(CaseText.read(choice.example))
        let ours = try GuestExecutor(ExecutorOptions()).run(test)
        func comparison(_ end: ModelChoice.Ending) -> Comparison {
            var native = ours
            native.vector = end.vector
            native.state.rip = test.state.rip &+ end.offset
            if let address = end.faultAddress { native.faultAddress = address } else { native.errorCode = 0 }
            return Comparison(test, native: native, guest: ours, memory: [])
        }
        for (number, outcome) in choice.outcomes.enumerated() {
            let comparison = comparison(outcome.end)
            #expect(
                comparison.differences.isEmpty && (comparison.choice != nil) == (number > 0), "\(outcome.behaviour)")
        }
        var neither = choice.outcomes[0].end
        neither.vector = 6
        #expect(!comparison(neither).differences.isEmpty)
        neither = choice.outcomes[1].end
        neither.offset += 7
        #expect(!comparison(neither).differences.isEmpty)
    }

    /// The text form loses nothing.
    @Test func casesComeBackFromText() throws {
        var generator = SequenceGenerator(seed: 3)
        for _ in 0..<200 {
            let test = generator.next()
            let text = CaseText.write(test)
            #expect(CaseText.write(try #require(CaseText.read(text))) == text)
        }
    }

    /// The harness sees a difference where there is one: the same code from two states.
    @Test(arguments: OracleCase.Mode.allCases) func differencesAreSeen(_ mode: OracleCase.Mode) throws {
        let runner = try runner(mode)
        var test = OracleCase()
        test.mode = mode
        test.state.rip = mode.codeStart
        test.code = [0x01, 0xD8]  // add eax, ebx
        test.state.registers[0] = 1
        test.state.registers[3] = 2
        #expect(try runner.differences(of: test).isEmpty)
        #expect(try runner.nativeEnd(of: test).state.registers[0] == 3)
        let end = runner.guest.run(test)
        #expect(end.state.registers[0] == 3 && end.vector == 13 && end.state.rip == test.state.rip + 2)
    }

    /// The native process's timer leaves a case what the kernel's way back from a signal does not: DS, ES, ID, NT.
    @Test func aTickChangesNothing() throws {
        let runner = try runner(.bits16)
        var test = OracleCase()
        test.mode = .bits16
        test.state.rip = OracleCase.Mode.bits16.codeStart
        test.state.rflags = 0x202 | RFLAGS.ID.rawValue | RFLAGS.NT.rawValue
        // mov ax, es; mov si, ax; mov dx, ds; mov ds, ax; mov es, dx; again: dec ecx; jnz again; mov ax, ds; mov bx, es
        test.code = [0x8C, 0xC0, 0x89, 0xC6, 0x8C, 0xDA, 0x8E, 0xD8, 0x8E, 0xC2]
        test.code += [0x66, 0x49, 0x75, 0xFC, 0x8C, 0xD8, 0x8C, 0xC3]
        // Longer each time, until it takes the three ticks that end it: the one before has seen one.
        for shift in 20..<32 as Range<UInt64> {
            test.state.registers[1] = 1 << shift
            let end = try runner.nativeEnd(of: test)
            if end.vector == OracleEnd.runaway {
                #expect(shift > 20)
                return
            }
            #expect(end.vector == 13)
            let (ax, dx, bx, si) = (0, 2, 3, 6)
            #expect(end.state.registers[ax] == end.state.registers[si])
            #expect(end.state.registers[bx] == end.state.registers[dx])
            #expect(end.state.registers[si] != end.state.registers[dx])
            #expect(end.state.rflags & (RFLAGS.ID.rawValue | RFLAGS.NT.rawValue) == 0x20_4000)
        }
        Issue.record("four thousand million rounds took no three ticks")
    }
}
