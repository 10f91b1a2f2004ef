// Memory of a hypervisor's that its client maps, too.

internal import Glibc

/// A file in memory that nobody can make smaller, open for as long as this is there.
public struct MemoryFile: ~Copyable, Sendable {
    public let descriptor: Int32

    /// - Parameters:
    ///   - name: for whoever looks at the process.
    ///   - size: in bytes, all zero.
    ///   - grows: whether it can be made larger.
    /// - Throws: ENOMEM where there is no room; else the errno of memfd_create(2).
    public init(_ name: StaticString, size: Int, grows: Bool = false) throws(Errno) {
        let made = unsafe memfd_create(
            UnsafeRawPointer(name.utf8Start).assumingMemoryBound(to: CChar.self),
            UInt32(MFD_CLOEXEC | MFD_ALLOW_SEALING))
        guard made >= 0 else { throw Errno(rawValue: errno) }
        let number = PrivateDescriptor.moved(made)
        let seals = F_SEAL_SEAL | F_SEAL_SHRINK | (grows ? 0 : F_SEAL_GROW)
        guard ftruncate(number, size) == 0, fcntl(number, F_ADD_SEALS, seals) == 0 else {
            close(number)
            throw .outOfMemory
        }
        descriptor = number
    }

    deinit { close(descriptor) }

    /// - Throws: ENOMEM where there is no room.
    public func grow(to size: Int) throws(Errno) {
        guard ftruncate(descriptor, size) == 0 else { throw .outOfMemory }
    }

    /// Maps bytes of it, shared, readable and writable. The mapping stays when the file goes.
    /// - Throws: the errno of mmap(2).
    public func map(_ length: Int, at offset: Int = 0) throws(Errno) -> UnsafeMutableRawPointer {
        let mapped = unsafe mmap(nil, length, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, offset)
        guard let mapped = unsafe mapped, unsafe mapped != MAP_FAILED else { throw Errno(rawValue: errno) }
        return unsafe mapped
    }
}
