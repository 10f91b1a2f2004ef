import TestSupport
import VMM

extension Machine {
    /// Runs the machine to its end, or with `.failed` to that of what it is given.
    func run(minutes: Int) async -> MachineOutcome {
        let watchdog = Watchdog(patience: .seconds(60 * minutes), of: .wall) {
            self.end(.failed("not done in \(minutes) minutes"))
        }
        watchdog.begin()
        defer { watchdog.end() }
        return await Task.detached { self.run() }.value
    }
}
