import Dispatch
import VMM

extension Machine {
    /// Runs the machine to its end; a timer ends one that hangs, with `.failed`.
    func run(patience seconds: Int) async -> MachineOutcome {
        let timer = DispatchSource.makeTimerSource()
        timer.setEventHandler { self.end(.failed("not done in \(seconds) seconds")) }
        timer.schedule(deadline: .now() + .seconds(seconds))
        timer.activate()
        defer { timer.cancel() }
        return await Task.detached { self.run() }.value
    }
}
