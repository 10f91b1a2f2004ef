// Register reads and writes of the local APIC: the page of xAPIC mode, the MSRs of x2APIC mode, and the page image that
// KVM_GET_LAPIC and KVM_SET_LAPIC carry. Intel SDM vol. 3, 11.4.1 and 11.12.1.

extension LocalAPIC {
    /// Bit n: register n can be read in both modes.
    private static let readable: UInt64 =
        1 << 0x02 | 1 << 0x03 | 1 << 0x08 | 1 << 0x0A | 1 << 0x0D | 1 << 0x0F | 0x1FF_FFFF << 0x10
        | 1 << 0x30 | 0xFF << 0x32 | 1 << 0x3E
    /// Those that only xAPIC mode has: arbitration priority, destination format, upper half of the command.
    private static let readableInPage: UInt64 = 1 << 0x09 | 1 << 0x0E | 1 << 0x31

    /// The registers by which the timer is set, stopped or silenced.
    package static func concernsTimer(_ index: Int) -> Bool {
        switch Register(rawValue: index) {
        case .initialCount, .divideConfiguration, .lvtTimer, .spuriousVector: true
        default: false
        }
    }

    /// Whether an access to the register asks for the time.
    package static func usesTime(_ index: Int) -> Bool {
        concernsTimer(index) || index == Register.currentCount.rawValue
    }

    private func value(_ index: Int, now: UInt64) -> UInt32? {
        let mask = isX2APIC ? Self.readable : Self.readable | Self.readableInPage
        guard index >= 0, index < 64, mask & (1 << UInt64(index)) != 0 else { return nil }
        switch Register(rawValue: index) {
        case .arbitrationPriority: return 0
        case .currentCount: return currentCount(now: now)
        default: return registers[index]
        }
    }

    /// Reads 1, 2, 4 or 8 bytes of the page; what can't be read gives 0.
    package func readPage(_ offset: UInt32, size: Int, now: UInt64) -> UInt64 {
        let within = offset & 0xF
        guard offset < 0x1000, size == 1 || size == 2 || size == 4, Int(within) + size <= 4,
            let register = value(Int(offset >> 4), now: now)
        else { return 0 }
        return UInt64(register >> (within * 8)) & (1 << UInt64(size * 8) - 1)
    }

    /// Writes the page. Only aligned 32-bit writes count. 11.4.1.
    package mutating func writePage(_ offset: UInt32, size: Int, value: UInt64, now: UInt64) -> Action {
        guard size == 4, offset & 0xF == 0, offset < 0x400 else { return .none }
        return write(Int(offset >> 4), UInt32(truncatingIfNeeded: value), now: now)
    }

    /// Reads an x2APIC MSR. nil is #GP.
    package func readMSR(_ msr: UInt32, now: UInt64) -> UInt64? {
        guard isX2APIC, msr >= 0x800, msr < 0x840 else { return nil }
        let index = Int(msr - 0x800)
        if index == Register.command.rawValue { return UInt64(self[.command]) | UInt64(self[.commandHigh]) << 32 }
        return value(index, now: now).map(UInt64.init)
    }

    /// Writes an x2APIC MSR.
    package mutating func writeMSR(_ msr: UInt32, value: UInt64, now: UInt64) -> Action {
        guard isX2APIC, msr >= 0x800, msr < 0x840 else { return .refused }
        let index = Int(msr - 0x800), low = UInt32(truncatingIfNeeded: value)
        if index == Register.command.rawValue {
            // Bits 31:20, 17:16 and 13 are reserved. 11.12.9.
            guard low & 0xFFF3_2000 == 0 else { return .refused }
            self[.command] = low & ~(1 << 12)
            self[.commandHigh] = UInt32(truncatingIfNeeded: value >> 32)
            return .send(InterruptMessage(icr: low, destination: self[.commandHigh]))
        }
        guard value >> 32 == 0, low & reservedBits(index) == 0 else { return .refused }
        return write(index, low, now: now)
    }

    /// Bits that WRMSR may not set; those that are read-only are no such bits. 11.12.1.2.
    private func reservedBits(_ index: Int) -> UInt32 {
        switch Register(rawValue: index) {
        case .taskPriority: ~0xFF
        case .endOfInterrupt: ~0
        case .spuriousVector: ~spuriousMask
        case .lvtTimer: ~(0x1_10FF | timerModeMask)
        case .lvtThermal, .lvtPerformance: ~0x1_17FF
        case .lvtLINT0, .lvtLINT1: ~0x1_F7FF
        case .lvtError: ~0x1_10FF
        case .divideConfiguration: ~0xB
        default: 0
        }
    }

    private var spuriousMask: UInt32 { 0x3FF | (self[.version] & Self.directedEOI != 0 ? Self.suppressBroadcast : 0) }

