// `kvm_run.immediate_exit`, the one byte of the run area that another thread of the client's writes while KVM_RUN is under way.
// Documentation/virt/kvm/api.rst, section 5.

internal import Synchronization

extension RunArea {
    // SAFETY: the byte is inside the mapping, and nothing but these two functions and the hypervisor touches it.
    private var immediateExitFlag: UnsafeMutablePointer<Atomic<UInt8>> {
        unsafe (base + Offset.immediateExit).assumingMemoryBound(to: Atomic<UInt8>.self)
    }

    /// Ends KVM_RUN with EINTR before guest code runs.
    public func setImmediateExit() { unsafe immediateExitFlag.pointee.store(1, ordering: .sequentiallyConsistent) }

    /// True if it was set; it is not any more.
    @discardableResult
    public func takeImmediateExit() -> Bool {
        unsafe immediateExitFlag.pointee.exchange(0, ordering: .sequentiallyConsistent) != 0
    }
}
