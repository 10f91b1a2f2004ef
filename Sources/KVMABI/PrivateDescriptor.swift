// Descriptors of a hypervisor that lives in its client's process.

internal import Glibc

/// Numbers that are out of the client's way: it counts on the lowest free one, as the kernel's hypervisor takes none, and one
/// of its own that it uses after it has closed it should not come to be the hypervisor's.
public enum PrivateDescriptor {
    /// Half of what a process may have, by default.
    private static let lowest: Int32 = 512

    /// Gives a descriptor that was just made such a number; where there is none it stays what it is, as does a failure's -1.
    public static func moved(_ descriptor: Int32) -> Int32 {
        guard descriptor >= 0 else { return descriptor }
        let moved = fcntl(descriptor, F_DUPFD_CLOEXEC, lowest)
        guard moved >= 0 else { return descriptor }
        close(descriptor)
        return moved
    }

    /// A copy of the client's; -1 where it is none.
    public static func copy(of descriptor: Int32) -> Int32 {
        let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, lowest)
        return copy >= 0 ? copy : fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
    }
}
