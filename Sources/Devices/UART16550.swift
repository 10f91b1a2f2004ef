// The PC16550D universal asynchronous receiver/transmitter (National Semiconductor data sheet, June 1995), the
// PC's serial port.
//
// Contract: eight byte-wide registers. The line is infinitely fast: a character written is sent at once, so THRE
// and TEMT are always set once the write has returned. Characters arrive by `receive`, which takes no more than
// the FIFO has room for; the caller holds back the rest until
// `roomAvailable` says that there is room again and the guest listens. A burst
// that ends below the trigger level counts as timed out at once, which is the character time-out interrupt.
// OUT2 gates the interrupt line, as the PC wires it.

internal import Synchronization

/// A 16550A serial port.
public final class UART16550: RegisterDevice {
    /// A received character with the errors that came with it, as LSR bits.
    public struct Character: Codable, Sendable, Equatable {
        public var byte: UInt8
        public var errors: UInt8
    }

    /// The registers by the data sheet's names, and the receive FIFO.
    public struct State: Codable, Sendable, Equatable {
        public var ier: UInt8 = 0
        public var fcr: UInt8 = 0
        public var lcr: UInt8 = 0
        public var mcr: UInt8 = 0
        public var scr: UInt8 = 0
        public var dll: UInt8 = 0x0c
        public var dlm: UInt8 = 0
        /// Overrun, which belongs to the receiver and not to a character.
        public var overrun = false
        /// The errors of the character at the FIFO's top, until LSR is read.
        public var lineErrors: UInt8 = 0
        /// Delta bits of MSR.
        public var modemDeltas: UInt8 = 0
        /// The transmitter-empty interrupt, until IIR is read or THR written.
        public var transmitterEmpty = false
        /// Received and not yet read, the oldest first.
        public var received: [Character] = []

        public init() {}
    }

    /// Bits of the line status register.
    enum LSR {
        static let dataReady: UInt8 = 0x01
        static let overrun: UInt8 = 0x02
        static let breakInterrupt: UInt8 = 0x10
        static let transmitterEmpty: UInt8 = 0x60
        static let fifoError: UInt8 = 0x80
    }

    /// Bits of the modem control register.
    enum MCR {
        static let dtr: UInt8 = 0x01
        static let rts: UInt8 = 0x02
        static let out1: UInt8 = 0x04
        static let out2: UInt8 = 0x08
        static let loop: UInt8 = 0x10
    }

    /// The modem's lines as a null modem holds them: DCD, DSR and CTS on, RI off.
    static let pluggedIn: UInt8 = 0xb0

    struct Core: Sendable {
        var state = State()
        var line: LineDriver
        /// Reads of LSR since the last character was sent.
        var statusPolls = 0
    }

    /// So many reads of LSR without a character sent in between are a guest that polls for input.
    static let pollsOfAListener = 64

    private let core: Mutex<Core>
    private let transmit: @Sendable (UInt8) -> Void
    private let roomAvailable: @Sendable () -> Void

    /// - Parameters:
    ///   - interrupt: the port's interrupt line (IRQ 4 for COM1).
    ///   - transmit: takes each character sent; called without the port's lock.
    ///   - roomAvailable: called when the guest has made room for `receive` again, or begins to listen.
    public init(
        interrupt: @escaping InterruptLine,
        transmit: @escaping @Sendable (UInt8) -> Void,
        roomAvailable: @escaping @Sendable () -> Void = {}
    ) {
        core = Mutex(Core(line: LineDriver(interrupt)))
        self.transmit = transmit
        self.roomAvailable = roomAvailable
    }

    /// The port's whole state, to save it and put it back.
    public var state: State {
        get { core.withLock { $0.state } }
        set {
            core.withLock {
                $0.state = newValue
                $0.settle()
            }
        }
    }

    // MARK: The outside of the port

    /// How many characters `receive` would take now; none while the port is in loopback.
    public var receiveRoom: Int { core.withLock { $0.room } }

