// A VM's chipset as one value: the devices and the wires between them. Linux's arch/x86/kvm/irq_comm.c and irq.c.

/// All state of a chipset. Pure: it knows neither threads nor clocks.
package struct ChipsetState: Codable, Sendable {
    package let mode: Chipset.Mode
    package var apics = LocalAPICs()
    package var pic: PIC8259?
    package var ioapic: IOAPIC?
    package var pit: PIT8254?
    package var routing: GSIRouting
    package var bootProcessor = 0
    package var reenablesLINT0 = true
    package var hasMMIOHole = true
    /// GSIs whose end of interrupt somebody wants to hear of.
    package var watched: Set<UInt32> = []
    /// Those of them that have come since the owner last took them.
    package var ended: [UInt32] = []
    /// A timer may have been set, stopped or fired.
    package var timersChanged = false

    package init(mode: Chipset.Mode) {
        self.mode = mode
        routing = GSIRouting()
        guard mode == .full else { return }
        pic = PIC8259()
        ioapic = IOAPIC()
        if let standard = try? GSIRouting(GSIRouting.standardEntries, hasControllers: true, wideIDs: false) {
            routing = standard
        }
    }

    /// The earliest timer.
    package var deadline: UInt64? {
        var earliest: UInt64?
        func consider(_ time: UInt64?) {
            if let time { earliest = min(earliest ?? .max, time) }
        }
        for apic in apics.all {
            consider(apic.timer.expiry)
            consider(apic.mirrorDeadline)
        }
        consider(pit?.deadline)
        consider(ioapic?.deadline)
        return earliest
    }

    /// Fires what is due.
    package mutating func advance(to now: UInt64) {
        for place in apics.all.indices {
            let fired = apics.all[place].advanceTimer(now: now)
            guard apics.all[place].advanceMirror(now: now) || fired else { continue }
            apics.touched.append(place)
            timersChanged = true
        }
        advancePIT(to: now)
        if ioapic?.advance(now: now, to: &apics) == true { timersChanged = true }
    }

    private mutating func advancePIT(to now: UInt64) {
        guard let pulse = pit?.advance(now: now) else { return }
        timersChanged = true
        if pulse { tick() }
    }

    /// Channel 0's tick: a pulse on GSI 0, and an NMI for those vCPUs whose LINT0 makes it one (Linux's old watchdog).
    private mutating func tick() {
        _ = setLine(0, level: true, source: .pit, wantsStatus: false)
        _ = setLine(0, level: false, source: .pit, wantsStatus: false)
        for place in apics.all.indices where apics.all[place][.lvtLINT0] & 0x700 == 0x400 {
            if apics.all[place].deliverLocal(.lvtLINT0) { apics.touched.append(place) }
        }
    }
}

// MARK: Lines and messages

extension ChipsetState {
    package mutating func setLine(_ gsi: UInt32, level: Bool, source: Chipset.Source, wantsStatus: Bool) -> Int {
        var result = -1
        for target in routing[gsi] {
            let status: Int
            switch target {
            case .pin(.primaryPIC, let pin):
                status = setPIC(Int(pin), level: level, source: source)
            case .pin(.secondaryPIC, let pin):
                status = setPIC(Int(pin) + 8, level: level, source: source)
            case .pin(.ioapic, let pin):
                status =
                    ioapic?.setPin(Int(pin), level: level, source: source, wantsStatus: wantsStatus, to: &apics) ?? -1
            case .message(let address, let data):
                status = level ? deliverMSI(address: address, data: data) : -1
            }
            if status >= 0 { result = max(result, 0) + status }
        }
        return result
    }

    private mutating func setPIC(_ input: Int, level: Bool, source: Chipset.Source) -> Int {
        withPIC { $0.setInput(input, level: level, source: source) } ?? -1
    }

    package mutating func deliverMSI(address: UInt64, data: UInt32) -> Int {
        guard MSI.isValid(address: address, wideIDs: apics.wideIDs) else { return MSI.invalid }
        return apics.deliver(MSI.message(address: address, data: data, wideIDs: apics.wideIDs))
    }

    /// Does something to the 8259 pair, then tells of its acknowledgements and of a new INTR.
    package mutating func withPIC<Result>(_ body: (inout PIC8259) -> Result) -> Result? {
        guard pic != nil else { return nil }
        let before = pic?.output
        let result = body(&pic!)
        var acknowledged = pic?.takeAcknowledged() ?? 0
        if pic?.output != before { apics.touched.append(contentsOf: apics.all.indices) }
        while acknowledged != 0 {
            let input = acknowledged.trailingZeroBitCount
            acknowledged &= acknowledged - 1
            self.acknowledged(input < 8 ? .primaryPIC : .secondaryPIC, pin: input & 7)
        }
        return result
    }

    /// A controller's pin was acknowledged by the guest.
    private mutating func acknowledged(_ controller: GSIRouting.Controller, pin: Int) {
        guard let gsi = routing.gsi(of: controller, pin: pin) else { return }
        if gsi == 0, pit?.acknowledge() == true { tick() }
        guard watched.contains(gsi) else { return }
        _ = setLine(gsi, level: false, source: .resampler, wantsStatus: false)
        ended.append(gsi)
    }

