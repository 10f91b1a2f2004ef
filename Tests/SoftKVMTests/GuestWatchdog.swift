import KVM
import TestSupport

extension Watchdog {
    /// Kicks a vCPU whose guest goes on without an exit.
    convenience init(_ handle: KickHandle, patience: Duration = .seconds(3), of clock: Clock = .thread) {
        self.init(patience: patience, of: clock) { handle.kick() }
    }
}
