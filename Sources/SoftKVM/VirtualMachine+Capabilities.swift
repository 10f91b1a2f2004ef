// KVM_ENABLE_CAP on a VM. Documentation/virt/kvm/api.rst, section 7.

internal import Chipset
internal import KVMABI
internal import Locking

extension VirtualMachine {
    /// What KVM_ENABLE_CAP turned a capability on with; 0 where it did not.
    func enabled(_ capability: Capability) -> UInt64 { configuration.withLock { $0.enabled[capability] ?? 0 } }

    func enable(_ argument: ClientArgument) throws(Errno) {
        let (capability, value) = try Capabilities.enabling(argument, on: .machine)
        switch capability {
        case .splitIRQCHIP:
            try createChipset(.split(pins: Int(value)))
            try remember(capability, value)
        case .dirtyLogRing, .dirtyLogRingAcqRel:
            try withoutVCPUs(otherwise: .invalidArgument) { () throws(Errno) in
                // Once, by either name.
                guard dirtyRingSize == 0 else { throw .invalidArgument }
                try remember(capability, value)
            }
        case .x86DisableExits:
            try withoutVCPUs(otherwise: .invalidArgument) { () throws(Errno) in try remember(capability, value) }
        default: try remember(capability, value)
        }
        if let chipset { configure(chipset) }
    }

    private func remember(_ capability: Capability, _ value: UInt64) throws(Errno) {
        guard configuration.withLock({ $0.enable(capability, value) }) else { throw .invalidArgument }
    }

    /// KVM_SET_BOOT_CPU_ID, before there are vCPUs.
    func setBootVCPU(_ argument: UInt) throws(Errno) {
        let id = configuration.withLock { configuration -> UInt32? in
            guard argument <= configuration.vcpuIDLimit, let id = UInt32(exactly: argument) else { return nil }
            configuration.bootVCPU = id
            return id
        }
        guard let id else { throw .invalidArgument }
        controllers.withLock { $0?.chipset.setBootProcessor(Int(id)) }
    }

    /// Tells the chipset what capabilities change in it.
    func configure(_ chipset: Chipset) {
        chipset.setQuirks(lint0Reenabled: !hasDisabled(.lint0Reenabled), mmioHole: !hasDisabled(.lapicMMIOHole))
        let format = enabled(.x2apicAPI)
        chipset.setX2APICFormat(wideIDs: format & 1 != 0, broadcastQuirkDisabled: format & 2 != 0)
    }
}

extension VirtualMachine.Configuration {
    /// One more than the highest vCPU id.
    var vcpuIDLimit: UInt {
        let limit = enabled[.maxVCPUID, default: 0]
        return limit == 0 ? Capabilities.maximumVCPUID : UInt(limit)
    }

    /// Whether a vCPU may have this id. From the first that is asked for on, the limit stays.
    mutating func takesVCPU(_ id: UInt) -> Bool {
        guard id < Capabilities.maximumVCPUID else { return false }
        enabled[.maxVCPUID] = UInt64(vcpuIDLimit)
        return id < vcpuIDLimit
    }

    /// Remembers an argument that the table of capabilities allows; false where an earlier one stands against it.
    mutating func enable(_ capability: Capability, _ value: UInt64) -> Bool {
        switch (capability, Capabilities.offer(capability)?.argument) {
        case (.disableQuirks, _): enabled[.disableQuirks2, default: 0] |= value & Quirks.all.rawValue
        case (.maxVCPUID, _):
            let limit = enabled[.maxVCPUID, default: 0]
            guard limit == 0 || limit == value, UInt64(bootVCPU) <= value else { return false }
            enabled[.maxVCPUID] = value
        case (_, .stickyBits): enabled[capability, default: 0] |= value
        default: enabled[capability] = value
        }
        return true
    }
}
