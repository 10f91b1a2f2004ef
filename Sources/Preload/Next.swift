// The definitions that this library stands before: the C library's. A plain call would find ours again.

internal import Glibc

/// Functions of the C library by their next definitions, found once.
@safe struct Next: @unchecked Sendable {
    typealias OpenFunction = @convention(c) (UnsafePointer<CChar>?, Int32, UInt32) -> Int32
    typealias OpenAtFunction = @convention(c) (Int32, UnsafePointer<CChar>?, Int32, UInt32) -> Int32
    typealias Open2Function = @convention(c) (UnsafePointer<CChar>?, Int32) -> Int32
    typealias OpenAt2Function = @convention(c) (Int32, UnsafePointer<CChar>?, Int32) -> Int32
    typealias StreamFunction =
        @convention(c) (UnsafePointer<CChar>?, UnsafePointer<CChar>?) -> UnsafeMutableRawPointer?
    typealias OfStreamFunction = @convention(c) (UnsafeMutableRawPointer?) -> Int32
    typealias IOCtlFunction = @convention(c) (Int32, UInt, UInt) -> Int32
    typealias MapFunction =
        @convention(c) (UnsafeMutableRawPointer?, Int, Int32, Int32, Int32, Int) -> UnsafeMutableRawPointer?
    typealias DescriptorFunction = @convention(c) (Int32) -> Int32
    typealias PairFunction = @convention(c) (Int32, Int32) -> Int32
    typealias TripleFunction = @convention(c) (Int32, Int32, Int32) -> Int32
    typealias RangeFunction = @convention(c) (UInt32, UInt32, Int32) -> Int32
    typealias ControlFunction = @convention(c) (Int32, Int32, UInt) -> Int32
    typealias TransferFunction = @convention(c) (Int32, UnsafeMutableRawPointer?, Int) -> Int
    typealias CheckedTransferFunction = @convention(c) (Int32, UnsafeMutableRawPointer?, Int, Int) -> Int
    typealias PathFunction = @convention(c) (UnsafePointer<CChar>?, UnsafeMutableRawPointer?) -> Int32
    typealias AccessFunction = @convention(c) (UnsafePointer<CChar>?, Int32) -> Int32
    typealias AccessAtFunction = @convention(c) (Int32, UnsafePointer<CChar>?, Int32, Int32) -> Int32
    typealias StatusFunction = @convention(c) (Int32, UnsafeMutableRawPointer?) -> Int32
    typealias StatusAtFunction =
        @convention(c) (Int32, UnsafePointer<CChar>?, UnsafeMutableRawPointer?, Int32) -> Int32
    typealias ExtendedStatusFunction =
        @convention(c) (Int32, UnsafePointer<CChar>?, Int32, UInt32, UnsafeMutableRawPointer?) -> Int32
    typealias SystemFunction = @convention(c) (Int, UInt, UInt, UInt, UInt) -> Int
    typealias CancelFunction = @convention(c) (UInt) -> Int32
    typealias ActionFunction = @convention(c) (Int32, UnsafeRawPointer?, UnsafeMutableRawPointer?) -> Int32

    // SAFETY: addresses of functions of these types, by the C library's own declarations; variable arguments of integer
    // type are passed as fixed ones are (System V ABI for x86-64, 3.5.7).
    let open: OpenFunction = unsafe find("open")
    let openAt: OpenAtFunction = unsafe find("openat")
    let open2: Open2Function = unsafe find("__open_2")
    let openAt2: OpenAt2Function = unsafe find("__openat_2")
    let openStream: StreamFunction = unsafe find("fopen")
    let closeStream: OfStreamFunction = unsafe find("fclose")
    let descriptorOfStream: OfStreamFunction = unsafe find("fileno")
    let ioctl: IOCtlFunction = find("ioctl")
    let map: MapFunction = unsafe find("mmap")
    let close: DescriptorFunction = find("close")
    let closeRange: RangeFunction = find("close_range")
    let duplicate: DescriptorFunction = find("dup")
    let duplicate2: PairFunction = find("dup2")
    let duplicate3: TripleFunction = find("dup3")
    let control: ControlFunction = find("fcntl")
    let read: TransferFunction = unsafe find("read")
    let write: TransferFunction = unsafe find("write")
    let checkedRead: CheckedTransferFunction = unsafe find("__read_chk")
    let status: PathFunction = unsafe find("stat")
    let linkStatus: PathFunction = unsafe find("lstat")
    let statusOf: StatusFunction = unsafe find("fstat")
    let statusAt: StatusAtFunction = unsafe find("fstatat")
    let extendedStatus: ExtendedStatusFunction = unsafe find("statx")
    let access: AccessFunction = unsafe find("access")
    let effectiveAccess: AccessFunction = unsafe find("eaccess")
    let accessAt: AccessAtFunction = unsafe find("faccessat")
    let action: ActionFunction = unsafe find("sigaction")
    let system: SystemFunction = find("syscall")
    let cancel: CancelFunction = find("pthread_cancel")

    /// Every C library of Debian has them all; one without is no place to go on in.
    private static func find<Function>(_ name: String) -> Function {
        guard let address = unsafe dlsym(UnsafeMutableRawPointer(bitPattern: -1), name) else {  // RTLD_NEXT
            Diagnostic.write("the C library has no \(name)")
            abort()
        }
        return unsafe unsafeBitCast(address, to: Function.self)
    }
}

/// Made by `start` before the client's first call, or by the first call of another library's constructor.
let next = Next()

/// System calls that the C library has no function for, by their numbers on x86-64.
enum SystemCall {
    /// rt_sigprocmask: the C library's takes two signals of its own out of every set.
    static let setMask = 14
    /// rt_tgsigqueueinfo: a signal to a thread, with all that is known of it.
    static let queueSignal = 297
}

/// One line on the client's standard error. For what can't be said through an errno.
enum Diagnostic {
    static func write(_ text: String) {
        var line = Array("libmartlet-kvm: \(text)\n".utf8)
        // Not interposed, unlike `write`, and so free to be used before `next` is there.
        let count = line.count
        unsafe line.withUnsafeMutableBytes { bytes in
            var part = unsafe iovec(iov_base: bytes.baseAddress, iov_len: count)
            _ = unsafe writev(STDERR_FILENO, &part, 1)
        }
    }
}
