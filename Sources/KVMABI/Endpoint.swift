// The seam between a client and a hypervisor: the five system calls by which KVM is reached, and the kick.
// Documentation/virt/kvm/api.rst, sections 1 to 3.

/// Names a system, a virtual machine, a vCPU or a device at the endpoint that gave it out. With the kernel's endpoint
/// it is a file descriptor. A handle is closed through its endpoint, never by `close(2)`.
public struct Handle: Hashable, Sendable, RawRepresentable {
    public var rawValue: Int32

    @inlinable public init(rawValue: Int32) { self.rawValue = rawValue }
}

/// One hypervisor, as the raw interface shows it. Safe to use from any thread.
public protocol Endpoint: AnyObject, Sendable {
    /// Opens the system handle, as `open("/dev/kvm", O_RDWR|O_CLOEXEC)` does.
    func open() throws(Errno) -> Handle

    /// `ioctl(2)`: the non-negative result, or the errno.
    /// - Parameter argument: the third argument as the kernel sees it, a value or an address.
    func ioctl(_ handle: Handle, _ request: Request, _ argument: UInt) throws(Errno) -> Int32

    /// `mmap(2)`, shared, readable and writable: a vCPU's run area at offset 0, its dirty ring at page
    /// `KVM_DIRTY_LOG_PAGE_OFFSET`. Lengths and offsets are in bytes.
    func map(_ handle: Handle, length: Int, offset: Int) throws(Errno) -> UnsafeMutableRawPointer

    /// Takes away what `map` gave.
    func unmap(_ address: UnsafeMutableRawPointer, length: Int)

    /// Closes a handle; what it names goes when its last handle and mapping have gone.
    func close(_ handle: Handle)

    /// Makes a `KVM_RUN` in progress on this vCPU return `EINTR` soon. The caller has set `immediate_exit` in the run
    /// area, so that a run which is just about to begin ends too. No effect when none is in progress.
    func kick(_ vcpu: Handle)
}
