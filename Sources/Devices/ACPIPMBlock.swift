// The fixed hardware of ACPI: PM1a event and control blocks and the power management timer (ACPI 6.5, 4.8.3).
//
// Contract: twelve ports from a base: PM1a_STS (2 bytes), PM1a_EN (2), PM1a_CNT (2), two bytes that nobody
// claims, PM_TMR (4). ACPI mode is always on (SCI_EN reads as 1, there is no SMI command). The timer counts
// 3.579545 MHz of the machine's monotonic clock in 24 or 32 bits and sets TMR_STS whenever its top bit changes. A
// write of SLP_EN with the sleep type of S5 is a power-off; other sleep types do nothing, since `_S5` is the only
// one that the tables offer.

internal import Synchronization

/// PM1a event and control blocks with the PM timer.
public final class ACPIPMBlock: RegisterDevice, TimedDevice {
    /// Registers as ACPI names them.
    public struct State: Codable, Sendable, Equatable {
        public var pm1Status: UInt16 = 0
        public var pm1Enable: UInt16 = 0
        public var pm1Control: UInt16 = Bits.sciEnable
        /// The clock at which the timer was zero.
        public var timerOrigin: UInt64 = 0
        /// How often the timer's top bit had changed when that was last looked at.
        public var timerHalves: UInt64 = 0

        public init() {}
    }

    /// Bits of the PM1 registers (ACPI 6.5, tables 4.13–4.15).
    public enum Bits {
        public static let timer: UInt16 = 1 << 0
        public static let global: UInt16 = 1 << 5
        public static let powerButton: UInt16 = 1 << 8
        public static let sleepButton: UInt16 = 1 << 9
        public static let rtc: UInt16 = 1 << 10
        public static let wake: UInt16 = 1 << 15
        public static let sciEnable: UInt16 = 1 << 0
        public static let sleepEnable: UInt16 = 1 << 13
        /// Status bits that exist here, all cleared by writing 1.
        static let status = timer | global | powerButton | sleepButton | rtc | wake
        static let enable = timer | global | powerButton | sleepButton | rtc
    }

    /// Where each block lies within the ports, for the FADT.
    public static let eventOffset: UInt16 = 0
    public static let eventLength: UInt8 = 4
    public static let controlOffset: UInt16 = 4
    public static let controlLength: UInt8 = 2
    public static let timerOffset: UInt16 = 8
    public static let timerLength: UInt8 = 4
    public static let portCount = 12
    /// SLP_TYPa of S5, which `_S5` in the DSDT has to name.
    public static let softOffSleepType: UInt8 = 5
    /// Hertz of the PM timer.
    public static let timerFrequency: UInt64 = 3_579_545

    struct Core: Sendable {
        var state = State()
        var line: LineDriver
    }

    private let core: Mutex<Core>
    private let clock: DeviceClock
    /// 24 or 32.
    private let timerBits: UInt64
    private let request: @Sendable (PlatformRequest) -> Void
    private let deadlineChanged: @Sendable () -> Void

    /// - Parameters:
    ///   - sci: the system control interrupt, level and active-high.
    ///   - extendedTimer: whether the timer has 32 bits (FADT flag TMR_VAL_EXT) rather than 24.
    ///   - deadlineChanged: called when `nextDeadline` may have come closer.
    public init(
        sci: @escaping InterruptLine, clock: DeviceClock, extendedTimer: Bool = true,
        deadlineChanged: @escaping @Sendable () -> Void = {},
        request: @escaping @Sendable (PlatformRequest) -> Void
    ) {
        var initial = Core(line: LineDriver(sci))
        initial.state.timerOrigin = clock.monotonic()
        core = Mutex(initial)
        self.clock = clock
        timerBits = extendedTimer ? 32 : 24
        self.deadlineChanged = deadlineChanged
        self.request = request
    }

