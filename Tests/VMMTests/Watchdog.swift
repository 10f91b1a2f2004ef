import VMM

extension Machine {
    /// Runs the machine, and ends one that hangs after this many seconds, with `.failed`.
    func run(patience seconds: Int) async -> MachineOutcome {
        let watchdog = Task.detached {
            try await Task.sleep(for: .seconds(seconds))
            self.end(.failed("not done in \(seconds) seconds"))
        }
        defer { watchdog.cancel() }
        return await Task.detached { self.run() }.value
    }
}
