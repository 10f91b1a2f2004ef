// epoll(7), which Swift's Glibc does not show: the C library is asked for it by name.

internal import Glibc
internal import KVMABI

/// Descriptors that are watched for something to read. Those that have it are found without a look at the others.
@safe final class ReadinessSet: Sendable {
    private let descriptor: Int32

    /// - Throws: the errno of what could not be made.
    init() throws(Errno) {
        guard let calls = ReadinessSet.calls else { throw Errno(rawValue: ENOSYS) }
        let made = calls.create(O_CLOEXEC)  // EPOLL_CLOEXEC
        guard made >= 0 else { throw Errno(rawValue: errno) }
        descriptor = PrivateDescriptor.moved(made)
    }

    deinit { close(descriptor) }

    /// Watches one that is not watched yet.
    /// - Throws: ENOSPC where the user watches as many as the host allows, ENOMEM.
    func add(_ watched: Int32, token: UInt64) throws(Errno) {
        var event = Event()
        event.interest = Event.readable
        event.token = token
        guard control(1, watched, &event) == 0 else { throw Errno(rawValue: errno) }  // EPOLL_CTL_ADD
    }

    /// To be called before the descriptor is closed: copies of it would keep it here.
    func remove(_ watched: Int32) {
        var event = Event()
        _ = control(2, watched, &event)  // EPOLL_CTL_DEL
    }

    private func control(_ operation: Int32, _ watched: Int32, _ event: inout Event) -> Int32 {
        guard let calls = ReadinessSet.calls else { return -1 }
        return unsafe withUnsafeMutablePointer(to: &event.bytes) {
            unsafe calls.control(descriptor, operation, watched, $0)
        }
    }

    /// Waits until one can be read, or a signal comes, or so many nanoseconds have passed; nil: for ever. What can be read then,
    /// or so much of it as has room, is told by its token.
    func wait(nanoseconds: UInt64?, _ body: (UInt64) -> Void) {
        guard let calls = ReadinessSet.calls else { return }
        // To the nanosecond, which epoll_wait can't.
        var own = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        if let nanoseconds {
            var time = timespec()
            time.tv_sec = Int(truncatingIfNeeded: min(nanoseconds / 1_000_000_000, 1_000_000))
            time.tv_nsec = Int(nanoseconds % 1_000_000_000)
            guard unsafe ppoll(&own, 1, &time, nil) > 0 else { return }
        } else {
            guard unsafe ppoll(&own, 1, nil, nil) > 0 else { return }
        }
        var room = InlineArray<32, Event>(repeating: Event())
        var span = room.mutableSpan
        let count = unsafe span.withUnsafeMutableBufferPointer { buffer in
            unsafe calls.wait(descriptor, buffer.baseAddress, Int32(buffer.count), 0)
        }
        for index in 0..<max(0, Int(count)) { body(room[index].token) }
    }

    /// struct epoll_event: events, and data that is given back; packed.
    private struct Event {
        static let readable: UInt32 = 1  // EPOLLIN

        var bytes = InlineArray<3, UInt32>(repeating: 0)

        var interest: UInt32 {
            get { bytes[0] }
            set { bytes[0] = newValue }
        }
        var token: UInt64 {
            get { UInt64(bytes[1]) | UInt64(bytes[2]) << 32 }
            set { (bytes[1], bytes[2]) = (UInt32(truncatingIfNeeded: newValue), UInt32(newValue >> 32)) }
        }
    }

    // SAFETY: the C library's functions, by their declarations in <sys/epoll.h>.
    @safe private struct Calls {
        let create: @convention(c) (Int32) -> Int32
        let control: @convention(c) (Int32, Int32, Int32, UnsafeMutableRawPointer?) -> Int32
        let wait: @convention(c) (Int32, UnsafeMutableRawPointer?, Int32, Int32) -> Int32
    }

    private static let calls: Calls? = {
        func find<Function>(_ name: String, as type: Function.Type) -> Function? {
            guard let address = unsafe dlsym(nil, name) else { return nil }  // RTLD_DEFAULT
            return unsafe unsafeBitCast(address, to: type)
        }
        typealias Create = @convention(c) (Int32) -> Int32
        typealias Control = @convention(c) (Int32, Int32, Int32, UnsafeMutableRawPointer?) -> Int32
        typealias Wait = @convention(c) (Int32, UnsafeMutableRawPointer?, Int32, Int32) -> Int32
        guard let create = find("epoll_create1", as: Create.self),
            let control = unsafe find("epoll_ctl", as: Control.self),
            let wait = unsafe find("epoll_wait", as: Wait.self)
        else { return nil }
        return unsafe Calls(create: create, control: control, wait: wait)
    }()
}
