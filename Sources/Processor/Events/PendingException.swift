/// An exception that has been raised and not yet delivered, as KVM_GET_VCPU_EVENTS shows it.
public struct PendingException: Sendable, Equatable {
    public var isPending = false
    /// Its delivery had begun: it comes whatever the client does with the registers.
    public var isInjected = false
    public var vector: UInt8 = 0
    public var hasErrorCode = false
    public var errorCode: UInt32 = 0
    public init() {}
}
