// The PC16550D universal asynchronous receiver/transmitter (National Semiconductor data sheet, June 1995), the
// PC's serial port.
//
// Contract: eight byte-wide registers. The line is infinitely fast: a character written is sent at once, so THRE
// and TEMT are always set once the write has returned. A burst that ends below the trigger level counts as timed out
// at once, which is the character time-out interrupt. OUT2 gates the interrupt line, as the PC wires it.
//
// At the other end is a terminal that heeds flow control, so no driver loses input while it starts. `receive` takes
// characters only while the guest listens: by interrupt (IER.ERBFI and OUT2, and RTS if the guest has ever raised it),
// or by reading LSR (IIR, with ERBFI) again and again. A driver that sets the port up (LCR, FCR, MCR) is given `settlingTime` after its
// last such write, in which it reads RBR to empty it, resets and tests. What it takes out of the FIFO without having
// read it, by a reset or for a loopback test, is sent again.

internal import Synchronization

/// A 16550A serial port.
public final class UART16550: RegisterDevice, TimedDevice {
    /// A received character with the errors that came with it, as LSR bits.
    public struct Character: Codable, Sendable, Equatable {
        public var byte: UInt8
        public var errors: UInt8
        /// Sent by the guest to itself, in loopback.
        public var isLooped = false
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
        /// What the guest has taken out of the FIFO without having read it, and breaks: sent before anything else.
        public var waiting: [Character] = []
        /// Whether RTS has ever been on: then RTS off holds the other end back.
        public var usesRTS = false

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
        /// Reads by which a guest without interrupts looks for input, since the port was last set up.
        var statusPolls = 0
        /// Until when the other end gives a driver time to set the port up.
        var quietUntil: UInt64?
        /// Whether the guest has listened since then.
        var hasListened = false
    }

    /// So many of them are a guest that polls.
    static let pollsOfAListener = 16
    /// Nanoseconds from the last set-up write to the first character. A real line takes 87 µs for one at 115,200 baud;
    /// a guest may be slower than the processors that drivers are written for.
    public static let settlingTime: UInt64 = 5_000_000
    /// Breaks wait as characters do, so many at most.
    private static let mostWaiting = 32

    private let core: Mutex<Core>
    private let clock: DeviceClock
    private let transmit: @Sendable (UInt8) -> Void
    private let roomAvailable: @Sendable () -> Void
    private let deadlineChanged: @Sendable () -> Void

    /// - Parameters:
    ///   - interrupt: the port's interrupt line (IRQ 4 for COM1).
    ///   - transmit: takes each character sent; called without the port's lock.
    ///   - roomAvailable: called when `receive` has begun to take characters again; without the lock.
    ///   - deadlineChanged: called when `nextDeadline` may have come closer.
    public init(
        interrupt: @escaping InterruptLine, clock: DeviceClock,
        transmit: @escaping @Sendable (UInt8) -> Void,
        roomAvailable: @escaping @Sendable () -> Void = {},
        deadlineChanged: @escaping @Sendable () -> Void = {}
    ) {
        core = Mutex(Core(line: LineDriver(interrupt)))
        self.clock = clock
        self.transmit = transmit
        self.roomAvailable = roomAvailable
        self.deadlineChanged = deadlineChanged
    }

    /// The port's whole state, to save it and put it back.
    public var state: State {
        get { core.withLock { $0.state } }
        set {
            access {
                $0.state = newValue
                $0.quietUntil = nil
            }
        }
    }

    /// Does something to the port, then whatever follows from it. Who sends knows himself that there is room.
    private func access<Result: Sendable>(bySender: Bool = false, _ body: (inout Core) -> Result) -> Result {
        let (result, hasRoom, hasDeadline) = core.withLock { core -> (Result, Bool, Bool) in
            let room = core.room, deadline = core.deadline
            if core.quietUntil != nil { core.elapse(clock.monotonic()) }
            let result = body(&core)
            core.settle()
            return (result, !bySender && room == 0 && core.room > 0, core.deadline != nil && core.deadline != deadline)
        }
        if hasDeadline { deadlineChanged() }
        if hasRoom { roomAvailable() }
        return result
    }

    // MARK: The outside of the port

    /// How many characters `receive` would take now: none while the guest doesn't listen.
    public var receiveRoom: Int { core.withLock { $0.room } }

    /// Characters that arrive on the line. Returns how many were taken, from the start; if not all, `roomAvailable` says when
    /// there is room for more.
    public func receive(_ bytes: some Collection<UInt8>) -> Int {
        access(bySender: true) {
            let taken = bytes.prefix($0.room)
            for byte in taken { $0.arrive(Character(byte: byte, errors: 0)) }
            return taken.count
        }
    }

    /// A break condition on the line (Linux takes it for the magic SysRq key); it waits until the guest listens.
    public func receiveBreak() {
        access {
            guard $0.state.waiting.count < Self.mostWaiting else { return }
            $0.state.waiting.append(Character(byte: 0, errors: LSR.breakInterrupt))
        }
    }

    /// Takes back what the guest has not read, for another machine's port: the guest is no more.
    public func takeUnread() -> [UInt8] {
        access { core in
            core.withdraw()
            defer { core.state.waiting = [] }
            return core.state.waiting.filter { $0.errors == 0 }.map(\.byte)
        }
    }

    // MARK: Time

    public var nextDeadline: UInt64? { core.withLock { $0.deadline } }

    public func advance() { access { _ in } }

