// A thread of a hostile client, whose runs a signal ends.

import Dispatch
import Glibc
import SoftKVM
import Synchronization

/// A POSIX thread, with nothing of Swift's concurrency in it.
final class HostileThread: @unchecked Sendable {
    // SAFETY: made in init, joined once.
    private var thread = pthread_t()
    private let done = Atomic<Bool>(false)
    private let ended = DispatchSemaphore(value: 0)

    private final class Body {
        let run: (RunWindow) -> Void
        let window = RunWindow()
        init(_ run: @escaping (RunWindow) -> Void) { self.run = run }
    }

    init(_ run: @escaping @Sendable (RunWindow) -> Void) {
        HostileThread.installHandler
        let body = unsafe Unmanaged.passRetained(
            Body { [self] window in
                run(window)
                done.store(true, ordering: .releasing)
                ended.signal()
            })
        let failed = unsafe pthread_create(
            &thread, nil,
            { argument in
                let body = unsafe Unmanaged<Body>.fromOpaque(argument!).takeRetainedValue()
                var wanted = sigset_t()
                unsafe sigemptyset(&wanted)
                unsafe sigaddset(&wanted, HostileThread.number)
                unsafe pthread_setspecific(HostileThread.key, Unmanaged.passUnretained(body.window).toOpaque())
                unsafe pthread_sigmask(SIG_UNBLOCK, &wanted, nil)
                body.run(body.window)
                unsafe pthread_sigmask(SIG_BLOCK, &wanted, nil)
                return nil
            }, body.toOpaque())
        precondition(failed == 0, "no thread")
    }

    func waitUntilDone() { ended.wait() }

    var isDone: Bool { done.load(ordering: .acquiring) }

    /// Ends the run that the thread is in. Until it is joined.
    func signal() { pthread_kill(thread, HostileThread.number) }

    func join() { pthread_join(thread, nil) }

    // MARK: The signal

    private static let number = SIGUSR2
    private static let key: pthread_key_t = {
        var key = pthread_key_t()
        unsafe pthread_key_create(&key, nil)
        return key
    }()

    private static let installHandler: Void = {
        var action = sigaction()
        unsafe action.__sigaction_handler.sa_handler = { _ in
            guard let window = unsafe pthread_getspecific(HostileThread.key) else { return }
            unsafe Unmanaged<RunWindow>.fromOpaque(window)._withUnsafeGuaranteedRef { $0.interrupt() }
        }
        unsafe sigaction(number, &action, nil)
    }()
}

/// `fork(2)`, which Swift's import of the C library hides.
func forkProcess() -> Int32 {
    typealias Fork = @convention(c) () -> Int32
    guard let address = unsafe dlsym(nil, "fork") else { return -1 }
    return unsafe unsafeBitCast(address, to: Fork.self)()
}
