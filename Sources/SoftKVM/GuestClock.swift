// Time: the host's clock, time-stamp counters derived from it, and kvm-clock.
// Linux, Documentation/virt/kvm/x86/timekeeping.rst and msr.rst (pvclock_vcpu_time_info, pvclock_wall_clock).

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

/// kvm-clock's arithmetic: what a guest multiplies its TSC with.
struct ParavirtualScale: Equatable {
    /// The TSC difference is shifted left by this (right if negative) …
    var shift: Int8
    /// … and multiplied by this over 2³², to give nanoseconds.
    var multiplier: UInt32

    init(kilohertz: UInt32) {
        // nanoseconds = ticks × 10⁶ ÷ kHz, with the multiplier in [2³¹, 2³²).
        var shift: Int8 = 0
        var numerator: UInt64 = 1_000_000
        var denominator = UInt64(max(kilohertz, 1))
        while numerator >= denominator {
            denominator <<= 1
            shift += 1
        }
        while numerator << 1 < denominator {
            numerator <<= 1
            shift -= 1
        }
        self.shift = shift
        multiplier = UInt32(truncatingIfNeeded: (numerator << 32) / denominator)
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

    /// struct pvclock_vcpu_time_info, 32 bytes, less the version in its first four.
    func timeInfo(_ tsc: TimeStampCounter, paused: Bool, stable: Bool) -> Record {
        let scale = ParavirtualScale(kilohertz: tsc.kilohertz)
        var record = Record(count: 32)
        record.store(tsc.value(at: base), 8)
        record.store(atBase, 16)
        record.store(scale.multiplier, 24)
        record.store(scale.shift, 28)
        // PVCLOCK_TSC_STABLE_BIT, PVCLOCK_GUEST_STOPPED.
        record.store(UInt8((stable ? 1 : 0) | (paused ? 2 : 0)), 29)
        return record
    }
}
