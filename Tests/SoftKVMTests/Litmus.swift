// Litmus tests: some vCPUs of one machine execute a few instructions at the same time, over and over, and the outcomes are
// counted. The memory model says which must never be seen (Intel SDM vol. 3, 8.1 to 8.3).

import Foundation
import GuestMemory
import KVM
import KVMABI
import Synchronization
import TestSupport
import Testing

#if canImport(Glibc)
    import Glibc
#endif

struct Litmus: Sendable, CustomTestStringConvertible {
    let name: String
    /// What each vCPU executes in a round, in assembly with the macros of `litmus.inc`. EAX, EBX, ECX, EDX, RSI, RDI, R8 to
    /// R10 and XMM registers are free.
    let threads: [String]
    /// Executed by the first vCPU when all have done so: leaves the outcome's number in EAX, from 0 to 15.
    let outcome: String
    /// Executed by the first vCPU before the first round and after each: makes the places as they are to be.
    var reset = "mov qword [X], 0\nmov qword [Y], 0"
    /// Executed by each vCPU before the first round.
    var begin = ""
    /// What more the image holds, behind the vCPUs' code.
    var data = ""
    /// The outcomes in question: never to be seen, or in a variant without the instruction that forbids them, to be seen.
    let outcomes: Set<Int>
    /// A variant that shows that a test can fail.
    var isVariant = false
    /// A variant that goes wrong by waiting for ever, too.
    var mayStall = false
    /// Only seen while the vCPUs run at the same instant, each on a processor of its own: not to be hoped for where the other
    /// tests keep all processors busy.
    var needsProcessors = false
    /// How many rounds of this are as much as one of the others.
    var weight = 1
    /// The rounds of a batch, after which the vCPUs wait for each other. 1 where they share more than a round's slot.
    var batch = 64
    /// The machine has interrupt controllers, and all vCPUs run from the start.
    var usesInterrupts = false
    /// Why the kernel's hypervisor is no oracle for this test, if it is not.
    var notKernel: String?

    var testDescription: String { name }

    private func forEachSlot(_ body: String, label: String) -> String {
        """
        mov ebp, SLOTS
        \(label): lea r10, [rbp * 8 + PAGES - SLOTS * 8]
        \(body)
        add rbp, SLOT
        cmp rbp, END
        jne \(label)

        """
    }

    /// The image, whose first bytes are the first vCPU's.
    func assemble() throws -> AssembledCode {
        var source =
            "bits 64\norg 0x1000\n%define THREADS \(threads.count)\n%define BATCH \(batch)\n%include \"litmus.inc\"\n"
        for (number, body) in threads.enumerated() {
            source += """
                thread\(number): begin \(number)
                \(begin)
                \(number == 0 ? forEachSlot(reset, label: ".clean") : "")
                .batch: meet \(number)
                mov ebp, SLOTS
                .round: inc r15
                gate \(number)
                dawdle
                \(body)
                add rbp, SLOT
                cmp rbp, END
                jne .round
                meet \(number)

                """
            if number == 0 {
                source += forEachSlot("\(outcome)\ninc qword [OUTCOMES + rax * 8]\n\(reset)", label: ".tally")
            }
            source += "cmp r15, r14\njb .batch\nout 0xe9, al\nalign 4096\n"
        }
        return try Assembler.assemble(source + data)
    }
}

/// One machine that a litmus test runs on.
struct LitmusRun {
    static let outcomes: UInt64 = 0x10_3000
    static let rounds: UInt64 = 0x10_4000

    let litmus: Litmus
    let hypervisor: Hypervisor
    let code: AssembledCode

    init(_ litmus: Litmus, on hypervisor: Hypervisor) throws {
        self.litmus = litmus
        self.hypervisor = hypervisor
        code = try litmus.assemble()
    }

    /// How often each outcome was seen in this many rounds, which are whole batches.
    func counts(rounds: Int) throws -> [Int: Int] {
        let machine = try TestMachine(hypervisor, .long, code.bytes) {
            if litmus.usesInterrupts { try $0.createInterruptControllers() }
        }
        try machine.memory.store(UInt64(rounds), at: LitmusRun.rounds)
        // A vCPU that has failed never meets the others again: they end, too.
        let over = Flag()
        let usesInterrupts = litmus.usesInterrupts
        let helpers = try (0..<litmus.threads.count).map { number in
            guard let entry = code.labels["thread\(number)"] else { throw GuestScript.Malformed(line: litmus.name) }
            return Helper {
                do {
                    let cpu = try machine.makeCPU(id: UInt32(number), at: entry)
                    let watchdog = LitmusRun.watchdog(cpu, machine.memory)
                    if usesInterrupts { try cpu.setMultiprocessorState(.runnable) }
                    try LitmusRun.run(cpu, watchdog, hypervisor, over)
                } catch {
                    over.raise()
                    throw error
                }
            }
        }
        for helper in helpers { try helper.join() }
        var counts: [Int: Int] = [:]
        for outcome in 0..<16 {
            let count = try machine.memory.load(UInt64.self, at: LitmusRun.outcomes + UInt64(outcome) * 8)
            if count != 0 { counts[outcome] = Int(count) }
        }
        return counts
    }

