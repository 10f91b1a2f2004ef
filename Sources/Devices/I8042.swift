// The 8042 keyboard controller and the PS/2 keyboard on it (IBM PS/2 Hardware Interface Technical Reference,
// "Keyboard and auxiliary device controller"; ports 0x60 and 0x64).
//
// Contract: enough for firmware and Linux to find a healthy controller with one silent keyboard and no auxiliary
// device, and for a reset by command 0xFE or by the output port. Each register is one byte wide; the device takes
// five ports from 0x60 and answers at offsets 0 and 4 only. Nobody types on it: the console is the serial port.

internal import Synchronization

/// A keyboard controller with a keyboard.
public final class I8042: RegisterDevice {
    /// The controller's and the keyboard's registers.
    public struct State: Codable, Sendable, Equatable {
        /// The command byte: bit 0 keyboard interrupt, 4 keyboard off, 5 auxiliary off, 6 translate.
        public var commandByte: UInt8 = 0x61
        /// The output port: bit 0 is the processor's reset line (1 runs), bit 1 gates A20.
        public var outputPort: UInt8 = 0x03
        /// Internal memory behind commands 0x20–0x3F and 0x60–0x7F.
        public var memory = [UInt8](repeating: 0, count: 32)
        /// A controller command that waits for its data byte.
        public var pendingCommand: UInt8?
        /// A keyboard command that waits for its parameter.
        public var pendingKeyboardCommand: UInt8?
        /// Bytes for the guest, the oldest first.
        public var output: [Output] = []
        /// Whether the last write was to the command port (status bit 3).
        public var lastWriteWasCommand = false
        public var scanning = true
        public var scanCodeSet: UInt8 = 2
        public var lights: UInt8 = 0

        public init() {}
    }

    /// A byte in the output buffer.
    public struct Output: Codable, Sendable, Equatable {
        public var byte: UInt8
        /// Whether it came from the keyboard, which interrupts, rather than from the controller.
        public var fromKeyboard: Bool
        /// Whether it is marked as an auxiliary device's (status bit 5).
        public var auxiliary: Bool
    }

    struct Core: Sendable {
        var state = State()
        var line: LineDriver
    }

    /// How many ports it takes, from 0x60.
    public static let portCount = 5
    /// More than any reply is long; a guest that never reads gets no more.
    private static let outputLimit = 16

    private let core: Mutex<Core>
    private let request: @Sendable (PlatformRequest) -> Void

    /// - Parameter interrupt: the keyboard's interrupt line (IRQ 1).
    public init(
        interrupt: @escaping InterruptLine, request: @escaping @Sendable (PlatformRequest) -> Void
    ) {
        core = Mutex(Core(line: LineDriver(interrupt)))
        self.request = request
    }

    /// The whole state, to save it and put it back. A state whose memory isn't 32 bytes is refused.
    public var state: State {
        get { core.withLock { $0.state } }
        set {
            guard newValue.memory.count == 32 else { return }
            core.withLock {
                $0.state = newValue
                $0.settle()
            }
        }
    }

    public func read(offset: UInt64, width: Int) -> UInt64 {
        core.withLock { core in
            switch offset {
            case 0:
                guard !core.state.output.isEmpty else { return 0 }
                // Releasing the line first gives the next byte an edge of its own.
                core.line.drive(false)
                let byte = core.state.output.removeFirst().byte
                core.settle()
                return UInt64(byte)
            case 4: return UInt64(core.status)
            default: return 0xff
            }
        }
    }

    public func write(offset: UInt64, width: Int, value: UInt64) {
        let byte = UInt8(truncatingIfNeeded: value)
        let reset = core.withLock { core -> Bool in
            let reset: Bool
            switch offset {
            case 0: reset = core.writeData(byte)
            case 4: reset = core.writeCommand(byte)
            default: reset = false
            }
            if core.state.output.count > Self.outputLimit {
                core.state.output.removeLast(core.state.output.count - Self.outputLimit)
            }
            core.settle()
            return reset
        }
        if reset { request(.reset(.keyboardController)) }
    }
}

