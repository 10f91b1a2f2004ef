// The C library's functions on paths and descriptors, as far as a client may reach KVM by them.

internal import Glibc
internal import KVMABI

/// The device's file, which need not be there.
enum DeviceFile {
    private static func isDevice(_ path: UnsafePointer<CChar>?) -> Bool {
        guard let path = unsafe path, unsafe path[0] == 0x2F, unsafe path[1] == 0x64 else { return false }  // "/d…"
        return unsafe strcmp(path, "/dev/kvm") == 0
    }

    private static var isOurs: Bool {
        Settings.shared.hypervisor == .software || Settings.shared.interface == .first
    }

    /// Whether the software hypervisor answers for a path.
    static func isNamed(by path: UnsafePointer<CChar>?) -> Bool { unsafe isDevice(path) && isOurs }

    /// `open`, which `real` does for every other file: a descriptor, or -1 and errno.
    static func open(_ path: UnsafePointer<CChar>?, _ flags: Int32, _ real: () -> Int32) -> Int32 {
        guard unsafe isDevice(path) else { return real() }
        let descriptor = isOurs ? openOurs(flags) : real()
        if descriptor >= 0 { Conversation.shared?.opened(descriptor) }
        return descriptor
    }

    private static func openOurs(_ flags: Int32) -> Int32 {
        ThreadSignals.inside {
            do throws(Errno) {
                if flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL { throw .fileExists }
                if flags & O_DIRECTORY != 0 { throw Errno(rawValue: ENOTDIR) }
                return try Hypervisor.shared().open(flags: flags)
            } catch {
                return failed(error)
            }
        }
    }

    /// `stat` of the path: the real file's, or what it would be.
    static func status(_ status: UnsafeMutablePointer<stat>, _ real: () -> Int32) -> Int32 {
        if real() == 0 { return 0 }
        unsafe status.pointee = stat()
        unsafe describe(status)
        return 0
    }

    /// Character device 10:232.
    static func describe(_ status: UnsafeMutablePointer<stat>) {
        unsafe status.pointee.st_mode = S_IFCHR | 0o660
        unsafe status.pointee.st_rdev = 10 << 8 | 232
        unsafe status.pointee.st_nlink = 1
        unsafe status.pointee.st_blksize = 4096
    }

    static func describe(_ status: UnsafeMutablePointer<statx>) {
        unsafe status.pointee.stx_mask |= 0x7  // STATX_TYPE, _MODE, _NLINK
        unsafe status.pointee.stx_mode = UInt16(S_IFCHR | 0o660)
        unsafe status.pointee.stx_rdev_major = 10
        unsafe status.pointee.stx_rdev_minor = 232
        unsafe status.pointee.stx_nlink = 1
        unsafe status.pointee.stx_blksize = 4096
    }

    /// `access`: it can be read and written, and not executed.
    static func access(_ mode: Int32) -> Int32 { mode & X_OK == 0 ? 0 : failed(.permissionDenied) }
}

/// -1, with errno set.
func failed(_ error: Errno) -> Int32 {
    errno = error.rawValue
    return -1
}

// MARK: Opening

@c(open) public func interposedOpen(_ path: UnsafePointer<CChar>?, _ flags: Int32, _ mode: UInt32) -> Int32 {
    unsafe DeviceFile.open(path, flags) { unsafe next.open(path, flags, mode) }
}

@c(open64) public func interposedOpen64(_ path: UnsafePointer<CChar>?, _ flags: Int32, _ mode: UInt32) -> Int32 {
    unsafe interposedOpen(path, flags, mode)
}

@c(openat) public func interposedOpenAt(
    _ directory: Int32, _ path: UnsafePointer<CChar>?, _ flags: Int32, _ mode: UInt32
) -> Int32 {
    unsafe DeviceFile.open(path, flags) { unsafe next.openAt(directory, path, flags, mode) }
}

@c(openat64) public func interposedOpenAt64(
    _ directory: Int32, _ path: UnsafePointer<CChar>?, _ flags: Int32, _ mode: UInt32
) -> Int32 {
    unsafe interposedOpenAt(directory, path, flags, mode)
}

@c(__open_2) public func interposedOpen2(_ path: UnsafePointer<CChar>?, _ flags: Int32) -> Int32 {
    unsafe DeviceFile.open(path, flags) { unsafe next.open2(path, flags) }
}

@c(__open64_2) public func interposedOpen64Checked(_ path: UnsafePointer<CChar>?, _ flags: Int32) -> Int32 {
    unsafe interposedOpen2(path, flags)
}

@c(__openat_2) public func interposedOpenAt2(
    _ directory: Int32, _ path: UnsafePointer<CChar>?, _ flags: Int32
) -> Int32 {
    unsafe DeviceFile.open(path, flags) { unsafe next.openAt2(directory, path, flags) }
}

@c(__openat64_2) public func interposedOpenAt64Checked(
    _ directory: Int32, _ path: UnsafePointer<CChar>?, _ flags: Int32
) -> Int32 {
    unsafe interposedOpenAt2(directory, path, flags)
}

