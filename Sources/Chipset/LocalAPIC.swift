// The local APIC of one vCPU: xAPIC and x2APIC. Intel SDM vol. 3, ch. 11; the finer points (what is ignored, what is
// refused, reset values) as Linux's KVM has them. The timer is in LocalAPIC+Timer.swift.

/// A local APIC's state. Registers in, at most one ``Action`` out; the owner carries it out.
package struct LocalAPIC: Codable, Sendable {
    /// A register's number: its offset in the page, or its MSR's distance from 0x800, in 16-byte steps.
    package enum Register: Int, Sendable {
        case id = 0x02
        case version = 0x03
        case taskPriority = 0x08
        case arbitrationPriority = 0x09
        case processorPriority = 0x0A
        case endOfInterrupt = 0x0B
        case logicalDestination = 0x0D
        case destinationFormat = 0x0E
        case spuriousVector = 0x0F
        case inService = 0x10
        case triggerMode = 0x18
        case request = 0x20
        case errorStatus = 0x28
        case command = 0x30
        case commandHigh = 0x31
        case lvtTimer = 0x32
        case lvtThermal = 0x33
        case lvtPerformance = 0x34
        case lvtLINT0 = 0x35
        case lvtLINT1 = 0x36
        case lvtError = 0x37
        case initialCount = 0x38
        case currentCount = 0x39
        case divideConfiguration = 0x3E
        case selfIPI = 0x3F
    }

    /// What follows from a register write.
    package enum Action: Equatable, Sendable {
        case none
        /// #GP in x2APIC mode; ignored in xAPIC mode.
        case refused
        case send(InterruptMessage)
        case endOfInterrupt(vector: UInt8)
    }

    package static let masked: UInt32 = 1 << 16
    static let enable: UInt64 = 1 << 11
    static let extended: UInt64 = 1 << 10
    static let defaultBase: UInt64 = 0xFEE0_0000
    static let directedEOI: UInt32 = 1 << 24
    static let suppressBroadcast: UInt32 = 1 << 12

    /// The vCPU's id, which is the x2APIC id, and the xAPIC id until the guest changes it.
    package let id: UInt32
    package let isBootProcessor: Bool
    package var features = ProcessorFeatures(x2APIC: true, tscDeadline: true, physicalAddressBits: 52)
    /// Whether EOI broadcasts can be suppressed: not with the I/O APIC here, which has no EOI register.
    package let hasDirectedEOI: Bool
    var reenablesLINT0 = true

    /// IA32_APIC_BASE.
    package private(set) var base: UInt64 = 0
    package var registers = Bank<64, UInt32>(repeating: 0)
    package var timer = Timer()
    package var events = VirtualCPUEvents()
    /// Split mode: the vector of a user-space 8259.
    package var externalVector: UInt8?
    /// The guest keeps its task priority in memory, where the owner looks for it (KVM_SET_VAPIC_ADDR).
    package var mirrorsTaskPriority = false
    /// When the owner is to look there next, in nanoseconds.
    package var mirrorDeadline: UInt64?

    package init(id: UInt32, isBootProcessor: Bool, hasDirectedEOI: Bool, reenablesLINT0: Bool) {
        self.id = id
        self.isBootProcessor = isBootProcessor
        self.hasDirectedEOI = hasDirectedEOI
        self.reenablesLINT0 = reenablesLINT0
        reset(initialize: false)
    }

    package subscript(register: Register) -> UInt32 {
        get { registers[register.rawValue] }
        set { registers[register.rawValue] = newValue }
    }
}

// MARK: Modes and reset

extension LocalAPIC {
    package var isHardwareEnabled: Bool { base & Self.enable != 0 }
    package var isSoftwareEnabled: Bool { self[.spuriousVector] & (1 << 8) != 0 }
    package var isX2APIC: Bool { base & (Self.enable | Self.extended) == Self.enable | Self.extended }
    package var pageAddress: UInt64 { base & ~0xFFF }
    package var suppressesBroadcast: Bool { self[.spuriousVector] & Self.suppressBroadcast != 0 }

    /// The logical id that x2APIC mode derives from the id. Intel SDM vol. 3, 11.12.10.2.
    package var x2APICLogicalID: UInt32 { (id >> 4) << 16 | 1 << (id & 15) }

    private static func isValidMode(_ base: UInt64) -> Bool { base & (enable | extended) != extended }

