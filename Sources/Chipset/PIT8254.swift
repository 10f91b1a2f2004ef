// The 8254: three channels at 1.193182 MHz, and port 0x61 with the speaker's bits. Intel 8254 data sheet; as KVM's i8254:
// counts are binary, channel 0 interrupts on GSI 0, ticks that the guest missed may be delivered later ("reinjected").

/// A PIT's state. Time is passed in, in nanoseconds.
package struct PIT8254: Codable, Sendable {
    package static let frequency: UInt64 = 1_193_182
    /// Mode of a channel that was never programmed.
    private static let noMode: UInt8 = 0xFF

    package private(set) var channels = Bank<3, PITState.Channel>(repeating: PITState.Channel())
    package private(set) var flags: UInt32 = 0
    /// Whether port 0x61 is here.
    package let hasSpeaker: Bool

    /// Channel 0's interrupt timer.
    private var started: UInt64 = 0
    private var period: UInt64 = 0
    private var isPeriodic = false
    package private(set) var deadline: UInt64?

    package var reinjects = true { didSet { resetReinjection() } }
    /// Ticks that still have to be delivered, and whether the last one has been acknowledged.
    private var pending = 0
    private var isAcknowledged = true

    package init(speaker: Bool, now: UInt64) {
        hasSpeaker = speaker
        for index in 0..<3 {
            channels[index].mode = Self.noMode
            channels[index].gate = index == 2 ? 0 : 1
            load(index, 0, now: now)
        }
    }
}

// MARK: Counting

extension PIT8254 {
    private func ticks(_ index: Int, now: UInt64) -> UInt64 {
        let start = index == 0 ? started : UInt64(bitPattern: channels[index].countLoadTime)
        return now > start ? scaled(now - start, by: Self.frequency, over: 1_000_000_000) : 0
    }

    private func initialCount(_ index: Int) -> UInt64 { UInt64(max(1, channels[index].count)) }

    /// The counting element's value now.
    package func count(_ index: Int, now: UInt64) -> UInt16 {
        let elapsed = ticks(index, now: now), initial = initialCount(index)
        let value: UInt64
        switch channels[index].mode {
        case 0, 1, 4, 5: value = initial &- elapsed
        case 3: value = initial &- (elapsed &* 2) % initial
        default: value = initial &- elapsed % initial
        }
        return UInt16(truncatingIfNeeded: value)
    }

    /// The level of OUT.
    package func output(_ index: Int, now: UInt64) -> Bool {
        let elapsed = ticks(index, now: now), initial = initialCount(index)
        switch channels[index].mode {
        case 1: return elapsed < initial
        case 2: return elapsed % initial == 0 && elapsed != 0
        case 3: return elapsed % initial < (initial + 1) >> 1
        case 4, 5: return elapsed == initial
        default: return elapsed >= initial
        }
    }

    /// Loads a count; 0 stands for 65536.
    private mutating func load(_ index: Int, _ value: UInt32, now: UInt64) {
        channels[index].count = value == 0 ? 0x1_0000 : value
        if index == 0 {
            startTimer(now: now)
        } else {
            channels[index].countLoadTime = Int64(bitPattern: now)
        }
    }

    private mutating func startTimer(now: UInt64, disabled: Bool = false) {
        deadline = nil
        let mode = channels[0].mode
        guard !disabled, flags & PITState.hpetLegacy == 0, mode <= 4 else {
            started = now
            return
        }
        isPeriodic = mode == 2 || mode == 3
        started = now
        period = scaled(initialCount(0), by: 1_000_000_000, over: Self.frequency)
        if isPeriodic { period = max(period, LocalAPIC.Timer.shortestPeriod) }
        resetReinjection()
        deadline = saturatingSum(now, period)
    }

    /// Sets a channel's gate; counting starts again at a rising edge in the modes that it triggers.
    private mutating func setGate(_ index: Int, _ gate: UInt8, now: UInt64) {
        switch channels[index].mode {
        case 1, 2, 3, 5:
            if channels[index].gate < gate { channels[index].countLoadTime = Int64(bitPattern: now) }
        default: break
        }
        channels[index].gate = gate
    }
}

// MARK: Interrupts

extension PIT8254 {
    /// Forgets the missed ticks: the guest has unmasked the line, or the timer was set anew.
    package mutating func resetReinjection() {
        pending = 0
        isAcknowledged = true
    }

    /// Runs channel 0 up to `now`.
    /// - Returns: nil if the timer was not due, otherwise whether GSI 0 gets a pulse.
    package mutating func advance(now: UInt64) -> Bool? {
        guard let due = deadline, due <= now else { return nil }
        var count: UInt64 = 1
        if isPeriodic && period != 0 {
            count = saturatingSum((now - due) / period, 1)
            deadline = saturatingSum(due, count.multipliedReportingOverflow(by: period).partialValue)
        } else {
            deadline = nil
        }
        if reinjects { pending = Int(clamping: saturatingSum(UInt64(pending), count)) }
        return takePulse()
    }

