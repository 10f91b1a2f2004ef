/// Instructions that end the run before they have any effect, because the client executes them itself. None by default.
/// What the guest may not do faults as ever: privilege and operands are checked first, the first element of a string too.
public struct Intercepts: OptionSet, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// IN, OUT, INS, OUTS. INS and OUTS whose count is 0 are complete without an exit.
    public static let ports = Intercepts(rawValue: 1)
    public static let cpuid = Intercepts(rawValue: 2)
}
