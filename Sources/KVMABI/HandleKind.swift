// What a handle names. Documentation/virt/kvm/api.rst, section 1.

/// The kinds of handle that ioctls are issued on.
public enum HandleKind: String, CaseIterable, Sendable {
    case system
    case machine = "VM"
    case vcpu = "vCPU"
    case device
}
