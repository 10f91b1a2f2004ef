// What devices and the bus ask of the chipset: interrupt lines, messages, routing, ports, the I/O APIC's registers.

extension Chipset {
    /// Sets one source's level on a GSI.
    /// - Parameter wantsStatus: KVM_IRQ_LINE_STATUS rather than KVM_IRQ_LINE: an RTC tick (I/O APIC pin 8) that the guest
    ///   has not acknowledged coalesces the next one.
    /// - Returns: as KVM_IRQ_LINE_STATUS: −1 ignored or masked, 0 coalesced with one that is pending, otherwise to how
    ///   many destinations it went.
    @discardableResult
    public func setLine(_ gsi: UInt32, level: Bool, source: Source = .userspace, wantsStatus: Bool = false) -> Int {
        change { $0.state.setLine(gsi, level: level, source: source, wantsStatus: wantsStatus) }
    }

    /// KVM_SIGNAL_MSI: `address` is address_hi and address_lo together.
    /// - Returns: to how many vCPUs it went; −1 (EPERM) a broadcast that nobody hears, or logical ids that clash;
    ///   −22 (EINVAL) a malformed address.
    @discardableResult
    public func deliverMSI(address: UInt64, data: UInt32) -> Int {
        change { $0.state.deliverMSI(address: address, data: data) }
    }

    /// Raises an irqfd: a pulse on a GSI's pins, or its message. From ``Source/resampler`` the line stays high until the
    /// guest's end of interrupt.
    public func pulse(_ gsi: UInt32, source: Source = .userspace) {
        change {
            _ = $0.state.setLine(gsi, level: true, source: source, wantsStatus: false)
            if source != .resampler { _ = $0.state.setLine(gsi, level: false, source: source, wantsStatus: false) }
        }
    }

    /// Replaces the routing table (KVM_SET_GSI_ROUTING). At first it is KVM's default in full mode, empty in split mode.
    /// - Throws: ``GSIRouting/Refusal`` (all are EINVAL); the old table then stays.
    public func setRouting(_ entries: [GSIRouting.Entry]) throws(GSIRouting.Refusal) {
        let wideIDs = look { $0.state.apics.wideIDs }
        let routing = try GSIRouting(entries, hasControllers: mode == .full, wideIDs: wideIDs)
        look { $0.state.routing = routing }
    }

    /// The routing table as it was set.
    public var routing: [GSIRouting.Entry] { look { $0.state.routing.entries } }

    /// Whether `endOfInterrupt` is called for a GSI.
    public func watchEndOfInterrupt(_ gsi: UInt32, _ enabled: Bool) {
        look {
            if enabled { $0.state.watched.insert(gsi) } else { $0.state.watched.remove(gsi) }
        }
    }
}

// MARK: Ports and memory-mapped registers

extension Chipset {
    /// Whether a port may be the chipset's: a quick test, without the lock, before the others.
    public static func mayOwn(port: UInt16) -> Bool {
        switch port {
        case 0x20...0x21, 0x40...0x43, 0x61, 0xA0...0xA1, 0x4D0...0x4D1: true
        default: false
        }
    }

    /// IN of 1, 2 or 4 bytes. nil: not a port of the chipset (nor wholly inside one device), the access goes to user space.
    public func readPort(_ port: UInt16, size: Int) -> UInt32? {
        guard Self.mayOwn(port: port), size == 1 || size == 2 || size == 4 else { return nil }
        let now = clock()
        return change { $0.state.readPort(port, size: size, now: now) }
    }

    /// OUT of 1, 2 or 4 bytes. false: the access goes to user space.
    public func writePort(_ port: UInt16, size: Int, value: UInt32) -> Bool {
        guard Self.mayOwn(port: port), size == 1 || size == 2 || size == 4 else { return false }
        let now = clock()
        return change { $0.state.writePort(port, size: size, value: value, now: now) }
    }

    /// Reads the I/O APIC. nil: the address is not inside it.
    public func readMMIO(_ address: UInt64, size: Int) -> UInt64? {
        look {
            guard $0.state.ioapic?.contains(address, size: size) == true else { return nil }
            return $0.state.ioapic?.read(address, size: size)
        }
    }

    /// Writes the I/O APIC. false: the address is not inside it.
    public func writeMMIO(_ address: UInt64, size: Int, value: UInt64) -> Bool {
        change { $0.state.writeIOAPIC(address, size: size, value: value) }
    }
}
