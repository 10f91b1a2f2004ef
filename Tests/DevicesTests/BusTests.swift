import Devices
import Synchronization
import TestLimits
import Testing

/// Four byte-wide registers, the first of them also a word, that keep what they are given.
private final class Registers: RegisterDevice {
    let bytes = Mutex([UInt8](repeating: 0, count: 4))
    let widths = Mutex<[Int]>([])

    func takesWhole(offset: UInt64, width: Int) -> Bool { width == 1 || offset == 0 && width == 2 }
    func read(offset: UInt64, width: Int) -> UInt64 {
        widths.withLock { $0.append(width) }
        return bytes.withLock { bytes in
            (0..<width).reduce(0) { $0 | UInt64(bytes[Int(offset) + $1]) << UInt64($1 * 8) }
        }
    }
    func write(offset: UInt64, width: Int, value: UInt64) {
        widths.withLock { $0.append(width) }
        bytes.withLock { bytes in
            for i in 0..<width { bytes[Int(offset) + i] = UInt8(truncatingIfNeeded: value >> UInt64(i * 8)) }
        }
    }
}

@Suite(.within(minutes: 20)) struct BusTests {
    @Test func unclaimedPortsReadAllOnes() {
        let bus = PortBus()
        #expect(bus.read(port: 0x1234, width: 1) == 0xff)
        #expect(bus.read(port: 0x1234, width: 2) == 0xffff)
        #expect(bus.read(port: 0x1234, width: 4) == 0xffff_ffff)
        #expect(bus.read(port: 0xffff, width: 4) == 0xffff_ffff)
        bus.write(port: 0xffff, width: 4, value: 0)
    }

    @Test func wideAccessesAreSplitForNarrowRegisters() throws {
        let device = Registers()
        var bus = PortBus()
        try bus.attach(device, at: 0x100, count: 4)
        bus.write(port: 0x100, width: 4, value: 0x4433_2211)
        #expect(device.widths.withLock { $0 } == [2, 1, 1])
        #expect(bus.read(port: 0x100, width: 4) == 0x4433_2211)
        #expect(bus.read(port: 0x102, width: 2) == 0x4433)
        // Half on the device, half on nobody.
        #expect(bus.read(port: 0x103, width: 2) == 0xff44)
        #expect(bus.read(port: 0xff, width: 2) == 0x11ff)
    }

    @Test func claimsDoNotOverlap() throws {
        var bus = PortBus()
        try bus.attach(Registers(), at: 0x100, count: 4)
        #expect(throws: BusError.overlap(first: 0x103, count: 4)) {
            try bus.attach(Registers(), at: 0x103, count: 4)
        }
        #expect(throws: BusError.badRange(first: 0xfffe, count: 4)) {
            try bus.attach(Registers(), at: 0xfffe, count: 4)
        }
        #expect(throws: BusError.badRange(first: 0, count: 0)) { try bus.attach(Registers(), at: 0, count: 0) }
    }

    @Test func memoryMappedDevicesAreFoundByAddress() throws {
        let (low, high) = (Registers(), Registers())
        var bus = MMIOBus()
        try bus.attach(high, at: 0xffff_ffff_ffff_fffc, count: 4)
        try bus.attach(low, at: 0x1000, count: 4)
        #expect(throws: BusError.self) { try bus.attach(Registers(), at: 0x0fff, count: 2) }
        #expect(throws: BusError.self) { try bus.attach(Registers(), at: .max, count: 2) }
        bus.write(address: 0x1000, width: 8, value: 0x8877_6655_4433_2211)
        #expect(bus.read(address: 0x1000, width: 8) == 0xffff_ffff_4433_2211)
        bus.write(address: 0xffff_ffff_ffff_ffff, width: 8, value: 0xaa)
        #expect(bus.read(address: 0xffff_ffff_ffff_ffff, width: 1) == 0xaa)
        #expect(bus.read(address: 0x0fff, width: 2) == 0x11ff)
        #expect(bus.read(address: 0x2000, width: 4) == 0xffff_ffff)
    }
}
