// The thread that waits for irqfds: who is served, how often, and who is not looked at.

import Chipset
import Foundation
import KVMABI
import Locking
import TestLimits
import Testing

@testable import SoftKVM

@Suite(.within(minutes: 20)) struct EventLoopTests {
    private final class Counters: Sendable {
        private let counts = Lock<[UInt64: Int]>([:])
        let served = DispatchSemaphore(value: 0)

        func count(_ token: UInt64) {
            counts.withLock { $0[token, default: 0] += 1 }
            served.signal()
        }
        var all: [UInt64: Int] { counts.withLock { $0 } }
    }

    private static let count = 150

    private func withEvents(_ body: ([Int32]) throws -> Void) rethrows {
        let events = (0..<EventLoopTests.count).map { _ in eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK)) }
        defer { for event in events { close(event) } }
        try body(events)
    }

    private func signal(_ event: Int32) {
        var one: UInt64 = 1
        #expect(unsafe write(event, &one, 8) == 8)
    }

    private func drain(_ event: Int32) {
        var count: UInt64 = 0
        _ = unsafe read(event, &count, 8)
    }

    /// Of many only those that can be read are told of, however long the others have been there.
    @Test func onlyWhatIsReadyIsLookedAt() throws {
        try withEvents { events in
            let set = try ReadinessSet()
            for (index, event) in events.enumerated() { try set.add(event, token: UInt64(index) << 32 | 7) }
            var told: [UInt64] = []
            set.wait(nanoseconds: 0) { told.append($0) }
            #expect(told.isEmpty)
            for index in [0, 77, events.count - 1] {
                signal(events[index])
                // Until it is taken.
                for _ in 0..<2 {
                    told = []
                    set.wait(nanoseconds: nil) { told.append($0) }
                    #expect(told == [UInt64(index) << 32 | 7])
                }
                drain(events[index])
            }
            // All at once are more than there is room for: the others come with the next.
            for event in events { signal(event) }
            told = []
            while told.count < events.count {
                set.wait(nanoseconds: nil) { token in
                    told.append(token)
                    drain(events[Int(token >> 32)])
                }
            }
            let all: [UInt64] = (0..<UInt64(events.count)).map { $0 << 32 | 7 }
            #expect(told.sorted() == all)
            // One that is watched already, and none.
            #expect(throws: Errno.fileExists) { try set.add(events[0], token: 1) }
            #expect(throws: Errno.badFileDescriptor) { try set.add(-1, token: 1) }
        }
    }

    /// Sources that come while the thread waits are served, each by its own handler, and those that were removed no longer.
    @Test func sourcesComeAndGo() throws {
        try withEvents { events in
            let counters = Counters()
            let loop = try EventLoop {}
            try loop.start(
                Chipset(mode: .full, clock: { 0 }, wake: { _ in }, deadlineChanged: {}, endOfInterrupt: { _ in }))
            func add(_ index: Int, _ token: UInt64) throws {
                let event = events[index]
                try loop.add(event, token: token) {
                    var count: UInt64 = 0
                    if unsafe read(event, &count, 8) == 8 { counters.count(token) }
                }
            }
            for index in events.indices { try add(index, UInt64(100 + index)) }
            for event in events { signal(event) }
            for _ in events { counters.served.wait() }
            var expected: [UInt64: Int] = [:]
            for index in events.indices { expected[UInt64(100 + index)] = 1 }
            #expect(counters.all == expected)
            // Every second goes, with something to read in it; its place may be taken anew.
            for index in stride(from: 0, to: events.count, by: 2) {
                loop.remove(token: UInt64(100 + index))
                signal(events[index])
            }
            loop.remove(token: 99)
            for index in stride(from: 1, to: events.count, by: 2) {
                signal(events[index])
                expected[UInt64(100 + index)] = 2
            }
            for _ in 0..<EventLoopTests.count / 2 { counters.served.wait() }
            #expect(counters.all == expected)
            for index in stride(from: 0, to: events.count, by: 2) {
                try add(index, UInt64(1000 + index))
                expected[UInt64(1000 + index)] = 1
            }
            for _ in 0..<EventLoopTests.count / 2 { counters.served.wait() }
            #expect(counters.all == expected)
            loop.end()
            for event in events { signal(event) }
            #expect(counters.all == expected)
        }
    }
}