    private mutating func write(_ index: Int, _ value: UInt32, now: UInt64) -> Action {
        guard let register = Register(rawValue: index) else { return .refused }
        // What is due happened before the write, whenever the owner comes to it.
        if Self.concernsTimer(index) { _ = advanceTimer(now: now) }
        switch register {
        case .id:
            if isX2APIC { return .refused }
            self[.id] = value & 0xFF00_0000
        case .taskPriority:
            self[.taskPriority] = value & 0xFF
            updatePriority()
        case .endOfInterrupt:
            return endOfInterrupt()
        case .logicalDestination:
            if isX2APIC { return .refused }
            self[.logicalDestination] = value & 0xFF00_0000
        case .destinationFormat:
            if isX2APIC { return .refused }
            self[.destinationFormat] = value | 0x0FFF_FFFF
        case .spuriousVector:
            self[.spuriousVector] = value & spuriousMask
            if !isSoftwareEnabled {
                for entry in Register.lvtTimer.rawValue...Register.lvtError.rawValue { registers[entry] |= Self.masked }
                updateTimerMode()
            }
        case .command:
            // In x2APIC mode the command is a 64-bit MSR of its own.
            self[.command] = value & ~(1 << 12)
            return .send(InterruptMessage(icr: value, destination: self[.commandHigh] >> 24))
        case .commandHigh:
            if isX2APIC { return .refused }
            self[.commandHigh] = value & 0xFF00_0000
        case .lvtTimer:
            self[.lvtTimer] = lvt(value, mask: 0x1_00FF | timerModeMask)
            updateTimerMode()
        case .lvtThermal, .lvtPerformance:
            self[register] = lvt(value, mask: 0x1_07FF)
        case .lvtLINT0, .lvtLINT1:
            self[register] = lvt(value, mask: 0x1_A7FF)
        case .lvtError:
            self[register] = lvt(value, mask: 0x1_00FF)
        case .initialCount:
            setInitialCount(value, now: now)
        case .divideConfiguration:
            setDivideConfiguration(value, now: now)
        case .errorStatus:
            // No error is ever detected, so what the write would latch is zero.
            if isX2APIC && value != 0 { return .refused }
        case .selfIPI:
            guard isX2APIC, value & ~0xFF == 0 else { return .refused }
            var message = InterruptMessage(vector: UInt8(truncatingIfNeeded: value), destination: 0)
            message.shorthand = .itself
            return .send(message)
        case .version, .arbitrationPriority, .processorPriority, .inService, .triggerMode, .request, .currentCount:
            return .refused
        }
        return .none
    }

    /// A software-disabled APIC keeps its entries masked. 11.4.7.2. Delivery status and remote IRR are read-only. 11.5.1.
    private func lvt(_ value: UInt32, mask: UInt32) -> UInt32 {
        (isSoftwareEnabled ? value : value | Self.masked) & mask
    }

    private mutating func endOfInterrupt() -> Action {
        guard let vector = highest(.inService) else { return .none }
        set(.inService, vector, false)
        updatePriority()
        return .endOfInterrupt(vector: vector)
    }
}

// MARK: The page as a whole

extension LocalAPIC {
    /// KVM_GET_LAPIC: 1024 bytes. `wideIDs`: in x2APIC mode the id register holds all 32 bits. A count that is not yet
    /// over is not shown as 0, which would stop the timer that is made from it.
    package func page(now: UInt64, wideIDs: Bool) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 1024)
        func put(_ value: UInt32, at offset: Int) {
            for byte in 0..<4 { bytes[offset + byte] = UInt8(truncatingIfNeeded: value >> UInt32(byte * 8)) }
        }
        for index in 0..<64 { put(registers[index], at: index * 16) }
        let isCounting = timer.mode != .tscDeadline && timer.expiry.map { $0 > now } == true
        put(max(currentCount(now: now), isCounting ? 1 : 0), at: Register.currentCount.rawValue * 16)
        if isX2APIC {
            if !wideIDs { put(id << 24, at: Register.id.rawValue * 16) }
            put(self[.commandHigh], at: Register.command.rawValue * 16 + 4)
        }
        return bytes
    }

    /// KVM_SET_LAPIC. The timer goes on from the current count. false: not a page, or an x2APIC id that is another's.
    package mutating func setPage(_ bytes: [UInt8], now: UInt64, tsc: UInt64, wideIDs: Bool) -> Bool {
        guard bytes.count == 1024 else { return false }
        func word(_ index: Int) -> UInt32 {
            (0..<4).reduce(0) { $0 | UInt32(bytes[index * 16 + $1]) << UInt32($1 * 8) }
        }
        if isX2APIC && wideIDs && word(Register.id.rawValue) != id { return false }
        for index in 0..<64 { registers[index] = word(index) }
        if isX2APIC {
            self[.id] = id
            self[.logicalDestination] = x2APICLogicalID
        }
        updateVersion()
        updatePriority()
        restoreTimer(now: now, tsc: tsc)
        return true
    }
}
