internal import Glibc

/// What a processor's translator has done since the processor was made.
public struct TranslationCounters: Hashable, Sendable {
    /// Pieces of code that were translated.
    public var translations: UInt64 = 0
    /// Instructions of the guest in them; one that several pieces have counts in each.
    public var instructions: UInt64 = 0
    /// Those of them that replaced an earlier one that did not suit what the guest did.
    public var renewals: UInt64 = 0
    /// Those that were forgotten since the guest's bytes had changed.
    public var invalidations: UInt64 = 0
    /// Times that everything was forgotten: for want of room, or since the memory slots had changed.
    public var evictions: UInt64 = 0
    /// Nanoseconds spent in translating.
    public var translationTime: UInt64 = 0
    /// Times that emitted code was entered by the run loop: each is a jump that was not chained, or a return from elsewhere.
    public var entries: UInt64 = 0
    /// Times that it was left for an instruction that the interpreter executes.
    public var coldExits: UInt64 = 0
    /// Instructions that emitted code has begun at privilege level 3, and at the others: where it counts them
    /// (`ExecutorOptions.countsInstructions`).
    public var userInstructions: UInt64 = 0
    public var systemInstructions: UInt64 = 0

    static var now: UInt64 {
        var now = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &now)
        return UInt64(now.tv_sec) &* 1_000_000_000 &+ UInt64(now.tv_nsec)
    }
}

extension VirtualProcessor {
    /// Nil without a translator. To be read by whoever may touch `state`.
    public var translationCounters: TranslationCounters? {
        guard var counters = translator?.counters else { return nil }
        counters.entries = cpu.state.entries
        counters.coldExits = cpu.state.coldExits
        counters.userInstructions = cpu.state.userInstructions
        counters.systemInstructions = cpu.state.systemInstructions
        return counters
    }
}
