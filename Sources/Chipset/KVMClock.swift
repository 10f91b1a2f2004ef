// kvm-clock and steal time: what the hypervisor writes into the guest's pages. Linux's Documentation/virt/kvm/x86/msr.rst
// (MSR_KVM_SYSTEM_TIME_NEW, MSR_KVM_WALL_CLOCK_NEW, MSR_KVM_STEAL_TIME). Bytes out; the owner of the memory writes them.

/// One write into a structure in guest memory. The version protocol is the order of the writes: an odd version, the
/// rest, the next even version; no write may pass another.
public struct ClockWrite: Sendable, Equatable {
    /// From the structure's start.
    public var offset: Int
    public var bytes: [UInt8]
}

/// The factors by which guests turn TSC ticks into nanoseconds: `((ticks << shift) * multiplier) >> 32`, a negative shift
/// going right.
public struct ClockScale: Sendable, Equatable, Codable {
    public var multiplier: UInt32
    public var shift: Int8

    /// For a TSC of that frequency. One of 0 is taken as 1 kHz.
    public init(kilohertz: UInt32) {
        self.init(from: UInt64(max(1, kilohertz)) * 1000, to: 1_000_000_000)
    }

    /// From ticks at `base` hertz to ticks at `target` hertz, neither of them 0: the multiplier is a 32-bit fraction with
    /// its top bit set, the shift makes up for it.
    init(from base: UInt64, to target: UInt64) {
        var base = base, target = target, shift: Int8 = 0
        while base > target &* 2 || base >> 32 != 0 {
            base >>= 1
            shift -= 1
        }
        while base <= target || target >> 32 != 0 {
            if target >> 32 != 0 || base & 0x8000_0000 != 0 { target >>= 1 } else { base <<= 1 }
            shift += 1
        }
        self.shift = shift
        multiplier = UInt32(truncatingIfNeeded: (target << 32) / base)
    }

    /// What a guest computes from so many ticks.
    public func nanoseconds(_ ticks: UInt64) -> UInt64 {
        let shifted = shift < 0 ? ticks >> UInt64(-Int(shift)) : ticks << UInt64(shift)
        let product = shifted.multipliedFullWidth(by: UInt64(multiplier))
        return product.high << 32 | product.low >> 32
    }
}

/// struct pvclock_vcpu_time_info: a vCPU's clock.
public struct SystemTime: Sendable, Equatable, Codable {
    public static let size = 32
    /// PVCLOCK_TSC_STABLE_BIT: readings of different vCPUs can be compared.
    public static let stable: UInt8 = 1
    /// PVCLOCK_GUEST_STOPPED: the guest was paused (KVM_KVMCLOCK_CTRL).
    public static let stopped: UInt8 = 2

    /// The guest's TSC at ``systemTime``.
    public var tscTimestamp: UInt64
    /// Nanoseconds since the VM's clock began.
    public var systemTime: UInt64
    public var scale: ClockScale
    public var flags: UInt8

    public init(tscTimestamp: UInt64, systemTime: UInt64, scale: ClockScale, flags: UInt8) {
        self.tscTimestamp = tscTimestamp
        self.systemTime = systemTime
        self.scale = scale
        self.flags = flags
    }

    /// The structure's 32 bytes.
    public func bytes(version: UInt32) -> [UInt8] {
        little(version) + little(UInt32(0)) + little(tscTimestamp) + little(systemTime) + little(scale.multiplier)
            + [UInt8(bitPattern: scale.shift), flags, 0, 0]
    }

    /// The writes of an update, given the version that is in guest memory; after it, that is `version & ~1 + 2`.
    public func writes(after version: UInt32) -> [ClockWrite] {
        update(after: version, offset: 0) { bytes(version: $0) }
    }
}

/// struct pvclock_wall_clock: the time of day when the VM's clock began.
public struct WallClock: Sendable, Equatable, Codable {
    public static let size = 12

    /// Since 1970, UTC.
    public var seconds: UInt32
    public var nanoseconds: UInt32

    /// - Parameter bootTime: nanoseconds since 1970 when the VM's clock was 0.
    public init(bootTime: UInt64) {
        seconds = UInt32(truncatingIfNeeded: bootTime / 1_000_000_000)
        nanoseconds = UInt32(truncatingIfNeeded: bootTime % 1_000_000_000)
    }

    public func bytes(version: UInt32) -> [UInt8] { little(version) + little(seconds) + little(nanoseconds) }

    /// The writes of an update, given the version that is in guest memory.
    public func writes(after version: UInt32) -> [ClockWrite] {
        update(after: version, offset: 0) { bytes(version: $0) }
    }
}

/// struct kvm_steal_time: how long a vCPU wanted to run but did not.
public struct StealTime: Sendable, Equatable, Codable {
    public static let size = 64
    /// KVM_VCPU_PREEMPTED, in ``preempted``.
    public static let isPreempted: UInt8 = 1
    /// Where ``preempted`` lies: it is written alone, outside the version protocol.
    public static let preemptedOffset = 16

    /// Nanoseconds.
    public var steal: UInt64
    public var preempted: UInt8

    public init(steal: UInt64, preempted: UInt8 = 0) {
        self.steal = steal
        self.preempted = preempted
    }

    public func bytes(version: UInt32) -> [UInt8] {
        little(steal) + little(version) + little(UInt32(0)) + [preempted] + [UInt8](repeating: 0, count: 47)
    }

    /// The writes of an update, given the version that is in guest memory.
    public func writes(after version: UInt32) -> [ClockWrite] {
        update(after: version, offset: 8) { bytes(version: $0) }
    }
}

/// Odd version, the whole with it, even version.
private func update(after version: UInt32, offset: Int, _ bytes: (UInt32) -> [UInt8]) -> [ClockWrite] {
    let odd = (version | 1) &+ (version & 1 == 0 ? 0 : 2)
    return [
        ClockWrite(offset: offset, bytes: little(odd)),
        ClockWrite(offset: 0, bytes: bytes(odd)),
        ClockWrite(offset: offset, bytes: little(odd &+ 1)),
    ]
}

private func little<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] {
    (0..<Number.bitWidth / 8).map { UInt8(truncatingIfNeeded: number >> Number($0 * 8)) }
}
