// One thread per VM: it waits for the chipset's timers and for irqfds, and ends with the VM.

internal import Chipset
internal import Glibc
internal import KVMABI
internal import Locking
internal import Synchronization

/// The thread that waits. It knows the chipset, never the VM, so that the VM can end it.
@safe final class EventLoop: @unchecked Sendable {
    private struct Source {
        var descriptor: Int32
        var token: UInt64
        var handler: @Sendable () -> Void
    }

    private struct Wait {
        var sources: [Source] = []
        /// What the thread sleeps until; nil: for ever.
        var until: UInt64?
    }

    /// A pipe that makes the thread look again.
    private let awake: Int32
    private let wakeUp: Int32
    // SAFETY: both are written once, in `start`, before the thread exists; the thread is joined once, in `end`.
    private var chipset: Chipset?
    private var thread: pthread_t?
    private let wait = Lock(Wait())
    private let ending = Atomic<Bool>(false)
    private let woken = Atomic<Bool>(false)

    /// A timer that is served so many nanoseconds too late tells that nothing ran meanwhile: the process was stopped, or the host
    /// asleep. Guests' watchdogs wait for longer.
    private static let standstill: UInt64 = 1_000_000_000
    private let stoodStill: @Sendable () -> Void

    /// - Parameter stoodStill: is called, before a timer fires, when nothing ran for a while.
    /// - Throws: the errno of what could not be made.
    init(stoodStill: @escaping @Sendable () -> Void) throws(Errno) {
        self.stoodStill = stoodStill
        var ends = InlineArray<2, Int32>(repeating: -1)
        var span = ends.mutableSpan
        let made = unsafe span.withUnsafeMutableBufferPointer { buffer in
            guard let base = buffer.baseAddress else { return false }
            return unsafe pipe2(base, O_CLOEXEC | O_NONBLOCK) == 0
        }
        guard made else { throw Errno(rawValue: errno) }
        awake = PrivateDescriptor.moved(ends[0])
        wakeUp = PrivateDescriptor.moved(ends[1])
    }

    deinit {
        end()
        close(awake)
        close(wakeUp)
    }

    /// Starts the thread that serves `chipset`. Once.
    func start(_ chipset: Chipset) throws(Errno) {
        self.chipset = chipset
        let context = unsafe Unmanaged.passRetained(Context(self))
        var thread = pthread_t()
        guard unsafe pthread_create(&thread, nil, eventLoopMain, context.toOpaque()) == 0 else {
            unsafe context.release()
            throw .outOfMemory
        }
        self.thread = thread
    }

    /// What the thread starts with. `end` joins the thread before the loop goes.
    fileprivate final class Context {
        unowned(unsafe) let loop: EventLoop
        init(_ loop: EventLoop) { unsafe self.loop = loop }
    }

    /// Ends the thread; afterwards none of the handlers runs any more.
    func end() {
        guard let thread else { return }
        self.thread = nil
        ending.store(true, ordering: .sequentiallyConsistent)
        rouse()
        pthread_join(thread, nil)
    }

    private func rouse() {
        if woken.exchange(true, ordering: .sequentiallyConsistent) { return }
        var byte: UInt8 = 0
        _ = unsafe write(wakeUp, &byte, 1)
    }

    /// Calls `handler` on the loop's thread whenever `descriptor` is readable.
    func add(_ descriptor: Int32, token: UInt64, _ handler: @escaping @Sendable () -> Void) {
        wait.withLock { $0.sources.append(Source(descriptor: descriptor, token: token, handler: handler)) }
        rouse()
    }

    /// When this returns the handler does not run and will not run again. Not from inside a handler.
    func remove(token: UInt64) {
        wait.withLock { wait in wait.sources.removeAll { $0.token == token } }
        rouse()
    }

    /// The chipset's next deadline may be earlier than what the thread sleeps until.
    func deadlineChanged() {
        guard let deadline = chipset?.nextDeadline else { return }
        let isEarlier = wait.withLock { wait in
            if let until = wait.until, until <= deadline { return false }
            return true
        }
        if isEarlier { rouse() }
    }

    fileprivate func run() {
        var polled: [pollfd] = []
        var tokens: [UInt64] = []
        while !ending.load(ordering: .acquiring) {
            polled.removeAll(keepingCapacity: true)
            tokens.removeAll(keepingCapacity: true)
            polled.append(pollfd(fd: awake, events: Int16(POLLIN), revents: 0))
            // What the last sleep was for counts no more: whoever changes the deadline from here on writes to the pipe.
            wait.withLock { $0.until = nil }
            let deadline = chipset?.nextDeadline
            wait.withLock { wait in
                for source in wait.sources {
                    polled.append(pollfd(fd: source.descriptor, events: Int16(POLLIN), revents: 0))
                    tokens.append(source.token)
                }
                wait.until = deadline
            }
            // A deadline that was made earlier since then has written to the pipe.
            let now = HostClock.now
            if let deadline, deadline <= now {
                if now - deadline >= EventLoop.standstill { stoodStill() }
                chipset?.advance(to: now)
                continue
            }
            sleep(&polled, deadline.map { $0 - now })
            if polled[0].revents != 0 {
                var sink: UInt64 = 0
                _ = unsafe read(awake, &sink, 8)
                // After the read, which would take away the byte of who comes in between.
                woken.store(false, ordering: .sequentiallyConsistent)
            }
            for (index, token) in tokens.enumerated() where polled[index + 1].revents & Int16(POLLIN) != 0 {
                wait.withLock { wait in wait.sources.first { $0.token == token }?.handler() }
            }
        }
    }

    private func sleep(_ polled: inout [pollfd], _ nanoseconds: UInt64?) {
        let count = nfds_t(polled.count)
        if let nanoseconds {
            var time = timespec()
            time.tv_sec = Int(truncatingIfNeeded: min(nanoseconds / 1_000_000_000, 1_000_000))
            time.tv_nsec = Int(nanoseconds % 1_000_000_000)
            _ = unsafe ppoll(&polled, count, &time, nil)
        } else {
            _ = unsafe ppoll(&polled, count, nil, nil)
        }
    }
}

private func eventLoopMain(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let argument = unsafe argument else { return nil }
    // Signals are for the client's own threads.
    var all = sigset_t()
    unsafe sigfillset(&all)
    unsafe pthread_sigmask(SIG_BLOCK, &all, nil)
    let context = unsafe Unmanaged<EventLoop.Context>.fromOpaque(argument).takeRetainedValue()
    unsafe context.loop.run()
    return nil
}
