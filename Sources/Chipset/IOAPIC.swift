// The I/O APIC: 24 pins, version 0x11, no EOI register. Intel 82093AA data sheet; KVM's ioapic for the rest: polarity is
// ignored (a line that is set is active), an edge that comes while masked is lost.

/// An I/O APIC's state. It delivers into the local APICs that it is handed.
package struct IOAPIC: Codable, Sendable {
    package static let pinCount = 24
    static let length: UInt64 = 0x100
    static let rtcPin = 8

    private enum Entry {
        static let deliveryStatus: UInt64 = 1 << 12
        static let remoteIRR: UInt64 = 1 << 14
        static let level: UInt64 = 1 << 15
        static let masked: UInt64 = 1 << 16
    }

    package private(set) var baseAddress: UInt64 = 0xFEC0_0000
    private var select: UInt32 = 0
    private var id: UInt32 = 0
    private var table = Bank<24, UInt64>(repeating: Entry.masked)
    /// Pins whose line is high.
    private var irr: UInt32 = 0
    /// Edges among them that have been delivered.
    private var delivered: UInt32 = 0
    /// Which sources hold each pin high.
    private var levels = Bank<24, UInt32>(repeating: 0)
    /// How often each pin was delivered again right at its EOI.
    private var repeats = Bank<24, UInt32>(repeating: 0)
    /// After so many the next one waits, for the guest to get anything else done.
    private static let repeatLimit: UInt32 = 10_000
    private static let pause: UInt64 = 10_000_000
    /// Pins that wait so, and until when.
    private var paused: UInt32 = 0
    package private(set) var deadline: UInt64?
    /// The RTC's interrupt, by place of the vCPU that has not ended it: another one until then is coalesced.
    private var rtcPending: [Int: UInt8] = [:]

    package init() {}

    /// The pins, as bits, that send a vector.
    package func pins(_ vector: UInt8) -> UInt32 {
        var pins: UInt32 = 0
        for pin in 0..<Self.pinCount where UInt8(truncatingIfNeeded: table[pin]) == vector { pins |= 1 << UInt32(pin) }
        return pins
    }

    /// Whether pins wait that ``setDeadline(now:)`` has not been called for.
    package var isPaused: Bool { paused != 0 && deadline == nil }
}

// MARK: Lines

extension IOAPIC {
    /// Sets one source's level on a pin.
    /// - Returns: −1 masked or waiting for its EOI, 0 coalesced, otherwise to how many local APICs it went.
    package mutating func setPin(
        _ pin: Int, level: Bool, source: Chipset.Source, wantsStatus: Bool, to apics: inout LocalAPICs
    ) -> Int {
        guard pin >= 0, pin < Self.pinCount else { return -1 }
        let bit: UInt32 = 1 << UInt32(source.rawValue & 31)
        if level { levels[pin] |= bit } else { levels[pin] &= ~bit }
        return drive(pin, levels[pin] != 0, wantsStatus: wantsStatus, to: &apics)
    }

    private mutating func drive(_ pin: Int, _ level: Bool, wantsStatus: Bool, to apics: inout LocalAPICs) -> Int {
        let bit: UInt32 = 1 << UInt32(pin)
        guard level else {
            irr &= ~bit
            return 1
        }
        if pin == Self.rtcPin && wantsStatus && !rtcPending.isEmpty { return 0 }
        let wasHigh = irr & bit != 0
        irr |= bit
        if table[pin] & Entry.level == 0 {
            delivered &= ~bit
            if wasHigh { return 0 }
        }
        return service(pin, wantsStatus: wantsStatus, to: &apics)
    }

    /// Sends the pin's message unless it is masked or its last one has not been ended.
    private mutating func service(_ pin: Int, wantsStatus: Bool = false, to apics: inout LocalAPICs) -> Int {
        let entry = table[pin]
        if entry & Entry.masked != 0 || entry & (Entry.level | Entry.remoteIRR) == Entry.level | Entry.remoteIRR {
            return -1
        }
        if entry & Entry.level == 0 { delivered |= 1 << UInt32(pin) }
        let count = apics.deliver(InterruptMessage(redirection: entry))
        if pin == Self.rtcPin && wantsStatus && count > 0 { trackRTC(apics) }
        // Set where a local APIC accepts it, and nowhere else: 82093AA, 3.2.4.
        if count > 0 && entry & Entry.level != 0 { table[pin] |= Entry.remoteIRR }
        return count
    }

    /// Looks anew at who has not ended the RTC's interrupt: it has been delivered, or local APICs have been set or reset.
    package mutating func trackRTC(_ apics: LocalAPICs) {
        let message = InterruptMessage(redirection: table[Self.rtcPin])
        rtcPending = [:]
        for (place, apic) in apics.all.enumerated()
        where apic.matches(
            message.destination, logical: message.isLogical, isIPI: false, broadcastQuirk: apics.broadcastQuirk)
            && apic.isPending(message.vector)
        {
            rtcPending[place] = message.vector
        }
    }

    /// A local APIC ended a vector.
    package mutating func endedRTC(_ vector: UInt8, by place: Int) {
        if rtcPending[place] == vector { rtcPending[place] = nil }
    }

