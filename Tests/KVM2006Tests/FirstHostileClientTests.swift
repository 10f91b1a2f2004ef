// A client that says anything, from several threads: each call succeeds or fails, and the process lives.

import Dispatch
import Foundation
import KVM2006
import KVMABI
import Synchronization
import TestLimits
import Testing

/// MARTLET_LONG_TESTS gives the seconds to go on for, MARTLET_SEED where to begin.
@Suite(.within(minutes: 20)) struct FirstHostileClientTests {
    /// The structures' fields are drawn from few values, so that they meet.
    private struct Draw: RandomNumberGenerator {
        var state: UInt64

        mutating func next() -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return state ^ state >> 29
        }

        mutating func structure(_ size: Int) -> [UInt8] {
            var bytes: [UInt8] = []
            while bytes.count < size {
                switch next() >> 60 {
                case 0...7: bytes += FirstClient.bytes(UInt32(truncatingIfNeeded: next() >> 40 & 3))
                case 8...10: bytes += FirstClient.bytes(UInt64(truncatingIfNeeded: next() >> 40 & 0x1F_F000))
                case 11: bytes += FirstClient.bytes(UInt64.max << (next() >> 58))
                default: bytes += FirstClient.bytes(next())
                }
            }
            return Array(bytes.prefix(size))
        }
    }

    @Test func anyClientLives() throws {
        let environment = ProcessInfo.processInfo.environment
        let deadline = Date(timeIntervalSinceNow: environment["MARTLET_LONG_TESTS"].flatMap(Double.init) ?? 0)
        let first = environment["MARTLET_SEED"].flatMap(UInt64.init) ?? 0
        var seed = first
        var outcomes: Set<Int32> = []
        repeat {
            outcomes.formUnion(try Self.exercise(seed: seed))
            seed += 1
        } while seed < first + 4 || Date() < deadline
        // Successes, EINTR, EINVAL, EFAULT (from the dirty log's pointer) and ENOENT; never an errno that this side has not.
        #expect(outcomes.isSuperset(of: [0, 4, 22, 2]))
        #expect(outcomes.isSubset(of: [0, 2, 4, 12, 14, 17, 22]), "\(outcomes)")
    }

    /// Three threads, and one that ends their runs.
    private static func exercise(seed: UInt64) throws -> Set<Int32> {
        let client = try FirstClient(
            .software, (0..<0x2000).map { UInt8(truncatingIfNeeded: $0 &* 7 ^ $0 >> 5) }, vcpus: 2)
        let outcomes = Mutex<Set<Int32>>([])
        let left = Atomic<Int>(3)
        let running = Atomic<Int>(0)
        let begun = DispatchSemaphore(value: 0)
        DispatchQueue.concurrentPerform(iterations: 4) { number in
            if number == 0 {
                while true {
                    // A thread is about to run a vCPU, or done.
                    begun.wait()
                    if left.load(ordering: .acquiring) == 0 { return }
                    // A kick may serve another thread's run of the same vCPU.
                    while running.load(ordering: .acquiring) > 0 {
                        for vcpu: UInt32 in 0..<8 { client.interface.kick(vcpu: vcpu) }
                        sched_yield()
                    }
                }
            }
            let found = call(client, seed: seed &* 4 &+ UInt64(number), calls: 4_000) { isRunning in
                running.add(isRunning ? 1 : -1, ordering: .acquiringAndReleasing)
                if isRunning { begun.signal() }
            }
            outcomes.withLock { $0.formUnion(found) }
            left.subtract(1, ordering: .acquiringAndReleasing)
            begun.signal()
        }
        return outcomes.withLock { $0 }
    }

    private static func call(
        _ client: FirstClient, seed: UInt64, calls: Int, _ noteRun: (Bool) -> Void
    ) -> Set<Int32> {
        var draw = Draw(state: seed)
        var outcomes: Set<Int32> = []
        for _ in 0..<calls {
            guard let request = FirstRequest.allCases.randomElement(using: &draw) else { continue }
            var bytes = draw.structure(Int(request.rawValue >> 16 & 0x3FFF))
            // A region beyond what a test may take is not what is asked here.
            if request == .setMemoryRegion { bytes.replaceSubrange(19..<24, with: [0, 0, 0, 0, 0]) }
            if request == .run {
                bytes[0] = UInt8(draw.next() >> 63)
                bytes.replaceSubrange(1..<4, with: [0, 0, 0])
                noteRun(true)
            }
            defer { if request == .run { noteRun(false) } }
            do {
                if request == .createVCPU {
                    outcomes.insert(try client.ioctl(request, UInt(draw.next() >> 61)))
                } else {
                    outcomes.insert(try client.ioctl(request, &bytes))
                }
            } catch {
                outcomes.insert((error as? Errno)?.rawValue ?? -1)
            }
        }
        return outcomes
    }
}
