// When a handle dies: when the last descriptor of it is closed, in whatever way and process. Nothing of ours refers to its
// memory file, which therefore goes then, and with it inotify's watch of it.

internal import Glibc
internal import KVMABI
internal import Locking
internal import Synchronization

/// Waits for handles to go. One for a process; its thread lasts as long as it does.
final class HandleWatch: Sendable {
    private let queue: Int32
    /// The places in the table, by the number of the watch.
    private let places = Lock<[Int32: Int]>([:])
    private let isReading = Lock<Void>(())
    /// The thread that reads, or 0.
    private let reader = Atomic<Int32>(0)
    private let died: @Sendable (FoundHandle) -> Void

    /// - Throws: the errno of inotify or of the thread.
    init(died: @escaping @Sendable (FoundHandle) -> Void) throws(Errno) {
        queue = PrivateDescriptor.moved(inotify_init1(O_CLOEXEC | O_NONBLOCK))
        guard queue >= 0 else { throw Errno(rawValue: errno) }
        self.died = died
        guard Threads.start({ [self] in wait() }) else {
            _ = next.close(queue)
            throw .tryAgain
        }
    }

    /// Watches the memory file behind a descriptor.
    func add(_ descriptor: Int32, _ place: Int) throws(Errno) {
        let error: Errno? = places.withLock { places in
            let watch = unsafe inotify_add_watch(queue, "/proc/self/fd/\(descriptor)", UInt32(IN_DELETE_SELF))
            guard watch >= 0 else { return Errno(rawValue: errno) }
            places[watch] = place
            return nil
        }
        if let error { throw error }
    }

    private func wait() {
        var polled = pollfd(fd: queue, events: Int16(POLLIN), revents: 0)
        while true {
            _ = unsafe poll(&polled, 1, -1)
            drain()
        }
    }

    /// Ends what has died until now. On the thread of whoever closed a handle, so that it is gone when `close` returns.
    func drain() {
        let thread = gettid()
        // A handle's end closes descriptors, and may come here again: what has died by that is found below.
        guard reader.load(ordering: .relaxed) != thread else { return }
        // A handler of the client's that closes a handle would wait for itself.
        let former = SignalMask(bits: .max).install()
        defer { _ = former.install() }
        Process.requests.pass {
            isReading.withLock { _ in
                reader.store(thread, ordering: .relaxed)
                defer { reader.store(0, ordering: .relaxed) }
                while true {
                    let dead = takeDead()
                    guard !dead.isEmpty else { return }
                    for handle in dead { died(handle) }
                }
            }
        }
    }

    /// The handles whose death inotify tells, taken out of the table.
    private func takeDead() -> [FoundHandle] {
        var dead: [FoundHandle] = []
        var buffer = InlineArray<512, UInt64>(repeating: 0)
        while true {
            var span = buffer.mutableSpan
            let count = unsafe span.withUnsafeMutableBytes { unsafe next.read(queue, $0.baseAddress, $0.count) }
            guard count > 0 else { return dead }
            unsafe span.withUnsafeBytes { bytes in
                var position = 0
                while position + 16 <= count {
                    let watch = unsafe bytes.loadUnaligned(fromByteOffset: position, as: Int32.self)
                    let mask = unsafe bytes.loadUnaligned(fromByteOffset: position + 4, as: UInt32.self)
                    let length = unsafe bytes.loadUnaligned(fromByteOffset: position + 12, as: UInt32.self)
                    position += 16 + Int(length)
                    guard mask & UInt32(IN_IGNORED) != 0 else { continue }
                    guard let place = places.withLock({ $0.removeValue(forKey: watch) }) else { continue }
                    if let found = HandleTable.shared.remove(place) { dead.append(found) }
                }
            }
        }
    }
}

/// Threads of this library's own, which take none of the client's signals.
enum Threads {
    private final class Body: Sendable {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }

    static func start(_ run: @escaping @Sendable () -> Void) -> Bool {
        var all = sigset_t()
        var former = sigset_t()
        unsafe sigfillset(&all)
        unsafe pthread_sigmask(SIG_SETMASK, &all, &former)
        defer { unsafe pthread_sigmask(SIG_SETMASK, &former, nil) }
        let body = unsafe Unmanaged.passRetained(Body(run))
        var thread = pthread_t()
        let made = unsafe pthread_create(
            &thread, nil,
            { argument in
                if let argument = unsafe argument {
                    unsafe Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().run()
                }
                return nil
            }, body.toOpaque())
        guard made == 0 else {
            unsafe body.release()
            return false
        }
        pthread_detach(thread)
        return true
    }
}