    /// Writes IA32_APIC_BASE. The guest may not go from x2APIC to xAPIC, nor from disabled to x2APIC. 11.12.5.
    package mutating func setBase(_ value: UInt64, fromHost: Bool) -> Bool {
        var reserved: UInt64 = 0x2FF
        if features.physicalAddressBits < 64 { reserved |= ~0 << UInt64(features.physicalAddressBits) }
        if !features.x2APIC { reserved |= Self.extended }
        guard value & reserved == 0, Self.isValidMode(value) else { return false }
        if !fromHost {
            let old = base & (Self.enable | Self.extended), new = value & (Self.enable | Self.extended)
            if old == Self.enable | Self.extended, new == Self.enable { return false }
            if old == 0, new == Self.enable | Self.extended { return false }
        }
        changeBase(value)
        return true
    }

    private mutating func changeBase(_ value: UInt64) {
        let changed = base ^ value
        base = value
        if changed & value & Self.enable != 0 { self[.id] = id << 24 }
        if changed & Self.extended != 0 {
            if isX2APIC {
                self[.id] = id
                self[.logicalDestination] = x2APICLogicalID
            } else if isHardwareEnabled {
                self[.id] = id << 24
            }
        }
    }

    /// Power-up reset, or INIT, which leaves base and ids. 11.4.7.1 and 11.4.7.3.
    package mutating func reset(initialize: Bool) {
        if !initialize {
            changeBase(Self.defaultBase | Self.enable | (isBootProcessor ? 1 << 8 : 0))
            self[.id] = id << 24
            events = VirtualCPUEvents()
            externalVector = nil
        }
        mirrorsTaskPriority = false
        mirrorDeadline = nil
        timer = Timer(kilohertz: timer.kilohertz)
        for index in Register.lvtTimer.rawValue...Register.lvtError.rawValue { registers[index] = Self.masked }
        if isBootProcessor && reenablesLINT0 { self[.lvtLINT0] = 0x700 }
        self[.destinationFormat] = ~0
        self[.spuriousVector] = 0xFF
        if !isX2APIC { self[.logicalDestination] = 0 }
        for register: Register in [
            .taskPriority, .errorStatus, .command, .commandHigh, .divideConfiguration, .initialCount, .currentCount,
        ] {
            self[register] = 0
        }
        for index in Register.inService.rawValue..<Register.errorStatus.rawValue { registers[index] = 0 }
        updateVersion()
        updateDivisor()
        updatePriority()
    }

    /// Version 0x14 with six LVT entries.
    package mutating func updateVersion() {
        self[.version] = 0x5_0014 | (hasDirectedEOI && features.x2APIC ? Self.directedEOI : 0)
    }
}

// MARK: Vectors and priorities

extension LocalAPIC {
    func contains(_ bank: Register, _ vector: UInt8) -> Bool {
        registers[bank.rawValue + Int(vector >> 5)] & (1 << UInt32(vector & 31)) != 0
    }

    mutating func set(_ bank: Register, _ vector: UInt8, _ value: Bool = true) {
        let bit: UInt32 = 1 << UInt32(vector & 31), index = bank.rawValue + Int(vector >> 5)
        if value { registers[index] |= bit } else { registers[index] &= ~bit }
    }

    func highest(_ bank: Register) -> UInt8? {
        var word = 7
        while word >= 0 {
            let bits = registers[bank.rawValue + word]
            if bits != 0 { return UInt8(truncatingIfNeeded: word << 5 + 31 - bits.leadingZeroBitCount) }
            word -= 1
        }
        return nil
    }

    /// Whether the vector waits for delivery or for its EOI.
    package func isPending(_ vector: UInt8) -> Bool { contains(.request, vector) || contains(.inService, vector) }

    /// The processor priority: the task priority, or the class of what is in service if that is higher. 11.8.3.1.
    mutating func updatePriority() {
        let task = self[.taskPriority] & 0xFF
        let service = UInt32(highest(.inService) ?? 0) & 0xF0
        self[.processorPriority] = task & 0xF0 >= service ? task : service
    }

    package var cr8: UInt64 {
        get { UInt64(self[.taskPriority] & 0xF0) >> 4 }
        set {
            self[.taskPriority] = UInt32(truncatingIfNeeded: newValue & 0xF) << 4
            updatePriority()
        }
    }

