// The MC146818 real-time clock with its CMOS memory (Motorola data sheet, 1984), at ports 0x70 and 0x71.
//
// Contract: two byte-wide registers, index and data. Time is the host's time of day plus an offset that the
// guest changes by setting the clock. Time registers follow the data-mode bits (binary or BCD, 24 or 12 hours), the
// century is at 0x32 (as the FADT says), bytes 0x0E–0x7F are memory. Alarm, periodic and update-ended
// interrupts are computed when a register is touched or when `advance` is called at `nextDeadline`.

internal import Synchronization

/// A PC's clock and CMOS memory.
public final class RTC: RegisterDevice, TimedDevice {
    /// The registers, and how far the guest's clock is from the host's.
    public struct State: Codable, Sendable, Equatable {
        /// What port 0x70 selected.
        public var index: UInt8 = 0
        /// All 128 bytes; the time registers among them count only while SET is on.
        public var cmos = [UInt8](repeating: 0, count: 128)
        /// Guest time less host time, seconds.
        public var offset: Int64 = 0
        /// The monotonic clock up to which flags have been computed.
        public var checkedMonotonic: UInt64 = 0
        /// The guest's second up to which update and alarm flags have been computed.
        public var checkedSecond: Int64 = 0

        public init() {
            cmos[Register.a] = 0x26  // 32,768 Hz time base, 1,024 Hz periodic rate
            cmos[Register.b] = 0x02  // 24 hours, BCD
            cmos[Register.d] = 0x80  // valid RAM and time
        }
    }

    /// Indices by the data sheet's names.
    public enum Register {
        public static let seconds = 0x00
        public static let secondsAlarm = 0x01
        public static let minutes = 0x02
        public static let minutesAlarm = 0x03
        public static let hours = 0x04
        public static let hoursAlarm = 0x05
        public static let dayOfWeek = 0x06
        public static let dayOfMonth = 0x07
        public static let month = 0x08
        public static let year = 0x09
        public static let a = 0x0a
        public static let b = 0x0b
        public static let c = 0x0c
        public static let d = 0x0d
        /// Not the MC146818's but every PC's since.
        public static let century = 0x32
    }

    /// Register B.
    enum B {
        static let set: UInt8 = 0x80
        static let periodic: UInt8 = 0x40
        static let alarm: UInt8 = 0x20
        static let updateEnded: UInt8 = 0x10
        static let binary: UInt8 = 0x04
        static let hours24: UInt8 = 0x02
    }

    /// How long before the second UIP announces the update, nanoseconds (244 µs and the update's 1,984 µs).
    static let updateWindow: Int64 = 2_228_000

    struct Core: Sendable {
        var state = State()
        var line: LineDriver
        let clock: DeviceClock
    }

    private let core: Mutex<Core>
    private let deadlineChanged: @Sendable () -> Void

    /// - Parameters:
    ///   - interrupt: the clock's interrupt line (IRQ 8).
    ///   - memory: initial contents of CMOS memory by index; indices below 0x0E are ignored.
    ///   - deadlineChanged: called when `nextDeadline` may have come closer.
    public init(
        interrupt: @escaping InterruptLine, clock: DeviceClock, memory: [Int: UInt8] = [:],
        deadlineChanged: @escaping @Sendable () -> Void = {}
    ) {
        var initial = Core(line: LineDriver(interrupt), clock: clock)
        for (index, value) in memory where (0x0e..<0x80).contains(index) { initial.state.cmos[index] = value }
        initial.state.checkedMonotonic = clock.monotonic()
        initial.restart()
        core = Mutex(initial)
        self.deadlineChanged = deadlineChanged
    }

    /// The clock's whole state, to save it and put it back. A state whose memory isn't 128 bytes is refused.
    public var state: State {
        get { core.withLock { $0.state } }
        set {
            guard newValue.cmos.count == 128 else { return }
            core.withLock {
                $0.state = newValue
                $0.settle()
            }
            deadlineChanged()
        }
    }

    public var nextDeadline: UInt64? { core.withLock { $0.nextDeadline } }

    public func advance() { core.withLock { $0.catchUp() } }

    public func read(offset: UInt64, width: Int) -> UInt64 {
        guard offset & 1 == 1 else { return 0xff }  // The index is write-only.
        let (value, isEnd) = core.withLock { core -> (UInt8, Bool) in
            core.catchUp()
            let value = core.readSelected()
            return (value, core.state.index == Register.c && value & 0x80 != 0)
        }
        // After its interrupt the clock waits for the next one.
        if isEnd { deadlineChanged() }
        return UInt64(value)
    }

    public func write(offset: UInt64, width: Int, value: UInt64) {
        let byte = UInt8(truncatingIfNeeded: value)
        guard offset & 1 == 1 else {
            // Bit 7 masks NMI on a PC, which nothing here raises.
            core.withLock { $0.state.index = byte & 0x7f }
            return
        }
        core.withLock {
            $0.catchUp()
            $0.writeSelected(byte)
            $0.settle()
        }
        deadlineChanged()
    }
}

// MARK: Registers