    private mutating func takePulse() -> Bool {
        guard reinjects else { return true }
        defer { isAcknowledged = false }
        return isAcknowledged
    }

    /// The guest acknowledged GSI 0.
    /// - Returns: whether it gets the next pulse now.
    package mutating func acknowledge() -> Bool {
        isAcknowledged = true
        guard pending > 0 else { return false }
        pending -= 1
        return pending > 0 && takePulse()
    }
}

// MARK: Ports

extension PIT8254 {
    /// Port 0x40 to 0x43, or 0x61.
    package mutating func write(_ port: UInt16, _ value: UInt8, now: UInt64) {
        switch port {
        case 0x40...0x42: writeCount(Int(port & 3), value, now: now)
        case 0x43: value >> 6 == 3 ? readBack(value, now: now) : control(value, now: now)
        case 0x61:
            flags = flags & ~PITState.speakerDataOn | (value & 2 != 0 ? PITState.speakerDataOn : 0)
            setGate(2, value & 1, now: now)
        default: break
        }
    }

    private mutating func control(_ value: UInt8, now: UInt64) {
        let index = Int(value >> 6), access = (value >> 4) & 3
        if access == 0 {
            latchCount(index, now: now)
            return
        }
        channels[index].rwMode = access
        channels[index].readState = access
        channels[index].writeState = access
        let mode = (value >> 1) & 7
        channels[index].mode = mode > 5 ? mode - 4 : mode
        channels[index].bcd = value & 1
    }

    private mutating func readBack(_ value: UInt8, now: UInt64) {
        for index in 0..<3 where value & 2 << UInt8(index) != 0 {
            if value & 0x20 == 0 { latchCount(index, now: now) }
            if value & 0x10 == 0 { latchStatus(index, now: now) }
        }
    }

    private mutating func latchCount(_ index: Int, now: UInt64) {
        guard channels[index].countLatched == 0 else { return }
        channels[index].latchedCount = count(index, now: now)
        channels[index].countLatched = channels[index].rwMode
    }

    private mutating func latchStatus(_ index: Int, now: UInt64) {
        guard channels[index].statusLatched == 0 else { return }
        let channel = channels[index]
        channels[index].status =
            (output(index, now: now) ? 0x80 : 0) | channel.rwMode << 4 | channel.mode << 1 | channel.bcd & 1
        channels[index].statusLatched = 1
    }

    /// States of a two-byte access: 1 low byte only, 2 high byte only, 3 low byte of both, 4 high byte of both.
    private mutating func writeCount(_ index: Int, _ value: UInt8, now: UInt64) {
        switch channels[index].writeState {
        case 2: load(index, UInt32(value) << 8, now: now)
        case 3:
            channels[index].writeLatch = value
            channels[index].writeState = 4
        case 4:
            channels[index].writeState = 3
            load(index, UInt32(channels[index].writeLatch) | UInt32(value) << 8, now: now)
        default: load(index, UInt32(value), now: now)
        }
    }

    package mutating func read(_ port: UInt16, now: UInt64) -> UInt8 {
        switch port {
        case 0x40...0x42: return readCount(Int(port & 3), now: now)
        case 0x61:
            // The refresh toggle, about every 16 µs.
            let refresh = UInt8(truncatingIfNeeded: now >> 14) & 1
            return (flags & PITState.speakerDataOn != 0 ? 2 : 0) | channels[2].gate & 1 | refresh << 4
                | (output(2, now: now) ? 0x20 : 0)
        default: return 0
        }
    }

    private mutating func readCount(_ index: Int, now: UInt64) -> UInt8 {
        let channel = channels[index]
        if channel.statusLatched != 0 {
            channels[index].statusLatched = 0
            return channel.status
        }
        if channel.countLatched != 0 {
            channels[index].countLatched = channel.countLatched == 3 ? 2 : 0
            return UInt8(
                truncatingIfNeeded: channel.countLatched == 2 ? channel.latchedCount >> 8 : channel.latchedCount)
        }
        let count = count(index, now: now)
        switch channel.readState {
        case 2: return UInt8(count >> 8)
        case 3:
            channels[index].readState = 4
            return UInt8(truncatingIfNeeded: count)
        case 4:
            channels[index].readState = 3
            return UInt8(count >> 8)
        default: return UInt8(truncatingIfNeeded: count)
        }
    }
}

// MARK: Whole state

extension PIT8254 {
    /// KVM_GET_PIT2.
    package var state: PITState {
        var state = PITState()
        state.channels = channels.array
        state.flags = flags
        return state
    }

    /// KVM_SET_PIT2: channel 0 starts over from its count.
    package mutating func setState(_ state: PITState, now: UInt64) {
        let entersLegacy = flags & PITState.hpetLegacy == 0 && state.flags & PITState.hpetLegacy != 0
        channels.assign(state.channels)
        flags = state.flags
        for index in 0..<3 where channels[index].count == 0 { channels[index].count = 0x1_0000 }
        startTimer(now: now, disabled: entersLegacy)
    }
}
