import TestLimits
import Testing
import VMM

@Suite(.within(minutes: 20)) struct ConsoleEscapeTests {
    func actions(_ pieces: String...) -> [ConsoleEscape.Action] {
        var escape = ConsoleEscape()
        return pieces.flatMap { escape.take($0.utf8) }
    }

    @Test func textGoesThrough() {
        #expect(actions("ls\r") == [.send(Array("ls\r".utf8))])
        #expect(actions("") == [])
        #expect(actions("\u{3}\u{4}\u{1a}") == [.send([3, 4, 26])])
    }

    @Test func leaves() {
        #expect(actions("\u{1}x") == [.leave])
        #expect(actions("a\u{1}Xignored") == [.send([97]), .leave])
        #expect(actions("\u{1}", "x") == [.leave])
    }

    @Test func sendsItself() {
        #expect(actions("\u{1}\u{1}x") == [.send([1, 120])])
        #expect(actions("\u{1}", "\u{1}") == [.send([1])])
        #expect(actions("\u{1}a") == [.send([1])])
    }

    @Test func sendsBreak() {
        #expect(actions("a\u{1}bc") == [.send([97]), .sendBreak, .send([99])])
    }

    @Test func otherKeysAfterTheEscapeAreDropped() {
        #expect(actions("\u{1}qz") == [.send([122])])
    }
}
