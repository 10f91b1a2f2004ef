// What a client that executes some of the guest's instructions itself needs beyond today's interface. It is between modules of
// one program only: no request, no capability and no flag reaches it, and it is off until it is asked for.

/// Instructions that end KVM_RUN before they have any effect.
public struct InstructionIntercepts: OptionSet, Hashable, Sendable {
    public var rawValue: UInt8

    @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// IN, OUT, INS, OUTS.
    public static var ports: InstructionIntercepts { InstructionIntercepts(rawValue: 1) }
    public static var cpuid: InstructionIntercepts { InstructionIntercepts(rawValue: 2) }

    /// What VMX calls an exit for this kind (Intel SDM vol. 3, appendix C: 10 for CPUID, 30 for an I/O instruction).
    public var hardwareExitReason: UInt32 { self == .cpuid ? 10 : 30 }
}

/// An endpoint that can leave instructions to its client.
public protocol InterceptingEndpoint: Endpoint {
    /// From the next KVM_RUN on, these instructions, and none of the others, end it with `KVM_EXIT_UNKNOWN` and
    /// `hw.hardware_exit_reason` as `hardwareExitReason` says. RIP is at the instruction, of which nothing has happened; what it
    /// may not do has faulted before. The client executes it and moves RIP on, or runs on and meets it again.
    func intercept(_ instructions: InstructionIntercepts, on vcpu: Handle) throws(Errno)

    /// Forgets an exit that waits for an answer (MMIO): its instruction begins anew when it is run again, if it is.
    func abandonInstruction(of vcpu: Handle) throws(Errno)
}
