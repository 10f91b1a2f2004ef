import TestLimits
import TestSupport
import Testing

@testable import VMM

@Suite(.within(minutes: 20)) struct DeviceTimersTests {
    /// Whenever the word comes: before the thread looks, while it does, or once it sleeps.
    @Test func theyStopWhenTheyAreTold() throws {
        for round in 0..<4000 {
            let timers = try DeviceTimers()
            let thread = try #require(HostThread(name: "timers") { timers.run() })
            for _ in 0..<round % 500 * 40 { timers.noteChange() }
            timers.stop()
            // Told again it ends.
            let watchdog = Watchdog(patience: .seconds(60), of: .wall) { timers.stop() }
            watchdog.watch { thread.join() }
            try #require(!watchdog.hasBitten, "round \(round): the word was lost")
        }
    }
}
