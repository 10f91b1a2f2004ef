// The local APIC's timer: one-shot, periodic, TSC-deadline. Intel SDM vol. 3, 11.5.4. Its bus clock is KVM's 1 GHz: one
// count a nanosecond at divisor 1.

extension LocalAPIC {
    /// What the timer needs beyond its registers.
    package struct Timer: Codable, Sendable {
        package enum Mode: UInt8, Codable, Sendable { case oneShot, periodic, tscDeadline, reserved }

        package var mode = Mode.oneShot
        var divisor: UInt32 = 2
        /// Nanoseconds from the initial count to zero.
        var period: UInt64 = 0
        /// IA32_TSC_DEADLINE.
        package var tscDeadline: UInt64 = 0
        /// When it fires next, in nanoseconds.
        package var expiry: UInt64?
        /// The TSC's frequency.
        package var kilohertz: UInt32

        init(kilohertz: UInt32 = 1_000_000) { self.kilohertz = kilohertz }

        /// Shorter periods are made this long, so that a guest cannot keep the host busy.
        static let shortestPeriod: UInt64 = 200_000

        mutating func stop() {
            expiry = nil
            period = 0
            tscDeadline = 0
        }
    }

    /// LVT bits 18:17, of which 18 is there only with TSC-deadline mode.
    var timerModeMask: UInt32 { features.tscDeadline ? 3 << 17 : 1 << 17 }

    mutating func updateTimerMode() {
        let bits = UInt8(truncatingIfNeeded: (self[.lvtTimer] & timerModeMask) >> 17)
        let mode = Timer.Mode(rawValue: bits) ?? .oneShot
        guard mode != timer.mode else { return }
        if (mode == .tscDeadline) != (timer.mode == .tscDeadline) {
            timer.stop()
            self[.initialCount] = 0
        }
        timer.mode = mode
        limitPeriod()
    }

    private mutating func limitPeriod() {
        if timer.mode == .periodic && timer.period != 0 { timer.period = max(timer.period, Timer.shortestPeriod) }
    }

    mutating func updateDivisor() {
        let bits = self[.divideConfiguration]
        timer.divisor = 1 << (((bits & 3 | (bits & 8) >> 1) + 1) & 7)
    }

    private func nanoseconds(_ count: UInt32) -> UInt64 { UInt64(count) * UInt64(timer.divisor) }

    mutating func setInitialCount(_ value: UInt32, now: UInt64) {
        guard timer.mode != .tscDeadline else { return }
        self[.initialCount] = value
        timer.period = nanoseconds(value)
        limitPeriod()
        timer.expiry = value == 0 ? nil : saturatingSum(now, timer.period)
    }

    /// A new divisor stretches what remains.
    mutating func setDivideConfiguration(_ value: UInt32, now: UInt64) {
        let old = timer.divisor
        self[.divideConfiguration] = value & 0xB
        updateDivisor()
        guard old != timer.divisor, timer.period != 0 else { return }
        timer.period = nanoseconds(self[.initialCount])
        limitPeriod()
        guard let expiry = timer.expiry else { return }
        let remaining = expiry > now ? expiry - now : 0
        timer.expiry = saturatingSum(now, scaled(remaining, by: UInt64(timer.divisor), over: UInt64(old)))
    }

    /// The current count. Zero in TSC-deadline mode and when stopped.
    package func currentCount(now: UInt64) -> UInt32 {
        guard timer.mode != .tscDeadline, self[.initialCount] != 0, timer.period != 0, let expiry = timer.expiry
        else { return 0 }
        let remaining: UInt64
        if expiry > now {
            let rest = expiry - now
            // A new divisor may have stretched it beyond a period.
            remaining = rest > timer.period ? rest % timer.period : rest
        } else {
            remaining = timer.mode == .periodic ? timer.period - 1 - (now - expiry) % timer.period : 0
        }
        return UInt32(truncatingIfNeeded: min(remaining / UInt64(timer.divisor), UInt64(UInt32.max)))
    }

    /// IA32_TSC_DEADLINE as it is read.
    package var tscDeadline: UInt64 {
        isHardwareEnabled && timer.mode == .tscDeadline ? timer.tscDeadline : 0
    }

    /// Arms or, with 0, disarms the TSC-deadline timer; ignored in the other modes.
    package mutating func setTSCDeadline(_ value: UInt64, tsc: UInt64, now: UInt64) {
        guard isHardwareEnabled, timer.mode == .tscDeadline else { return }
        timer.tscDeadline = value
        armTSCDeadline(tsc: tsc, now: now)
    }

    private mutating func armTSCDeadline(tsc: UInt64, now: UInt64) {
        guard timer.tscDeadline != 0, timer.kilohertz != 0 else {
            timer.expiry = nil
            return
        }
        let ticks = timer.tscDeadline > tsc ? timer.tscDeadline - tsc : 0
        let time = scaled(ticks, by: 1_000_000, over: UInt64(timer.kilohertz))
        // Rounded up: when the timer fires, the counter has come there.
        let isExact = ticks.multipliedReportingOverflow(by: 1_000_000).partialValue == time &* UInt64(timer.kilohertz)
        timer.expiry = saturatingSum(now, isExact ? time : saturatingSum(time, 1))
    }

    /// The TSC has another value or frequency.
    package mutating func setTSC(_ value: UInt64, kilohertz: UInt32, now: UInt64) {
        timer.kilohertz = kilohertz
        if timer.mode == .tscDeadline { armTSCDeadline(tsc: value, now: now) }
    }

    /// Starts the timer from registers that have just been set.
    mutating func restoreTimer(now: UInt64, tsc: UInt64) {
        let count = self[.currentCount]
        self[.currentCount] = 0
        timer.expiry = nil
        updateTimerMode()
        updateDivisor()
        if timer.mode == .tscDeadline {
            armTSCDeadline(tsc: tsc, now: now)
            return
        }
        timer.period = nanoseconds(self[.initialCount])
        limitPeriod()
        guard self[.initialCount] != 0 else { return }
        var remaining = min(nanoseconds(count), timer.period)
        if count == 0 {
            // A one-shot timer that had run out stays so.
            guard timer.mode == .periodic else { return }
            remaining = timer.period
        }
        timer.expiry = saturatingSum(now, remaining)
    }

    /// Fires the timer if it is due.
    /// - Returns: whether it was.
    package mutating func advanceTimer(now: UInt64) -> Bool {
        guard let expiry = timer.expiry, expiry <= now else { return false }
        if timer.mode == .periodic && timer.period != 0 {
            // Keep the phase, and let the periods that were missed be one.
            let missed = (now - expiry) / timer.period
            timer.expiry = saturatingSum(
                expiry, (missed &+ 1).multipliedReportingOverflow(by: timer.period).partialValue)
        } else {
            timer.expiry = nil
            timer.tscDeadline = 0
        }
        deliverLocal(.lvtTimer)
        return true
    }
}
