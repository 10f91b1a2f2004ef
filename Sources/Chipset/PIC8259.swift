// The pair of 8259s of a PC/AT, with the PIIX's edge/level registers. Intel 8259A data sheet; KVM's i8259 for the rest
// (no single mode, no MCS-80 mode, level sensing by ELCR only).

/// Two 8259s, the secondary on the primary's input 2. Inputs are numbered 0–15.
package struct PIC8259: Codable, Sendable {
    package private(set) var primary = PICState()
    package private(set) var secondary = PICState()
    /// Which sources hold each input high.
    private var levels = Bank<16, UInt32>(repeating: 0)
    /// INTR.
    package private(set) var output = false
    /// Inputs acknowledged (their in-service bit cleared) since the owner last took them.
    private var acknowledged: UInt16 = 0

    package init() {
        primary.elcrMask = 0xF8
        secondary.elcrMask = 0xDE
    }

    package subscript(chip: PICState.Chip) -> PICState {
        get { chip == .primary ? primary : secondary }
        set {
            if chip == .primary { primary = newValue } else { secondary = newValue }
            update()
        }
    }

    package mutating func takeAcknowledged() -> UInt16 {
        defer { acknowledged = 0 }
        return acknowledged
    }

    /// Sets one source's level on an input.
    /// - Returns: −1 masked, 0 already requested, 1 taken.
    package mutating func setInput(_ input: Int, level: Bool, source: Chipset.Source) -> Int {
        guard input >= 0, input < 16 else { return -1 }
        let bit: UInt32 = 1 << UInt32(source.rawValue & 31)
        if level { levels[input] |= bit } else { levels[input] &= ~bit }
        let line = levels[input] != 0
        let status = input < 8 ? primary.set(input, line) : secondary.set(input - 8, line)
        update()
        return status
    }

    /// Passes the secondary's request on to the primary as an edge, and sets INTR.
    private mutating func update() {
        if secondary.wanted(cascade: false) != nil {
            _ = primary.set(2, true)
            _ = primary.set(2, false)
        }
        updateOutput()
    }

    /// Sets INTR.
    private mutating func updateOutput() { output = primary.wanted(cascade: true) != nil }

    /// The acknowledge cycle. Without a request it is the spurious interrupt, input 7.
    package mutating func acknowledge() -> UInt8 {
        defer { update() }
        guard let input = primary.wanted(cascade: true) else { return primary.irqBase &+ 7 }
        accept(.primary, input)
        guard input == 2 else { return primary.irqBase &+ UInt8(input) }
        guard let second = secondary.wanted(cascade: false) else { return secondary.irqBase &+ 7 }
        accept(.secondary, second)
        return secondary.irqBase &+ UInt8(second)
    }

    private mutating func accept(_ chip: PICState.Chip, _ input: Int) {
        var state = self[raw: chip]
        state.isr |= 1 << UInt8(input)
        if state.elcr & 1 << UInt8(input) == 0 { state.irr &= ~(1 << UInt8(input)) }
        if state.autoEOI != 0 && state.rotateOnAutoEOI != 0 { state.priorityAdd = UInt8(input + 1) & 7 }
        self[raw: chip] = state
        if state.autoEOI != 0 { complete(chip, input) }
    }

    private mutating func complete(_ chip: PICState.Chip, _ input: Int) {
        self[raw: chip].isr &= ~(1 << UInt8(input))
        acknowledged |= 1 << UInt16(chip == .primary ? input : input + 8)
    }

    private subscript(raw chip: PICState.Chip) -> PICState {
        get { chip == .primary ? primary : secondary }
        set { if chip == .primary { primary = newValue } else { secondary = newValue } }
    }
}

// MARK: Ports

extension PIC8259 {
    /// Port 0x20, 0x21, 0xA0, 0xA1, 0x4D0 or 0x4D1.
    package mutating func write(_ port: UInt16, _ value: UInt8) {
        switch port {
        case 0x20: command(.primary, value)
        case 0xA0: command(.secondary, value)
        case 0x21: data(.primary, value)
        case 0xA1: data(.secondary, value)
        case 0x4D0: primary.elcr = value & primary.elcrMask
        case 0x4D1: secondary.elcr = value & secondary.elcrMask
        default: break
        }
    }

    package mutating func read(_ port: UInt16) -> UInt8 {
        switch port {
        case 0x20, 0x21: read(.primary, command: port == 0x20)
        case 0xA0, 0xA1: read(.secondary, command: port == 0xA0)
        case 0x4D0: primary.elcr
        case 0x4D1: secondary.elcr
        default: 0
        }
    }

    private mutating func command(_ chip: PICState.Chip, _ value: UInt8) {
        if value & 0x10 != 0 {
            initialize(chip, value)
        } else if value & 0x08 != 0 {
            // OCW3
            if value & 0x04 != 0 { self[raw: chip].poll = 1 }
            if value & 0x02 != 0 { self[raw: chip].readRegisterSelect = value & 1 }
            if value & 0x40 != 0 {
                self[raw: chip].specialMask = (value >> 5) & 1
                updateOutput()
            }
        } else {
            operate(chip, value)
        }
    }

