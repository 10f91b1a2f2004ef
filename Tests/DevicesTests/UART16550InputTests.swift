import Synchronization
import TestLimits
import Testing

@testable import Devices

/// What drivers do to a serial port while they start, with a sender at the other end that has input from the first moment
/// and gives it whenever it is taken.
@Suite(.within(minutes: 20)) struct UART16550InputTests {
    /// A port, its sender, and a guest that takes some time for each access.
    final class Line: Sendable {
        let bench = Bench()
        let port: UART16550
        private let unsent: Mutex<[UInt8]>
        private let read = Mutex<[UInt8]>([])
        private let step: UInt64

        init(typing text: String, step: UInt64) {
            unsent = Mutex(Array(text.utf8))
            port = UART16550(interrupt: bench.line, clock: bench.clock, transmit: bench.transmit)
            self.step = step
        }

        /// What the guest has read as input.
        var input: String { read.withLock { String(decoding: $0, as: UTF8.self) } }

        private func pass() {
            bench.pass(step)
            port.advance()
            unsent.withLock { $0.removeFirst(port.receive($0)) }
        }
        func put(_ offset: UInt64, _ value: UInt8) {
            pass()
            port.put(offset, value)
            pass()
        }
        @discardableResult func get(_ offset: UInt64) -> UInt8 {
            pass()
            defer { pass() }
            return port.get(offset)
        }
        func keep(_ byte: UInt8) { read.withLock { $0.append(byte) } }

        // MARK: What drivers have in common

        /// 115,200 baud, eight bits.
        func setBaudRate() {
            put(3, 0x83)
            put(0, 1)
            put(1, 0)
            put(3, 0x03)
        }
        /// Reads that are to clear what is pending.
        func clear() { for offset: UInt64 in [5, 0, 2, 6] { get(offset) } }
        func resetFIFOs() { for value: UInt8 in [0x01, 0x07, 0x00] { put(2, value) } }

        /// An interrupt handler as Linux has it.
        func serve() {
            guard get(2) & 1 == 0 else { return }
            while get(5) & 1 != 0 { keep(get(0)) }
            get(6)
        }
        /// Waits for interrupts until there are none; a guest that is idle lets time pass.
        func serveAll() {
            var turns = 0
            while turns < 100 {
                turns += 1
                bench.pass(UART16550.settlingTime)
                port.advance()
                pass()
                if bench.asserted { serve() }
            }
        }
        /// Looks for input without interrupts.
        func pollAll() {
            for _ in 0..<200 where get(5) & 1 != 0 { keep(get(0)) }
            bench.pass(UART16550.settlingTime)
            for _ in 0..<200 where get(5) & 1 != 0 { keep(get(0)) }
        }
    }

    static let text = "echo hello from a script that was there before the guest\npoweroff -f\n"
    /// Nanoseconds an access: as fast as the processor, as fast as a port, and so slow that the line settles in between.
    static let steps: [UInt64] = [0, 1_000, 100_000, 10_000_000]

    /// Linux's probing: interrupts on for a test, loopback, the FIFO's kind, resets.
    func probe(_ line: Line) {
        for value: UInt8 in [0x00, 0x0f, 0x00] {
            line.put(1, value)
            line.get(1)
        }
        line.put(4, 0x1a)
        #expect(line.get(6) & 0xf0 == 0x90)
        line.put(4, 0x08)
        for (offset, value) in [(UInt64(3), UInt8(0xbf)), (2, 0), (3, 0), (2, 0x01)] { line.put(offset, value) }
        #expect(line.get(2) & 0xc0 == 0xc0)
        for (offset, value) in [(UInt64(3), UInt8(0x80)), (2, 0x21), (3, 0), (1, 0x40), (1, 0)] {
            line.put(offset, value)
        }
        line.resetFIFOs()
        line.get(0)
        line.put(1, 0)
    }

    /// Linux's opening of a port: the receive interrupt is on before the FIFO is.
    func open(_ line: Line) {
        line.resetFIFOs()
        line.clear()
        line.put(3, 0x03)
        line.put(4, 0x08)
        for value: UInt8 in [0x02, 0x00, 0x02, 0x00] {
            line.put(1, value)
            line.get(2)
        }
        line.clear()
        line.put(1, 0x05)
        line.setBaudRate()
        line.put(2, 0x01)
        line.put(2, 0x81)
        line.put(4, 0x08)
        line.put(4, 0x0b)
    }

    func close(_ line: Line) {
        line.put(4, 0x08)
        line.put(1, 0)
        line.put(4, 0x00)
        line.resetFIFOs()
        line.get(0)
    }

    @Test(arguments: steps)
    func linux(step: UInt64) {
        let line = Line(typing: Self.text, step: step)
        // The early console: transmitter polling.
        line.put(1, 0)
        line.setBaudRate()
        line.put(4, 0x03)
        for _ in 0..<100 {
            line.get(5)
            line.put(0, 0x2e)
        }
        probe(line)
        open(line)
        line.serve()
        close(line)
        open(line)
        // The console turns interrupts off while it writes.
        for _ in 0..<20 {
            line.put(1, 0)
            line.get(5)
            line.put(0, 0x2e)
            line.put(1, 0x05)
            if line.bench.asserted { line.serve() }
        }
        line.serveAll()
        #expect(line.input == Self.text)
    }

    @Test(arguments: steps)
    func linuxWithAnOlderChip(step: UInt64) {
        // Without FIFOs nothing is reset.
        let line = Line(typing: Self.text, step: step)
        line.put(1, 0x0f)
        line.put(1, 0x00)
        line.put(3, 0x03)
        line.clear()
        line.put(4, 0x0b)
        line.put(1, 0x05)
        line.setBaudRate()
        line.serveAll()
        #expect(line.input == Self.text)
    }

    @Test(arguments: steps)
    func grub(step: UInt64) {
        let line = Line(typing: Self.text, step: step)
        line.put(1, 0)
        line.setBaudRate()
        line.put(2, 0xc7)
        line.put(4, 0x0b)
        while line.get(5) & 1 != 0 { line.get(0) }
        line.pollAll()
        #expect(line.input == Self.text)
    }

    @Test(arguments: steps)
    func firmware(step: UInt64) {
        // SeaBIOS looks for ports by their transmitter interrupt, and waits for each character.
        let line = Line(typing: Self.text, step: step)
        line.put(1, 0x02)
        line.get(1)
        line.get(2)
        line.put(1, 0)
        line.setBaudRate()
        line.pollAll()
        #expect(line.input == Self.text)
    }

    @Test(arguments: steps)
    func aTesterThatPrintsWhileItPolls(step: UInt64) {
        // As memtest86+ does: no FIFOs, no interrupts, a look for a key between two pieces of its screen.
        let line = Line(typing: Self.text, step: step)
        line.put(1, 0)
        line.setBaudRate()
        line.put(2, 0)
        line.put(4, 0x03)
        line.clear()
        for _ in 0..<200 {
            for _ in 0..<3 {
                line.get(5)
                line.put(0, 0x20)
            }
            if line.get(5) & 1 != 0 { line.keep(line.get(0)) }
        }
        line.pollAll()
        #expect(line.input == Self.text)
    }

    @Test(arguments: [0, 1_000, 10_000] as [UInt64])
    func readsThatClearAfterInterruptsAreOn(step: UInt64) {
        // A line of 115,200 baud takes longer to bring the first character.
        let line = Line(typing: Self.text, step: step)
        line.setBaudRate()
        line.put(1, 0x01)
        line.put(4, 0x0b)
        line.clear()
        line.clear()
        line.serveAll()
        #expect(line.input == Self.text)
    }

    @Test func firmwareThenALoaderThenAKernel() {
        let line = Line(typing: Self.text, step: 1_000)
        line.setBaudRate()
        line.bench.pass(UART16550.settlingTime)
        for _ in 0..<20 { line.get(5) }
        line.put(2, 0x07)
        line.put(4, 0x03)
        while line.get(5) & 1 != 0 { line.get(0) }
        probe(line)
        open(line)
        line.serveAll()
        #expect(line.input == Self.text)
    }

    // MARK: One rule at a time

    @Test func nothingArrivesBeforeTheGuestListens() {
        let line = Line(typing: "x", step: 1_000)
        line.setBaudRate()
        line.put(2, 0x01)
        line.put(1, 0x01)
        line.bench.pass(UART16550.settlingTime)
        #expect(line.get(0) == 0)
        line.put(4, 0x08)
        #expect(line.port.nextDeadline == line.bench.now - 1_000 + UART16550.settlingTime)
        #expect(!line.bench.asserted)
        line.bench.pass(UART16550.settlingTime)
        line.port.advance()
        #expect(line.port.nextDeadline == nil)
        #expect(line.get(2) == 0xc4)
        #expect(line.bench.asserted)
        #expect(line.get(0) == UInt8(ascii: "x"))
    }

    @Test func requestToSendHoldsBackOnceItIsUsed() {
        let line = Line(typing: "xy", step: 0)
        line.put(3, 0x03)
        line.put(2, 0)
        line.put(1, 0x01)
        line.put(4, 0x08)
        line.bench.pass(UART16550.settlingTime)
        #expect(line.get(5) == 0x61)
        line.put(4, 0x0a)
        line.put(4, 0x08)
        #expect(line.get(0) == UInt8(ascii: "x"))
        line.bench.pass(UART16550.settlingTime)
        #expect(line.get(5) == 0x60)
        line.put(4, 0x0a)
        line.bench.pass(UART16550.settlingTime)
        line.port.advance()
        #expect(line.get(0) == UInt8(ascii: "y"))
    }

    @Test func aResetTakesWhatTheGuestSentItselfAndNothingElse() {
        let line = Line(typing: "abc", step: 0)
        line.put(3, 0x03)
        line.put(2, 0x01)
        line.put(4, 0x0b)
        line.put(1, 0x01)
        line.serveSettled()
        #expect(line.get(0) == UInt8(ascii: "a"))
        line.put(4, 0x1b)
        line.put(0, 0x77)
        #expect(line.port.state.received.map(\.byte) == [0x77])
        line.put(2, 0x03)
        #expect(line.get(5) & 1 == 0)
        line.put(4, 0x0b)
        line.serveAll()
        #expect(line.input == "bc")
    }

    @Test func aBreakWaitsAndComesOnce() {
        let line = Line(typing: "", step: 0)
        line.port.receiveBreak()
        line.put(3, 0x03)
        line.put(2, 0x01)
        line.put(4, 0x0b)
        line.put(1, 0x05)
        line.serveSettled()
        #expect(line.get(5) & 0x10 != 0)
        line.put(2, 0x03)
        line.serveSettled()
        #expect(line.get(5) & 0x11 == 0)
    }

    @Test func whatWasNotReadIsGivenBack() {
        let line = Line(typing: "abcdefghijklmnopqrstuvwxyz", step: 0)
        line.put(3, 0x03)
        line.put(2, 0x01)
        line.put(4, 0x0b)
        line.put(1, 0x01)
        line.serveSettled()
        #expect(line.get(0) == UInt8(ascii: "a"))
        #expect(line.port.takeUnread() == Array("bcdefghijklmnopq".utf8))
        #expect(line.port.takeUnread() == [])
    }
}

extension UART16550InputTests.Line {
    /// Lets the line settle and the sender send.
    func serveSettled() {
        bench.pass(UART16550.settlingTime)
        get(7)
    }
}