extension RTC.Core {
    typealias Register = RTC.Register
    typealias B = RTC.B

    var registerB: UInt8 { state.cmos[Register.b] }
    /// Whether the clock stands: SET, or the divider held in reset.
    var frozen: Bool { registerB & B.set != 0 || state.cmos[Register.a] & 0x60 == 0x60 }

    static func isTime(_ index: Int) -> Bool {
        switch index {
        case Register.seconds, Register.minutes, Register.hours, Register.century: true
        case Register.dayOfWeek...Register.year: true
        default: false
        }
    }

    mutating func readSelected() -> UInt8 {
        let index = Int(state.index)
        switch index {
        case Register.a:
            let updating = !frozen && 1_000_000_000 - guestNanosecond <= RTC.updateWindow
            return state.cmos[index] & 0x7f | (updating ? 0x80 : 0)
        case Register.c:
            let flags = state.cmos[index]
            state.cmos[index] = 0
            settle()
            return flags
        case Register.d: return 0x80
        case let time where Self.isTime(time) && !frozen: return timeRegisters(guestSecond)[time] ?? 0
        default: return state.cmos[index]
        }
    }

    mutating func writeSelected(_ value: UInt8) {
        let index = Int(state.index)
        switch index {
        case Register.a:
            let before = period
            changingTheClock { $0.state.cmos[Register.a] = value & 0x7f }
            // The divider chain runs on whatever else is written.
            if period != before { state.checkedMonotonic = clock.monotonic() }
        case Register.b:
            changingTheClock {
                // SET stops update-ended interrupts, as the data sheet says.
                let cleared: UInt8 = value & B.set != 0 ? B.updateEnded : 0
                $0.state.cmos[Register.b] = value & ~cleared
            }
        case Register.c, Register.d: break
        case let time where Self.isTime(time):
            if !frozen { loadTimeRegisters() }
            state.cmos[time] = value
            if !frozen { takeTimeRegisters() }
        default: state.cmos[index] = value
        }
    }

    /// Runs `change`, and carries the time over if it stops or starts the clock.
    mutating func changingTheClock(_ change: (inout RTC.Core) -> Void) {
        let before = frozen
        if !before { loadTimeRegisters() }
        let mode = registerB & (B.binary | B.hours24)
        change(&self)
        if before && !frozen {
            takeTimeRegisters()
        } else if !before && registerB & (B.binary | B.hours24) != mode {
            // A change of data mode reinterprets nothing: the running clock is shown in the new mode.
            loadTimeRegisters()
        }
    }

    mutating func loadTimeRegisters() {
        for (index, value) in timeRegisters(guestSecond) { state.cmos[index] = value }
    }

    /// Sets the clock to what the time registers say.
    mutating func takeTimeRegisters() {
        let fields = Register.dayOfMonth...Register.year
        let date = fields.map { decode(state.cmos[$0]) }
        let year = decode(state.cmos[Register.century]) * 100 + date[2]
        let days = CivilDate(year: year, month: date[1], day: date[0]).daysSince1970
        let time =
            decodeHours(state.cmos[Register.hours]) * 3600
            + decode(state.cmos[Register.minutes]) * 60 + decode(state.cmos[Register.seconds])
        state.offset = days * 86_400 + time - clock.wall().flooredSeconds
        restart()
    }

    // MARK: Encoding

    func encode(_ value: Int64) -> UInt8 {
        let small = UInt8(truncatingIfNeeded: value)
        return registerB & B.binary != 0 ? small : (small / 10) << 4 | small % 10
    }

    func decode(_ register: UInt8) -> Int64 {
        registerB & B.binary != 0 ? Int64(register) : Int64(register >> 4) * 10 + Int64(register & 15)
    }

    func encodeHours(_ hours: Int64) -> UInt8 {
        if registerB & B.hours24 != 0 { return encode(hours) }
        let twelve = hours % 12 == 0 ? 12 : hours % 12
        return encode(twelve) | (hours >= 12 ? 0x80 : 0)
    }

    func decodeHours(_ register: UInt8) -> Int64 {
        if registerB & B.hours24 != 0 { return decode(register) }
        return decode(register & 0x7f) % 12 + (register & 0x80 != 0 ? 12 : 0)
    }

    func timeRegisters(_ second: Int64) -> [Int: UInt8] {
        let days = second.floored(by: 86_400)
        let time = second - days * 86_400
        let date = CivilDate(daysSince1970: days)
        return [
            Register.seconds: encode(time % 60), Register.minutes: encode(time / 60 % 60),
            Register.hours: encodeHours(time / 3600),
            Register.dayOfWeek: encode((days + 4).modulo(7) + 1),
            Register.dayOfMonth: encode(date.day), Register.month: encode(date.month),
            Register.year: encode(date.year.modulo(100)), Register.century: encode(date.year / 100 % 100),
        ]
    }
}

// MARK: Time and interrupts

extension RTC.Core {
    var guestSecond: Int64 { clock.wall().flooredSeconds &+ state.offset }
    /// Nanoseconds since the guest's second began.
    var guestNanosecond: Int64 { clock.wall() &- clock.wall().flooredSeconds &* 1_000_000_000 }