extension I8042.Core {
    /// Port 0x64: bit 0 output buffer full, 2 system flag, 3 last write, 4 not locked, 5 auxiliary data.
    var status: UInt8 {
        var bits: UInt8 = 0x14
        if let next = state.output.first { bits |= next.auxiliary ? 0x21 : 0x01 }
        if state.lastWriteWasCommand { bits |= 0x08 }
        return bits
    }

    mutating func answer(_ byte: UInt8, auxiliary: Bool = false) {
        state.output.append(.init(byte: byte, fromKeyboard: false, auxiliary: auxiliary))
    }

    mutating func type(_ bytes: UInt8...) {
        for byte in bytes { state.output.append(.init(byte: byte, fromKeyboard: true, auxiliary: false)) }
    }

    mutating func settle() {
        let keyboard = state.output.first?.fromKeyboard ?? false
        line.drive(keyboard && state.commandByte & 0x01 != 0)
    }

    /// A byte to port 0x64. True asks for a reset.
    mutating func writeCommand(_ command: UInt8) -> Bool {
        state.lastWriteWasCommand = true
        state.pendingCommand = nil
        switch command {
        case 0x20: answer(state.commandByte)
        case 0x21...0x3f: answer(state.memory[Int(command & 0x1f)])
        case 0x60...0x7f, 0xd1, 0xd2, 0xd3, 0xd4: state.pendingCommand = command
        case 0xa7: state.commandByte |= 0x20
        case 0xa8: state.commandByte &= ~0x20
        case 0xa9: answer(0x01)  // Auxiliary test: clock line stuck, there is no device.
        case 0xaa:
            state.commandByte |= 0x04
            answer(0x55)
        case 0xab: answer(0x00)
        case 0xad: state.commandByte |= 0x10
        case 0xae: state.commandByte &= ~0x10
        case 0xc0: answer(0x80)  // Input port: keyboard not inhibited.
        case 0xd0: answer(state.outputPort)
        case 0xdd: state.outputPort &= ~0x02
        case 0xdf: state.outputPort |= 0x02
        // Pulse output bits that are 0 here; bit 0 is the processor's reset.
        case 0xf0...0xff: return command & 0x01 == 0
        default: break
        }
        return false
    }

    /// A byte to port 0x60. True asks for a reset.
    mutating func writeData(_ byte: UInt8) -> Bool {
        state.lastWriteWasCommand = false
        guard let command = state.pendingCommand else {
            // A byte for the keyboard switches its clock on again.
            state.commandByte &= ~0x10
            writeKeyboard(byte)
            return false
        }
        state.pendingCommand = nil
        switch command {
        case 0x60: state.commandByte = byte
        case 0x61...0x7f: state.memory[Int(command & 0x1f)] = byte
        case 0xd1:
            state.outputPort = byte
            return byte & 0x01 == 0
        case 0xd2: type(byte)
        // Auxiliary loopback without an auxiliary interface comes back unmarked, so nobody takes it for one.
        case 0xd3: answer(byte)
        case 0xd4: answer(0xfe, auxiliary: true)  // Resend: no device took the byte.
        default: break
        }
        return false
    }

    /// A command or parameter for the keyboard itself.
    mutating func writeKeyboard(_ byte: UInt8) {
        if let command = state.pendingKeyboardCommand {
            state.pendingKeyboardCommand = nil
            switch command {
            case 0xed: state.lights = byte & 7
            case 0xf0 where byte == 0:
                type(0xfa, state.scanCodeSet)
                return
            case 0xf0: state.scanCodeSet = (1...3).contains(byte) ? byte : state.scanCodeSet
            default: break
            }
            type(0xfa)
            return
        }
        switch byte {
        case 0xed, 0xf0, 0xf3, 0xfb, 0xfc, 0xfd:
            state.pendingKeyboardCommand = byte
            type(0xfa)
        case 0xee: type(0xee)
        case 0xf2: type(0xfa, 0xab, 0x83)
        case 0xf4:
            state.scanning = true
            type(0xfa)
        case 0xf5, 0xf6:
            state.scanning = byte == 0xf6
            state.scanCodeSet = 2
            type(0xfa)
        case 0xf7...0xfa: type(0xfa)
        case 0xff:
            state.scanning = true
            state.scanCodeSet = 2
            state.lights = 0
            type(0xfa, 0xaa)
        default: type(0xfe)
        }
    }
}
