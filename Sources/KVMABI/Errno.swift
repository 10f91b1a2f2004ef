// The error numbers of the seam: what an ioctl, open or mmap failed with, as Linux numbers them on x86
// (include/uapi/asm-generic/errno-base.h and errno.h).

/// An error number of Linux, as a system call reports it.
public struct Errno: Error, Hashable, Sendable, RawRepresentable {
    /// The positive number, for instance 22 for `EINVAL`.
    public var rawValue: Int32

    @inlinable public init(rawValue: Int32) { self.rawValue = rawValue }

    public static var notPermitted: Errno { Errno(rawValue: 1) }
    public static var noSuchFile: Errno { Errno(rawValue: 2) }
    public static var interrupted: Errno { Errno(rawValue: 4) }
    public static var ioError: Errno { Errno(rawValue: 5) }
    public static var noSuchDeviceOrAddress: Errno { Errno(rawValue: 6) }
    public static var argumentListTooLong: Errno { Errno(rawValue: 7) }
    public static var badFileDescriptor: Errno { Errno(rawValue: 9) }
    public static var tryAgain: Errno { Errno(rawValue: 11) }
    public static var outOfMemory: Errno { Errno(rawValue: 12) }
    public static var permissionDenied: Errno { Errno(rawValue: 13) }
    public static var badAddress: Errno { Errno(rawValue: 14) }
    public static var busy: Errno { Errno(rawValue: 16) }
    public static var fileExists: Errno { Errno(rawValue: 17) }
    public static var noSuchDevice: Errno { Errno(rawValue: 19) }
    public static var invalidArgument: Errno { Errno(rawValue: 22) }
    public static var tooManyOpenFilesInSystem: Errno { Errno(rawValue: 23) }
    public static var tooManyOpenFiles: Errno { Errno(rawValue: 24) }
    public static var inappropriateRequest: Errno { Errno(rawValue: 25) }
    public static var noSpace: Errno { Errno(rawValue: 28) }
    public static var valueTooLarge: Errno { Errno(rawValue: 75) }
    public static var notSupportedByDevice: Errno { Errno(rawValue: 95) }
    public static var hardwarePoison: Errno { Errno(rawValue: 133) }

    /// The name of errno.h, for instance `EINVAL`, or `errno 999` for a number that has none.
    public var name: String {
        let names = Errno.names
        guard rawValue > 0, let name = names[rawValue] else { return "errno \(rawValue)" }
        return name
    }

    private static let names: [Int32: String] = {
        var names: [Int32: String] = [:]
        let table: String = """
            1 EPERM 2 ENOENT 3 ESRCH 4 EINTR 5 EIO 6 ENXIO 7 E2BIG 8 ENOEXEC 9 EBADF 10 ECHILD 11 EAGAIN 12 ENOMEM
            13 EACCES 14 EFAULT 16 EBUSY 17 EEXIST 18 EXDEV 19 ENODEV 20 ENOTDIR 21 EISDIR 22 EINVAL 23 ENFILE
            24 EMFILE 25 ENOTTY 26 ETXTBSY 27 EFBIG 28 ENOSPC 29 ESPIPE 30 EROFS 31 EMLINK 32 EPIPE 33 EDOM 34 ERANGE
            35 EDEADLK 36 ENAMETOOLONG 38 ENOSYS 61 ENODATA 71 EPROTO 75 EOVERFLOW 95 EOPNOTSUPP 110 ETIMEDOUT
            114 EALREADY 125 ECANCELED 133 EHWPOISON
            """
        let words = table.split(whereSeparator: { $0 == " " || $0 == "\n" })
        var index = 0
        while index + 1 < words.count {
            if let number = Int32(words[index]) { names[number] = String(words[index + 1]) }
            index += 2
        }
        return names
    }()
}

extension Errno: CustomStringConvertible {
    public var description: String { name }
}