    /// Whether the guest waits for characters: by interrupt, or by polling LSR. What arrives earlier is likely to be lost
    /// when a driver clears the FIFO.
    public var isListening: Bool { core.withLock { $0.listens } }

    /// Characters that arrive on the line. Returns how many were taken, from the start.
    public func receive(_ bytes: some Collection<UInt8>) -> Int {
        core.withLock {
            let taken = bytes.prefix($0.room)
            for byte in taken { $0.arrive(Character(byte: byte & $0.wordMask, errors: 0)) }
            $0.settle()
            return taken.count
        }
    }

    /// A break condition on the line (Linux takes it for the magic SysRq key).
    public func receiveBreak() {
        core.withLock {
            guard $0.room > 0 else { return }
            $0.arrive(Character(byte: 0, errors: LSR.breakInterrupt))
            $0.settle()
        }
    }

    // MARK: The guest's side

    public func read(offset: UInt64, width: Int) -> UInt64 {
        let (value, madeRoom) = core.withLock { core -> (UInt8, Bool) in
            let before = core.takesInput
            let value = core.read(offset)
            core.settle()
            return (value, !before && core.takesInput)
        }
        if madeRoom { roomAvailable() }
        return UInt64(value)
    }

    public func write(offset: UInt64, width: Int, value: UInt64) {
        let byte = UInt8(truncatingIfNeeded: value)
        let (sent, madeRoom) = core.withLock { core -> (UInt8?, Bool) in
            let before = core.takesInput
            let sent = core.write(offset, byte)
            core.settle()
            return (sent, !before && core.takesInput)
        }
        if let sent { transmit(sent) }
        if madeRoom { roomAvailable() }
    }
}

extension UART16550.Core {
    typealias LSR = UART16550.LSR
    typealias MCR = UART16550.MCR

    var fifosEnabled: Bool { state.fcr & 1 != 0 }
    var capacity: Int { fifosEnabled ? 16 : 1 }
    var loop: Bool { state.mcr & MCR.loop != 0 }
    var listens: Bool { state.ier & 0x01 != 0 || statusPolls >= UART16550.pollsOfAListener }
    var takesInput: Bool { listens && room > 0 }
    var room: Int { loop ? 0 : max(0, capacity - state.received.count) }
    var divisorAccess: Bool { state.lcr & 0x80 != 0 }
    /// LCR bits 1–0: five to eight data bits.
    var wordMask: UInt8 { 0xff >> (3 - (state.lcr & 3)) }

    /// FCR bits 7–6: characters until "received data available".
    var trigger: Int { fifosEnabled ? [1, 4, 8, 14][Int(state.fcr >> 6)] : 1 }

    mutating func read(_ offset: UInt64) -> UInt8 {
        switch offset & 7 {
        case 0 where divisorAccess: return state.dll
        case 0: return readReceiver()
        case 1: return divisorAccess ? state.dlm : state.ier
        case 2:
            let identification = interruptIdentification
            if identification == 0x02 { state.transmitterEmpty = false }
            return identification | (fifosEnabled ? 0xc0 : 0)
        case 3: return state.lcr
        case 4: return state.mcr
        case 5:
            let status = lineStatus
            statusPolls = min(statusPolls + 1, UART16550.pollsOfAListener)
            state.lineErrors = 0
            state.overrun = false
            return status
        case 6:
            let status = modemLines | state.modemDeltas
            state.modemDeltas = 0
            return status
        default: return state.scr
        }
    }

