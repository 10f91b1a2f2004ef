// The host's time stamp counter, on which everything here that is time stands.
// Intel SDM vol. 3, 18.17; CPUID leaves 15H, 40000010H and 80000007H; Linux, Documentation/virt/kvm/x86/timekeeping.rst.

internal import Glibc
internal import Processor
internal import X86

/// A counter of one rate, the same for every processor of the host: what RDTSC reads, where that can be relied on. Guests' counters
/// are then this one with an offset, as they are on the kernel's hypervisor, and a client may set its own RDTSC against them.
struct HostTSC: Sendable {
    /// The rate.
    let kilohertz: UInt32
    /// Whether RDTSC reads it. Where the counter stops, changes its rate or differs between processors, CLOCK_MONOTONIC in ticks
    /// stands for it, which nobody else can read.
    let isRDTSC: Bool

    static let shared = HostTSC(isRDTSC: isReliable, kilohertz: statedKilohertz)

    /// - Parameter kilohertz: counted where it is not given.
    init(isRDTSC: Bool, kilohertz: UInt32? = nil) {
        self.isRDTSC = isRDTSC
        self.kilohertz = kilohertz ?? HostTSC.countedKilohertz ?? 1_000_000
    }

    /// Of the process's counter.
    static var kilohertz: UInt32 { shared.kilohertz }
    static var now: UInt64 { shared.now }

    var now: UInt64 {
        if isRDTSC, let reading = HostProcessor.timeStampCounter { return reading }
        return HostTSC.scale(HostTSC.read(CLOCK_MONOTONIC), by: kilohertz, over: 1_000_000)
    }

    /// `value * numerator / denominator` modulo 2⁶⁴, as counters are.
    static func scale(_ value: UInt64, by numerator: UInt32, over denominator: UInt32) -> UInt64 {
        let product = value.multipliedFullWidth(by: UInt64(numerator))
        let divisor = UInt64(denominator)
        return divisor.dividingFullWidth((product.high % divisor, product.low)).quotient
    }

    /// A clock of the host in nanoseconds.
    static func read(_ clock: clockid_t) -> UInt64 {
        var time = timespec()
        unsafe clock_gettime(clock, &time)
        return UInt64(truncatingIfNeeded: time.tv_sec) &* 1_000_000_000 &+ UInt64(truncatingIfNeeded: time.tv_nsec)
    }

    // MARK: What the host says of its counter

    /// The processor says that its rate never changes, and the host's kernel has not found otherwise: it takes these clocks where
    /// the counter can't be trusted.
    private static let isReliable: Bool = {
        let advancedPowerManagement: UInt32 = 0x8000_0007
        guard HostProcessor.timeStampCounter != nil,
            HostProcessor.cpuid(leaf: 0x8000_0000).eax >= advancedPowerManagement,
            HostProcessor.cpuid(leaf: advancedPowerManagement).edx & 1 << 8 != 0
        else { return false }
        let path = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
        let clock = HostFile.read(path, limit: 64).filter { !$0.isWhitespace }
        return !["hpet", "acpi_pm", "pit", "jiffies", "refined-jiffies"].contains(clock)
    }()

    /// What the processor or a hypervisor under us states.
    static let statedKilohertz: UInt32? = {
        if HostProcessor.cpuid(leaf: 0).eax >= 0x15 {
            let ratio = HostProcessor.cpuid(leaf: 0x15)
            if ratio.eax != 0, ratio.ebx != 0, ratio.ecx != 0 {
                let hertz = UInt64(ratio.ecx) * UInt64(ratio.ebx) / UInt64(ratio.eax)
                if hertz >= 100_000_000 { return UInt32(truncatingIfNeeded: hertz / 1000) }
            }
        }
        if HostProcessor.cpuid(leaf: 1).ecx >> 31 != 0, HostProcessor.cpuid(leaf: 0x4000_0000).eax >= 0x4000_0010 {
            let kilohertz = HostProcessor.cpuid(leaf: 0x4000_0010).eax
            if kilohertz >= 100_000 { return kilohertz }
        }
        return nil
    }()

    /// Counted against a clock that nobody sets, until it is known to one part in 10⁵, however often this thread is interrupted.
    static var countedKilohertz: UInt32? {
        guard let start = Edge() else { return nil }
        while let end = Edge() {
            let time = end.time &- start.time
            if (start.error + end.error) * 100_000 > time { continue }
            return UInt32(exactly: HostTSC.scale(end.ticks &- start.ticks, by: 1_000_000, over: 1) / time)
        }
        return nil
    }

    /// The counter's reading at a time, which is off by `error` nanoseconds at most.
    private struct Edge {
        var ticks: UInt64 = 0
        var time: UInt64 = 0
        var error = UInt64.max

        init?() {
            for _ in 0..<8 {
                let before = HostTSC.read(CLOCK_MONOTONIC_RAW)
                guard let ticks = HostProcessor.timeStampCounter else { return nil }
                let after = HostTSC.read(CLOCK_MONOTONIC_RAW)
                if after &- before < error { (self.ticks, time, error) = (ticks, before, after &- before) }
            }
        }
    }
}

/// Small text files that the kernel makes.
enum HostFile {
    /// The first `limit` bytes; empty where the file can't be read.
    static func read(_ path: String, limit: Int) -> String {
        let file = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return "" }
        defer { close(file) }
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: limit) { buffer, count in
            count = max(0, unsafe Glibc.read(file, buffer.baseAddress, limit))
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