@c(fopen) public func interposedStream(
    _ path: UnsafePointer<CChar>?, _ mode: UnsafePointer<CChar>?
) -> UnsafeMutableRawPointer? {
    guard unsafe DeviceFile.isNamed(by: path), let mode = unsafe mode else { return unsafe next.openStream(path, mode) }
    let flags = unsafe strchr(mode, 0x65) == nil ? 0 : O_CLOEXEC  // "e"
    let descriptor = unsafe DeviceFile.open(path, flags) { -1 }
    guard descriptor >= 0 else { return nil }
    return unsafe UnsafeMutableRawPointer(fdopen(descriptor, mode))
}

@c(fopen64) public func interposedStream64(
    _ path: UnsafePointer<CChar>?, _ mode: UnsafePointer<CChar>?
) -> UnsafeMutableRawPointer? {
    unsafe interposedStream(path, mode)
}

// MARK: Closing and copying

@c(close) public func interposedClose(_ descriptor: Int32) -> Int32 {
    let wasHandle = HandleTable.shared.forget(descriptor)
    let result = next.close(descriptor)
    if wasHandle { Hypervisor.descriptorClosed() }
    return result
}

@c(fclose) public func interposedCloseStream(_ stream: UnsafeMutableRawPointer?) -> Int32 {
    let descriptor = unsafe next.descriptorOfStream(stream)
    let wasHandle = HandleTable.shared.forget(descriptor)
    let result = unsafe next.closeStream(stream)
    if wasHandle { Hypervisor.descriptorClosed() }
    return result
}

@c(close_range) public func interposedCloseRange(_ first: UInt32, _ last: UInt32, _ flags: Int32) -> Int32 {
    var wasHandle = false
    let closesOnExec: Int32 = 4
    if first <= last, flags & closesOnExec == 0 {
        for descriptor in first...min(last, max(first, HandleTable.highest)) {
            guard let descriptor = Int32(exactly: descriptor) else { break }
            if HandleTable.shared.forget(descriptor) { wasHandle = true }
        }
    }
    let result = next.closeRange(first, last, flags)
    if wasHandle { Hypervisor.descriptorClosed() }
    return result
}

@c(closefrom) public func interposedCloseFrom(_ first: Int32) {
    _ = interposedCloseRange(UInt32(max(0, first)), .max, 0)
}

@c(dup) public func interposedDuplicate(_ descriptor: Int32) -> Int32 {
    copied(next.duplicate(descriptor), descriptor)
}

@c(dup2) public func interposedDuplicate2(_ descriptor: Int32, _ wanted: Int32) -> Int32 {
    replacing(wanted, by: descriptor) { next.duplicate2(descriptor, wanted) }
}

@c(dup3) public func interposedDuplicate3(_ descriptor: Int32, _ wanted: Int32, _ flags: Int32) -> Int32 {
    replacing(wanted, by: descriptor) { next.duplicate3(descriptor, wanted, flags) }
}

@c(fcntl) public func interposedControl(_ descriptor: Int32, _ command: Int32, _ argument: UInt) -> Int32 {
    let result = next.control(descriptor, command, argument)
    return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? copied(result, descriptor) : result
}

@c(fcntl64) public func interposedControl64(_ descriptor: Int32, _ command: Int32, _ argument: UInt) -> Int32 {
    interposedControl(descriptor, command, argument)
}

private func copied(_ copy: Int32, _ original: Int32) -> Int32 {
    if copy >= 0 { HandleTable.shared.noteCopy(copy, of: original) }
    return copy
}

private func replacing(_ wanted: Int32, by original: Int32, _ duplicate: () -> Int32) -> Int32 {
    let wasHandle = wanted != original && HandleTable.shared.isKnown(wanted)
    let copy = copied(duplicate(), original)
    if wasHandle, copy >= 0 { Hypervisor.descriptorClosed() }
    return copy
}

// MARK: Reading and writing: a handle has neither

@c(read) public func interposedRead(_ descriptor: Int32, _ buffer: UnsafeMutableRawPointer?, _ count: Int) -> Int {
    if isHandle(descriptor) { return Int(failed(.invalidArgument)) }
    return unsafe next.read(descriptor, buffer, count)
}

@c(__read_chk) public func interposedCheckedRead(
    _ descriptor: Int32, _ buffer: UnsafeMutableRawPointer?, _ count: Int, _ size: Int
) -> Int {
    if isHandle(descriptor) { return Int(failed(.invalidArgument)) }
    return unsafe next.checkedRead(descriptor, buffer, count, size)
}

@c(write) public func interposedWrite(_ descriptor: Int32, _ buffer: UnsafeMutableRawPointer?, _ count: Int) -> Int {
    if isHandle(descriptor) { return Int(failed(.invalidArgument)) }
    return unsafe next.write(descriptor, buffer, count)
}

/// Costs a load for what is none.
private func isHandle(_ descriptor: Int32) -> Bool {
    HandleTable.shared.isKnown(descriptor) && HandleTable.shared.verify(descriptor) != nil
}

// MARK: Looking