    /// Returns the character that goes out on the line, if any does.
    mutating func write(_ offset: UInt64, _ value: UInt8) -> UInt8? {
        switch offset & 7 {
        case 0 where divisorAccess: state.dll = value
        case 0: return send(value & wordMask)
        case 1 where divisorAccess: state.dlm = value
        case 1:
            let wasEnabled = state.ier & 0x02 != 0
            state.ier = value & 0x0f
            // Enabling the interrupt while the transmitter is empty raises it at once.
            if !wasEnabled && value & 0x02 != 0 { state.transmitterEmpty = true }
        case 2: writeFIFOControl(value)
        case 3:
            let breakBegins = state.lcr & 0x40 == 0 && value & 0x40 != 0
            state.lcr = value
            if breakBegins && loop { arrive(.init(byte: 0, errors: LSR.breakInterrupt)) }
        case 4:
            let before = modemLines
            state.mcr = value & 0x1f
            noteModemChange(from: before)
        case 7: state.scr = value
        default: break  // LSR and MSR are read-only outside the factory.
        }
        return nil
    }

    mutating func readReceiver() -> UInt8 {
        guard !state.received.isEmpty else { return 0 }
        let character = state.received.removeFirst()
        if let top = state.received.first { state.lineErrors |= top.errors }
        return character.byte
    }

    mutating func send(_ byte: UInt8) -> UInt8? {
        state.transmitterEmpty = true
        statusPolls = 0
        guard loop else { return byte }
        arrive(.init(byte: byte, errors: 0))
        return nil
    }

    mutating func arrive(_ character: UART16550.Character) {
        if state.received.count >= capacity {
            state.overrun = true
            // The FIFO keeps what it has; without it the new character replaces the old.
            if !fifosEnabled { state.received = [character] }
            return
        }
        if state.received.isEmpty { state.lineErrors |= character.errors }
        state.received.append(character)
    }

    mutating func writeFIFOControl(_ value: UInt8) {
        let toggled = (value ^ state.fcr) & 1 != 0
        if toggled || value & 0x03 == 0x03 { state.received.removeAll() }
        // The other bits take effect only when bit 0 is written as 1.
        state.fcr = value & 1 != 0 ? value & 0xc9 : 0
    }

    var lineStatus: UInt8 {
        var status = LSR.transmitterEmpty | state.lineErrors
        if !state.received.isEmpty { status |= LSR.dataReady }
        if state.overrun { status |= LSR.overrun }
        if fifosEnabled && state.received.contains(where: { $0.errors != 0 }) { status |= LSR.fifoError }
        return status
    }

    /// MSR bits 7–4. In loopback the modem's lines are this port's own outputs.
    var modemLines: UInt8 {
        guard loop else { return UART16550.pluggedIn }
        var lines: UInt8 = 0
        if state.mcr & MCR.rts != 0 { lines |= 0x10 }
        if state.mcr & MCR.dtr != 0 { lines |= 0x20 }
        if state.mcr & MCR.out1 != 0 { lines |= 0x40 }
        if state.mcr & MCR.out2 != 0 { lines |= 0x80 }
        return lines
    }

    mutating func noteModemChange(from before: UInt8) {
        let now = modemLines
        let changed = before ^ now
        state.modemDeltas |= (changed >> 4) & 0x0b
        // RI reports its trailing edge only.
        if changed & 0x40 != 0 && now & 0x40 == 0 { state.modemDeltas |= 0x04 }
    }

    /// IIR bits 3–0: the pending interrupt of the highest priority.
    var interruptIdentification: UInt8 {
        if state.ier & 0x04 != 0 && (state.overrun || state.lineErrors != 0) { return 0x06 }
        if state.ier & 0x01 != 0 && state.received.count >= trigger { return 0x04 }
        if state.ier & 0x01 != 0 && !state.received.isEmpty { return 0x0c }
        if state.ier & 0x02 != 0 && state.transmitterEmpty { return 0x02 }
        if state.ier & 0x08 != 0 && state.modemDeltas != 0 { return 0x00 }
        return 0x01
    }

    /// Brings the interrupt line in step with the registers.
    mutating func settle() {
        let gated = state.mcr & MCR.out2 != 0 && !loop
        line.drive(gated && interruptIdentification != 0x01)
    }
}
