// A kernel or initrd file on the host's disk, read with bounds and without surprises.

internal import Glibc

/// An open regular file of known size.
public final class ImageFile: Sendable {
    /// As the user gave it, for messages.
    public let path: String
    /// Bytes, when it was opened.
    public let size: UInt64
    private let descriptor: Int32

    /// Opens a file that must be regular and have something in it.
    public init(_ path: String) throws(BootError) {
        // Without O_NONBLOCK a pipe that nobody writes to would hang here.
        descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw .unreadable(file: path, errno: errno) }
        self.path = path
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else {
            let failure = errno
            close(descriptor)
            throw .unreadable(file: path, errno: failure)
        }
        size = UInt64(clamping: status.st_size)
        // `deinit` does not run for an object that was never finished.
        guard status.st_mode & S_IFMT == S_IFREG else {
            close(descriptor)
            throw .notAFile(file: path)
        }
        guard size > 0 else {
            close(descriptor)
            throw .empty(file: path)
        }
    }

    deinit { close(descriptor) }

    /// `count` bytes from `offset`; fewer if the file has become shorter.
    public func read(count: Int, at offset: UInt64) throws(BootError) -> [UInt8] {
        var failure: Int32 = 0
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: max(0, count)) { buffer, filled in
            while filled < buffer.count {
                let rest = unsafe UnsafeMutableRawBufferPointer(
                    rebasing: UnsafeMutableRawBufferPointer(buffer)[filled...])
                let got = unsafe pread(
                    descriptor, rest.baseAddress, rest.count, off_t(clamping: offset) + off_t(filled))
                if got < 0 && errno == EINTR { continue }
                if got < 0 { failure = errno }
                if got <= 0 { break }
                filled += got
            }
        }
        guard failure == 0 else { throw .unreadable(file: path, errno: failure) }
        return bytes
    }

    /// The whole file.
    public func contents() throws(BootError) -> [UInt8] {
        let bytes = try read(count: Int(clamping: size), at: 0)
        guard UInt64(bytes.count) == size else {
            throw .truncated(file: path, what: "it became shorter while it was read")
        }
        return bytes
    }
}
