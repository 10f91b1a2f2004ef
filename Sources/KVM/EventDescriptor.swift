// An eventfd, by which a hypervisor and its client ring each other's bell without an exit. eventfd(2).

internal import Glibc
internal import KVMABI

/// An eventfd of its own; closed when it goes out of scope.
public struct EventDescriptor: ~Copyable, Sendable {
    /// The file descriptor.
    public let rawValue: Int32

    public init() throws(KVMError) {
        let descriptor = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
        guard descriptor >= 0 else { throw .descriptor(Errno(rawValue: errno)) }
        rawValue = descriptor
    }

    deinit { close(rawValue) }

    /// Adds to the counter, which wakes who waits for it.
    public func signal(_ count: UInt64 = 1) {
        var count = count
        _ = unsafe write(rawValue, &count, 8)
    }

    /// The counter, which begins again at 0. It does not wait.
    public func drain() -> UInt64 {
        var count: UInt64 = 0
        return unsafe read(rawValue, &count, 8) == 8 ? count : 0
    }

    /// Waits until the counter is not 0, at most so many milliseconds, for ever if negative; true if it is not.
    public func wait(milliseconds: Int32) -> Bool {
        var descriptor = pollfd(fd: rawValue, events: Int16(POLLIN), revents: 0)
        return unsafe poll(&descriptor, 1, milliseconds) > 0
    }
}
