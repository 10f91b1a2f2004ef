// How another thread gets a vCPU out of the guest. Documentation/virt/kvm/api.rst, section 5 (`immediate_exit`).

internal import KVMABI
internal import Synchronization

/// Ends a vCPU's `run()` from any thread, while it is inside or before it begins; the exit is `.interrupted`.
///
/// It may outlive its vCPU, and then does nothing.
public final class KickHandle: Sendable {
    private let endpoint: any Endpoint
    private let vcpu: Handle
    private let area: RunArea
    /// Whether the vCPU still exists. Held while kicking, so that neither the mapping nor the handle goes meanwhile.
    private let alive = Mutex(true)

    init(_ endpoint: any Endpoint, _ vcpu: Handle, _ area: RunArea) {
        self.endpoint = endpoint
        self.vcpu = vcpu
        self.area = area
    }

    /// Makes the run in progress, or else the next one, end soon. Several kicks before it ends count as one.
    public func kick() {
        alive.withLock { alive in
            guard alive else { return }
            area.setImmediateExit()
            endpoint.kick(vcpu)
        }
    }

    /// The vCPU is about to go.
    func retire() { alive.withLock { $0 = false } }
}