    // MARK: The guest's side

    public func read(offset: UInt64, width: Int) -> UInt64 { UInt64(access { $0.read(offset) }) }

    public func write(offset: UInt64, width: Int, value: UInt64) {
        let byte = UInt8(truncatingIfNeeded: value)
        if let sent = access({ $0.write(offset, byte, clock) }) { transmit(sent) }
    }
}

extension UART16550.Core {
    typealias LSR = UART16550.LSR
    typealias MCR = UART16550.MCR

    var fifosEnabled: Bool { state.fcr & 1 != 0 }
    var capacity: Int { fifosEnabled ? 16 : 1 }
    var loop: Bool { state.mcr & MCR.loop != 0 }
    var listensByInterrupt: Bool {
        state.ier & 0x01 != 0 && state.mcr & MCR.out2 != 0 && (state.mcr & MCR.rts != 0 || !state.usesRTS)
    }
    var listens: Bool { !loop && (listensByInterrupt || statusPolls >= UART16550.pollsOfAListener) }
    var takesInput: Bool { listens && quietUntil == nil && state.received.count < capacity }
    var room: Int { takesInput && state.waiting.isEmpty ? capacity - state.received.count : 0 }
    /// When the guest may be sent what it listens for.
    var deadline: UInt64? { listens ? quietUntil : nil }
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
            if state.ier & 0x01 != 0 { notePoll() }
            return identification | (fifosEnabled ? 0xc0 : 0)
        case 3: return state.lcr
        case 4: return state.mcr
        case 5:
            let status = lineStatus
            notePoll()
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
    mutating func write(_ offset: UInt64, _ value: UInt8, _ clock: DeviceClock) -> UInt8? {
        switch offset & 7 {
        case 0 where divisorAccess: state.dll = value
        case 0: return send(value & wordMask)
        case 1 where divisorAccess: state.dlm = value
        case 1:
            let enabled = value & ~state.ier
            state.ier = value & 0x0f
            // Enabling the interrupt while the transmitter is empty raises it at once.
            if enabled & 0x02 != 0 { state.transmitterEmpty = true }
            // Linux's console turns all interrupts off and on for each message, which is no set-up.
            if enabled & 0x01 != 0 && !hasListened { unsettle(clock) }
        case 2:
            writeFIFOControl(value)
            unsettle(clock)
        case 3:
            let breakBegins = state.lcr & 0x40 == 0 && value & 0x40 != 0
            state.lcr = value
            if breakBegins && loop { arrive(.init(byte: 0, errors: LSR.breakInterrupt, isLooped: true)) }
            withdraw()
            unsettle(clock)
        case 4: writeModemControl(value & 0x1f, clock)
        case 7: state.scr = value
        default: break  // LSR and MSR are read-only outside the factory.
        }
        return nil
    }

    mutating func readReceiver() -> UInt8 {
        guard !state.received.isEmpty else { return 0 }
        let character = state.received.removeFirst()
        if let top = state.received.first { state.lineErrors |= top.errors }
        return character.byte & wordMask
    }

    mutating func send(_ byte: UInt8) -> UInt8? {
        state.transmitterEmpty = true
        guard loop else { return byte }
        arrive(.init(byte: byte, errors: 0, isLooped: true))
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
        if toggled || value & 0x03 == 0x03 {
            withdraw()
            state.received.removeAll()
        }
        // The other bits take effect only when bit 0 is written as 1.
        state.fcr = value & 1 != 0 ? value & 0xc9 : 0
    }

    mutating func writeModemControl(_ value: UInt8, _ clock: DeviceClock) {
        guard value != state.mcr else { return }
        let before = modemLines
        state.mcr = value
        noteModemChange(from: before)
        if loop {
            withdraw()
        } else if value & MCR.rts != 0 {
            state.usesRTS = true
        }
        unsettle(clock)
    }

    // MARK: The other end of the line

    /// What came by the line and has not been read goes back to its sender. A break that LSR has told of is done with.
    mutating func withdraw() {
        var unread = state.received[...]
        if let first = unread.first, first.errors != 0, state.lineErrors == 0 { unread.removeFirst() }
        state.waiting.insert(contentsOf: unread.filter { !$0.isLooped }, at: 0)
        state.received.removeAll { !$0.isLooped }
        if state.received.isEmpty { state.lineErrors = 0 }
    }

    /// A driver is setting the port up.
    mutating func unsettle(_ clock: DeviceClock) {
        let (until, overflow) = clock.monotonic().addingReportingOverflow(UART16550.settlingTime)
        quietUntil = overflow ? .max : until
        hasListened = false
        statusPolls = 0
    }

    mutating func notePoll() { statusPolls = min(statusPolls + 1, UART16550.pollsOfAListener) }

    mutating func elapse(_ now: UInt64) {
        if let until = quietUntil, until <= now { quietUntil = nil }
    }

    /// Lets in what waits, as far as the guest takes it.
    mutating func feed() {
        guard listens, quietUntil == nil else { return }
        hasListened = true
        let count = min(state.waiting.count, max(0, capacity - state.received.count))
        for character in state.waiting.prefix(count) { arrive(character) }
        state.waiting.removeFirst(count)
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

    /// Brings the receiver and the interrupt line in step with the registers.
    mutating func settle() {
        feed()
        let gated = state.mcr & MCR.out2 != 0 && !loop
        line.drive(gated && interruptIdentification != 0x01)
    }
}
