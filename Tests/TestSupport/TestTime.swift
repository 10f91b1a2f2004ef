import Synchronization

/// The time that a test is given, and what is to end when it is up.
public final class TestTime: Sendable {
    /// The running test's, where it has a limit. Threads of its own don't see it: what they wait for is made before them.
    @TaskLocal public static var current: TestTime?

    private let ends = Atomic<Int>(0)
    private let actions = Mutex<[@Sendable () -> Void]>([])

    public init() {}

    public var isUp: Bool { ends.load(ordering: .acquiring) > 0 }

    /// `body` is called when the time is up, and again until the test has ended.
    public func whenUp(_ body: @escaping @Sendable () -> Void) { actions.withLock { $0.append(body) } }

    /// How often the test has been told to end.
    @discardableResult public func end() -> Int {
        let count = ends.add(1, ordering: .acquiringAndReleasing).newValue
        for action in actions.withLock({ $0 }) { action() }
        return count
    }
}