    /// ICW1. Edges that waited are forgotten, and count as acknowledged.
    private mutating func initialize(_ chip: PICState.Chip, _ value: UInt8) {
        var state = self[raw: chip]
        state.init4 = value & 1
        let edges = state.irr & ~state.elcr
        state.lastIRR = 0
        state.irr &= state.elcr
        state.imr = 0
        state.priorityAdd = 0
        state.specialMask = 0
        state.readRegisterSelect = 0
        if state.init4 == 0 {
            state.specialFullyNestedMode = 0
            state.autoEOI = 0
        }
        state.initState = 1
        self[raw: chip] = state
        for input in 0..<8 where edges & 1 << UInt8(input) != 0 { complete(chip, input) }
        // What the secondary asks for is no new edge to a primary that has begun anew.
        updateOutput()
    }

    /// OCW2: ends of interrupt and rotations.
    private mutating func operate(_ chip: PICState.Chip, _ value: UInt8) {
        let input = Int(value & 7)
        switch value >> 5 {
        case 0, 4:
            self[raw: chip].rotateOnAutoEOI = value >> 7
            return
        case 1, 5:
            guard let highest = self[raw: chip].highest(self[raw: chip].isr) else { return }
            if value >> 5 == 5 { self[raw: chip].priorityAdd = UInt8(highest + 1) & 7 }
            complete(chip, highest)
        case 3:
            complete(chip, input)
        case 6:
            self[raw: chip].priorityAdd = UInt8(input + 1) & 7
        case 7:
            self[raw: chip].priorityAdd = UInt8(input + 1) & 7
            complete(chip, input)
        default:
            return
        }
        update()
    }

    /// OCW1 (the mask), or ICW2 to ICW4.
    private mutating func data(_ chip: PICState.Chip, _ value: UInt8) {
        switch self[raw: chip].initState {
        case 1:
            self[raw: chip].irqBase = value & 0xF8
            self[raw: chip].initState = 2
        case 2:
            self[raw: chip].initState = self[raw: chip].init4 != 0 ? 3 : 0
        case 3:
            self[raw: chip].specialFullyNestedMode = (value >> 4) & 1
            self[raw: chip].autoEOI = (value >> 1) & 1
            self[raw: chip].initState = 0
        default:
            self[raw: chip].imr = value
            update()
        }
    }

    private mutating func read(_ chip: PICState.Chip, command: Bool) -> UInt8 {
        if self[raw: chip].poll != 0 {
            self[raw: chip].poll = 0
            return poll(chip)
        }
        let state = self[raw: chip]
        return command ? (state.readRegisterSelect != 0 ? state.isr : state.irr) : state.imr
    }

    /// The poll command's read: an acknowledge and a non-specific end in one.
    private mutating func poll(_ chip: PICState.Chip) -> UInt8 {
        guard let input = self[raw: chip].wanted(cascade: chip == .primary) else {
            update()
            return 7
        }
        if chip == .secondary {
            primary.isr &= ~4
            primary.irr &= ~4
        }
        self[raw: chip].irr &= ~(1 << UInt8(input))
        complete(chip, input)
        if chip == .secondary || input != 2 {
            update()
        } else {
            // The secondary goes on asking, which is no new edge.
            updateOutput()
        }
        return UInt8(input) | 0x80
    }
}

// MARK: One chip

extension PICState {
    /// Sets an input's level. −1 masked, 0 already requested, 1 taken.
    fileprivate mutating func set(_ input: Int, _ level: Bool) -> Int {
        let bit: UInt8 = 1 << UInt8(input & 7)
        var status = 1
        if level {
            if elcr & bit != 0 || lastIRR & bit == 0 {
                status = irr & bit == 0 ? 1 : 0
                irr |= bit
            }
            lastIRR |= bit
        } else {
            if elcr & bit != 0 { irr &= ~bit }
            lastIRR &= ~bit
        }
        return imr & bit != 0 ? -1 : status
    }

    /// How far below the highest priority the highest of `inputs` is; 8 if there is none.
    private func rank(_ inputs: UInt8) -> Int {
        let turn = priorityAdd & 7
        let rotated = inputs >> turn | inputs << ((8 - turn) & 7)
        return inputs == 0 ? 8 : rotated.trailingZeroBitCount
    }

    /// The input of highest priority among `inputs`.
    fileprivate func highest(_ inputs: UInt8) -> Int? {
        let rank = rank(inputs)
        return rank == 8 ? nil : (rank + Int(priorityAdd & 7)) & 7
    }

    /// The input that the chip asks service for: requested, not masked, above what is in service.
    /// - Parameter cascade: the chip has another on input 2, which the special fully nested mode lets interrupt itself.
    fileprivate func wanted(cascade: Bool) -> Int? {
        let requests = irr & ~imr
        var service = isr
        if specialMask != 0 { service &= ~imr }
        if specialFullyNestedMode != 0 && cascade { service &= ~4 }
        return rank(requests) < rank(service) ? highest(requests) : nil
    }
}
