// The keys that the console keeps for itself.
//
// Contract: Ctrl-A X leaves, Ctrl-A B sends a break, Ctrl-A Ctrl-A (and Ctrl-A A) sends one Ctrl-A. Ctrl-A before any
// other key is dropped with that key. The two keys may come in different reads.

/// Splits what is typed into what the guest gets and what the console does.
public struct ConsoleEscape: Sendable {
    /// What to do, in order.
    public enum Action: Equatable, Sendable {
        case send([UInt8])
        case sendBreak
        case leave
    }

    private static let escape: UInt8 = 0x01
    private var escaped = false

    public init() {}

    /// Takes what was read from the terminal.
    public mutating func take(_ typed: some Sequence<UInt8>) -> [Action] {
        var actions: [Action] = []
        var text: [UInt8] = []
        func flush() {
            if !text.isEmpty { actions.append(.send(text)) }
            text = []
        }
        for key in typed {
            guard escaped else {
                if key == Self.escape { escaped = true } else { text.append(key) }
                continue
            }
            escaped = false
            switch key {
            case Self.escape, UInt8(ascii: "a"), UInt8(ascii: "A"): text.append(Self.escape)
            case UInt8(ascii: "x"), UInt8(ascii: "X"):
                flush()
                return actions + [.leave]
            case UInt8(ascii: "b"), UInt8(ascii: "B"):
                flush()
                actions.append(.sendBreak)
            default: break
            }
        }
        flush()
        return actions
    }
}
