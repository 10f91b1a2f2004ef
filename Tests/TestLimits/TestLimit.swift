import Foundation
import TestSupport
public import Testing

/// How long each test of a suite may take.
///
/// When its time is up the watchdogs bite that were made in it, and the test fails: the guest leaves, the machine ends, the program is
/// killed. A test that does not end by that ends the process, with its name, a minute later.
///
/// Testing's own `.timeLimit` cancels a task, and code that waits or loops doesn't notice.
public struct TestLimit: SuiteTrait, TestTrait, TestScoping {
    fileprivate let minutes: Int

    public var isRecursive: Bool { true }

    public func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @concurrent @Sendable () async throws -> Void
    ) async throws {
        let (minutes, name) = (minutes, "\(test.id)")
        TestExecutor.settle()
        let time = TestTime()
        // Looks once a second.
        let watchdog = Watchdog(patience: .seconds(60 * minutes), of: .wall) {
            if time.end() > 60 {
                fatalError("\(name) is not done in \(minutes) minutes, and can't be ended")
            }
        }
        watchdog.begin()
        defer { watchdog.end() }
        do {
            try await TestTime.$current.withValue(time) { try await function() }
        } catch  where time.isUp {
            Issue.record("\(error)")
        }
        if time.isUp { Issue.record("not done in \(minutes) minutes") }
    }
}

extension Trait where Self == TestLimit {
    /// Each test ends within so many minutes on a machine that is busy otherwise, or with MARTLET_LONG_TESTS within `long` of
    /// them, beside the seconds that this gives to tests that are told how long to go on.
    public static func within(minutes: Int, long: Int? = nil) -> Self {
        guard let text = ProcessInfo.processInfo.environment["MARTLET_LONG_TESTS"] else {
            return TestLimit(minutes: minutes)
        }
        return TestLimit(minutes: (long ?? minutes) + (Int(text) ?? 0) / 60)
    }
}
