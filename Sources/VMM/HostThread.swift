// A thread of the host with a stack of a known size.

internal import Glibc

/// A running thread; `join()` it once.
final class HostThread: Sendable {
    private final class Body: Sendable {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }

    private let thread: pthread_t

    /// Starts `body` on a new thread.
    /// - Returns: nil if the host has no more threads to give.
    init?(name: String, stackSize: Int = 8 << 20, _ body: @escaping @Sendable () -> Void) {
        var attributes = pthread_attr_t()
        guard unsafe pthread_attr_init(&attributes) == 0 else { return nil }
        defer { unsafe pthread_attr_destroy(&attributes) }
        unsafe pthread_attr_setstacksize(&attributes, stackSize)
        // SAFETY: retained here, released by the thread that it is handed to, or below if there is none.
        let argument = unsafe Unmanaged.passRetained(Body(body))
        var thread = pthread_t()
        let failure = unsafe pthread_create(
            &thread, &attributes,
            { argument in
                guard let argument = unsafe argument else { return nil }
                unsafe Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().run()
                return nil
            }, argument.toOpaque())
        guard failure == 0 else {
            unsafe argument.release()
            return nil
        }
        self.thread = thread
        _ = unsafe pthread_setname_np(thread, String(name.prefix(15)))
    }

    /// Waits until it has ended.
    func join() { _ = pthread_join(thread, nil) }
}
