// KVM_ENABLE_CAP on a VM. Documentation/virt/kvm/api.rst, section 7.

internal import Chipset
internal import KVMABI
internal import Synchronization

extension VirtualMachine {
    /// struct kvm_enable_cap { cap, flags, args[4], pad[64] }. What is not offered is EINVAL.
    func enable(_ argument: ClientArgument) throws(Errno) {
        let record = Record(try argument.loadBytes(104))
        guard record.load(4, as: UInt32.self) == 0 else { throw .invalidArgument }
        let value: UInt64 = record.load(8)
        func within(_ allowed: UInt64) throws(Errno) {
            guard value & ~allowed == 0 else { throw .invalidArgument }
        }
        switch Capability(rawValue: record.load(0)) {
        case .manualDirtyLogProtect2:
            try within(value & 1 != 0 ? 3 : 1)
            configuration.withLock { $0.manualDirtyLog = value }
        case .disableQuirks2, .disableQuirks:
            if Capability(rawValue: record.load(0)) == .disableQuirks2 { try within(Capabilities.quirks) }
            let quirks = configuration.withLock { configuration in
                configuration.disabledQuirks |= value & Capabilities.quirks
                return configuration.disabledQuirks
            }
            chipset?.setQuirks(lint0Reenabled: quirks & 1 == 0, mmioHole: quirks & 4 == 0)
        case .splitIRQCHIP:
            guard value <= UInt64(GSIRouting.limit) else { throw .invalidArgument }
            try createChipset(.split(pins: Int(value)))
        case .x2apicAPI:
            try within(Capabilities.x2APIC)
            chipset?.setX2APICFormat(wideIDs: value & 1 != 0, broadcastQuirkDisabled: value & 2 != 0)
        case .x86DisableExits:
            try within(Capabilities.disableExits)
            guard !hasVCPUs else { throw .invalidArgument }
            configuration.withLock { $0.disabledExits |= value }
        case .msrPlatformInfo: configuration.withLock { $0.platformInfoReadable = value != 0 }
        case .exceptionPayload: configuration.withLock { $0.exceptionPayload = value != 0 }
        case .x86TripleFaultEvent: configuration.withLock { $0.tripleFaultEvent = value != 0 }
        case .x86UserSpaceMSR:
            try within(7)
            configuration.withLock { $0.userSpaceMSRs = value }
        case .exitHypercall:
            try within(Capabilities.exitHypercalls)
            configuration.withLock { $0.exitHypercalls = value }
        case .maxVCPUID:
            guard value <= UInt64(Capabilities.maximumVCPUID) else { throw .invalidArgument }
            let accepted = configuration.withLock { configuration in
                if configuration.maximumVCPUID == 0 { configuration.maximumVCPUID = UInt32(value) }
                return configuration.maximumVCPUID == UInt32(value)
            }
            guard accepted else { throw .invalidArgument }
        default: throw .invalidArgument
        }
    }
}