    /// The vector that the processor would take now. It may be there though the APIC has been software-disabled since.
    package var deliverable: UInt8? {
        guard isHardwareEnabled, let vector = highest(.request),
            UInt32(vector & 0xF0) > self[.processorPriority]
        else { return nil }
        return vector
    }

    /// Whether the 8259's INTR reaches the processor: virtual wire mode through LINT0, or no APIC in between.
    package var acceptsExternal: Bool {
        let lint0 = self[.lvtLINT0]
        return !isHardwareEnabled || (lint0 & Self.masked == 0 && lint0 & 0x700 == 0x700)
    }

    /// Moves the deliverable vector from requested to in service.
    package mutating func acknowledge() -> UInt8? {
        guard let vector = deliverable else { return nil }
        set(.request, vector, false)
        set(.inService, vector)
        updatePriority()
        return vector
    }

    /// What the run loop has to look at.
    package func pending(external: Bool) -> PendingEvents {
        var pending = PendingEvents()
        if (external || externalVector != nil) && acceptsExternal || deliverable != nil { pending.insert(.interrupt) }
        if events.nmis != 0 { pending.insert(.nmi) }
        if events.initialize { pending.insert(.initialize) }
        if events.startUp != nil { pending.insert(.startUp) }
        if events.systemManagement { pending.insert(.systemManagement) }
        if events.unhalt { pending.insert(.unhalt) }
        if events.ioapicEOI != nil { pending.insert(.ioapicEOI) }
        if events.taskPriority { pending.insert(.taskPriority) }
        return pending
    }
}

// MARK: Messages

extension LocalAPIC {
    /// Takes a message that is for this APIC. 11.6 and 11.8.
    /// - Returns: whether it counts as delivered.
    package mutating func accept(_ message: InterruptMessage) -> Bool {
        switch message.deliveryMode {
        case .fixed, .lowestPriority:
            if message.isLevelTriggered && !message.asserts { return false }
            guard isHardwareEnabled, isSoftwareEnabled else { return false }
            set(.triggerMode, message.vector, message.isLevelTriggered)
            set(.request, message.vector)
            if mirrorsTaskPriority { events.taskPriority = true }
        case .systemManagement:
            events.systemManagement = true
        case .remoteRead:
            // No processor has it; KVM's guests use it as a kick out of HLT.
            events.unhalt = true
        case .nmi:
            events.nmis = min(2, events.nmis &+ 1)
        case .initialize:
            // The de-assert form is for the arbitration ids of old, and does nothing.
            if message.isLevelTriggered && !message.asserts { return false }
            events.initialize = true
            events.startUp = nil
        case .startUp:
            events.startUp = message.vector
        case .external:
            return false
        }
        return true
    }

    /// Delivers what a local source asks for through its LVT entry.
    @discardableResult
    package mutating func deliverLocal(_ entry: Register) -> Bool {
        let lvt = self[entry]
        guard isHardwareEnabled, lvt & Self.masked == 0 else { return false }
        var message = InterruptMessage(vector: UInt8(truncatingIfNeeded: lvt), destination: 0)
        message.deliveryMode = .init(rawValue: UInt8(truncatingIfNeeded: lvt >> 8) & 7) ?? .fixed
        message.isLevelTriggered = lvt & (1 << 15) != 0
        return accept(message)
    }

    /// Whether a destination means this APIC. 11.6.2.
    /// - Parameter isIPI: it comes from a processor. Otherwise 0xFF is a broadcast for x2APICs too, unless that quirk is off.
    package func matches(_ destination: UInt32, logical: Bool, isIPI: Bool, broadcastQuirk: Bool) -> Bool {
        var address = destination
        if isX2APIC && broadcastQuirk && !isIPI && address == 0xFF { address = ~0 }
        if address == (isX2APIC ? ~0 : 0xFF) { return true }
        guard logical else {
            // An id that xAPIC mode can't express is reachable all the same.
            if isX2APIC || address > 0xFF { return address == id }
            return address == self[.id] >> 24
        }
        let own = self[.logicalDestination]
        if isX2APIC { return own >> 16 == address >> 16 && own & address & 0xFFFF != 0 }
        switch self[.destinationFormat] {
        case 0xFFFF_FFFF: return (own >> 24) & address != 0
        case 0x0FFF_FFFF: return own >> 28 == address >> 4 && (own >> 24) & address & 0xF != 0
        default: return false
        }
    }
}
