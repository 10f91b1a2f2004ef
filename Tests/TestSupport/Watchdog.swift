import Dispatch
public import Glibc
public import Processor
import Synchronization

/// Ends what would go on for ever: a guest's loop, a vCPU that waits for one that never comes, a machine that hangs.
///
/// Where nothing has come of a run for as long as it is patient it bites, and again until the run ends: a bite may come before
/// there is something to end. It bites, too, while the time of the test is up in which it was made.
public final class Watchdog: Sendable {
    public enum Clock: Sendable {
        case wall
        /// That of the thread which began the run: on a busy machine it waits for others. The wall's counts, too, but a hundred times
        /// as long: a thread that sleeps has no time of its own.
        case thread
    }

    /// Odd during a run.
    private let count = Atomic<UInt64>(0)
    private let clock: Atomic<clockid_t>
    private let bitten = Atomic<UInt64>(0)
    private let seen = Mutex(Seen())

    private struct Seen {
        var count: UInt64 = 0
        var progress: UInt64 = 0
        /// In nanoseconds, by the run's clock and by the wall's.
        var time: UInt64 = 0
        var wall: UInt64 = 0
    }

    /// A thread of its own: those of the global queue are the tests', which may all be in loops.
    private static let queue = DispatchQueue(label: "watchdogs")

    private let isOfThread: Bool
    /// In nanoseconds.
    private let patience: UInt64
    private let progress: (@Sendable () -> UInt64)?
    private let bite: @Sendable () -> Void
    // A timer is safe to use from any thread; its type does not say so.
    private nonisolated(unsafe) let timer: any DispatchSourceTimer

    /// - Parameters:
    ///   - patience: how long a run may go on, or where `progress` is given, without a change of that.
    ///   - bite: called on a thread of the system's.
    public init(
        patience: Duration, of clock: Clock, progress: (@Sendable () -> UInt64)? = nil,
        bite: @escaping @Sendable () -> Void
    ) {
        let (seconds, attoseconds) = patience.components
        self.patience = UInt64(seconds) * 1_000_000_000 + UInt64(attoseconds / 1_000_000_000)
        isOfThread = clock == .thread
        self.clock = Atomic(CLOCK_MONOTONIC)
        self.progress = progress
        self.bite = bite
        let timer = DispatchSource.makeTimerSource(queue: Watchdog.queue)
        unsafe self.timer = timer
        timer.setEventHandler { [weak self] in self?.look() }
        let interval = DispatchTimeInterval.nanoseconds(Int(min(self.patience / 2, 1_000_000_000)))
        timer.schedule(deadline: .now() + interval, repeating: interval)
        timer.activate()
        TestTime.current?.whenUp { [weak self] in self?.biteIfRunning() }
    }

    deinit { unsafe timer.cancel() }

    /// Whether it has bitten since the last run began.
    public var hasBitten: Bool { bitten.load(ordering: .acquiring) == count.load(ordering: .relaxed) | 1 }

    public func begin() {
        if isOfThread {
            var own = clockid_t()
            if unsafe pthread_getcpuclockid(pthread_self(), &own) == 0 { clock.store(own, ordering: .relaxed) }
        }
        count.store((count.load(ordering: .relaxed) + 2) | 1, ordering: .releasing)
    }

    public func end() { count.store(count.load(ordering: .relaxed) & ~1, ordering: .relaxed) }

    public func watch<T>(_ run: () throws -> T) rethrows -> T {
        begin()
        defer { end() }
        return try run()
    }

    private func look() {
        let (now, progress) = (count.load(ordering: .acquiring), progress?() ?? 0)
        let (time, wall) = (Watchdog.time(of: clock.load(ordering: .relaxed)), Watchdog.time(of: CLOCK_MONOTONIC))
        let isOverdue = seen.withLock { seen in
            guard now & 1 != 0, now == seen.count, progress == seen.progress else {
                seen = Seen(count: now, progress: progress, time: time, wall: wall)
                return false
            }
            return time >= seen.time + patience || wall >= seen.wall + patience * 100
        }
        if isOverdue { biteIfRunning() }
    }

    private func biteIfRunning() {
        let now = count.load(ordering: .acquiring)
        guard now & 1 != 0 else { return }
        bitten.store(now, ordering: .releasing)
        bite()
    }

    /// 0 where its thread has ended.
    private static func time(of clock: clockid_t) -> UInt64 {
        var time = timespec()
        guard unsafe clock_gettime(clock, &time) == 0 else { return 0 }
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}

extension Watchdog {
    /// Lets a processor leave the guest when a run has lasted for some time.
    public convenience init(_ processor: VirtualProcessor, patience: Duration) {
        let shared = SharedProcessor(processor)
        self.init(patience: patience, of: .wall) { shared.leave() }
    }

    /// Kills a process that has not ended after so many minutes.
    public convenience init(process: pid_t, minutes: Int) {
        self.init(patience: .seconds(60 * minutes), of: .wall) { kill(process, SIGKILL) }
    }
}

/// SAFETY: `request` may be called on any thread.
private struct SharedProcessor: @unchecked Sendable {
    private let processor: VirtualProcessor
    init(_ processor: VirtualProcessor) { self.processor = processor }
    func leave() { processor.request(.leave) }
}
