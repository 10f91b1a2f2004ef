/// What a processor asks of the hypervisor that owns it (one per vCPU). Called on the vCPU's thread, on slow paths only.
public protocol ProcessorHost: AnyObject {
    /// A device modelled in the hypervisor answers a read of `size` bytes (1, 2, 4, 8) at a guest-physical address that no
    /// region holds; nil leaves it to the client (MMIO exit).
    func readMMIO(_ address: UInt64, size: Int) -> UInt64?
    /// As above for a write; false leaves it to the client. ioeventfds and coalesced zones are answered here too.
    func writeMMIO(_ address: UInt64, size: Int, value: UInt64) -> Bool
    /// As for MMIO, for an access of 1, 2 or 4 bytes to an I/O port.
    func readPort(_ port: UInt16, size: Int) -> UInt32?
    func writePort(_ port: UInt16, size: Int, value: UInt32) -> Bool

    /// MSRs that the processor does not hold itself (APIC base, x2APIC, MTRRs, paravirtual ones …), and the filter
    /// for all of them (`filterMSR` is asked first for every RDMSR and WRMSR).
    func readMSR(_ index: UInt32) -> MSRAnswer
    func writeMSR(_ index: UInt32, _ value: UInt64) -> MSRAnswer
    /// False: the client's filter denies the access. `.userspace` follows where the client asked for such exits, else #GP.
    func allowsMSR(_ index: UInt32, write: Bool) -> Bool

    /// CPUID as the client set it (KVM_SET_CPUID2), with the parts that follow the state (OSXSAVE, APIC, XCR0 sizes) applied.
    func cpuid(leaf: UInt32, subleaf: UInt32) -> (eax: UInt32, ebx: UInt32, ecx: UInt32, edx: UInt32)
    /// The guest's TSC.
    var timeStampCounter: UInt64 { get set }
    /// CR8: bits 7…4 of the task priority. Without a local APIC in the hypervisor, `KVM_EXIT_SET_TPR` follows a write where it must.
    var taskPriority: UInt8 { get set }
    /// There is a local APIC in the hypervisor; without one the client hears of a lower task priority.
    var hasLocalAPIC: Bool { get }

    /// The vector to deliver now, acknowledged; nil when there is none after all. Asked only while interrupts can be taken.
    func acknowledgeInterrupt() -> UInt8?
    /// VMCALL/VMMCALL: true when answered (result in RAX already), false for an exit to the client.
    func hypercall() -> Bool

    /// A page of a region whose writes are logged was clean until now.
    func pageDirtied(slot: UInt32, page: Int)
    /// Other vCPUs must compare their decoded code again.
    func codeChanged()
    /// Other vCPUs must drop write translations; true where one of them is running guest code.
    func newCodePage() -> Bool
    /// This vCPU has dropped its write translations, as another asked.
    func droppedWrites()
    /// Another vCPU that is running guest code has been asked to drop its write translations, and has not done so yet.
    var othersMayHoldWrites: Bool { get }
    /// Runs `body` while no other vCPU of the VM runs guest code (split locks).
    func exclusively(_ body: () -> Void)
}

extension ProcessorHost {
    public var hasLocalAPIC: Bool { true }
    public func droppedWrites() {}
    public func pageDirtied(slot: UInt32, page: Int) {}
    public var othersMayHoldWrites: Bool { false }
}

public enum MSRAnswer: Sendable, Equatable {
    case value(UInt64)
    /// Written.
    case done
    /// No such MSR or a reserved bit: #GP(0), or an exit to the client where it asked for it (`reason`).
    case invalid
    /// The client takes it (KVM_EXIT_X86_RDMSR, _WRMSR) for this reason (KVM_MSR_EXIT_REASON_*).
    case userspace(reason: UInt32)
}

/// What a run ended with.
public enum ProcessorExit: Sendable, Equatable {
    /// Nothing more to do now: a request (`ExitRequest.leave`) was seen at a boundary.
    case requested
    /// IN, INS: the data is given back by `VirtualProcessor.completeRead`. `count` elements of `size` bytes.
    case portRead(port: UInt16, size: Int, count: Int)
    /// OUT, OUTS: the bytes are in `VirtualProcessor.exitData`. Completed by the next run.
    case portWrite(port: UInt16, size: Int, count: Int)
    /// The data is given back by `completeRead`. At most 8 bytes.
    case mmioRead(address: UInt64, size: Int)
    /// The bytes are in `exitData`; the instruction is complete (or the next piece follows on the next run).
    case mmioWrite(address: UInt64, size: Int)
    /// HLT, complete.
    case halted
    /// Triple fault.
    case shutdown
    /// `debugStatus`: DR6, DR7, and the linear address, as KVM_EXIT_DEBUG shows them; guest debugging asked for it.
    case debug(vector: UInt8, dr6: UInt64, dr7: UInt64, pc: UInt64)
    /// An answer is given back by `completeMSR`.
    case readMSR(index: UInt32, reason: UInt32)
    case writeMSR(index: UInt32, value: UInt64, reason: UInt32)
    case hypercall
    /// The instruction at RIP is one of `VirtualProcessor.intercepts`; nothing of it has happened.
    case intercepted(Intercepts)
    /// Interrupts can be taken now and the client asked to know (request_interrupt_window).
    case interruptWindow
    /// Task priority lowered by the guest without a local APIC here.
    case taskPriorityChanged
    /// The host's memory behind the guest's failed.
    case hostFault(address: UInt64)
    /// The processor can't go on: delivery of an event needed memory that is MMIO, and the like.
    case internalError(suberror: UInt32)
}

/// Instructions that end the run before they have any effect, because the client executes them itself. None by default.
/// What the guest may not do faults as ever: privilege and operands are checked first, the first element of a string too.
public struct Intercepts: OptionSet, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// IN, OUT, INS, OUTS. INS and OUTS whose count is 0 are complete without an exit.
    public static let ports = Intercepts(rawValue: 1)
    public static let cpuid = Intercepts(rawValue: 2)
}

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
