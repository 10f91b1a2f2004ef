// Time: the hypervisor's clock and guests' time stamp counters, derived from the host's counter, and kvm-clock.
// Linux, Documentation/virt/kvm/x86/timekeeping.rst and msr.rst.

internal import Chipset
internal import Glibc

/// The clock of timers, in nanoseconds: the host's counter by its rate, from CLOCK_MONOTONIC's time at its first use on. A deadline
/// in a guest's ticks and its time here are therefore the same, however long it takes.
enum HostClock {
    private static let start = (ticks: HostTSC.now, time: HostTSC.read(CLOCK_MONOTONIC))

    static var now: UInt64 {
        start.time &+ HostTSC.scale(HostTSC.now &- start.ticks, by: 1_000_000, over: HostTSC.kilohertz)
    }

    static var realtime: UInt64 { HostTSC.read(CLOCK_REALTIME) }
}

/// A guest's time stamp counter: the host's, scaled where its rate is another, and an offset.
struct TimeStampCounter: Equatable {
    var kilohertz: UInt32
    /// Added to the scaled counter, modulo 2⁶⁴ (KVM_VCPU_TSC_OFFSET).
    var offset: UInt64 = 0

    private func scaled(_ host: UInt64) -> UInt64 {
        let rate = HostTSC.kilohertz
        return kilohertz == rate ? host : HostTSC.scale(host, by: kilohertz, over: rate)
    }

    /// The reading when the host's is `host`.
    func value(at host: UInt64) -> UInt64 { scaled(host) &+ offset }

    /// The offset that makes the counter read `value` when the host's reads `host`.
    func offset(for value: UInt64, at host: UInt64) -> UInt64 { value &- scaled(host) }
}

/// One VM's kvm-clock: nanoseconds since the VM began, or as KVM_SET_CLOCK set it. Reckoned as guests do, so that they and
/// KVM_GET_CLOCK read the same.
struct GuestClock {
    /// The host's counter when the current parameters were taken; shared by all vCPUs, so that they agree.
    private var base: UInt64
    /// The guest's clock then.
    private var atBase: UInt64 = 0

    private static let scale = ClockScale(kilohertz: HostTSC.kilohertz)

    init(now: UInt64) { base = now }

    /// - Parameter now: the host's counter, not from before the clock was set.
    func nanoseconds(at now: UInt64) -> UInt64 { atBase &+ GuestClock.scale.nanoseconds(now &- base) }

    mutating func set(_ nanoseconds: UInt64, at now: UInt64) { (base, atBase) = (now, nanoseconds) }

    /// What a guest with this TSC reckons from.
    func systemTime(_ tsc: TimeStampCounter, paused: Bool, stable: Bool) -> SystemTime {
        SystemTime(
            tscTimestamp: tsc.value(at: base), systemTime: atBase, scale: ClockScale(kilohertz: tsc.kilohertz),
            flags: (stable ? SystemTime.stable : 0) | (paused ? SystemTime.stopped : 0))
    }
}
