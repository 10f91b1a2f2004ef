// What KVM models inside the kernel for one VM: local APICs, I/O APIC, 8259 pair, 8254, GSI routing.
// The behaviour is that of Linux's arch/x86/kvm (lapic, ioapic, i8259, i8254, irq_comm); the registers are those of the
// Intel SDM vol. 3, ch. 11 (APIC), and of the 82093AA, 8259A and 8254 data sheets.

internal import Locking
internal import Synchronization

/// The interrupt controllers and timers of one VM, behind one lock. Every method may be called from any thread.
///
/// The callbacks given to ``init(mode:clock:wake:deadlineChanged:endOfInterrupt:)`` are called on the thread whose call
/// caused them, after the lock has been released: they may call back into the chipset.
///
/// A vCPU is named by the identifier that it was added with (KVM's vCPU id, which is also its initial APIC id). A method
/// that is given an unknown one does nothing and answers as if the vCPU had no APIC.
public final class Chipset: Sendable {
    /// Which controllers are modelled here.
    public enum Mode: Sendable, Equatable, Codable {
        /// Local APICs, I/O APIC and 8259 pair (KVM_CREATE_IRQCHIP), and the 8254 once ``createPIT(speaker:)`` is called.
        case full
        /// Local APICs only (KVM_CAP_SPLIT_IRQCHIP): the first `pins` GSIs are reserved for a user-space I/O APIC,
        /// whose level-triggered MSI routes report their EOIs as ``PendingEvents/ioapicEOI``.
        case split(pins: Int)
    }

    /// Who drives an interrupt line: the levels of all sources on one line are OR'ed.
    public struct Source: RawRepresentable, Sendable, Equatable {
        public var rawValue: UInt8
        /// Values above 31 are taken modulo 32.
        public init(rawValue: UInt8) { self.rawValue = rawValue }
        /// KVM_IRQ_LINE and plain irqfds.
        public static let userspace = Source(rawValue: 0)
        /// Irqfds with KVM_IRQFD_FLAG_RESAMPLE: this source's level falls by itself at the end of the interrupt.
        public static let resampler = Source(rawValue: 1)
        /// The 8254's channel 0.
        public static let pit = Source(rawValue: 2)
    }

    public let mode: Mode
    private let guarded: Lock<Guarded>
    let clock: @Sendable () -> UInt64
    let wake: @Sendable (Int) -> Void
    let deadlineChanged: @Sendable () -> Void
    let endOfInterrupt: @Sendable (UInt32) -> Void

    /// - Parameters:
    ///   - clock: nanoseconds of a clock that never goes back (CLOCK_MONOTONIC).
    ///   - wake: told a vCPU's id when one of its ``VirtualCPUStatus/pending`` bits has become set; the bit is visible
    ///     before the call. Called outside the lock.
    ///   - deadlineChanged: ``nextDeadline`` is now earlier than what it last returned. Called outside the lock.
    ///   - endOfInterrupt: a GSI named to ``watchEndOfInterrupt(_:_:)`` was acknowledged at a controller; its
    ///     ``Source/resampler`` level is already low. Called outside the lock.
    public init(
        mode: Mode, clock: @escaping @Sendable () -> UInt64, wake: @escaping @Sendable (Int) -> Void,
        deadlineChanged: @escaping @Sendable () -> Void = {},
        endOfInterrupt: @escaping @Sendable (UInt32) -> Void = { _ in }
    ) {
        self.mode = mode
        guarded = Lock(Guarded(state: ChipsetState(mode: mode)))
        self.clock = clock
        self.wake = wake
        self.deadlineChanged = deadlineChanged
        self.endOfInterrupt = endOfInterrupt
    }
}

// MARK: The lock

extension Chipset {
    /// What the lock protects.
    struct Guarded: Sendable {
        var state: ChipsetState
        /// By place.
        var statuses: [VirtualCPUStatus] = []
        /// The deadline that the owner of the timer thread knows of.
        var announced = UInt64.max
    }

    /// What is to be told once the lock is free.
    private struct Announcements {
        var wakes: [Int] = []
        var ended: [UInt32] = []
        var isEarlier = false
    }

    /// Looks at the state; it must not change what vCPUs see.
    func look<Result: Sendable>(_ body: (inout Guarded) -> Result) -> Result {
        guarded.withLock { body(&$0) }
    }

    /// Changes the state, then tells those whom it concerns.
    func change<Result: Sendable>(_ body: (inout Guarded) -> Result) -> Result {
        let (result, announcements) = guarded.withLock { guarded -> (Result, Announcements) in
            let result = body(&guarded)
            return (result, settle(&guarded))
        }
        for id in announcements.wakes { wake(id) }
        for gsi in announcements.ended { endOfInterrupt(gsi) }
        if announcements.isEarlier { deadlineChanged() }
        return result
    }

    /// The same for one vCPU, whose pending events are looked at again; nil for an unknown one.
    func change<Result: Sendable>(_ vcpu: Int, _ body: (inout ChipsetState, Int) -> Result) -> Result? {
        change { guarded -> Result? in
            guard let place = guarded.state.apics.place(vcpu) else { return nil }
            guarded.state.apics.touched.append(place)
            return body(&guarded.state, place)
        }
    }

    func look<Result: Sendable>(_ vcpu: Int, _ body: (inout ChipsetState, Int) -> Result) -> Result? {
        look { guarded -> Result? in
            guard let place = guarded.state.apics.place(vcpu) else { return nil }
            return body(&guarded.state, place)
        }
    }

    private func settle(_ guarded: inout Guarded) -> Announcements {
        var announcements = Announcements()
        if !guarded.state.apics.touched.isEmpty {
            let external = guarded.state.pic?.output == true
            for place in guarded.state.apics.touched {
                let status = guarded.statuses[place]
                let pending = guarded.state.apics.all[place].pending(external: external).rawValue
                let before = status.bits.exchange(pending, ordering: .acquiringAndReleasing)
                status.page.store(guarded.state.apics.all[place].pageAddress, ordering: .relaxed)
                if pending & ~before != 0 { announcements.wakes.append(status.id) }
            }
            guarded.state.apics.touched.removeAll(keepingCapacity: true)
        }
        if !guarded.state.ended.isEmpty {
            swap(&announcements.ended, &guarded.state.ended)
        }
        if guarded.state.timersChanged {
            guarded.state.timersChanged = false
            if guarded.state.ioapic?.isPaused == true { guarded.state.ioapic?.setDeadline(now: clock()) }
            let deadline = guarded.state.deadline ?? .max
            if deadline < guarded.announced {
                guarded.announced = deadline
                announcements.isEarlier = true
            }
        }
        return announcements
    }
}

// MARK: Time

extension Chipset {
    /// When ``advance(to:)`` next has something to do, in the clock's nanoseconds; nil when no timer is armed.
    public var nextDeadline: UInt64? {
        look { guarded in
            let deadline = guarded.state.deadline
            guarded.announced = deadline ?? .max
            return deadline
        }
    }

    /// Fires every timer whose deadline is not after `now` (nanoseconds of the clock).
    public func advance(to now: UInt64) {
        change { $0.state.advance(to: now) }
    }
}
