// Ends a guest that would run for ever, so that a case which goes wrong fails instead of hanging.

import Dispatch
import KVM
import Synchronization

/// Kicks a vCPU that is still in the same run after more than `ticks` seconds of the clock.
final class RunawayGuard: Sendable {
    private struct Watched {
        var run: UInt64 = 0
        var isRunning = false
        var seen: UInt64 = 0
        var ticks = 0
    }
    private let watched = Mutex(Watched())
    private let kick: KickHandle
    private let ticks: Int
    // A timer is safe to use from any thread; its type does not say so.
    private nonisolated(unsafe) let timer: any DispatchSourceTimer

    init(_ kick: KickHandle, ticks: Int = 2) {
        self.kick = kick
        self.ticks = ticks
        let timer = DispatchSource.makeTimerSource(queue: .global())
        unsafe self.timer = timer
        timer.setEventHandler { [weak self] in self?.tick() }
        timer.schedule(deadline: .now() + 1, repeating: 1)
        timer.activate()
    }

    deinit { unsafe timer.cancel() }

    func begin() {
        watched.withLock {
            $0.run &+= 1
            $0.isRunning = true
        }
    }

    func end() { watched.withLock { $0.isRunning = false } }

    private func tick() {
        let runsAway = watched.withLock { watched in
            watched.ticks = watched.isRunning && watched.seen == watched.run ? watched.ticks + 1 : 0
            watched.seen = watched.run
            return watched.ticks > ticks
        }
        if runsAway { kick.kick() }
    }
}
