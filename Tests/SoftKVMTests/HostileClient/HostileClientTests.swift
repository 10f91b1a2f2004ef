// A client that does everything wrong, from several threads at once: the process lives, nothing leaks, and nothing is written
// but what the client handed over.

import Foundation
import Glibc
import KVMABI
import SoftKVM
import TestLimits
import Testing

/// Each case is made from a seed; which thread comes first is not. MARTLET_LONG_TESTS gives the seconds to go on for,
/// MARTLET_SEED where to begin.
@Suite(.serialized, .within(minutes: 20)) struct HostileClientTests {
    /// In a process of its own, whose descriptors are no other test's.
    @Test func anyClientLeavesTheProcessAlive() async {
        await #expect(processExitsWith: .success) { try HostileClientTests.exercise() }
    }

    private static func exercise() throws {
        let environment = ProcessInfo.processInfo.environment
        let patience = environment["MARTLET_LONG_TESTS"].flatMap(Double.init) ?? 0
        let first = environment["MARTLET_SEED"].flatMap(UInt64.init) ?? 1
        let deadline = Date(timeIntervalSinceNow: patience)
        var answers = HostileAnswers()
        var seed = first
        // The first makes what stays for the process.
        answers.add(try HostileClient(seed: 0).exercise(calls: 400))
        let before = openDescriptors()
        repeat {
            answers.add(try HostileClient(seed: seed).exercise(calls: 400))
            seed += 1
        } while seed < first + 20 || Date() < deadline
        #expect(openDescriptors() == before)
        #expect(answers.overrun == nil, "\(answers.overrun ?? "")")
        // What it asked was not refused at the door: guests ran, and each kind of request was answered both ways.
        #expect(answers.runs > 20)
        #expect(answers.succeeded.count > 40, "\(answers.succeeded.count) requests ever succeeded")
        #expect(answers.failed.count > 40)
        if patience > 0 {
            print(
                "hostile clients: \(seed - first), \(answers.calls) calls, \(answers.runs) runs;",
                "succeeded: \(answers.succeeded.count) requests, failed: \(answers.failed.count)")
        }
    }

    /// A client forks while its machines run. The child has the handles' numbers and none of the threads: it ends.
    @Test func aForkInBetweenHarmsNobody() throws {
        let client = try HostileClient(seed: 7)
        client.forks = true
        let answers = try client.exercise(calls: 100)
        #expect(answers.calls > 0)
    }
}

/// What came of the calls.
struct HostileAnswers {
    var calls = 0
    var runs = 0
    var succeeded: Set<UInt> = []
    var failed: Set<UInt> = []
    /// The first request that wrote beyond its structure.
    var overrun: String?

    mutating func add(_ other: HostileAnswers) {
        calls += other.calls
        runs += other.runs
        succeeded.formUnion(other.succeeded)
        failed.formUnion(other.failed)
        overrun = overrun ?? other.overrun
    }
}
