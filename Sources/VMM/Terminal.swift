// The host's terminal in raw mode, and its way back however the program ends.
//
// Contract: `TerminalGuard.enterRawMode` keeps the settings that it found; `restore` puts them back and may be called
// from a signal handler, any number of times. Fatal signals restore the terminal and then take their usual course. The
// settings are the process's, as the terminal is, and so the one thing here that is global.

internal import Glibc
internal import Synchronization

/// Standard input's terminal.
public enum TerminalGuard {
    /// Whether standard input is a terminal.
    public static var isTerminal: Bool { isatty(STDIN_FILENO) == 1 }

    // SAFETY: written before `isRaw` becomes true, and not after. On the heap: a static variable of a C structure with a gap
    // inside is made too short by Swift 6.3, and what lies behind it overwritten.
    nonisolated(unsafe) private static let saved = UnsafeMutablePointer<termios>.allocate(capacity: 1)
    private static let isSaved = Atomic<Bool>(false)
    private static let isRaw = Atomic<Bool>(false)
    /// Held while the settings change, but in signal handlers.
    private static let changing = Mutex(())

    /// Hands every key to the program as it is typed.
    /// - Returns: false if standard input is no terminal.
    @discardableResult
    public static func enterRawMode() -> Bool { changing.withLock { _ in enterRawModeLocked() } }

    private static func enterRawModeLocked() -> Bool {
        if !isSaved.load(ordering: .acquiring) {
            guard isTerminal, unsafe tcgetattr(STDIN_FILENO, saved) == 0 else { return false }
            isSaved.store(true, ordering: .releasing)
        }
        var raw = unsafe saved.pointee
        unsafe cfmakeraw(&raw)
        isRaw.store(true, ordering: .releasing)
        return unsafe tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0
    }

    /// Puts the terminal back as it was.
    public static func restore() {
        guard isRaw.exchange(false, ordering: .acquiringAndReleasing) else { return }
        unsafe tcsetattr(STDIN_FILENO, TCSANOW, saved)
    }

    /// Puts the terminal back and ends the program, whatever its other threads are about to do to the terminal.
    public static func exit(_ status: Int32, after last: () -> Void) -> Never {
        changing.withLock { _ in
            restore()
            last()
            _exit(status)
        }
    }

    /// After the program was stopped and goes on, the shell may have changed the settings.
    public static func resume() {
        if isRaw.load(ordering: .acquiring) { enterRawMode() }
    }

    /// Restores the terminal on signals that mean the program has crashed. To be called before anything else handles
    /// them, so that whoever comes later hands on to this.
    public static func guardAgainstCrashes() {
        for signal in [SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, SIGABRT, SIGSYS] {
            var action = sigaction()
            // SA_RESETHAND: raised again below, the signal ends the program as it would have without this.
            unsafe action.__sigaction_handler.sa_handler = { signal in
                TerminalGuard.restore()
                raise(signal)
            }
            action.sa_flags = Int32(bitPattern: SA_RESETHAND) | SA_NODEFER
            unsafe sigaction(signal, &action, nil)
        }
    }
}

/// The signals by which somebody ends the program.
public enum TerminationSignals {
    private static let handled: [(number: Int32, name: String)] = [
        (SIGINT, "SIGINT"), (SIGTERM, "SIGTERM"), (SIGHUP, "SIGHUP"), (SIGQUIT, "SIGQUIT"),
    ]

    /// Takes the signals out of every thread's way from here on, and calls `end` with the name of the first that comes,
    /// on a thread of its own. To be called before other threads are started. `SIGCONT` puts the terminal back into raw
    /// mode, and calls `goOn`; a closed pipe is an error of `write` rather than a signal.
    /// - Returns: false if the host has no thread for it.
    public static func watch(
        goOn: @escaping @Sendable () -> Void, _ end: @escaping @Sendable (String) -> Void
    ) -> Bool {
        signal(SIGPIPE, SIG_IGN)
        var set = sigset_t()
        unsafe sigemptyset(&set)
        // A program that was started with a signal ignored, as by nohup, goes on ignoring it.
        let watched = handled.filter { !isIgnored($0.number) }
        for signal in watched { unsafe sigaddset(&set, signal.number) }
        unsafe sigaddset(&set, SIGCONT)
        // Exactly these: a parent may have left others blocked, and crashes and the interruption of a vCPU need theirs.
        unsafe pthread_sigmask(SIG_SETMASK, &set, nil)
        let waiting = set
        let thread = HostThread(name: "signals", stackSize: 512 << 10) {
            var waiting = waiting
            while true {
                var number: Int32 = 0
                guard unsafe sigwait(&waiting, &number) == 0 else { continue }
                if number == SIGCONT {
                    TerminalGuard.resume()
                    goOn()
                } else {
                    end(watched.first { $0.number == number }?.name ?? "signal \(number)")
                }
            }
        }
        return thread != nil
    }

    private static func isIgnored(_ number: Int32) -> Bool {
        var action = sigaction()
        unsafe sigaction(number, nil, &action)
        return unsafe unsafeBitCast(action.__sigaction_handler.sa_handler, to: UInt.self) == 1
    }
}
