/// KVM_SET_GUEST_DEBUG, as the processor acts on it.
public struct GuestDebugging: Sendable, Equatable {
    public var enabled = false
    public var singleStep = false
    /// INT3 of the guest leaves to the client.
    public var softwareBreakpoints = false
    /// `debugRegisters` replace the guest's DR0…DR3, DR7.
    public var hardwareBreakpoints = false
    /// NMIs and interrupts wait, so that a step ends behind its instruction and not in a handler: the host acknowledges none.
    public var blocksInterrupts = false
    public var debugRegisters = InlineArray<8, UInt64>(repeating: 0)
    public init() {}

    public static func == (a: GuestDebugging, b: GuestDebugging) -> Bool {
        a.enabled == b.enabled && a.singleStep == b.singleStep && a.softwareBreakpoints == b.softwareBreakpoints
            && a.hardwareBreakpoints == b.hardwareBreakpoints && a.blocksInterrupts == b.blocksInterrupts
            && (0..<8).allSatisfy { a.debugRegisters[$0] == b.debugRegisters[$0] }
    }
}