    /// A local APIC ended a vector: the I/O APIC hears of it, here or in user space.
    package mutating func endOfInterrupt(_ vector: UInt8, by place: Int) {
        guard let pins = ioapic?.pins(vector) else {
            if case .split(let count) = mode, userSpaceOwns(vector, place: place, pins: count) {
                apics.all[place].events.ioapicEOI = vector
            }
            return
        }
        let level = apics.all[place].contains(.triggerMode, vector)
        ioapic?.endedRTC(vector, by: place)
        for pin in 0..<IOAPIC.pinCount where pins & 1 << UInt32(pin) != 0 {
            acknowledged(.ioapic, pin: pin)
            if !apics.all[place].suppressesBroadcast {
                ioapic?.endOfInterrupt(pin, levelTriggered: level, to: &apics)
            }
        }
        if ioapic?.isPaused == true { timersChanged = true }
    }

    /// Whether one of the reserved GSIs sends this vector, level-triggered, to this vCPU.
    private func userSpaceOwns(_ vector: UInt8, place: Int, pins: Int) -> Bool {
        guard routing.hasLevelMessage(vector) else { return false }
        let apic = apics.all[place]
        for gsi in 0..<UInt32(clamping: min(max(0, pins), Int(GSIRouting.limit))) {
            for case .message(let address, let data) in routing[gsi] {
                let message = MSI.message(address: address, data: data, wideIDs: apics.wideIDs)
                if message.vector == vector, message.isLevelTriggered,
                    apic.contains(.triggerMode, vector)
                        || apic.matches(
                            message.destination, logical: message.isLogical, isIPI: false,
                            broadcastQuirk: apics.broadcastQuirk)
                {
                    return true
                }
            }
        }
        return false
    }

    /// Carries out what a register write of a local APIC asks for. false if the write was refused.
    package mutating func carryOut(_ action: LocalAPIC.Action, by place: Int) -> Bool {
        switch action {
        case .none: break
        case .refused: return false
        case .send(let message): _ = apics.deliver(message, from: place)
        case .endOfInterrupt(let vector): endOfInterrupt(vector, by: place)
        }
        return true
    }

    /// The interrupt acknowledge cycle of a vCPU.
    package mutating func acknowledge(_ place: Int) -> UInt8? {
        apics.touched.append(place)
        if apics.all[place].acceptsExternal {
            if let vector = apics.all[place].externalVector {
                apics.all[place].externalVector = nil
                return vector
            }
            if pic?.output == true { return withPIC { $0.acknowledge() } }
        }
        return apics.all[place].acknowledge()
    }
}

// MARK: Ports and memory

extension ChipsetState {
    private enum Port { case pic, pit, speaker }

    /// The device in which the whole access lies.
    private func device(_ port: UInt16, size: Int) -> Port? {
        let end = Int(port) + size
        switch port {
        case 0x20...0x21 where end <= 0x22, 0xA0...0xA1 where end <= 0xA2, 0x4D0...0x4D1 where end <= 0x4D2:
            return pic != nil ? .pic : nil
        case 0x40...0x43 where end <= 0x44: return pit != nil ? .pit : nil
        case 0x61: return pit?.hasSpeaker == true ? .speaker : nil
        default: return nil
        }
    }

    package mutating func readPort(_ port: UInt16, size: Int, now: UInt64) -> UInt32? {
        switch device(port, size: size) {
        case nil: return nil
        case .pic: return size == 1 ? withPIC { UInt32($0.read(port)) } : 0
        case .pit, .speaker: return UInt32(pit?.read(port, now: now) ?? 0)
        }
    }

    package mutating func writePort(_ port: UInt16, size: Int, value: UInt32, now: UInt64) -> Bool {
        let byte = UInt8(truncatingIfNeeded: value)
        switch device(port, size: size) {
        case nil: return false
        case .pic:
            if size == 1 {
                let wasMasked = pic.map { $0.primary.imr & 1 != 0 }
                withPIC { $0.write(port, byte) }
                if wasMasked == true, pic.map({ $0.primary.imr & 1 == 0 }) == true { unmasked(.primaryPIC, pin: 0) }
            }
        case .pit, .speaker:
            // A tick that is due came before the write.
            advancePIT(to: now)
            pit?.write(port, byte, now: now)
            timersChanged = true
        }
        return true
    }

    package mutating func writeIOAPIC(_ address: UInt64, size: Int, value: UInt64) -> Bool {
        guard ioapic?.contains(address, size: size) == true else { return false }
        if let pin = ioapic?.write(address, size: size, value: value, to: &apics) { unmasked(.ioapic, pin: pin) }
        return true
    }

    /// Ticks that came while GSI 0 was masked are not made up for.
    private mutating func unmasked(_ controller: GSIRouting.Controller, pin: Int) {
        if routing.gsi(of: controller, pin: pin) == 0 { pit?.resetReinjection() }
    }
}
