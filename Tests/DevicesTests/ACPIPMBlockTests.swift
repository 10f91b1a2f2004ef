import Devices
import TestLimits
import Testing

@Suite(.within(minutes: 20)) struct ACPIPMBlockTests {
    let bench = Bench()
    let block: ACPIPMBlock
    let bus: PortBus

    init() throws {
        block = ACPIPMBlock(sci: bench.line, clock: bench.clock, request: bench.request)
        var bus = PortBus()
        try bus.attach(block, at: 0x600, count: ACPIPMBlock.portCount)
        self.bus = bus
    }

    @Test func timerCountsAtItsFrequency() {
        #expect(bus.read(port: 0x608, width: 4) == 0)
        bench.pass(1_000_000_000)
        #expect(bus.read(port: 0x608, width: 4) == 3_579_545)
        bench.pass(1_200_000_000_000)
        #expect(bus.read(port: 0x608, width: 4) == UInt32(truncatingIfNeeded: 3_579_545 as UInt64 * 1201))
        #expect(bus.read(port: 0x609, width: 1) == UInt32(truncatingIfNeeded: (3_579_545 as UInt64 * 1201) >> 8) & 0xff)
    }

    @Test func narrowTimerWraps() {
        let narrow = ACPIPMBlock(
            sci: bench.line, clock: bench.clock, extendedTimer: false, request: bench.request)
        bench.pass(10_000_000_000)
        #expect(narrow.read(offset: 8, width: 4) == UInt64(35_795_450 & 0xff_ffff))
    }

    @Test func timerStatusInterrupts() throws {
        bus.write(port: 0x602, width: 2, value: 0x0001)
        let deadline = try #require(block.nextDeadline)
        bench.pass(deadline - bench.now - 1000)
        block.advance()
        #expect(!bench.asserted)
        bench.pass(1000)
        block.advance()
        #expect(bench.asserted)
        #expect(bus.read(port: 0x600, width: 2) == 0x0001)
        #expect(block.nextDeadline == nil)
        bus.write(port: 0x600, width: 2, value: 0x0001)
        #expect(!bench.asserted)
        #expect(block.nextDeadline != nil)
    }

    @Test func powerButtonRaisesSCIWhenEnabled() {
        block.pressPowerButton()
        #expect(!bench.asserted)
        bus.write(port: 0x602, width: 2, value: 0x0100)
        #expect(bench.asserted)
        // A byte write clears the other byte's bits alone.
        bus.write(port: 0x600, width: 1, value: 0xff)
        #expect(bench.asserted)
        bus.write(port: 0x601, width: 1, value: 0xff)
        #expect(!bench.asserted)
    }

    @Test func softOffIsTheOnlySleep() {
        #expect(bus.read(port: 0x604, width: 2) == 1)
        bus.write(port: 0x604, width: 2, value: 0x2401)  // S1 type of some machines
        #expect(bench.requested.isEmpty)
        bus.write(port: 0x604, width: 2, value: 0x1401)  // the type without SLP_EN
        #expect(bench.requested.isEmpty)
        #expect(bus.read(port: 0x604, width: 2) == 0x1401)
        bus.write(port: 0x604, width: 2, value: 0x3401)
        #expect(bench.requested == [.powerOff])
        #expect(bus.read(port: 0x604, width: 2) == 0x1401)
    }

    @Test func eventBlockIsReadWhole() {
        bus.write(port: 0x600, width: 4, value: 0x0100_0000)
        #expect(bus.read(port: 0x600, width: 4) == 0x0100_0000)
        #expect(bus.read(port: 0x606, width: 2) == 0xffff)
    }
}

@Suite(.within(minutes: 20)) struct ResetControlTests {
    @Test func onlyTheByteRegisterResets() throws {
        let bench = Bench()
        var bus = PortBus()
        try bus.attach(ResetControl(request: bench.request), at: 0xcf8, count: 4)
        bus.write(port: 0xcf8, width: 4, value: 0x8000_0600)
        #expect(bus.read(port: 0xcf8, width: 4) == 0xffff_ffff)
        bus.write(port: 0xcf9, width: 1, value: 0x02)
        #expect(bus.read(port: 0xcf9, width: 1) == 0x02)
        #expect(bench.requested.isEmpty)
        bus.write(port: 0xcf9, width: 1, value: 0x06)
        #expect(bench.requested == [.reset(.resetControl)])
    }

    @Test func postPortRemembers() {
        let port = POSTPort()
        port.put(0, 0x37)
        #expect(port.code == 0x37)
        #expect(port.get(0) == 0x37)
    }
}
