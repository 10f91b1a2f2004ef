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
    /// The vector that was acknowledged last could not be delivered: it is to be the next.
    func returnInterrupt(_ vector: UInt8)
    /// An NMI is to be delivered now, and is taken; false where there is none after all. Asked only while NMIs can be taken.
    func acknowledgeNMI() -> Bool
    /// The NMI that was taken last could not be delivered, and is to be given again.
    func returnNMI()
    /// MONITOR and MWAIT do nothing; false: they are #UD.
    var offersMonitor: Bool { get }
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
    /// Returns once no other vCPU of the VM runs guest code, and none does until `letOthersRun` (split locks). While this vCPU
    /// waits for its turn others may have theirs.
    func stopOthers()
    func letOthersRun()
}

extension ProcessorHost {
    public var hasLocalAPIC: Bool { true }
    public func acknowledgeNMI() -> Bool { true }
    public func returnNMI() {}
    public var offersMonitor: Bool { true }
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
