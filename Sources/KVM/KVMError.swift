// What goes wrong when a hypervisor is asked for something, and what it means.
// The meanings follow Documentation/virt/kvm/api.rst, "Errors" of each request.

public import KVMABI

/// Why a hypervisor did not do what it was asked for.
public enum KVMError: Error, Hashable, Sendable {
    /// The hypervisor could not be opened.
    case notOpened(Hypervisor, Errno)
    /// The translator was asked for by name, and can't run on this host: why, and what to do.
    case noExecutor(String)
    /// A file of the software hypervisor's own can't be read or written: which, and why.
    case file(String)
    /// It speaks another version of the interface than 12.
    case wrongVersion(Int32)
    /// An ioctl failed.
    case failed(Request, Errno)
    /// The run area or another shared page could not be mapped.
    case notMapped(Errno)
    /// An eventfd or a descriptor of statistics failed.
    case descriptor(Errno)
    /// The capability is not offered, or not with these bits of it.
    case notOffered(Capability, missing: UInt64)
    /// `KVM_GET_MSRS` or `KVM_SET_MSRS` stopped before this MSR.
    case refusedMSR(Request, index: UInt32)
    /// No memory slot of this machine has the number.
    case noSuchSlot(UInt32)

    /// The errno behind it, where there is one.
    public var errno: Errno? {
        switch self {
        case .notOpened(_, let errno), .failed(_, let errno), .notMapped(let errno), .descriptor(let errno): errno
        case .noExecutor, .file, .wrongVersion, .notOffered, .refusedMSR, .noSuchSlot: nil
        }
    }
}

extension KVMError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .notOpened(let hypervisor, let errno):
            "the \(hypervisor) hypervisor can't be opened: \(errno.name): \(KVMError.meaning(ofOpening: errno))"
        case .noExecutor(let what), .file(let what): what
        case .wrongVersion(let version):
            "the hypervisor speaks version \(version) of the interface; version 12 is needed"
        case .failed(let request, let errno):
            "\(request.name): \(errno.name): \(KVMError.meaning(of: errno, for: request))"
        case .notMapped(let errno):
            "a vCPU's run area can't be mapped: \(errno.name)"
        case .descriptor(let errno):
            "a descriptor of the hypervisor's failed: \(errno.name)"
        case .notOffered(let capability, let missing):
            missing == 0
                ? "\(capability.name) is not offered by this hypervisor"
                : "\(capability.name) is not offered with the bits 0x\(String(missing, radix: 16)) by this hypervisor"
        case .refusedMSR(let request, let index):
            "\(request.name): MSR 0x\(String(index, radix: 16)) is unknown to the hypervisor, or its value is refused"
        case .noSuchSlot(let slot):
            "memory slot \(slot) does not exist in this machine"
        }
    }

    private static func meaning(ofOpening errno: Errno) -> String {
        switch errno {
        case .noSuchFile: "there is no /dev/kvm on this machine; use the software hypervisor"
        case .permissionDenied, .notPermitted: "no permission on /dev/kvm; join the group that owns it"
        case .noSuchDevice, .noSuchDeviceOrAddress: "the kernel has no KVM behind /dev/kvm"
        case .tooManyOpenFiles, .tooManyOpenFilesInSystem: "too many files are open"
        case .busy: "no real-time signal is free to interrupt a vCPU with"
        default: "see open(2)"
        }
    }

    private static func meaning(of errno: Errno, for request: Request) -> String {
        switch (request, errno) {
        case (.setUserMemoryRegion, .fileExists), (.setUserMemoryRegion2, .fileExists):
            "the slot overlaps another one"
        case (.setUserMemoryRegion, .invalidArgument), (.setUserMemoryRegion2, .invalidArgument):
            "an address or size is not a multiple of a page, a flag is unknown, or an existing slot would change size"
        case (.createVCPU, .fileExists): "a vCPU with this id exists"
        case (.createVCPU, .invalidArgument): "the id is beyond what the machine allows"
        case (.createIRQCHIP, .fileExists), (.createPIT2, .fileExists): "it exists already"
        case (.createIRQCHIP, .invalidArgument): "the interrupt controllers must come before the first vCPU"
        case (.createPIT2, .noSuchDeviceOrAddress), (.irqLine, .noSuchDeviceOrAddress),
            (.irqLineStatus, .noSuchDeviceOrAddress), (.getIRQCHIP, .noSuchDeviceOrAddress),
            (.setIRQCHIP, .noSuchDeviceOrAddress), (.getPIT2, .noSuchDeviceOrAddress),
            (.setPIT2, .noSuchDeviceOrAddress):
            "the machine has no interrupt controllers or timer in the hypervisor"
        case (.interrupt, .noSuchDeviceOrAddress): "the local APIC is in the hypervisor: use its interrupt lines"
        case (.interrupt, .fileExists): "an interrupt is waiting to be delivered already"
        case (.interrupt, .invalidArgument): "the vector is beyond 255"
        case (.getLAPIC, .invalidArgument), (.setLAPIC, .invalidArgument):
            "the local APIC is not in the hypervisor"
        case (.run, .badAddress): "slot memory is not accessible any more, or the guest can't reach it"
        case (.run, .invalidArgument): "the vCPU's state can't be run"
        case (_, .argumentListTooLong): "more entries than the hypervisor takes, or than there is room for"
        case (.irqfd, .busy): "the eventfd is bound to an interrupt already"
        case (.ioeventfd, .fileExists): "an eventfd is bound to this address already"
        case (.ioeventfd, .noSuchFile): "no such eventfd is bound to this address"
        case (_, .inappropriateRequest): "this hypervisor does not have the request"
        case (_, .badAddress): "the argument's address is not accessible"
        case (_, .invalidArgument): "a value is out of its range, or the machine's state does not allow it"
        case (_, .outOfMemory): "the host is out of memory"
        case (_, .ioError): "the machine belongs to another process, or has failed"
        case (_, .badFileDescriptor): "the handle is closed"
        case (_, .noSuchDeviceOrAddress): "the machine lacks what this acts on"
        default: "see the request's section in the kernel's KVM documentation"
        }
    }
}
