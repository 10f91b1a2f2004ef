import Foundation
import Synchronization

extension Process {
    private static let starting = Mutex<Void>(())

    /// Starts it with the default action for the signals that end a program. Who runs the tests in the background may have had
    /// them ignored, which a program leaves as it is.
    func runWithDefaultSignals() throws {
        try Process.starting.withLock { _ in
            let numbers = [SIGINT, SIGHUP, SIGQUIT]
            let former = numbers.map { signal($0, SIG_DFL) }
            defer { for (number, handler) in zip(numbers, former) { signal(number, handler) } }
            try run()
        }
    }
}
