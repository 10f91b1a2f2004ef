import Devices
import Synchronization
import TestLimits
import Testing

@Suite(.within(minutes: 20)) struct RTCTests {
    let bench = Bench()
    let clock: RTC
    let changes = Counter()

    /// How often the clock has said that its deadline may have come closer.
    final class Counter: Sendable {
        private let value = Atomic<Int>(0)
        var count: Int { value.load(ordering: .relaxed) }
        func increase() { value.add(1, ordering: .relaxed) }
    }

    /// 2026-02-28 23:59:58 UTC, a Saturday.
    static let start: Int64 = 1_772_323_198

    init() {
        bench.setWall(Self.start * 1_000_000_000)
        clock = RTC(
            interrupt: bench.line, clock: bench.clock, memory: [0x0e: 1, 0x34: 0x5a, 0x02: 0xff],
            deadlineChanged: { [changes] in changes.increase() })
    }

    func get(_ index: Int) -> UInt8 {
        clock.put(0, UInt8(index))
        return clock.get(1)
    }
    func put(_ index: Int, _ value: UInt8) {
        clock.put(0, UInt8(index))
        clock.put(1, value)
    }
    var time: [UInt8] { [0x32, 9, 8, 7, 6, 4, 2, 0].map(get) }

    @Test func tellsTheTimeInBCD() {
        #expect(time == [0x20, 0x26, 0x02, 0x28, 0x07, 0x23, 0x59, 0x58])
        bench.pass(2_000_000_000)
        #expect(time == [0x20, 0x26, 0x03, 0x01, 0x01, 0x00, 0x00, 0x00])
    }

    @Test func tellsTheTimeInBinaryAndTwelveHours() {
        put(RTC.Register.b, 0x04)
        #expect(time == [20, 26, 2, 28, 7, 0x80 | 11, 59, 58])
        bench.pass(2_000_000_000)
        #expect(get(4) == 12)
    }

    @Test func isSetWhileStoppedAndRunsOn() {
        put(RTC.Register.b, 0x82)
        for (index, value) in [(0x32, 0x19), (9, 0x99), (8, 0x12), (7, 0x31), (4, 0x23), (2, 0x59), (0, 0x59)] {
            put(index, UInt8(value))
        }
        bench.pass(5_000_000_000)
        #expect(time == [0x19, 0x99, 0x12, 0x31, 0x07, 0x23, 0x59, 0x59])
        put(RTC.Register.b, 0x02)
        bench.pass(1_000_000_000)
        #expect(time == [0x20, 0x00, 0x01, 0x01, 0x07, 0x00, 0x00, 0x00])
    }

    @Test func setsSingleRegistersWhileRunning() {
        put(2, 0x10)
        #expect(time == [0x20, 0x26, 0x02, 0x28, 0x07, 0x23, 0x10, 0x58])
    }

    @Test func updateInProgressComesBeforeTheSecond() {
        #expect(get(RTC.Register.a) == 0x26)
        bench.pass(998_000_000)
        #expect(get(RTC.Register.a) == 0xa6)
        bench.pass(2_000_000)
        #expect(get(RTC.Register.a) == 0x26)
    }

    @Test func updateEndedInterrupt() throws {
        put(RTC.Register.b, 0x12)
        #expect(clock.nextDeadline == bench.now + 1_000_000_000)
        bench.pass(1_000_000_000)
        clock.advance()
        #expect(bench.asserted)
        #expect(clock.nextDeadline == nil)
        #expect(get(RTC.Register.c) & 0x90 == 0x90)
        #expect(!bench.asserted)
        #expect(get(RTC.Register.c) == 0)
    }

    @Test func periodicInterrupt() throws {
        put(RTC.Register.b, 0x42)
        #expect(clock.nextDeadline == bench.now + 976_562)
        bench.pass(976_562)
        clock.advance()
        #expect(get(RTC.Register.c) == 0xc0)
        put(RTC.Register.a, 0x20)
        #expect(clock.nextDeadline == nil)
    }

    @Test func eachInterruptIsFollowedByTheNext() {
        put(RTC.Register.b, 0x42)
        for _ in 0..<3 {
            bench.pass(976_562)
            clock.advance()
            #expect(bench.asserted && clock.nextDeadline == nil)
            // Who waits for the deadline sleeps for ever unless he is told of the next.
            let before = changes.count
            #expect(get(RTC.Register.c) == 0xc0)
            #expect(changes.count > before)
            #expect(clock.nextDeadline == bench.now + 976_562)
        }
    }

    @Test func otherRegistersLeaveThePeriodicPhase() {
        put(RTC.Register.b, 0x42)
        let deadline = clock.nextDeadline
        bench.pass(900_000)
        put(RTC.Register.b, 0x62)
        put(RTC.Register.a, 0x26)
        put(0, 0x12)
        #expect(clock.nextDeadline == deadline)
        put(RTC.Register.a, 0x27)
        #expect(clock.nextDeadline == bench.now + 1_953_125)
    }

    @Test func alarmInterrupt() throws {
        put(5, 0x00)
        put(3, 0x01)
        put(1, 0xff)  // Every second of 00:01.
        put(RTC.Register.b, 0x22)
        #expect(clock.nextDeadline == bench.now + 62_000_000_000)
        bench.pass(61_000_000_000)
        clock.advance()
        #expect(!bench.asserted)
        bench.pass(1_000_000_000)
        clock.advance()
        #expect(bench.asserted)
        #expect(get(RTC.Register.c) & 0xa0 == 0xa0)
    }

    @Test func alarmThatCannotMatchIsNoDeadline() {
        put(RTC.Register.b, 0x22)
        for (index, value) in [(5, 0x77), (3, 0x60), (1, 0x7f)] {
            for other in [1, 3, 5] { put(other, 0xff) }
            #expect(clock.nextDeadline != nil)
            put(index, UInt8(value))
            #expect(clock.nextDeadline == nil)
        }
    }

    @Test func memoryIsKept() {
        #expect(get(0x0e) == 1)
        #expect(get(0x34) == 0x5a)
        put(0x7f, 0x42)
        #expect(get(0x7f) == 0x42)
        #expect(get(RTC.Register.d) == 0x80)
        put(RTC.Register.d, 0)
        #expect(get(RTC.Register.d) == 0x80)
        clock.put(0, 0xff)  // Bit 7 masks NMI and is no part of the index.
        #expect(clock.get(1) == 0x42)
    }

    @Test func anyAccessIsHarmless() {
        var random = SystemRandomNumberGenerator()
        for _ in 0..<2000 {
            put(Int.random(in: 0..<128, using: &random), .random(in: 0...255, using: &random))
            _ = get(Int.random(in: 0..<128, using: &random))
            _ = clock.nextDeadline
            bench.pass(.random(in: 0..<3_000_000_000, using: &random))
        }
        #expect(clock.state.cmos.count == 128)
    }
}
