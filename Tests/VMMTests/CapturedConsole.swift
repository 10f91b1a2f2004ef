import Devices
import Synchronization
import VMM

/// A console that keeps what the guest sent, and types what it is told to.
final class CapturedConsole: MachineConsole {
    private struct State {
        var port: UART16550?
        var text: [UInt8] = []
        var input: [UInt8]
        /// What is still to come, in this order, and what to do then.
        var expected: ArraySlice<[UInt8]> = []
        var act: (@Sendable () -> Void)?
        /// Where what was expected last ends in `text`.
        var matched = 0

        /// The last byte may have completed what is expected.
        mutating func match() -> (@Sendable () -> Void)? {
            guard let next = expected.first, text.count - matched >= next.count, text.suffix(next.count) == next[...]
            else { return nil }
            matched = text.count
            expected.removeFirst()
            guard expected.isEmpty else { return nil }
            defer { act = nil }
            return act
        }
    }
    private let state: Mutex<State>

    init(typing input: String = "") { state = Mutex(State(input: Array(input.utf8))) }

    var text: String { state.withLock { String(decoding: $0.text, as: UTF8.self) } }

    func connect(_ port: UART16550) { state.withLock { $0.port = port } }
    func disconnect(_ port: UART16550) { state.withLock { if $0.port === port { $0.port = nil } } }

    /// Calls `act` once the guest has sent these, one after the other, from now on.
    func expect(_ texts: [String], _ act: @escaping @Sendable () -> Void) {
        state.withLock { state in
            state.expected = texts.map { Array($0.utf8) }[...]
            state.act = act
            state.matched = state.text.count
        }
    }

    func transmit(_ byte: UInt8) {
        let act = state.withLock { state in
            state.text.append(byte)
            return state.match()
        }
        act?()
    }
    func roomAvailable() {
        // In one piece: the port's timer calls, too. `receive` calls nothing here.
        state.withLock { state in
            guard let port = state.port, !state.input.isEmpty else { return }
            state.input.removeFirst(port.receive(state.input))
        }
    }
}
