// A thread beside the vCPUs, and how a guest and it wait for each other.

import Foundation
import GuestMemory
import Synchronization
import TestLimits
import TestSupport

/// Runs a closure on a thread of its own; `join` waits for it.
final class Helper: Sendable {
    private let done = DispatchSemaphore(value: 0)
    private let failure = Mutex<(any Error)?>(nil)

    init(_ body: @escaping @Sendable () throws -> Void) {
        let time = TestTime.current
        Thread.detachNewThread { [self] in
            do {
                try TestTime.$current.withValue(time) { try body() }
            } catch {
                failure.withLock { $0 = error }
            }
            done.signal()
        }
    }

    func join() throws {
        done.wait()
        if let error = failure.withLock({ $0 }) { throw error }
    }
}

/// The flag by which a guest and a helper thread talk, in the guest's memory.
extension GuestMemory {
    /// Waits until the byte differs, giving the processor away.
    func waitWhile(_ value: UInt32, at address: UInt64) throws {
        while try load(UInt32.self, at: address) == value { sched_yield() }
    }
}