    /// The block's whole state, to save it and put it back.
    public var state: State {
        get { core.withLock { $0.state } }
        set {
            core.withLock {
                $0.state = newValue
                $0.settle()
            }
            deadlineChanged()
        }
    }

    /// Presses the fixed power button; the guest's power-button event follows if it has enabled it.
    public func pressPowerButton() {
        core.withLock {
            $0.state.pm1Status |= Bits.powerButton
            $0.settle()
        }
    }

    // MARK: Time

    public var nextDeadline: UInt64? {
        core.withLock { core in
            guard core.state.pm1Enable & Bits.timer != 0, core.state.pm1Status & Bits.timer == 0 else {
                return nil
            }
            let ticks = (core.state.timerHalves &+ 1) << (timerBits - 1)
            // Rounded up, so that the half has really passed when the deadline has.
            let (seconds, rest) = ticks.quotientAndRemainder(dividingBy: Self.timerFrequency)
            let nanoseconds = seconds &* 1_000_000_000 &+ rest &* 1_000_000_000 / Self.timerFrequency &+ 1
            return core.state.timerOrigin &+ nanoseconds
        }
    }

    public func advance() { core.withLock { update(&$0) } }

    /// PM timer ticks since the origin, never wrapping.
    private func ticks(_ core: borrowing Core) -> UInt64 {
        let elapsed = clock.monotonic() &- core.state.timerOrigin
        let (seconds, rest) = elapsed.quotientAndRemainder(dividingBy: 1_000_000_000)
        return seconds &* Self.timerFrequency &+ rest &* Self.timerFrequency / 1_000_000_000
    }

    private func update(_ core: inout Core) {
        let halves = ticks(core) >> (timerBits - 1)
        if halves != core.state.timerHalves {
            core.state.timerHalves = halves
            core.state.pm1Status |= Bits.timer
        }
        core.settle()
    }

    // MARK: The guest's side

    public func takesWhole(offset: UInt64, width: Int) -> Bool {
        switch offset {
        case 0, 2, 4: width == 2
        case 8: width == 4
        default: width == 1
        }
    }

    public func read(offset: UInt64, width: Int) -> UInt64 {
        core.withLock { core in
            update(&core)
            let register: UInt64 =
                switch offset {
                case 0...1: UInt64(core.state.pm1Status)
                case 2...3: UInt64(core.state.pm1Enable)
                case 4...5: UInt64(core.state.pm1Control)
                case 8...11: ticks(core) & ((1 << timerBits) - 1)
                default: .max
                }
            let skipped = offset >= 8 ? offset - 8 : offset & 1
            return register >> (skipped * 8)
        }
    }

    public func write(offset: UInt64, width: Int, value: UInt64) {
        let poweredOff = core.withLock { core -> Bool in
            update(&core)
            let shift = UInt16(offset & 1) * 8
            let lanes: UInt16 = width >= 2 ? 0xffff : 0xff << shift
            let bits = UInt16(truncatingIfNeeded: value) << shift
            var off = false
            switch offset {
            case 0...1: core.state.pm1Status &= ~(bits & lanes)
            case 2...3:
                core.state.pm1Enable = (core.state.pm1Enable & ~lanes | bits & lanes) & Bits.enable
            case 4...5:
                let control = core.state.pm1Control & ~lanes | bits & lanes
                let sleepType = UInt8(truncatingIfNeeded: control >> 10 & 7)
                off = control & Bits.sleepEnable != 0 && sleepType == Self.softOffSleepType
                core.state.pm1Control = control & ~Bits.sleepEnable & 0x1c06 | Bits.sciEnable
            default: break
            }
            core.settle()
            return off
        }
        if offset < 4 { deadlineChanged() }
        if poweredOff { request(.powerOff) }
    }
}

extension ACPIPMBlock.Core {
    mutating func settle() {
        state.pm1Status &= ACPIPMBlock.Bits.status
        line.drive(state.pm1Status & state.pm1Enable & ACPIPMBlock.Bits.enable != 0)
    }
}
