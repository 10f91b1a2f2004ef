import Devices
import TestLimits
import Testing

@Suite(.within(minutes: 20)) struct I8042Tests {
    let bench = Bench()
    let controller: I8042

    init() { controller = I8042(interrupt: bench.line, request: bench.request) }

    func command(_ byte: UInt8) { controller.put(4, byte) }
    func data(_ byte: UInt8) { controller.put(0, byte) }
    var status: UInt8 { controller.get(4) }
    func drain() -> [UInt8] {
        var bytes: [UInt8] = []
        while status & 1 != 0 { bytes.append(controller.get(0)) }
        return bytes
    }

    @Test func selfTestsPass() {
        command(0xaa)
        #expect(drain() == [0x55])
        command(0xab)
        #expect(drain() == [0x00])
    }

    @Test func hasNoAuxiliaryDevice() {
        command(0xd3)
        data(0x5a)
        #expect(status & 0x21 == 0x01)
        #expect(drain() == [0x5a])
        command(0xa9)
        #expect(drain() == [0x01])
        command(0xd4)
        data(0xff)
        #expect(status & 0x21 == 0x21)
        #expect(drain() == [0xfe])
    }

    @Test func commandByteAndMemory() {
        command(0x60)
        data(0x45)
        command(0x20)
        #expect(drain() == [0x45])
        command(0xa7)
        command(0xad)
        command(0x20)
        #expect(drain() == [0x75])
        command(0x71)
        data(0x99)
        command(0x31)
        #expect(drain() == [0x99])
    }

    @Test func keyboardAnswers() {
        data(0xf2)
        #expect(drain() == [0xfa, 0xab, 0x83])
        data(0xff)
        #expect(drain() == [0xfa, 0xaa])
        data(0xed)
        data(0x02)
        #expect(drain() == [0xfa, 0xfa])
        data(0xf0)
        data(0x00)
        #expect(drain() == [0xfa, 0xfa, 0x02])
        data(0x01)
        #expect(drain() == [0xfe])
        data(0xee)
        #expect(drain() == [0xee])
    }

    @Test func keyboardBytesInterruptOneByOne() {
        data(0xf2)
        #expect(bench.asserted && bench.risingEdges == 1)
        _ = controller.get(0)
        #expect(bench.asserted && bench.risingEdges == 2)
        _ = drain()
        #expect(!bench.asserted && bench.risingEdges == 3)
        command(0xaa)
        #expect(!bench.asserted)
        command(0x60)
        data(0x00)
        data(0xee)
        #expect(!bench.asserted)
    }

    @Test func resetsTheMachine() {
        command(0xff)
        command(0xd1)
        data(0x03)
        #expect(bench.requested.isEmpty)
        command(0xfe)
        #expect(bench.requested == [.reset(.keyboardController)])
        command(0xd1)
        data(0x02)
        #expect(bench.requested.count == 2)
    }

    @Test func outputIsBounded() {
        for _ in 0..<1000 { data(0xf2) }
        #expect(controller.state.output.count <= 16)
    }
}
