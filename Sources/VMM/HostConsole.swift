// The console on the host's standard input and output.
//
// Contract: two threads for the life of the process, whatever machines come and go. What is typed or piped in waits
// until COM1 takes it, so a script loses nothing, neither to a driver that clears the FIFO while it starts, nor to a slow
// guest, nor to a reset, after which the next machine gets what the last one had not read; the end of input ends the
// reading, not the machine. Output is written by the second thread in as large pieces as have gathered; a vCPU writes
// itself only when too much waits. What can't be written (a full disk, a closed pipe) or kept is reported once.

public import Devices
internal import Glibc
public import KVM
internal import Synchronization

/// Connects COM1 to standard input and output.
public final class HostConsole: MachineConsole {
    /// What the console tells the program.
    public enum Event: Sendable {
        /// The user typed Ctrl-A X.
        case leave
        /// Output failed, with its errno.
        case outputFailed(Int32)
        /// So much was typed while the guest took nothing that the rest is lost.
        case inputLost
    }

    private struct Output {
        var waiting: [UInt8] = []
        var failed = false
    }

    private static let most = 64 << 10
    /// A terminal can't be left unread, or Ctrl-A X would not be seen.
    private static let mostTyped = 1 << 20

    private let port = Mutex<UART16550?>(nil)
    /// What a machine that is gone had not read.
    private let returned = Mutex<[UInt8]>([])
    private let output = Mutex(Output())
    /// Held while writing, so that pieces stay in order.
    private let writing = Mutex(())
    private let outputWaits: EventDescriptor
    private let inputWanted: EventDescriptor
    private let stopping = Atomic<Bool>(false)
    private let threads = Mutex<[HostThread]>([])
    private let interactive: Bool
    private let report: @Sendable (Event) -> Void

    /// - Parameters:
    ///   - interactive: whether standard input is a terminal, with Ctrl-A as its escape.
    ///   - report: called from the console's threads or a vCPU's.
    public init(interactive: Bool, report: @escaping @Sendable (Event) -> Void) throws(KVMError) {
        self.interactive = interactive
        self.report = report
        outputWaits = try EventDescriptor()
        inputWanted = try EventDescriptor()
    }

    /// Starts reading and writing.
    /// - Returns: false if the host has no threads for it.
    public func start() -> Bool {
        guard let writer = HostThread(name: "console-out", { [self] in writeLoop() }),
            let reader = HostThread(name: "console-in", { [self] in readLoop() })
        else { return false }
        threads.withLock { $0 = [writer, reader] }
        return true
    }

    /// Writes what is waiting and ends the threads.
    public func stop() {
        stopping.store(true, ordering: .sequentiallyConsistent)
        outputWaits.signal()
        inputWanted.signal()
        let running = threads.withLock { threads in
            defer { threads = [] }
            return threads
        }
        for thread in running { thread.join() }
        flush()
    }

    // MARK: The machine's side

    public func connect(_ port: UART16550) {
        self.port.withLock {
            if let last = $0 { takeBack(from: last) }
            $0 = port
        }
        inputWanted.signal()
    }

    public func disconnect(_ port: UART16550) {
        self.port.withLock {
            guard $0 === port else { return }
            takeBack(from: port)
            $0 = nil
        }
    }

    private func takeBack(from port: UART16550) {
        let unread = port.takeUnread()
        returned.withLock { $0 += unread }
    }

    public func roomAvailable() { inputWanted.signal() }

    public func transmit(_ byte: UInt8) {
        let count = output.withLock { output in
            guard !output.failed else { return 0 }
            output.waiting.append(byte)
            return output.waiting.count
        }
        if count == 1 { outputWaits.signal() }
        if count >= Self.most { flush() }
    }

    // MARK: Output

    private func writeLoop() {
        while !stopping.load(ordering: .sequentiallyConsistent) {
            _ = outputWaits.wait(milliseconds: -1)
            _ = outputWaits.drain()
            flush()
        }
    }

