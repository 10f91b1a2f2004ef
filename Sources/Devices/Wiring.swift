// What a device is given instead of threads and descriptors: a line to pull, a clock to read, and a way to say
// that it wants to be called later.

/// An interrupt line: true asserts it, false releases it. Called with the device's lock held, so that levels
/// arrive in order; the other end must not call back into the device.
public typealias InterruptLine = @Sendable (_ asserted: Bool) -> Void

/// The two clocks of a machine, both in nanoseconds.
public struct DeviceClock: Sendable {
    /// Time that never goes back, from an arbitrary start.
    public let monotonic: @Sendable () -> UInt64
    /// Time of day, since 1970-01-01 00:00 UTC.
    public let wall: @Sendable () -> Int64

    public init(monotonic: @escaping @Sendable () -> UInt64, wall: @escaping @Sendable () -> Int64) {
        self.monotonic = monotonic
        self.wall = wall
    }
}

/// A device that has something to do at a time of its own.
public protocol TimedDevice: AnyObject, Sendable {
    /// When `advance()` has to be called, on the monotonic clock; nil if nothing is pending.
    var nextDeadline: UInt64? { get }

    /// Brings the device's state up to the clock and its interrupt line with it.
    func advance()
}

/// What a device asks of the machine that it sits in.
public enum PlatformRequest: Sendable, Equatable {
    /// The guest switched the machine off (ACPI S5).
    case powerOff
    /// The guest asked for a reset.
    case reset(ResetSource)
}

/// By which way a reset was asked for.
public enum ResetSource: String, Sendable, Codable {
    /// Command 0xFE, or the output port's bit 0, of the keyboard controller.
    case keyboardController = "keyboard controller"
    /// The reset control register at port 0xCF9, which is also the ACPI reset register.
    case resetControl = "port 0xCF9"
}

/// An interrupt line with its last level, so that only changes reach the other end.
struct LineDriver: Sendable {
    private let line: InterruptLine
    private var level = false

    init(_ line: @escaping InterruptLine) { self.line = line }

    mutating func drive(_ asserted: Bool) {
        guard asserted != level else { return }
        level = asserted
        line(asserted)
    }
}
