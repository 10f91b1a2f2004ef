// How a machine's life ended.

internal import KVM
internal import Synchronization

/// Why `Machine.run()` returned.
public enum MachineOutcome: Sendable {
    /// The guest switched the machine off.
    case poweredOff
    /// The guest asked for a reset; the text says by which way.
    case reset(String)
    /// The guest can't go on.
    case crashed(CrashReport)
    /// The machine can't go on, for a reason on the host's side.
    case failed(String)
    /// The user left.
    case left
}

/// Ends a machine once, for the first reason that comes, and gets every vCPU out of the guest.
final class EndSwitch: Sendable {
    private struct State {
        var outcome: MachineOutcome?
        var kicks: [KickHandle] = []
    }

    private let state = Mutex(State())
    private let flag = Atomic<Bool>(false)

    /// Looked at by each vCPU between runs.
    var hasEnded: Bool { flag.load(ordering: .acquiring) }
    var outcome: MachineOutcome? { state.withLock { $0.outcome } }

    func add(_ handle: KickHandle) { state.withLock { $0.kicks.append(handle) } }

    /// Gets every vCPU out of the guest, which then goes on.
    func interrupt() { for handle in state.withLock({ $0.kicks }) { handle.kick() } }

    func end(_ outcome: MachineOutcome) {
        let kicks = state.withLock { state -> [KickHandle] in
            guard state.outcome == nil else { return [] }
            state.outcome = outcome
            return state.kicks
        }
        flag.store(true, ordering: .releasing)
        for handle in kicks { handle.kick() }
    }
}