    /// Writes everything that is waiting.
    private func flush() {
        writing.withLock { _ in
            let bytes = output.withLock { output in
                let bytes = output.waiting
                output.waiting = []
                return bytes
            }
            guard !bytes.isEmpty, let failure = write(bytes) else { return }
            let first = output.withLock { output in
                defer { output.failed = true }
                return !output.failed
            }
            if first { report(.outputFailed(failure)) }
        }
    }

    /// Writes to standard output; the errno of what went wrong.
    private func write(_ bytes: [UInt8]) -> Int32? {
        var done = 0
        var patience = 10
        while done < bytes.count {
            var ready = pollfd(fd: STDOUT_FILENO, events: Int16(POLLOUT), revents: 0)
            if unsafe poll(&ready, 1, 100) == 0 {
                // Nobody reads. While the machine lives it waits; when the program ends it soon gives up.
                if stopping.load(ordering: .sequentiallyConsistent) { patience -= 1 }
                if patience == 0 { return nil }
                continue
            }
            // No more than a pipe takes without blocking.
            let end = min(done + 4096, bytes.count)
            let count = unsafe bytes[done..<end].withUnsafeBytes {
                unsafe Glibc.write(STDOUT_FILENO, $0.baseAddress, $0.count)
            }
            if count >= 0 {
                done += count
            } else if errno != EINTR && errno != EAGAIN {
                return errno
            }
        }
        return nil
    }

    // MARK: Input

    private func readLoop() {
        var escape = ConsoleEscape()
        var pending: [UInt8] = []
        var ended = false, isTold = false
        while !stopping.load(ordering: .sequentiallyConsistent) {
            deliver(&pending)
            // A terminal is read on even if the guest takes nothing, so that Ctrl-A X is always seen.
            let wantsInput = !ended && (interactive || pending.isEmpty)
            guard waitForInput(orOnlyWake: !wantsInput) else { continue }
            guard let typed = readInput() else {
                ended = true
                continue
            }
            for action in interactive ? escape.take(typed) : [.send(typed)] {
                switch action {
                case .send(let bytes):
                    let kept = bytes.prefix(max(0, Self.mostTyped - pending.count))
                    pending += kept
                    if kept.count < bytes.count, !isTold {
                        isTold = true
                        report(.inputLost)
                    }
                case .sendBreak: port.withLock { $0 }?.receiveBreak()
                case .leave:
                    report(.leave)
                    return
                }
            }
        }
    }

    /// Gives COM1 what it takes, under the lock by which what is unread is taken back.
    private func deliver(_ pending: inout [UInt8]) {
        let returned = returned.withLock { returned in
            defer { returned = [] }
            return returned
        }
        pending.insert(contentsOf: returned, at: 0)
        guard !pending.isEmpty else { return }
        let taken = port.withLock { $0?.receive(pending) ?? 0 }
        pending.removeFirst(taken)
    }

    /// Sleeps until there is input, COM1 has room, or the program ends.
    /// - Returns: whether standard input is worth reading.
    private func waitForInput(orOnlyWake onlyWake: Bool) -> Bool {
        var ready = [
            pollfd(fd: inputWanted.rawValue, events: Int16(POLLIN), revents: 0),
            // A negative descriptor is passed over.
            pollfd(fd: onlyWake ? -1 : STDIN_FILENO, events: Int16(POLLIN), revents: 0),
        ]
        guard unsafe poll(&ready, 2, -1) > 0 else { return false }
        if ready[0].revents != 0 { _ = inputWanted.drain() }
        return ready[1].revents != 0
    }

    /// What was typed; nil at the end of input, or if it can't be read.
    private func readInput() -> [UInt8]? {
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = unsafe buffer.withUnsafeMutableBytes { unsafe read(STDIN_FILENO, $0.baseAddress, $0.count) }
        if count < 0 { return errno == EINTR || errno == EAGAIN ? [] : nil }
        return count == 0 ? nil : Array(buffer[..<count])
    }
}
