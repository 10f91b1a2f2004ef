/// Bits by which other threads reach a running vCPU (`VirtualProcessor.request`).
public struct ExitRequest: OptionSet, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    /// Return `.requested` at the next boundary; stays until taken.
    public static let leave = ExitRequest(rawValue: 1)
    /// An interrupt may be pending: ask the host when interrupts can be taken.
    public static let interrupt = ExitRequest(rawValue: 2)
    public static let nmi = ExitRequest(rawValue: 4)
    /// Drop all translations.
    public static let flushTLB = ExitRequest(rawValue: 8)
    /// Compare decoded code with memory again.
    public static let codeChanged = ExitRequest(rawValue: 16)
    /// The client wants to know when interrupts can be taken.
    public static let interruptWindow = ExitRequest(rawValue: 32)
    /// An exception to deliver, single-stepping, TF or breakpoints: one instruction at a time.
    public static let careful = ExitRequest(rawValue: 64)
    /// The block that just ended has written to a device of the client's: hand the writes out.
    public static let deferredWrites = ExitRequest(rawValue: 128)
    /// A page of which this vCPU may hold a write translation has begun to hold code.
    public static let newCodePage = ExitRequest(rawValue: 256)
    /// Another vCPU has dropped its write translations: what it stored until then can be seen.
    public static let settleCode = ExitRequest(rawValue: 512)
}
