import Devices
import Synchronization
import TestLimits
import Testing

@Suite(.within(minutes: 20)) struct UART16550Tests {
    let bench = Bench()
    let port: UART16550
    let room = Counter()

    final class Counter: Sendable {
        let value = Atomic<Int>(0)
    }

    init() {
        let (bench, room) = (bench, room)
        port = UART16550(
            interrupt: bench.line, clock: bench.clock, transmit: bench.transmit,
            roomAvailable: { room.value.add(1, ordering: .relaxed) })
    }

    /// Eight bits, OUT2 on, FIFOs as given, interrupts as given; then the line has settled.
    func setUp(fcr: UInt8 = 0x01, ier: UInt8) {
        port.put(3, 0x03)
        port.put(4, 0x0b)
        port.put(2, fcr)
        port.put(1, ier)
        settle()
    }

    func settle() {
        bench.pass(UART16550.settlingTime)
        port.advance()
    }

    @Test func resetValues() {
        #expect((1...6).map { port.get(UInt64($0)) } == [0x00, 0x01, 0x00, 0x00, 0x60, 0xb0])
    }

    @Test func divisorLatchHidesBehindDLAB() {
        port.put(3, 0x83)
        port.put(0, 0x34)
        port.put(1, 0x12)
        #expect(port.get(0) == 0x34 && port.get(1) == 0x12)
        port.put(3, 0x03)
        #expect(port.get(1) == 0)
        #expect(bench.transmitted.isEmpty)
    }

    @Test func transmitsAtOnceAndMasksToTheWordLength() {
        port.put(3, 0x03)
        port.put(0, 0xc1)
        port.put(3, 0x02)
        port.put(0, 0xc1)
        #expect(bench.transmitted == [0xc1, 0x41])
        #expect(port.get(5) == 0x60)
    }

    @Test func scratchAndReservedBits() {
        port.put(7, 0xa5)
        #expect(port.get(7) == 0xa5)
        port.put(1, 0xff)
        #expect(port.get(1) == 0x0f)
        port.put(4, 0xff)
        #expect(port.get(4) == 0x1f)
        port.put(5, 0)
        #expect(port.get(5) == 0x60)
    }

    @Test func fifoControlNeedsItsEnableBit() {
        port.put(2, 0xc0)
        #expect(port.get(2) == 0x01)
        port.put(2, 0xc1)
        #expect(port.get(2) == 0xc1)
        #expect(port.state.fcr == 0xc1)
    }

    @Test func receivesUpToTheFIFOAndHoldsBackTheRest() {
        setUp(ier: 0x01)
        #expect(port.receiveRoom == 16)
        #expect(port.receive([UInt8](0..<20)) == 16)
        #expect(port.receiveRoom == 0)
        #expect(port.get(5) == 0x61)
        #expect((0..<16).map { _ in port.get(0) } == [UInt8](0..<16))
        #expect(room.value.load(ordering: .relaxed) == 2)
        #expect(port.get(5) == 0x60)
        #expect(port.get(0) == 0)
    }

    @Test func withoutFIFOsThereIsRoomForOne() {
        setUp(fcr: 0, ier: 0x01)
        #expect(port.receive([1, 2]) == 1)
        #expect(port.get(0) == 1)
    }

    @Test(arguments: [(UInt8(0x01), 1), (0x41, 4), (0x81, 8), (0xc1, 14)])
    func triggerLevels(fcr: UInt8, level: Int) {
        setUp(fcr: fcr, ier: 0x01)
        #expect(port.receive([UInt8](repeating: 0x55, count: level)) == level)
        #expect(port.get(2) == 0xc4)
        #expect(bench.asserted)
        _ = port.get(0)
        // Below the trigger what is left has timed out.
        #expect(port.get(2) == (level == 1 ? 0xc1 : 0xcc))
        for _ in 1..<max(level, 2) { _ = port.get(0) }
        #expect(!bench.asserted)
    }

    @Test func transmitterInterruptIsClearedByReadingIIR() {
        setUp(ier: 0x02)
        #expect(bench.asserted)
        #expect(port.get(2) == 0xc2)
        #expect(!bench.asserted)
        #expect(port.get(2) == 0xc1)
        port.put(0, 0x41)
        #expect(bench.asserted)
        // Disabling and enabling raises it again, which Linux relies on to find working ports.
        _ = port.get(2)
        port.put(1, 0)
        port.put(1, 2)
        #expect(port.get(2) == 0xc2)
    }

    @Test func interruptsAreIdentifiedInPriorityOrder() {
        setUp(ier: 0x0f)
        port.put(4, 0x1f)  // Loopback: the modem's lines change.
        port.put(4, 0x0b)
        settle()
        port.receiveBreak()
        #expect(port.get(2) & 0x0f == 0x06)
        #expect(port.get(5) == 0xf1)  // Break, data, FIFO error, transmitter empty.
        #expect(port.get(2) & 0x0f == 0x04)
        _ = port.get(0)
        #expect(port.get(2) & 0x0f == 0x02)
        #expect(port.get(2) & 0x0f == 0x00)
        #expect(port.get(6) & 0x0f != 0)
        #expect(port.get(2) & 0x0f == 0x01)
        #expect(!bench.asserted)
    }

    @Test func out2GatesTheLine() {
        port.put(1, 0x02)
        #expect(!bench.asserted)
        port.put(4, 0x08)
        #expect(bench.asserted)
        port.put(4, 0x00)
        #expect(!bench.asserted)
    }

    @Test func loopbackReturnsCharactersAndModemLines() {
        port.put(3, 0x03)
        port.put(4, 0x10)
        _ = port.get(6)
        #expect(port.get(6) == 0)
        port.put(4, 0x1f)
        #expect(port.get(6) & 0xf0 == 0xf0)
        port.put(4, 0x1a)
        // What Linux probes with: RTS and OUT2 come back as CTS and DCD; RI's fall is a trailing edge.
        #expect(port.get(6) & 0xf4 == 0x94)
        port.put(0, 0x77)
        #expect(bench.transmitted.isEmpty)
        #expect(port.get(5) & 1 == 1)
        #expect(port.get(0) == 0x77)
        #expect(port.receive([1]) == 0)
    }

    @Test func overrunKeepsTheFIFOButReplacesTheHoldingRegister() {
        port.put(3, 0x03)
        port.put(4, 0x10)
        port.put(0, 1)
        port.put(0, 2)
        #expect(port.get(5) & 0x02 == 0x02)
        #expect(port.get(5) & 0x02 == 0)
        #expect(port.get(0) == 2)
        port.put(2, 1)
        for byte in UInt8(0)..<17 { port.put(0, byte) }
        #expect(port.get(5) & 0x02 == 0x02)
        #expect((0..<16).map { _ in port.get(0) } == [UInt8](0..<16))
    }

    @Test func stateGoesOutAndIn() {
        setUp(ier: 0x01)
        _ = port.receive([9, 8])
        let state = port.state
        let second = Bench()
        let copy = UART16550(interrupt: second.line, clock: second.clock, transmit: second.transmit)
        copy.state = state
        #expect(copy.state == state)
        #expect(second.asserted)
        #expect(copy.get(0) == 9)
    }

    @Test func anyAccessIsHarmless() {
        var random = SystemRandomNumberGenerator()
        for _ in 0..<20_000 {
            let offset = UInt64.random(in: 0..<8, using: &random)
            if Bool.random(using: &random) {
                port.put(offset, .random(in: 0...255, using: &random))
            } else {
                _ = port.get(offset)
            }
        }
        #expect(port.state.received.count <= 16)
    }
}
