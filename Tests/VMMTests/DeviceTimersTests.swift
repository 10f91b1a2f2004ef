import Dispatch
import Testing

@testable import VMM

@Suite struct DeviceTimersTests {
    /// Whenever the word comes: before the thread looks, while it does, or once it sleeps.
    @Test func theyStopWhenTheyAreTold() throws {
        for round in 0..<4000 {
            let timers = try DeviceTimers()
            let ended = DispatchSemaphore(value: 0)
            let thread = try #require(
                HostThread(name: "timers") {
                    timers.run()
                    ended.signal()
                })
            for _ in 0..<round % 500 * 40 { timers.noteChange() }
            timers.stop()
            if ended.wait(timeout: .now() + .seconds(20)) == .timedOut {
                Issue.record("round \(round): the word was lost")
                timers.stop()
                thread.join()
                return
            }
            thread.join()
        }
    }
}
