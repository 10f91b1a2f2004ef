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
        var handler: @Sendable () -> Void
    }

    private struct Wait {
        /// By their tokens.
        var sources: [UInt64: Source] = [:]
        /// What the thread sleeps until; nil: for ever.
        var until: UInt64?
    }

    /// A pipe that makes the thread look again.
    private let awake: Int32
    private let wakeUp: Int32
    /// The pipe and the sources' descriptors.
    private let watched: ReadinessSet
    /// The pipe's token; sources have others.
    private static let pipe: UInt64 = 0
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
        watched = try ReadinessSet()
        var ends = InlineArray<2, Int32>(repeating: -1)
        var span = ends.mutableSpan
        let made = unsafe span.withUnsafeMutableBufferPointer { buffer in
            guard let base = buffer.baseAddress else { return false }
            return unsafe pipe2(base, O_CLOEXEC | O_NONBLOCK) == 0
        }
        guard made else { throw Errno(rawValue: errno) }
        awake = PrivateDescriptor.moved(ends[0])
        wakeUp = PrivateDescriptor.moved(ends[1])
        try watched.add(awake, token: EventLoop.pipe)
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

    /// Calls `handler` on the loop's thread whenever `descriptor` is readable. It stays open until it is removed.
    /// - Throws: ENOSPC or ENOMEM where the host has no room to watch it.
    func add(_ descriptor: Int32, token: UInt64, _ handler: @escaping @Sendable () -> Void) throws(Errno) {
        try wait.withLock { wait throws(Errno) in
            try watched.add(descriptor, token: token)
            wait.sources[token] = Source(descriptor: descriptor, handler: handler)
        }
    }

    /// When this returns the handler does not run and will not run again. Not from inside a handler.
    func remove(token: UInt64) {
        wait.withLock { wait in
            guard let source = wait.sources.removeValue(forKey: token) else { return }
            watched.remove(source.descriptor)
        }
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
        while !ending.load(ordering: .acquiring) {
            // What the last sleep was for counts no more: whoever changes the deadline from here on writes to the pipe.
            wait.withLock { $0.until = nil }
            let deadline = chipset?.nextDeadline
            wait.withLock { $0.until = deadline }
            // A deadline that was made earlier since then has written to the pipe.
            let now = HostClock.now
            if let deadline, deadline <= now {
                if now - deadline >= EventLoop.standstill { stoodStill() }
                chipset?.advance(to: now)
                continue
            }
            watched.wait(nanoseconds: deadline.map { $0 - now }) { token in
                if token == EventLoop.pipe {
                    var sink: UInt64 = 0
                    _ = unsafe read(awake, &sink, 8)
                    // After the read, which would take away the byte of who comes in between.
                    woken.store(false, ordering: .sequentiallyConsistent)
                } else {
                    wait.withLock { $0.sources[token]?.handler() }
                }
            }
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
