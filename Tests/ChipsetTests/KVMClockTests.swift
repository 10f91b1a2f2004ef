import Chipset
import TestLimits
import Testing

@Suite("kvm-clock and steal time (Linux, virt/kvm/x86/msr.rst)", .within(minutes: 20)) struct KVMClockTests {
    @Test("multiplier and shift", arguments: [UInt32(1), 999, 1_000_000, 2_100_000, 2_500_000, 3_999_999, .max])
    func scale(kilohertz: UInt32) {
        let scale = ClockScale(kilohertz: kilohertz)
        #expect(scale.multiplier >= 1 << 31 || kilohertz == 1_000_000)
        let second = UInt64(kilohertz) * 1000
        let error = scale.nanoseconds(second).distance(to: 1_000_000_000)
        #expect(abs(error) <= 2)
        _ = ClockScale(kilohertz: 0)
    }

    @Test("known values")
    func known() {
        let scale = ClockScale(kilohertz: 2_000_000)
        #expect(scale.shift == -1 && scale.multiplier == 0x8000_0000 || scale.nanoseconds(2_000_000) == 1_000_000)
    }

    @Test("the structures' bytes")
    func bytes() {
        let time = SystemTime(
            tscTimestamp: 0x1122_3344_5566_7788, systemTime: 0x99, scale: ClockScale(kilohertz: 2_500_000),
            flags: SystemTime.stable)
        let bytes = time.bytes(version: 4)
        #expect(bytes.count == SystemTime.size)
        #expect(bytes[0..<8] == [4, 0, 0, 0, 0, 0, 0, 0])
        #expect(bytes[8..<16] == [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11])
        #expect(bytes[16] == 0x99)
        #expect(bytes[28] == UInt8(bitPattern: time.scale.shift))
        #expect(bytes[29] == 1)
        let wall = WallClock(bootTime: 1_700_000_000_000_000_005)
        #expect(wall.seconds == 1_700_000_000 && wall.nanoseconds == 5)
        #expect(wall.bytes(version: 2).count == WallClock.size)
        let steal = StealTime(steal: 7, preempted: StealTime.isPreempted).bytes(version: 6)
        #expect(steal.count == StealTime.size)
        #expect(steal[0] == 7 && steal[8] == 6 && steal[StealTime.preemptedOffset] == 1)
    }

    @Test("the version is odd during an update and even after it", arguments: [UInt32(0), 1, 2, 7, .max - 1, .max])
    func versions(version: UInt32) {
        func number(_ bytes: ArraySlice<UInt8>) -> UInt32 { bytes.reversed().reduce(0) { $0 << 8 | UInt32($1) } }
        for (writes, offset) in [
            (WallClock(bootTime: 0).writes(after: version), 0), (StealTime(steal: 1).writes(after: version), 8),
        ] {
            #expect(writes.count == 3)
            let first = number(writes[0].bytes[...]), last = number(writes[2].bytes[...])
            #expect(writes[0].offset == offset && writes[2].offset == offset && writes[1].offset == 0)
            #expect(first & 1 == 1 && first != version)
            #expect(number(writes[1].bytes[offset..<offset + 4]) == first)
            #expect(last == first &+ 1 && last != version)
        }
    }
}