@c(stat) public func interposedStatus(_ path: UnsafePointer<CChar>?, _ status: UnsafeMutableRawPointer?) -> Int32 {
    unsafe interposedPathStatus(path, status) { unsafe next.status(path, status) }
}

@c(stat64) public func interposedStatus64(_ path: UnsafePointer<CChar>?, _ status: UnsafeMutableRawPointer?) -> Int32 {
    unsafe interposedStatus(path, status)
}

@c(lstat) public func interposedLinkStatus(_ path: UnsafePointer<CChar>?, _ status: UnsafeMutableRawPointer?) -> Int32 {
    unsafe interposedPathStatus(path, status) { unsafe next.linkStatus(path, status) }
}

@c(lstat64) public func interposedLinkStatus64(
    _ path: UnsafePointer<CChar>?, _ status: UnsafeMutableRawPointer?
) -> Int32 {
    unsafe interposedLinkStatus(path, status)
}

@c(fstat) public func interposedStatusOf(_ descriptor: Int32, _ status: UnsafeMutableRawPointer?) -> Int32 {
    let result = unsafe next.statusOf(descriptor, status)
    guard result == 0, let status = unsafe status, let found = HandleTable.shared.verify(descriptor) else {
        return result
    }
    let described = unsafe status.assumingMemoryBound(to: stat.self)
    if found.kind.isDevice {
        unsafe DeviceFile.describe(described)
    } else {
        // An anonymous inode, as the kernel's machines and vCPUs are.
        unsafe described.pointee.st_mode = 0o600
    }
    return 0
}

@c(fstat64) public func interposedStatusOf64(_ descriptor: Int32, _ status: UnsafeMutableRawPointer?) -> Int32 {
    unsafe interposedStatusOf(descriptor, status)
}

@c(fstatat) public func interposedStatusAt(
    _ directory: Int32, _ path: UnsafePointer<CChar>?, _ status: UnsafeMutableRawPointer?, _ flags: Int32
) -> Int32 {
    // An empty path means the descriptor (AT_EMPTY_PATH).
    if let path = unsafe path, unsafe path[0] == 0, flags & 0x1000 != 0, HandleTable.shared.isKnown(directory) {
        return unsafe interposedStatusOf(directory, status)
    }
    return unsafe interposedPathStatus(path, status) { unsafe next.statusAt(directory, path, status, flags) }
}

@c(fstatat64) public func interposedStatusAt64(
    _ directory: Int32, _ path: UnsafePointer<CChar>?, _ status: UnsafeMutableRawPointer?, _ flags: Int32
) -> Int32 {
    unsafe interposedStatusAt(directory, path, status, flags)
}

@c(statx) public func interposedExtendedStatus(
    _ directory: Int32, _ path: UnsafePointer<CChar>?, _ flags: Int32, _ mask: UInt32,
    _ status: UnsafeMutableRawPointer?
) -> Int32 {
    let result = unsafe next.extendedStatus(directory, path, flags, mask, status)
    guard let path = unsafe path, let status = unsafe status else { return result }
    let described = unsafe status.assumingMemoryBound(to: statx.self)
    if unsafe DeviceFile.isNamed(by: path) {
        guard result != 0 else { return result }
        unsafe described.pointee = statx()
        unsafe DeviceFile.describe(described)
        return 0
    }
    // An empty path means the descriptor (AT_EMPTY_PATH).
    guard result == 0, unsafe path[0] == 0, let found = HandleTable.shared.verify(directory) else { return result }
    if found.kind.isDevice {
        unsafe DeviceFile.describe(described)
    } else {
        unsafe described.pointee.stx_mode = 0o600
    }
    return 0
}

private func interposedPathStatus(
    _ path: UnsafePointer<CChar>?, _ status: UnsafeMutableRawPointer?, _ real: () -> Int32
) -> Int32 {
    guard unsafe DeviceFile.isNamed(by: path), let status = unsafe status else { return real() }
    return unsafe DeviceFile.status(status.assumingMemoryBound(to: stat.self), real)
}

@c(access) public func interposedAccess(_ path: UnsafePointer<CChar>?, _ mode: Int32) -> Int32 {
    unsafe DeviceFile.isNamed(by: path) ? DeviceFile.access(mode) : unsafe next.access(path, mode)
}

@c(eaccess) public func interposedEffectiveAccess(_ path: UnsafePointer<CChar>?, _ mode: Int32) -> Int32 {
    unsafe DeviceFile.isNamed(by: path) ? DeviceFile.access(mode) : unsafe next.effectiveAccess(path, mode)
}

@c(euidaccess) public func interposedUserAccess(_ path: UnsafePointer<CChar>?, _ mode: Int32) -> Int32 {
    unsafe interposedEffectiveAccess(path, mode)
}

@c(faccessat) public func interposedAccessAt(
    _ directory: Int32, _ path: UnsafePointer<CChar>?, _ mode: Int32, _ flags: Int32
) -> Int32 {
    unsafe DeviceFile.isNamed(by: path) ? DeviceFile.access(mode) : unsafe next.accessAt(directory, path, mode, flags)
}