    /// Ends a pin's level-triggered interrupt; a line that is still high interrupts again. Edges need nothing, also those
    /// that share a level's vector.
    package mutating func endOfInterrupt(_ pin: Int, levelTriggered: Bool, to apics: inout LocalAPICs) {
        guard levelTriggered, pin >= 0, pin < Self.pinCount, table[pin] & Entry.level != 0 else { return }
        table[pin] &= ~Entry.remoteIRR
        guard table[pin] & Entry.masked == 0, irr & 1 << UInt32(pin) != 0 else {
            repeats[pin] = 0
            return
        }
        repeats[pin] &+= 1
        if repeats[pin] >= Self.repeatLimit {
            repeats[pin] = 0
            paused |= 1 << UInt32(pin)
        } else {
            _ = service(pin, to: &apics)
        }
    }

    /// Gives paused pins a time to go on.
    package mutating func setDeadline(now: UInt64) { deadline = saturatingSum(now, Self.pause) }

    /// Serves the pins whose pause is over.
    package mutating func advance(now: UInt64, to apics: inout LocalAPICs) -> Bool {
        guard let deadline, deadline <= now else { return false }
        let pins = paused
        paused = 0
        self.deadline = nil
        for pin in 0..<Self.pinCount where pins & irr & 1 << UInt32(pin) != 0 && table[pin] & Entry.level != 0 {
            _ = service(pin, to: &apics)
        }
        return true
    }
}

// MARK: Registers

extension IOAPIC {
    package func contains(_ address: UInt64, size: Int) -> Bool {
        size > 0 && address >= baseAddress && address - baseAddress <= Self.length &- UInt64(size)
    }

    /// Reads IOREGSEL or IOWIN; other addresses give 0.
    package func read(_ address: UInt64, size: Int) -> UInt64 {
        let value: UInt64
        switch (address &- baseAddress) & 0xFF {
        case 0x00: value = UInt64(select)
        case 0x10: value = UInt64(selected)
        default: value = 0
        }
        return size >= 8 ? value : value & (1 << UInt64(size * 8) - 1)
    }

    private var selected: UInt32 {
        switch select {
        case 0, 2: return (id & 0xF) << 24
        case 1: return UInt32(Self.pinCount - 1) << 16 | 0x11
        default:
            guard select >= 0x10, select < 0x10 + 2 * 24 else { return ~0 }
            let entry = table[Int(select - 0x10) >> 1]
            return UInt32(truncatingIfNeeded: select & 1 != 0 ? entry >> 32 : entry)
        }
    }

    /// Writes IOREGSEL or IOWIN.
    /// - Returns: the pin whose mask bit has just been cleared.
    package mutating func write(_ address: UInt64, size: Int, value: UInt64, to apics: inout LocalAPICs) -> Int? {
        guard size == 1 || size == 2 || size == 4 || size == 8 else { return nil }
        let data = UInt32(truncatingIfNeeded: size >= 4 ? value : value & (1 << UInt64(size * 8) - 1))
        switch (address &- baseAddress) & 0xFF {
        case 0x00: select = data & 0xFF
        case 0x10: return writeSelected(data, to: &apics)
        default: break
        }
        return nil
    }

    private mutating func writeSelected(_ data: UInt32, to apics: inout LocalAPICs) -> Int? {
        if select == 0 { id = (data >> 24) & 0xF }
        guard select >= 0x10, select < 0x10 + 2 * 24 else { return nil }
        let pin = Int(select - 0x10) >> 1
        let old = table[pin]
        let readOnly = Entry.remoteIRR | Entry.deliveryStatus
        var entry =
            select & 1 != 0
            ? old & 0xFFFF_FFFF | UInt64(data) << 32
            : old & ~0xFFFF_FFFF | UInt64(data)
        entry = entry & ~readOnly | old & readOnly
        // Guests count on this to clear a remote IRR that got stuck.
        if entry & Entry.level == 0 { entry &= ~Entry.remoteIRR }
        table[pin] = entry
        if entry & (Entry.level | Entry.masked | Entry.remoteIRR) == Entry.level, irr & 1 << UInt32(pin) != 0 {
            _ = service(pin, to: &apics)
        }
        return old & Entry.masked != 0 && entry & Entry.masked == 0 ? pin : nil
    }

    /// KVM_GET_IRQCHIP: edges that were delivered don't count as requested.
    package var state: IOAPICState {
        var state = IOAPICState()
        state.baseAddress = baseAddress
        state.ioregsel = select
        state.id = id
        state.irr = irr & ~delivered
        state.redirectionTable = table.array
        return state
    }

    /// KVM_SET_IRQCHIP: what is requested is delivered.
    package mutating func setState(_ state: IOAPICState, to apics: inout LocalAPICs) {
        baseAddress = state.baseAddress
        select = state.ioregsel
        id = state.id
        table = Bank(repeating: 0)
        table.assign(state.redirectionTable)
        irr = 0
        delivered = 0
        trackRTC(apics)
        for pin in 0..<Self.pinCount where state.irr & 1 << UInt32(pin) != 0 {
            _ = drive(pin, true, wantsStatus: true, to: &apics)
        }
    }
}
