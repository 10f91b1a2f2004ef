import FuzzInput
import Glibc
import Synchronization

@testable import Processor

/// Asks the processor to leave when a run has lasted for some milliseconds: a guest may loop for ever.
final class Watchdog: Sendable {
    /// The number of runs, and in the lowest bit whether one is under way.
    private let state = Atomic<UInt64>(0)
    private let leave: @Sendable () -> Void

    init(_ processor: VirtualProcessor) {
        let shared = SharedProcessor(processor)
        leave = { shared.leave() }
        var thread = pthread_t()
        // SAFETY: the thread takes over the reference and lives as long as the process.
        let context = unsafe Unmanaged.passRetained(self).toOpaque()
        let error = unsafe pthread_create(
            &thread, nil,
            { context in
                guard let context = unsafe context else { return nil }
                unsafe Unmanaged<Watchdog>.fromOpaque(context).takeUnretainedValue().guardRuns()
            }, context)
        require(error == 0, "no thread for the watchdog")
    }

    func watch<T>(_ body: () -> T) -> T {
        state.wrappingAdd(1, ordering: .relaxed)
        defer { state.wrappingAdd(1, ordering: .relaxed) }
        return body()
    }

    private func guardRuns() -> Never {
        var seen: UInt64 = 0
        var interval = timespec(tv_sec: 0, tv_nsec: 5_000_000)
        while true {
            unsafe nanosleep(&interval, nil)
            let now = state.load(ordering: .relaxed)
            if now & 1 != 0, now == seen { leave() }
            seen = now
        }
    }
}

/// SAFETY: `request` may be called on any thread.
private struct SharedProcessor: @unchecked Sendable {
    private let processor: VirtualProcessor
    init(_ processor: VirtualProcessor) { self.processor = processor }
    func leave() { processor.request(.leave) }
}