    /// Kicks a vCPU that has waited for the others far longer than a round takes, in an exit or in a loop of its own.
    private static func watchdog(_ cpu: borrowing VirtualCPU, _ memory: GuestMemory) -> Watchdog {
        let gate = 0x10_2000 + UInt64(cpu.id) * 64
        let handle = cpu.kickHandle
        let round = { @Sendable in (try? memory.load(UInt64.self, at: gate)) ?? 0 }
        return Watchdog(patience: .seconds(30), of: .thread, progress: round) { handle.kick() }
    }

    private static func run(
        _ cpu: consuming VirtualCPU, _ watchdog: Watchdog, _ hypervisor: Hypervisor, _ over: Flag
    ) throws {
        watchdog.begin()
        defer { watchdog.end() }
        while true {
            try cpu.run()
            if over.isRaised { return }
            if watchdog.hasBitten { throw Stalled(vcpu: cpu.id) }
            switch cpu.exit {
            case .portOut(let out):
                // 0xe9 is the end, 0xe8 a wait.
                if out.port == 0xe9 { return }
                sched_yield()
            case .interrupted: continue
            case .internalError(let error):
                if error.suberror == 1, hypervisor == .kernel, !error.instruction.isEmpty {
                    throw EmulatorGaveUp(instruction: error.instruction)
                }
                throw Unexpected(cpu.exit)
            case .shutdown: throw ShutDown(registers: try cpu.generalRegisters(), vcpu: cpu.id)
            case let exit: throw Unexpected(exit)
            }
        }
    }
}

/// A fault that the guest has no handler for, and where.
struct ShutDown: Error {
    let registers: kvm_regs
    let vcpu: UInt32
}

/// A vCPU stays in a round for ever.
private struct Stalled: Error {
    let vcpu: UInt32
}

/// Raised by one thread and seen by others.
final class Flag: Sendable {
    private let value = Atomic<Bool>(false)
    var isRaised: Bool { value.load(ordering: .acquiring) }
    func raise() { value.store(true, ordering: .releasing) }
}

/// What a test of the suite runs: a share of the rounds, or all ten million.
enum LitmusRounds {
    static var areLong: Bool { ProcessInfo.processInfo.environment["MARTLET_LONG_TESTS"] != nil }

    /// Whole batches.
    static func of(_ litmus: Litmus, on hypervisor: Hypervisor) -> Int {
        var rounds = areLong ? 10_000_000 : litmus.batch == 1 ? 500 : 1920
        // The kernel's emulator takes some 100 µs for a round, an unoptimised build not much less.
        if hypervisor == .kernel { rounds = 100 }
        #if DEBUG
            rounds = 100
        #endif
        return (max(rounds / litmus.weight, 1) + litmus.batch - 1) / litmus.batch * litmus.batch
    }
}

extension Litmus {
    /// The outcomes in question are never seen, or in a variant are seen.
    func check(on hypervisor: Hypervisor) throws {
        if hypervisor == .kernel {
            if !LitmusRounds.areLong { try skip(name, "a round is slow there: run make test-long") }
            if isVariant { try skip(name, "too slow there to show what may be rare") }
            if let notKernel { try skip(name, notKernel) }
        }
        if needsProcessors, !LitmusRounds.areLong {
            try Test.cancel("\(name): its vCPUs need processors of their own: run make test-long")
        }
        let run = try LitmusRun(self, on: hypervisor)
        let rounds = LitmusRounds.of(self, on: hypervisor)
        do {
            if isVariant { return try show(run, rounds) }
            let counts = try run.counts(rounds: rounds)
            let seen = counts.filter { outcomes.contains($0.key) }
            #expect(seen.isEmpty, "\(name): \(counts)")
            #expect(counts.values.reduce(0, +) == rounds)
            if LitmusRounds.areLong { print("litmus: \(name) on \(hypervisor): \(Litmus.describe(counts))") }
        } catch let error as EmulatorGaveUp {
            try skip(name, error.reason)
        } catch is Stalled where hypervisor == .kernel {
            try skip(name, "it stays in a round for ever")
        }
    }

    /// Runs until an outcome in question is seen.
    private func show(_ run: LitmusRun, _ rounds: Int) throws {
        if needsProcessors, ProcessInfo.processInfo.activeProcessorCount < threads.count {
            try Test.cancel("\(name): its vCPUs need a processor each")
        }
        let chunk = min(rounds, 64_000)
        for _ in 0..<200 {
            let counts: [Int: Int]
            do {
                counts = try run.counts(rounds: chunk)
            } catch is Stalled where mayStall {
                if LitmusRounds.areLong { print("litmus: \(name): it stays in a round for ever") }
                return
            }
            if !outcomes.isDisjoint(with: counts.keys) {
                if LitmusRounds.areLong { print("litmus: \(name): \(Litmus.describe(counts))") }
                return
            }
        }
        Issue.record("\(name): not seen in \(200 * chunk) rounds, so the test could not fail")
    }

    private static func describe(_ counts: [Int: Int]) -> String {
        counts.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" }.joined(separator: ", ")
    }
}