    /// Nanoseconds between periodic interrupts; nil while they are off.
    var period: UInt64? {
        let rate = UInt64(state.cmos[Register.a] & 0x0f)
        guard rate != 0, state.cmos[Register.a] & 0x60 != 0x60 else { return nil }
        // Rates 1 and 2 repeat 8 and 9 with the usual time base.
        let hertz: UInt64 = 32_768 >> (rate <= 2 ? rate + 6 : rate - 1)
        return 1_000_000_000 / hertz
    }

    /// The clock shows another time; the divider chain below it runs on.
    mutating func restart() { state.checkedSecond = guestSecond }

    /// Sets the flags of everything that has happened since the last look.
    mutating func catchUp() {
        let now = clock.monotonic()
        if let period, now > state.checkedMonotonic {
            let ticks = (now - state.checkedMonotonic) / period
            if ticks > 0 {
                state.cmos[Register.c] |= 0x40
                state.checkedMonotonic &+= ticks &* period
            }
        }
        let second = guestSecond
        if frozen || second < state.checkedSecond {
            state.checkedSecond = second
        } else if second > state.checkedSecond {
            state.cmos[Register.c] |= B.updateEnded
            if let alarm = nextAlarm(after: state.checkedSecond), alarm <= second {
                state.cmos[Register.c] |= B.alarm
            }
            state.checkedSecond = second
        }
        settle()
    }

    /// The first second after `start` that matches the alarm registers; nil if none in a day does.
    func nextAlarm(after start: Int64) -> Int64? {
        func matches(_ register: Int, _ value: UInt8) -> Bool {
            // 0xC0–0xFF is "don't care".
            state.cmos[register] >= 0xc0 || state.cmos[register] == value
        }
        // A second or minute that never comes would be looked for through the whole day.
        let minute = Int64(0)..<60
        guard minute.contains(where: { matches(Register.secondsAlarm, encode($0)) }),
            minute.contains(where: { matches(Register.minutesAlarm, encode($0)) })
        else { return nil }
        var second = start + 1
        let end = start + 86_400
        while second <= end {
            let time = second.modulo(86_400)
            if !matches(Register.hoursAlarm, encodeHours(time / 3600)) {
                second += 3600 - time % 3600
            } else if !matches(Register.minutesAlarm, encode(time / 60 % 60)) {
                second += 60 - time % 60
            } else if !matches(Register.secondsAlarm, encode(time % 60)) {
                second += 1
            } else {
                return second
            }
        }
        return nil
    }

    /// IRQF and the line follow the flags that are enabled.
    mutating func settle() {
        let active = state.cmos[Register.c] & registerB & 0x70 != 0
        state.cmos[Register.c] = state.cmos[Register.c] & 0x7f | (active ? 0x80 : 0)
        line.drive(active)
    }

    /// The first moment at which an enabled flag that isn't set yet will be.
    var nextDeadline: UInt64? {
        let waiting = registerB & ~state.cmos[Register.c]
        guard state.cmos[Register.c] & 0x80 == 0 else { return nil }
        var deadlines: [UInt64] = []
        if waiting & B.periodic != 0, let period { deadlines.append(state.checkedMonotonic &+ period) }
        if !frozen {
            if waiting & B.updateEnded != 0 { deadlines.append(moment(of: state.checkedSecond + 1)) }
            if waiting & B.alarm != 0, let alarm = nextAlarm(after: state.checkedSecond) {
                deadlines.append(moment(of: alarm))
            }
        }
        return deadlines.min()
    }

    /// The monotonic clock when the guest's clock reaches `second`.
    func moment(of second: Int64) -> UInt64 {
        let wait = (second &- state.offset) &* 1_000_000_000 &- clock.wall()
        return clock.monotonic() &+ UInt64(max(0, wait))
    }
}

/// A date of the proleptic Gregorian calendar.
struct CivilDate: Equatable {
    var year: Int64
    var month: Int64
    var day: Int64

    init(year: Int64, month: Int64, day: Int64) {
        self.year = year
        self.month = month
        self.day = day
    }

    /// Years counted from 1 March, so that the leap day is the last of its year.
    init(daysSince1970 days: Int64) {
        let shifted = days + 719_468
        let era = shifted.floored(by: 146_097)
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    }

    var daysSince1970: Int64 {
        let shiftedYear = month <= 2 ? year - 1 : year
        let era = shiftedYear.floored(by: 400)
        let yearOfEra = shiftedYear - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }
}

extension Int64 {
    /// Division that rounds towards minus infinity, by a positive number.
    func floored(by divisor: Int64) -> Int64 {
        let quotient = self / divisor
        return self % divisor < 0 ? quotient - 1 : quotient
    }

    /// The remainder that goes with `floored(by:)`.
    func modulo(_ divisor: Int64) -> Int64 { self - floored(by: divisor) * divisor }

    /// Whole seconds of a time in nanoseconds.
    var flooredSeconds: Int64 { floored(by: 1_000_000_000) }
}
