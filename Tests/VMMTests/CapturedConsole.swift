import Devices
import Synchronization
import VMM

/// A console that keeps what the guest sent, and types what it is told to.
final class CapturedConsole: MachineConsole {
    private struct State {
        var port: UART16550?
        var text: [UInt8] = []
        var input: [UInt8]
        /// What to do once the last line says this.
        var expectation: (text: String, act: @Sendable () -> Void)?
    }
    private let state: Mutex<State>

    init(typing input: String = "") { state = Mutex(State(input: Array(input.utf8))) }

    var text: String { state.withLock { String(decoding: $0.text, as: UTF8.self) } }

    func connect(_ port: UART16550) { state.withLock { $0.port = port } }
    func disconnect(_ port: UART16550) { state.withLock { if $0.port === port { $0.port = nil } } }

    /// Calls `act` when the guest ends a line with this in it.
    func expect(_ text: String, _ act: @escaping @Sendable () -> Void) {
        state.withLock { $0.expectation = (text, act) }
    }

    func transmit(_ byte: UInt8) {
        let act = state.withLock { state -> (@Sendable () -> Void)? in
            state.text.append(byte)
            guard byte == 10, let expectation = state.expectation else { return nil }
            let line = state.text.dropLast().split(separator: 10).last ?? []
            guard String(decoding: line, as: UTF8.self).contains(expectation.text) else { return nil }
            state.expectation = nil
            return expectation.act
        }
        act?()
    }
    func roomAvailable() {
        let (port, input) = state.withLock { ($0.port, $0.input) }
        guard let port, !input.isEmpty else { return }
        let taken = port.receive(input)
        state.withLock { $0.input.removeFirst(min(taken, $0.input.count)) }
    }
}
