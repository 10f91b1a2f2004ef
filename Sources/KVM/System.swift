// The system handle: what a hypervisor is and offers, and where virtual machines come from.
// Documentation/virt/kvm/api.rst, section 4, requests of type "system ioctl".

public import KVMABI

/// An open hypervisor. Closed when it goes out of scope; machines made from it live on.
public struct System: ~Copyable, Sendable {
    /// The hypervisor that was opened, and why that one.
    public let choice: Hypervisor.Choice
    let connection: Connection

    /// Opens a hypervisor.
    /// - Throws: `KVMError.notOpened`, or `wrongVersion`.
    public init(_ hypervisor: Hypervisor = .automatic) throws(KVMError) {
        let choice = hypervisor.choose()
        try self.init(choice.hypervisor.makeEndpoint(), choice)
    }

    /// Opens what answers at an endpoint of your own.
    public init(endpoint: any Endpoint) throws(KVMError) {
        try self.init(endpoint, Hypervisor.Choice(hypervisor: .kernel, reason: "its endpoint was given"))
    }

    private init(_ endpoint: any Endpoint, _ choice: Hypervisor.Choice) throws(KVMError) {
        let handle: Handle
        do throws(Errno) { handle = try endpoint.open() } catch { throw .notOpened(choice.hypervisor, error) }
        let connection = Connection(endpoint, handle)
        let version = try connection.call(.getAPIVersion)
        guard version == KVM_API_VERSION else { throw .wrongVersion(version) }
        self.choice = choice
        self.connection = connection
    }

    /// `KVM_GET_API_VERSION`: 12.
    public var apiVersion: Int32 {
        get throws(KVMError) { try connection.call(.getAPIVersion) }
    }

    /// `KVM_GET_VCPU_MMAP_SIZE`: the bytes of a vCPU's run area, with its port data and coalesced ring.
    public var runAreaSize: Int {
        get throws(KVMError) { Int(try connection.call(.getVCPUMmapSize)) }
    }

    /// `KVM_CHECK_EXTENSION`: 0 if the capability is not offered, otherwise 1 or what it says for itself.
    public func check(_ capability: Capability) throws(KVMError) -> Int { try connection.check(capability) }

    /// `KVM_GET_SUPPORTED_CPUID`: the CPUID leaves that the hypervisor can honour.
    public func supportedCPUID() throws(KVMError) -> [kvm_cpuid_entry2] {
        try connection.list(.getSupportedCPUID, .cpuid, capacity: 128)
    }

    /// `KVM_GET_EMULATED_CPUID`: features that it emulates, at a price.
    public func emulatedCPUID() throws(KVMError) -> [kvm_cpuid_entry2] {
        try connection.list(.getEmulatedCPUID, .cpuid, capacity: 32)
    }

    /// `KVM_GET_SUPPORTED_HV_CPUID`: the leaves that describe Hyper-V's interface.
    public func supportedHyperVCPUID() throws(KVMError) -> [kvm_cpuid_entry2] {
        try connection.list(.getSupportedHVCPUID, .cpuid, capacity: 32)
    }

    /// `KVM_GET_MSR_INDEX_LIST`: the MSRs that belong to a vCPU's saved state.
    public func msrIndices() throws(KVMError) -> [UInt32] {
        try connection.list(.getMSRIndexList, .msrList, capacity: 512)
    }

    /// `KVM_GET_MSR_FEATURE_INDEX_LIST`: the MSRs that describe the hypervisor's features.
    public func featureMSRIndices() throws(KVMError) -> [UInt32] {
        try connection.list(.getMSRFeatureIndexList, .msrList, capacity: 128)
    }

    /// `KVM_GET_MSRS` on the system: the values of feature MSRs, up to the first that it refuses.
    public func featureMSRs(_ indices: [UInt32]) throws(KVMError) -> [kvm_msr_entry] {
        try connection.msrs(indices)
    }

    /// `KVM_X86_GET_MCE_CAP_SUPPORTED`: the MCG_CAP bits that vCPUs can have.
    public func machineCheckCapabilities() throws(KVMError) -> UInt64 {
        try connection.get(.x86GetMCECapSupported, 0)
    }

    /// `KVM_GET_DEVICE_ATTR` on the system, for instance `KVM_X86_XCOMP_GUEST_SUPP`.
    public func attribute(group: UInt32, _ attribute: UInt64) throws(KVMError) -> UInt64 {
        try connection.attribute(group: group, attribute)
    }

    /// `KVM_CREATE_VM`.
    /// - Parameter type: 0, or one of the bits that `KVM_CAP_VM_TYPES` reports.
    public func makeVirtualMachine(type: UInt = 0) throws(KVMError) -> VirtualMachine {
        let handle = Handle(rawValue: try connection.call(.createVM, type))
        let machine = Connection(connection.endpoint, handle)
        return VirtualMachine(
            MachineCore(machine, runAreaSize: try runAreaSize, coalescedPage: try check(.coalescedMMIO)))
    }
}

extension Connection {
    /// `KVM_GET_MSRS`, as far as it goes.
    func msrs(_ indices: [UInt32]) throws(KVMError) -> [kvm_msr_entry] {
        var entries: [kvm_msr_entry] = []
        var start = 0
        // The kernel takes 256 at a time.
        while start < indices.count {
            let part = indices[start..<min(start + 256, indices.count)]
            let buffer = VariableLengthBuffer(
                .msrs, part.map { kvm_msr_entry(index: $0, reserved: 0, data: 0) })
            let done = Int(try call(.getMSRS, buffer.address))
            for index in 0..<min(done, part.count) { entries.append(buffer[index]) }
            if done < part.count { break }
            start += 256
        }
        return entries
    }

    /// `KVM_GET_DEVICE_ATTR` of eight bytes.
    func attribute(group: UInt32, _ attribute: UInt64) throws(KVMError) -> UInt64 {
        var value: UInt64 = 0
        try withAttribute(.getDeviceAttr, group, attribute, &value)
        return value
    }

    func setAttribute(group: UInt32, _ attribute: UInt64, to value: UInt64) throws(KVMError) {
        var value = value
        try withAttribute(.setDeviceAttr, group, attribute, &value)
    }

    /// `KVM_HAS_DEVICE_ATTR`.
    func hasAttribute(group: UInt32, _ attribute: UInt64) -> Bool {
        var value: UInt64 = 0
        do throws(KVMError) {
            try withAttribute(.hasDeviceAttr, group, attribute, &value)
            return true
        } catch {
            return false
        }
    }

    private func withAttribute(
        _ request: Request, _ group: UInt32, _ attribute: UInt64, _ value: inout UInt64
    ) throws(KVMError) {
        try unsafe withUnsafeMutablePointer(to: &value) { (pointer) throws(KVMError) in
            let address = UInt64(UInt(bitPattern: pointer))
            try set(request, kvm_device_attr(flags: 0, group: group, attr: attribute, addr: address))
        }
    }
}
