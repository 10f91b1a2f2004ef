// Time: the host's clock, time-stamp counters derived from it, and kvm-clock.
// Linux, Documentation/virt/kvm/x86/timekeeping.rst and msr.rst.

internal import Chipset
internal import Glibc

/// The one clock under everything: CLOCK_MONOTONIC in nanoseconds.
enum HostClock {
    static var now: UInt64 { read(CLOCK_MONOTONIC) }
    static var realtime: UInt64 { read(CLOCK_REALTIME) }

    private static func read(_ clock: clockid_t) -> UInt64 {
        var time = timespec()
        unsafe clock_gettime(clock, &time)
        return UInt64(truncatingIfNeeded: time.tv_sec) &* 1_000_000_000 &+ UInt64(truncatingIfNeeded: time.tv_nsec)
    }
}

/// A time-stamp counter: the host's clock in ticks, and an offset. Exact, so that counters of one frequency agree.
struct TimeStampCounter: Equatable {
    var kilohertz: UInt32
    /// Added to the scaled clock, modulo 2⁶⁴.
    var offset: UInt64 = 0

    static func ticks(_ nanoseconds: UInt64, kilohertz: UInt32) -> UInt64 {
        let product = nanoseconds.multipliedFullWidth(by: UInt64(kilohertz))
        // ÷ 10⁶; the quotient of the high half is dropped, as the counter is modulo 2⁶⁴.
        return UInt64(1_000_000).dividingFullWidth((product.high % 1_000_000, product.low)).quotient
    }

    func value(at nanoseconds: UInt64) -> UInt64 {
        TimeStampCounter.ticks(nanoseconds, kilohertz: kilohertz) &+ offset
    }

    /// The offset that makes the counter read `value` at `nanoseconds`.
    func offset(for value: UInt64, at nanoseconds: UInt64) -> UInt64 {
        value &- TimeStampCounter.ticks(nanoseconds, kilohertz: kilohertz)
    }
}

/// One VM's kvm-clock: nanoseconds since the VM began, or as KVM_SET_CLOCK set it.
struct GuestClock {
    /// The host time at which the current parameters were taken; shared by all vCPUs, so that they agree.
    private(set) var base: UInt64
    private var offset: UInt64

    init(now: UInt64) {
        base = now
        offset = 0 &- now
    }

    func nanoseconds(at now: UInt64) -> UInt64 { now &+ offset }

    mutating func set(_ nanoseconds: UInt64, at now: UInt64) {
        base = now
        offset = nanoseconds &- now
    }

    /// The guest's clock at `base`.
    var atBase: UInt64 { base &+ offset }

    /// What a guest with this TSC reckons from.
    func systemTime(_ tsc: TimeStampCounter, paused: Bool, stable: Bool) -> SystemTime {
        SystemTime(
            tscTimestamp: tsc.value(at: base), systemTime: atBase, scale: ClockScale(kilohertz: tsc.kilohertz),
            flags: (stable ? SystemTime.stable : 0) | (paused ? SystemTime.stopped : 0))
    }
}
